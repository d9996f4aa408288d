//! Frames to test with: drawn by proptest, built raw, and read back through a connection that delivers any pieces.

use std::net::{IpAddr, SocketAddr};

use cdps_core::config::PathClass;
use cdps_core::id::{
    ConnId, Generation, Incarnation, LinkId, NodeId, PathId, SessionId, Side, Sn, Ssn, StreamId,
};
use cdps_core::secret::Secret;
use cdps_core::wire::{
    Answer, BundleHead, Checksum, CompletionRecord, Completions, Connect, DecodeError, Decoder, FRAME_HEADER,
    FragmentHead, Frame, Heartbeat, Hello, Items, LedgerRecord, MAX_ADDRESSES, MAX_BUNDLED, MAX_MESSAGE,
    MAX_NUMBER, NodeBody, NodeMessage, Opinion, PathRecord, PathStatus, Purpose, Receipt, Refuse, ResetAck,
    Skip, Step, Welcome, encode_bundle_head, encode_fragment_head, encode_frame, encode_item, feature, item,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// CRC-32C in the form that the wire module asks for.
pub(crate) const CRC: Checksum = Checksum(Some(crc));

pub(crate) fn crc(state: u32, bytes: &[u8]) -> u32 {
    let mut digest =
        crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!state));
    digest.update(bytes);
    digest.finalize() as u32
}

/// A frame as its bytes are laid out, right or wrong, with matching checksums.
pub(crate) fn raw(number: u8, flags: u8, head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number, flags];
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(crc(0, body).to_le_bytes());
    let head_crc = crc(crc(0, &bytes), head);
    bytes.extend(head_crc.to_le_bytes());
    bytes.extend(head);
    bytes.extend(body);
    bytes
}

/// What [`raw`] was made of.
pub(crate) struct Parts {
    pub number: u8,
    pub flags: u8,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Parts {
    pub(crate) fn of(bytes: &[u8]) -> Parts {
        let head_end = FRAME_HEADER + usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        Parts {
            number: bytes[0],
            flags: bytes[1],
            head: bytes[FRAME_HEADER..head_end].to_vec(),
            body: bytes[head_end..].to_vec(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        raw(self.number, self.flags, &self.head, &self.body)
    }
}

/// Anything that a connection carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Frame(Frame),
    Bundle { stream: StreamId, ssn: Ssn, sn: Sn, items: Vec<SentItem> },
    Fragment { head: FragmentHead, body: Vec<u8> },
}

/// An item as it is given to the encoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SentItem {
    pub flags: u8,
    pub stream: Option<(StreamId, Ssn)>,
    pub payload: Vec<u8>,
}

impl Sent {
    pub(crate) fn encode(&self, sum: Checksum) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Sent::Frame(frame) => encode_frame(frame, sum, &mut out),
            Sent::Bundle { stream, ssn, sn, items } => {
                let mut body = Vec::new();
                for item in items {
                    encode_item(&mut body, item.flags, item.stream, &item.payload);
                }
                let head = BundleHead { sn: *sn, ssn: *ssn, stream: *stream, count: items.len() as u16 };
                out.extend(encode_bundle_head(&head, &body, sum));
                out.extend(body);
            }
            Sent::Fragment { head, body } => {
                // In two pieces, as a payload that consists of several slices is summed up.
                let (front, back) = body.split_at(body.len() / 2);
                let crc = sum.append(sum.append(0, front), back);
                out.extend(encode_fragment_head(head, body.len() as u32, crc, sum));
                out.extend(body);
            }
        }
        out
    }

    /// What arrives, written down by rules of its own: the stream of an item is the last one named, and so on.
    pub(crate) fn arrives(&self) -> Got {
        match self {
            Sent::Frame(frame) => Got::Frame(frame.clone()),
            Sent::Fragment { head, body } => Got::Fragment { head: *head, body: body.clone() },
            Sent::Bundle { stream, ssn, sn, items } => {
                let (mut stream, mut next) = (*stream, *ssn);
                let mut got = Vec::new();
                for (nth, item) in items.iter().enumerate() {
                    if let Some((named, at)) = item.stream {
                        (stream, next) = (named, at);
                    }
                    got.push(GotItem {
                        sn: Sn(sn.0 + nth as u64),
                        stream,
                        ssn: next,
                        flags: item.flags,
                        payload: item.payload.clone(),
                    });
                    next = next.next();
                }
                Got::Bundle(got)
            }
        }
    }
}

/// What came out at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    Frame(Frame),
    Bundle(Vec<GotItem>),
    Fragment { head: FragmentHead, body: Vec<u8> },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GotItem {
    pub sn: Sn,
    pub stream: StreamId,
    pub ssn: Ssn,
    pub flags: u8,
    pub payload: Vec<u8>,
}

