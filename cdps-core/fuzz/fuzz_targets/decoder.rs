//! Any bytes, in any pieces, into the decoder of the wire format.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run decoder fuzz/corpus/decoder fuzz/seeds/decoder -- -max_len=16384` (in `cdps-core`).
//!
//! Input: one byte that says how checksums are met, eight that say how the rest is cut, then what arrives on the connection.
#![no_main]

use cdps_core::id::{Sn, Ssn};
use cdps_core::wire::{
    BundleHead, Checksum, DecodeError, Decoder, FRAME_HEADER, FragmentHead, Frame, Item, Items,
    MAX_BUNDLE_BODY, MAX_HEAD, MAX_MESSAGE, MAX_NUMBER, Step, encode_bundle_head, encode_frame, encode_item,
};
use libfuzzer_sys::fuzz_target;

const PREFIX: usize = 9;
const CRC: Checksum = Checksum(Some(crc));
/// Most that the decoder may ask for at once.
const MAX_NEED: usize = FRAME_HEADER + MAX_HEAD + MAX_BUNDLE_BODY;

fuzz_target!(|data: &[u8]| {
    let Some((prefix, bytes)) = data.split_first_chunk::<PREFIX>() else { return };
    let [mode, cuts @ ..] = prefix;
    let mut bytes = bytes.to_vec();
    let sum = match mode % 3 {
        0 => Checksum(None),
        // Every frame whose checksum fields are 0 is right: reaches the handshake frames without knowing a checksum.
        1 => Checksum(Some(|_, _| 0)),
        _ => {
            repair(&mut bytes);
            CRC
        }
    };
    let mut whole = Connection::new(sum);
    whole.push(&bytes);
    let mut pieces = Connection::new(sum);
    let mut rest = &bytes[..];
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(usize::from(*cut) + 1));
        pieces.push(now);
        rest = later;
    }
    assert_eq!(whole.got, pieces.got);
    assert_eq!(whole.error, pieces.error);
    assert_eq!(whole.body_left, pieces.body_left);
});

fn crc(state: u32, bytes: &[u8]) -> u32 {
    let mut digest =
        crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!state));
    digest.update(bytes);
    digest.finalize() as u32
}

/// Gives every frame, as far as lengths can be followed, the checksums that it should have.
fn repair(bytes: &mut [u8]) {
    let mut rest = bytes;
    while rest.len() >= FRAME_HEADER {
        let (header, behind) = rest.split_at_mut(FRAME_HEADER);
        let head_len = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let body_len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if behind.len() < head_len {
            return;
        }
        let (head, behind) = behind.split_at_mut(head_len);
        let body_len = body_len.min(behind.len());
        let (body, behind) = behind.split_at_mut(body_len);
        header[8..12].copy_from_slice(&crc(0, body).to_le_bytes());
        let head_crc = crc(crc(0, &header[..12]), head);
        header[12..].copy_from_slice(&head_crc.to_le_bytes());
        rest = behind;
    }
}

#[derive(PartialEq, Debug)]
enum Got {
    Frame(Frame),
    Bundle(BundleHead, Vec<(Item, Vec<u8>)>),
    Fragment(FragmentHead, u32),
    /// Bytes of a fragment's body in any number of pieces.
    Body(Vec<u8>),
}

struct Connection {
    decoder: Decoder,
    buffer: Vec<u8>,
    done: usize,
    body_left: usize,
    got: Vec<Got>,
    error: Option<DecodeError>,
}

impl Connection {
    fn new(sum: Checksum) -> Connection {
        Connection {
            decoder: Decoder::new(sum),
            buffer: Vec::new(),
            done: 0,
            body_left: 0,
            got: Vec::new(),
            error: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.error.is_none() {
            self.take_body();
            let input = &self.buffer[self.done..];
            match self.decoder.step(input) {
                Ok(Step::Need(n)) => {
                    assert!(n > input.len() && n <= MAX_NEED, "{n} wanted, {} there", input.len());
                    return;
                }
                Ok(Step::Frame { frame, consumed }) => {
                    assert!(consumed <= input.len());
                    again(&frame);
                    self.got.push(Got::Frame(frame));
                    self.done += consumed;
                }
                Ok(Step::Bundle { head, body, consumed }) => {
                    assert_eq!(body.end, consumed);
                    let items = items(&head, &input[body]);
                    self.got.push(Got::Bundle(head, items));
                    self.done += consumed;
                }
                Ok(Step::Fragment { head, len, crc: _, consumed }) => {
                    assert!(consumed <= input.len());
                    assert!(len > 0 && head.total <= MAX_MESSAGE);
                    assert!(head.offset.checked_add(len).is_some_and(|end| end <= head.total));
                    assert!((1..=MAX_NUMBER).contains(&head.sn.0) && (1..=MAX_NUMBER).contains(&head.ssn.0));
                    self.got.push(Got::Fragment(head, len));
                    self.got.push(Got::Body(Vec::new()));
                    self.done += consumed;
                    self.body_left = len as usize;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    self.error = Some(error);
                }
            }
        }
    }

    fn take_body(&mut self) {
        if self.body_left == 0 {
            return;
        }
        let Some(Got::Body(body)) = self.got.last_mut() else { panic!("a body without its head") };
        let taken = &self.buffer[self.done..];
        let taken = &taken[..taken.len().min(self.body_left)];
        body.extend_from_slice(taken);
        self.done += taken.len();
        self.body_left -= taken.len();
    }
}

/// A frame that was accepted is one that the encoder can write, and reads as the same.
fn again(frame: &Frame) {
    let mut out = Vec::new();
    encode_frame(frame, CRC, &mut out);
    let step = Decoder::new(CRC).step(&out);
    assert_eq!(step, Ok(Step::Frame { frame: frame.clone(), consumed: out.len() }));
}

/// The items of an accepted bundle: valid, numbered without holes, and the same when written with every stream named.
fn items(head: &BundleHead, body: &[u8]) -> Vec<(Item, Vec<u8>)> {
    let items: Vec<(Item, Vec<u8>)> = Items::new(head, body)
        .map(|item| item.expect("a verified item"))
        .map(|item| (item, body[item.offset as usize..][..item.len as usize].to_vec()))
        .collect();
    assert_eq!(items.len(), usize::from(head.count));
    let mut named = Vec::new();
    for (nth, (item, payload)) in items.iter().enumerate() {
        assert_eq!(item.sn, Sn(head.sn.0 + nth as u64));
        assert!(item.sn <= Sn(MAX_NUMBER) && (Ssn(1)..=Ssn(MAX_NUMBER)).contains(&item.ssn));
        encode_item(&mut named, item.flags, Some((item.stream, item.ssn)), payload);
    }
    if named.len() <= MAX_BUNDLE_BODY {
        let mut out = encode_bundle_head(head, &named, CRC).to_vec();
        out.extend_from_slice(&named);
        assert!(matches!(Decoder::new(CRC).step(&out), Ok(Step::Bundle { .. })));
        let plain = |item: Item| Item { offset: 0, ..item };
        let read = Items::new(head, &named).map(|item| plain(item.expect("a verified item")));
        assert!(read.eq(items.iter().map(|(item, _)| plain(*item))));
    }
    items
}
