//! The engine of a port, through its public interface.

mod redial;
mod refused;
