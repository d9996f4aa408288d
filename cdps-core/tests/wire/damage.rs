//! Damage on the way is seen.

use cdps_core::wire::{Decoder, Step};
use proptest::prelude::*;

use crate::frames::{CRC, Sent, samples, sent};

/// Bytes that the decoder itself checks: all but the body of a fragment.
fn checked(sent: &Sent) -> Vec<u8> {
    let mut bytes = sent.encode(CRC);
    if let Sent::Fragment { body, .. } = sent {
        bytes.truncate(bytes.len() - body.len());
    }
    bytes
}

/// An error, or a wish for more bytes; never a frame.
fn is_refused(bytes: &[u8]) -> bool {
    match Decoder::new(CRC).step(bytes) {
        Err(_) | Ok(Step::Need(_)) => true,
        Ok(Step::Frame { .. } | Step::Bundle { .. } | Step::Fragment { .. }) => false,
    }
}

/// [M8] No frame is accepted with one bit of it turned, whichever it is.
#[test]
fn any_bit_turned_is_seen() {
    for sent in samples() {
        let mut bytes = checked(&sent);
        assert!(!is_refused(&bytes), "{sent:?} is refused undamaged");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&bytes), "{sent:?} is accepted with bit {bit} turned");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// [M8] A turned bit of a fragment's body shows in the checksum that the head announces.
#[test]
fn a_turned_bit_of_a_fragment_body_is_seen() {
    let fragments = samples().into_iter().filter_map(|sent| match &sent {
        Sent::Fragment { body, .. } => Some((sent.encode(CRC), body.clone())),
        Sent::Frame(_) | Sent::Bundle { .. } => None,
    });
    for (bytes, mut body) in fragments {
        let Ok(Step::Fragment { crc, len, consumed, .. }) = Decoder::new(CRC).step(&bytes) else {
            panic!("no fragment in {bytes:02x?}");
        };
        assert_eq!(&bytes[consumed..], &body);
        assert_eq!(len as usize, body.len());
        assert_eq!(CRC.append(0, &body), crc);
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(CRC.append(0, &body), crc);
            body[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    /// [M8] Up to three bits turned anywhere, which CRC-32C promises to see at these lengths, are seen.
    #[test]
    fn a_few_bits_turned_are_seen(
        sent in sent(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 1..=3),
    ) {
        let mut bytes = checked(&sent);
        let bits: std::collections::HashSet<usize> =
            places.iter().map(|place| place.index(bytes.len() * 8)).collect();
        for bit in bits {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(is_refused(&bytes));
    }

    /// [S4] Any bytes give an answer, and one with matching checksums of arbitrary fields too: no panic, and no wish beyond the limits.
    #[test]
    fn any_fields_give_an_answer(
        number in prop_oneof![any::<u8>(), prop::sample::select(&[0x01u8, 0x10, 0x11, 0x20, 0x21, 0x30, 0x31, 0x33, 0x40][..])],
        flags in 0..3u8,
        head in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => Just(1), 1 => Just(0xff), 1 => any::<u8>()], 0..=130),
        body in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => Just(4), 1 => Just(0xff), 1 => any::<u8>()], 0..=300),
    ) {
        let mut receiver = crate::frames::Receiver::new(CRC);
        receiver.push(&crate::frames::raw(number, flags, &head, &body));
        prop_assert!(receiver.got.len() <= 1);
    }
}
