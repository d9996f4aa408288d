//! Frames that are well formed, and contradict what went before: only a peer that is broken, or none, sends them.

use super::*;
use crate::port::sender::MAX_SPAN;
use crate::wire::{CompletionRecord, Completions, PathRecord, Receipt, ResetAck, item};

fn small() -> PortConfig {
    PortConfig { window: 64 << 10, max_message: 60_000, max_streams: 1, ..config(1) }
}

fn message(sn: u64, ssn: u64, flags: u8, len: u32) -> Inbound<Vec<u8>> {
    let item = Item { sn: Sn(sn), stream: StreamId(0), ssn: Ssn(ssn), flags, offset: 0, len };
    Inbound::Message { item, payload: vec![0; len as usize] }
}

fn frame(frame: Frame) -> Inbound<Vec<u8>> {
    Inbound::Frame(Box::new(frame))
}

fn receipt(cumulative: u64, completions_seen: u64, frames: u64) -> Inbound<Vec<u8>> {
    let paths = vec![PathRecord { path: PathId(0), conn: ConnId(1), frames }];
    frame(Frame::Receipt(Receipt {
        cumulative: Sn(cumulative),
        completions_seen,
        paths,
        ..Receipt::default()
    }))
}

/// One message has been delivered. Then one end is given these: it refuses them for the reason, and after another connection it goes on as if
/// nothing had been.
fn refused(to_source: bool, what: &str, mut items: Vec<Inbound<Vec<u8>>>, reason: Reason) {
    let mut pair = Pair::connected(small());
    pair.send(0, b"one").unwrap();
    pair.run();
    let (path, conn) = pair.conns[0];
    let end = if to_source { &mut pair.source } else { pair.target.as_mut().unwrap() };
    let answer = end.handle_inbound(pair.now, path, conn, 1000, &mut items, true);
    assert_eq!(answer, Err(reason), "{what}");
    pair.break_path(0);
    pair.come_back(0);
    let sn = pair.send(0, b"two").unwrap();
    pair.run();
    assert!(pair.completed().is_empty(), "{what}: {:?}", pair.completed());
    for sn in [Sn(1), sn] {
        pair.target.as_mut().unwrap().ack(pair.now, sn, 5).unwrap();
    }
    pair.run();
    assert_eq!(pair.completed(), [(1, 5), (2, 5)], "{what}");
}

/// [S4] Messages that cannot be: their connection is refused, and nothing else is changed.
#[test]
fn messages_that_cannot_be() {
    let (broken, limit) = (Reason::ProtocolError, Reason::Limit);
    refused(false, "no number", vec![message(0, 2, 0, 1)], broken);
    refused(false, "a number far ahead", vec![message(1 << 30, 2, 0, 1)], limit);
    refused(false, "longer than agreed on", vec![message(2, 2, 0, 60_001)], limit);
    refused(false, "a tombstone with a payload", vec![message(2, 2, item::TOMBSTONE, 1)], broken);
    refused(false, "a stream that starts again", vec![message(2, 9, item::START, 1)], broken);
    refused(false, "a place in the stream that is taken", vec![message(2, 1, 0, 1)], broken);
    let mut other = message(2, 1, item::START, 1);
    if let Inbound::Message { item, .. } = &mut other {
        item.stream = StreamId(7);
    }
    refused(false, "a stream too many", vec![other], limit);
}

/// [S4] [M7] However much has been granted, no more numbers above a missing one are tracked than a sender has unfinished: a single frame makes a receiver
/// allocate no more than that.
#[test]
fn numbers_are_tracked_so_far_only() {
    for (ahead, taken) in [(MAX_SPAN as u64 - 1, Ok(())), (MAX_SPAN as u64, Err(Reason::Limit))] {
        let mut pair = Pair::connected(PortConfig { window: 1 << 40, ..config(1) });
        let (path, conn) = pair.conns[0];
        let mut items = vec![message(1 + ahead, 2, 0, 1)];
        let target = pair.target.as_mut().unwrap();
        assert_eq!(target.handle_inbound(pair.now, path, conn, 1000, &mut items, true), taken, "{ahead}");
    }
}

/// [S4] The same for what an end says of what it has received.
#[test]
fn receipts_that_cannot_be() {
    let broken = Reason::ProtocolError;
    for to_source in [true, false] {
        refused(to_source, "received and never sent", vec![receipt(9, 0, 0)], broken);
        refused(to_source, "completions that were never shown", vec![receipt(0, 99, 0)], broken);
        refused(to_source, "more frames than were sent", vec![receipt(0, 0, 1 << 40)], broken);
        let side = if to_source { Side::Source } else { Side::Target };
        let close = frame(Frame::Close { reason: Reason::Closed as u16, side });
        refused(to_source, "closed in this end's own name", vec![close], broken);
    }
    let records = vec![CompletionRecord { sn: Sn(9), count: 1, rc: 0 }];
    let completions = frame(Frame::Completions(Completions { first: 1, records }));
    refused(true, "acknowledged and never sent", vec![completions], broken);
    refused(false, "a ledger for a target", vec![frame(Frame::ResetAck(ResetAck::default()))], broken);
}

/// [S4] Records of acknowledgments that name numbers by the thousand million, all of them below what this end sends, are passed over, not counted through:
/// a target that was switched to begins far up.
#[test]
fn acknowledgments_of_what_is_long_over_take_no_time() {
    let mut sender = Sender::<Vec<u8>>::new(1);
    sender.start_at(Sn(1 << 60));
    let mut events = Events::<Vec<u8>, Vec<u8>>::new();
    for _ in 0..wire::MAX_COMPLETIONS {
        let record = CompletionRecord { sn: Sn(1), count: u32::MAX, rc: 0 };
        assert!(sender.handle_completion(&record, &mut events).is_ok());
    }
}

/// [S4] [L3] A target that says to have accepted the last generation that there is, is given up: there is none to ask it with.
#[test]
fn no_generation_is_above_the_last() {
    let mut pair = Pair::new(config(1));
    pair.source.connect(pair.now, Some(NodeId(3))).unwrap();
    let connect = planned::asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &planned::answer(&connect, Reason::StaleGeneration, u64::MAX));
    assert_eq!((planned::asked(&mut pair.source), pair.source.state()), (None, State::Initialized));

    let mut pair = Pair::connected(config(1));
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = planned::asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &planned::answer(&connect, Reason::StaleGeneration, u64::MAX));
    assert_eq!((planned::asked(&mut pair.source), pair.source.is_switching()), (None, false));
}
