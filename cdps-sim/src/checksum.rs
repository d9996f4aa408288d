//! CRC-32C for the wire, from the crate that the driver uses.

use cdps_core::wire::Checksum;
use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of every simulated connection.
pub(crate) const CRC: Checksum = Checksum(Some(append));

fn append(state: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!state));
    digest.update(bytes);
    digest.finalize() as u32
}
