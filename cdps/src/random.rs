//! Random bytes from the system: incarnations, secrets, nonces, seeds.

use std::io;

/// So many random bytes.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(bytes)
}

/// A random number that is not 0.
pub(crate) fn number() -> io::Result<u64> {
    loop {
        let number = u64::from_le_bytes(bytes()?);
        if number != 0 {
            return Ok(number);
        }
    }
}
