//! What is encoded is decoded, with checksums and without.

use cdps_core::wire::{Checksum, Decoder, FRAME_HEADER, Frame, FrameKind, MAX_HEAD, Step, encode_frame};
use proptest::prelude::*;

use crate::frames::{CRC, Got, Parts, Receiver, Sent, any_frame, raw, samples, sent};

proptest! {
    /// [M8] Every frame, bundle and fragment comes out as it went in.
    #[test]
    fn everything_comes_out_as_it_went_in(sent in proptest::collection::vec(sent(), 1..6)) {
        let mut receiver = Receiver::new(CRC);
        for one in &sent {
            receiver.push(&one.encode(CRC));
        }
        prop_assert_eq!(receiver.error, None);
        let expected: Vec<Got> = sent.iter().map(Sent::arrives).collect();
        prop_assert_eq!(receiver.got, expected);
    }

    /// Without checksums the fields are 0, and everything but the handshake still comes through.
    #[test]
    fn without_checksums_the_fields_are_zero(sent in sent()) {
        let none = Checksum(None);
        let bytes = sent.encode(none);
        prop_assert_eq!(&bytes[8..16], &[0; 8]);
        let mut receiver = Receiver::new(none);
        receiver.push(&bytes);
        if is_handshake(&sent) {
            prop_assert!(receiver.error.is_some());
            prop_assert_eq!(receiver.got, vec![]);
        } else {
            prop_assert_eq!(receiver.error, None);
            prop_assert_eq!(receiver.got, vec![sent.arrives()]);
        }
    }

    /// The encoder writes the lengths and checksums that the document asks for: the same as a frame put together by hand.
    #[test]
    fn the_encoder_agrees_with_a_frame_put_together_by_hand(sent in sent()) {
        let bytes = sent.encode(CRC);
        let Parts { number, flags, head, body } = Parts::of(&bytes);
        prop_assert_eq!(raw(number, flags, &head, &body), bytes);
    }

    /// [U7] A head that a later version made longer is read as if it ended where version 1 ends.
    #[test]
    fn a_longer_head_is_read_as_version_1(sent in sent(), tail in proptest::collection::vec(any::<u8>(), 1..=256)) {
        prop_assume!(!is_of_the_first_release(&sent));
        let mut parts = Parts::of(&sent.encode(CRC));
        parts.head.extend(tail);
        parts.head.truncate(MAX_HEAD);
        let mut receiver = Receiver::new(CRC);
        receiver.push(&parts.bytes());
        prop_assert_eq!(receiver.error, None);
        prop_assert_eq!(receiver.got, vec![sent.arrives()]);
    }

    /// [U7] A node message that a later version made longer is read as version 1; any other body must end where it ends.
    #[test]
    fn only_a_node_message_may_go_on_behind_its_end(frame in any_frame(), tail in proptest::collection::vec(any::<u8>(), 1..=64)) {
        let mut parts = Parts::of(&Sent::Frame(frame.clone()).encode(CRC));
        let log_text = matches!(frame, Frame::Refuse(_));
        prop_assume!(!log_text && !is_of_the_first_release(&Sent::Frame(frame.clone())));
        parts.body.extend(tail);
        let mut receiver = Receiver::new(CRC);
        receiver.push(&parts.bytes());
        if matches!(frame, Frame::NodeMessage(_)) {
            prop_assert_eq!(receiver.error, None);
            prop_assert_eq!(receiver.got, vec![Got::Frame(frame)]);
        } else {
            prop_assert!(receiver.error.is_some());
            prop_assert_eq!(receiver.got, vec![]);
        }
    }
}

/// The samples that other tests walk hold every frame of the table.
#[test]
fn the_samples_hold_every_frame() {
    let numbers: Vec<u8> = samples().iter().map(|sent| sent.encode(CRC)[0]).collect();
    for kind in FrameKind::ALL {
        assert!(numbers.contains(&(*kind as u8)), "no {kind} among the samples");
    }
}

/// Encoding appends: what is in the buffer already stays, and the lengths do not count it.
#[test]
fn frames_are_appended() {
    let mut out = b"before".to_vec();
    encode_frame(&Frame::Probe, CRC, &mut out);
    encode_frame(&Frame::Ready, CRC, &mut out);
    assert_eq!(&out[..6], b"before");
    assert_eq!(out.len(), 6 + 2 * FRAME_HEADER);
    let mut decoder = Decoder::new(CRC);
    let probe = Step::Frame { frame: Frame::Probe, consumed: FRAME_HEADER };
    assert_eq!(decoder.step(&out[6..]), Ok(probe));
    let ready = Step::Frame { frame: Frame::Ready, consumed: FRAME_HEADER };
    assert_eq!(decoder.step(&out[6 + FRAME_HEADER..]), Ok(ready));
}

/// Texts for log lines are cut to their limit, between characters; the frame stays valid.
#[test]
fn log_texts_are_cut_between_characters() {
    let refuse = cdps_core::wire::Refuse {
        reason: 12,
        version_min: 1,
        version_max: 1,
        text: format!("x{}", "é".repeat(200)),
    };
    let mut out = Vec::new();
    encode_frame(&Frame::Refuse(refuse), CRC, &mut out);
    let Ok(Step::Frame { frame: Frame::Refuse(read), consumed }) = Decoder::new(CRC).step(&out) else {
        panic!("no REFUSE in {out:02x?}");
    };
    assert_eq!(consumed, out.len());
    assert_eq!(read.text, format!("x{}", "é".repeat(127)));
}

/// What is not there may follow: a tail is not one of a later version, but of this one.
fn is_of_the_first_release(sent: &Sent) -> bool {
    match sent {
        Sent::Frame(Frame::Receipt(receipt)) => receipt.high_credit.is_none(),
        Sent::Frame(Frame::ResetAck(ack)) => ack.high_credit.is_none(),
        Sent::Frame(_) | Sent::Bundle { .. } | Sent::Fragment { .. } => false,
    }
}

fn is_handshake(sent: &Sent) -> bool {
    match sent {
        Sent::Frame(frame) => matches!(
            frame,
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Proof { .. } | Frame::Ready | Frame::Refuse(_)
        ),
        Sent::Bundle { .. } | Sent::Fragment { .. } => false,
    }
}