/// A receiver that is given bytes in any pieces.
pub(crate) struct Receiver {
    decoder: Decoder,
    sum: Checksum,
    buffer: Vec<u8>,
    fragment: Option<(FragmentHead, u32, u32, Vec<u8>)>,
    pub got: Vec<Got>,
    pub error: Option<DecodeError>,
}

impl Receiver {
    pub(crate) fn new(sum: Checksum) -> Receiver {
        Receiver {
            decoder: Decoder::new(sum),
            sum,
            buffer: Vec::new(),
            fragment: None,
            got: Vec::new(),
            error: None,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.error.is_none() && self.take_body() {
            let step = match self.decoder.step(&self.buffer) {
                Ok(step) => step,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            };
            let consumed = match step {
                Step::Need(n) => {
                    assert!(n > self.buffer.len(), "asked for {n} bytes and has {}", self.buffer.len());
                    assert!(n <= 16 + 256 + 65_536, "asked for {n} bytes");
                    return;
                }
                Step::Frame { frame, consumed } => {
                    self.got.push(Got::Frame(frame));
                    consumed
                }
                Step::Bundle { head, body, consumed } => {
                    assert_eq!(body.end, consumed);
                    self.got.push(Got::Bundle(self.items(&head, &self.buffer[body])));
                    consumed
                }
                Step::Fragment { head, len, crc, consumed } => {
                    self.fragment = Some((head, len, crc, Vec::new()));
                    consumed
                }
            };
            self.buffer.drain(..consumed);
        }
    }

    /// Moves what there is of a fragment's body out of the buffer; false if more is wanted.
    fn take_body(&mut self) -> bool {
        let Some((head, len, crc, mut body)) = self.fragment.take() else { return true };
        let wanted = (len as usize - body.len()).min(self.buffer.len());
        body.extend(self.buffer.drain(..wanted));
        if body.len() < len as usize {
            self.fragment = Some((head, len, crc, body));
            return false;
        }
        if self.sum.is_on() {
            assert_eq!(self.sum.append(0, &body), crc);
        }
        self.got.push(Got::Fragment { head, body });
        true
    }

    fn items(&self, head: &BundleHead, body: &[u8]) -> Vec<GotItem> {
        let items: Vec<_> = Items::new(head, body)
            .map(|item| item.expect("the decoder has verified every item"))
            .map(|item| GotItem {
                sn: item.sn,
                stream: item.stream,
                ssn: item.ssn,
                flags: item.flags,
                payload: body[item.offset as usize..][..item.len as usize].to_vec(),
            })
            .collect();
        assert_eq!(items.len(), usize::from(head.count));
        items
    }
}

/// A few of everything, small enough to walk every byte and bit of them.
pub(crate) fn samples() -> Vec<Sent> {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut samples: Vec<Sent> = Vec::new();
    for frame in frame_strategies() {
        for _ in 0..3 {
            samples.push(Sent::Frame(frame.new_tree(&mut runner).expect("a frame").current()));
        }
    }
    for _ in 0..4 {
        samples.push(bundle(1..=5, 0..=20).new_tree(&mut runner).expect("a bundle").current());
        samples.push(fragment(1..=40).new_tree(&mut runner).expect("a fragment").current());
    }
    samples
}

/// Anything.
pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        4 => any_frame().prop_map(Sent::Frame),
        1 => bundle(1..=40, 0..=MAX_BUNDLED.min(1500)),
        1 => fragment(1..=5000),
    ]
}

pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    proptest::strategy::Union::new(frame_strategies())
}

/// One strategy for each frame, and for each kind of node message.
fn frame_strategies() -> Vec<BoxedStrategy<Frame>> {
    vec![
        hello().prop_map(Frame::Hello).boxed(),
        welcome().prop_map(Frame::Welcome).boxed(),
        any::<[u8; 32]>().prop_map(|mac| Frame::Proof { mac }).boxed(),
        Just(Frame::Ready).boxed(),
        refuse().prop_map(Frame::Refuse).boxed(),
        heartbeat().prop_map(Frame::Heartbeat).boxed(),
        node_message(connect().prop_map(NodeBody::Connect).boxed()),
        node_message(answer().prop_map(NodeBody::Answer).boxed()),
        node_message(
            (session(), generation())
                .prop_map(|(session, generation)| NodeBody::Revoke { session, generation })
                .boxed(),
        ),
        node_message(
            (session(), generation())
                .prop_map(|(session, generation)| NodeBody::Released { session, generation })
                .boxed(),
        ),
        node_message(bye()),
        skip().prop_map(Frame::Skip).boxed(),
        receipt().prop_map(Frame::Receipt).boxed(),
        completions().prop_map(Frame::Completions).boxed(),
        Just(Frame::Probe).boxed(),
        path_status().prop_map(Frame::PathStatus).boxed(),
        (any::<u16>(), side()).prop_map(|(reason, side)| Frame::Close { reason, side }).boxed(),
        reset_ack().prop_map(Frame::ResetAck).boxed(),
    ]
}

