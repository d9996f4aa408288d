//! What the tests that cross crates share: a deadline, processes, addresses, C programs, and a relay that plays the network.

pub mod address;
pub mod gcc;
pub mod load;
pub mod netns;
pub mod process;
pub mod relay;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a test waits for anything that should happen at once. Generous: only a test that fails waits so long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives a value, looking again every few milliseconds.
///
/// # Panics
/// When [`DEADLINE`] has passed; the message says what was waited for.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The top directory of the project.
#[must_use]
pub fn project() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or_else(|| tests.clone(), PathBuf::from)
}
