//! It does not matter how the bytes are cut into reads.

use cdps_core::wire::{Decoder, Step};
use proptest::prelude::*;

use crate::frames::{CRC, Got, Receiver, Sent, samples, sent};

/// Every sample, cut in two at every byte, comes out the same; and every start of it only asks for more, never for more than there is.
#[test]
fn every_cut_gives_the_same() {
    for sent in samples() {
        let bytes = sent.encode(CRC);
        let whole = match Decoder::new(CRC).step(&bytes).expect("a sample is valid") {
            Step::Need(n) => panic!("{sent:?} asks for {n} bytes and has {}", bytes.len()),
            Step::Frame { consumed, .. }
            | Step::Bundle { consumed, .. }
            | Step::Fragment { consumed, .. } => consumed,
        };
        for cut in 0..bytes.len() {
            if cut < whole {
                match Decoder::new(CRC).step(&bytes[..cut]) {
                    Ok(Step::Need(n)) => assert!(n > cut && n <= whole, "{sent:?} at {cut} asks for {n}"),
                    other => panic!("{sent:?} cut at {cut} gives {other:?}"),
                }
            }
            let mut receiver = Receiver::new(CRC);
            receiver.push(&bytes[..cut]);
            receiver.push(&bytes[cut..]);
            assert_eq!(receiver.error, None);
            assert_eq!(receiver.got, [sent.arrives()], "cut at {cut}");
        }
    }
}

/// All samples in one stream, a byte at a time.
#[test]
fn a_byte_at_a_time() {
    let samples = samples();
    let mut receiver = Receiver::new(CRC);
    for byte in samples.iter().flat_map(|sent| sent.encode(CRC)) {
        receiver.push(&[byte]);
    }
    assert_eq!(receiver.error, None);
    assert_eq!(receiver.got, samples.iter().map(Sent::arrives).collect::<Vec<_>>());
}

proptest! {
    /// Any frames in any pieces.
    #[test]
    fn any_pieces_give_the_same(
        sent in proptest::collection::vec(sent(), 1..6),
        pieces in proptest::collection::vec(prop_oneof![1..20usize, 1..4000usize], 1..40),
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|one| one.encode(CRC)).collect();
        let mut receiver = Receiver::new(CRC);
        let mut rest = &bytes[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            receiver.push(now);
            rest = later;
        }
        prop_assert_eq!(receiver.error, None);
        let expected: Vec<Got> = sent.iter().map(Sent::arrives).collect();
        prop_assert_eq!(receiver.got, expected);
    }

    /// Garbage gives the same error, behind the same frames, however it is cut.
    #[test]
    fn garbage_fails_the_same_however_it_is_cut(
        sent in sent(),
        garbage in proptest::collection::vec(any::<u8>(), 16..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sent.encode(CRC);
        bytes.extend(garbage);
        let mut whole = Receiver::new(CRC);
        whole.push(&bytes);
        let cut = cut.index(bytes.len());
        let mut pieces = Receiver::new(CRC);
        pieces.push(&bytes[..cut]);
        pieces.push(&bytes[cut..]);
        prop_assert_eq!(whole.error, pieces.error);
        prop_assert_eq!(whole.got, pieces.got);
    }
}