fn reset_ack() -> impl Strategy<Value = ResetAck> {
    let record = (1..=MAX_NUMBER / 2, 0..=MAX_NUMBER / 2, proptest::option::of(any::<i32>()))
        .prop_map(|(first, more, rc)| LedgerRecord { first: Sn(first), last: Sn(first + more), rc });
    let credits = any::<(u64, Option<u64>)>();
    (0..1000u32, 0..1000u32, credits, vec(record, 1..=30)).prop_map(
        |(first, behind, (credit, high_credit), records)| {
            let total = first + records.len() as u32 + behind;
            ResetAck { first, total, credit, high_credit, records }
        },
    )
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..=u32::MAX).prop_map(NodeId)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    (1..=u64::MAX).prop_map(Incarnation)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![1..=MAX_NUMBER, 1..=1000u64, Just(MAX_NUMBER)]
}

fn session() -> impl Strategy<Value = SessionId> {
    (node(), incarnation(), any::<u32>()).prop_map(|(node, incarnation, port)| SessionId {
        node,
        incarnation,
        port,
    })
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<(u64, u64)>().prop_map(|(role_epoch, counter)| Generation { role_epoch, counter })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Target)]
}

fn path() -> impl Strategy<Value = PathId> {
    (0..64u16).prop_map(PathId)
}

fn text(max: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..=max / 4).prop_map(String::from_iter)
}

fn hello() -> impl Strategy<Value = Hello> {
    let purpose = prop_oneof![
        Just(Purpose::Control),
        (any::<u32>(), path(), any::<u32>(), generation()).prop_map(|(port, path, conn, generation)| {
            Purpose::Data { port, path, conn: ConnId(conn), generation }
        }),
    ];
    (any::<(u16, u16, u64, u32)>(), node(), node(), incarnation(), any::<[u8; 32]>(), purpose).prop_map(
        |((version_min, version_max, features, link), node, peer, incarnation, nonce, purpose)| Hello {
            version_min,
            version_max,
            features,
            node,
            peer,
            incarnation,
            link: LinkId(link),
            nonce,
            purpose,
        },
    )
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (any::<(u16, u64)>(), node(), incarnation(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |((version, features), node, incarnation, nonce, mac)| Welcome {
            version,
            node,
            incarnation,
            features,
            nonce,
            mac,
        },
    )
}

fn refuse() -> impl Strategy<Value = Refuse> {
    (any::<(u16, u16, u16)>(), text(256)).prop_map(|((reason, version_min, version_max), text)| Refuse {
        reason,
        version_min,
        version_max,
        text,
    })
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    (any::<bool>(), 1..=u64::MAX, any::<[u64; 4]>()).prop_map(|(reply, sent, [echo, held, count, heard])| {
        Heartbeat { reply, sent, echo, held, count, heard }
    })
}

fn node_message(body: BoxedStrategy<NodeBody>) -> BoxedStrategy<Frame> {
    (node(), incarnation(), node(), any::<u64>(), body)
        .prop_map(|(from, from_incarnation, to, to_incarnation, body)| {
            Frame::NodeMessage(NodeMessage {
                from,
                from_incarnation,
                to,
                to_incarnation: Incarnation(to_incarnation),
                body,
            })
        })
        .boxed()
}

fn connect() -> impl Strategy<Value = Connect> {
    let numbers = (any::<(u16, u16, u64, u64, u32, u32)>(), 0..=64u32, 0..=u64::from(MAX_MESSAGE));
    (session(), generation(), numbers, 1..=MAX_NUMBER, text(255)).prop_map(
        |(session, generation, (plain, paths, max_message), first, client)| {
            let (version, flags, features, window, max_streams, session_timeout_ms) = plain;
            Connect {
                session,
                generation,
                version,
                flags,
                paths,
                features,
                window,
                high_window: if features & feature::CLASSES != 0 { window / 3 } else { 0 },
                max_message,
                max_streams,
                session_timeout_ms,
                first: Sn(first),
                client,
            }
        },
    )
}

fn answer() -> impl Strategy<Value = Answer> {
    let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let numbers = (any::<(u16, u64, u32, u64, u64)>(), 0..=u64::from(MAX_MESSAGE));
    let rest = (any::<[u8; 32]>(), vec(address, 0..=MAX_ADDRESSES), text(600));
    (session(), generation(), generation(), numbers, rest).prop_map(
        |(session, generation, highest, (plain, max_message), (secret, addresses, text))| {
            let (reason, window, max_streams, features, high_window) = plain;
            let high_window = if features & feature::CLASSES == 0 { 0 } else { high_window };
            Answer {
                session,
                generation,
                reason,
                highest,
                window,
                high_window,
                max_message,
                max_streams,
                secret: Secret::new(secret),
                addresses,
                text: text.into(),
                features,
            }
        },
    )
}

fn bye() -> BoxedStrategy<NodeBody> {
    (session(), generation(), any::<u16>(), side())
        .prop_map(|(session, generation, reason, side)| NodeBody::Bye { session, generation, reason, side })
        .boxed()
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let record = (path(), any::<(u32, u64)>()).prop_map(|(path, (conn, frames))| PathRecord {
        path,
        conn: ConnId(conn),
        frames,
    });
    let runs = vec((1..1000u64, 0..1000u64), 0..=64);
    let credits = any::<(u64, Option<u64>)>();
    (0..=MAX_NUMBER / 2, 0..=MAX_NUMBER, credits, runs, vec(record, 0..=64)).prop_map(
        |(cumulative, completions_seen, (credit, high_credit), runs, paths)| {
            let mut below = cumulative;
            let mut gaps = Vec::new();
            for (hole, extra) in runs {
                let first = below + hole + 1;
                below = first + extra;
                gaps.push((Sn(first), Sn(below)));
            }
            Receipt { cumulative: Sn(cumulative), credit, high_credit, completions_seen, gaps, paths }
        },
    )
}

fn skip() -> impl Strategy<Value = Skip> {
    (number(), number(), any::<(u32, bool)>(), 1..=MAX_MESSAGE).prop_map(
        |(sn, ssn, (stream, start), total)| {
            let flags = if start { item::START } else { 0 };
            Skip { sn: Sn(sn), ssn: Ssn(ssn), stream: StreamId(stream), total, flags }
        },
    )
}

fn completions() -> impl Strategy<Value = Completions> {
    let record = (1..=MAX_NUMBER - (1 << 32), 1..=u32::MAX, any::<i32>())
        .prop_map(|(sn, count, rc)| CompletionRecord { sn: Sn(sn), count, rc });
    (1..=MAX_NUMBER - 2000, vec(record, 1..=60)).prop_map(|(first, records)| Completions { first, records })
}

fn path_status() -> impl Strategy<Value = PathStatus> {
    (path(), any::<(u32, u8, bool)>(), number()).prop_map(|(path, (conn, opinion, standby), base)| {
        PathStatus {
            path,
            conn: ConnId(conn),
            opinion: [Opinion::Good, Opinion::Suspect, Opinion::Unheard][usize::from(opinion % 3)],
            class: if standby { PathClass::Standby } else { PathClass::Normal },
            base: Sn(base),
        }
    })
}

fn bundle(
    count: std::ops::RangeInclusive<usize>,
    len: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Sent> {
    let flags = vec(any::<bool>(), 5).prop_map(|on| {
        [item::START, item::REDELIVERED, item::TOMBSTONE, item::SYNC, item::HIGH]
            .into_iter()
            .zip(on)
            .filter_map(|(flag, on)| on.then_some(flag))
            .fold(0, |a, b| a | b)
    });
    let stream = proptest::option::of((any::<u32>(), 1..=MAX_NUMBER - 5000));
    let item = (flags, stream, vec(any::<u8>(), len)).prop_map(|(flags, stream, payload)| SentItem {
        flags,
        stream: stream.map(|(stream, ssn)| (StreamId(stream), Ssn(ssn))),
        payload: if flags & item::TOMBSTONE == 0 { payload } else { Vec::new() },
    });
    let head = (any::<u32>(), 1..=MAX_NUMBER - 5000, 1..=MAX_NUMBER - 5000, any::<bool>());
    (head, vec(item, count)).prop_map(|((stream, ssn, sn, named), mut items)| {
        let (stream, ssn) = (StreamId(stream), Ssn(ssn));
        items[0].stream = named.then_some((stream, ssn));
        Sent::Bundle { stream, ssn, sn: Sn(sn), items }
    })
}

fn fragment(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Sent> {
    let flags = vec![0, item::START, item::REDELIVERED | item::SYNC, item::SYNC | item::HIGH];
    let head = (number(), number(), any::<u32>(), proptest::sample::select(flags));
    (head, 0..MAX_MESSAGE / 2, 0..MAX_MESSAGE / 4, vec(any::<u8>(), len)).prop_map(
        |((sn, ssn, stream, flags), offset, behind, body)| {
            let total = offset + body.len() as u32 + behind;
            let head =
                FragmentHead { sn: Sn(sn), ssn: Ssn(ssn), stream: StreamId(stream), offset, total, flags };
            Sent::Fragment { head, body }
        },
    )
}
