//! By which path acknowledgments go.

use super::*;

impl Pair {
    /// What the target writes on a connection now, to arrive later.
    fn poll_target(&mut self, (path, conn): (PathId, ConnId)) -> Vec<Frame> {
        let (now, mut frames, mut batch) = (self.now, Vec::new(), Batch::default());
        let target = self.target.as_mut().expect("a target");
        target.take_kicks();
        while target.poll_transmit(now, path, conn, &mut batch) {
            frames.extend(batch.frames.drain(..).map(|frame| match frame {
                Outgoing::Control(frame) => frame,
                Outgoing::Bundle { .. } | Outgoing::Fragment { .. } => panic!("the target sends no messages"),
            }));
        }
        frames
    }

    fn arrive_at_source(&mut self, (path, conn): (PathId, ConnId), frames: Vec<Frame>) {
        let seen = self.frames.entry((false, path)).or_default();
        *seen += frames.len() as u64;
        let mut items = frames.into_iter().map(|frame| Inbound::Frame(Box::new(frame))).collect();
        self.source.handle_inbound(self.now, path, conn, *seen, &mut items, true).expect("is taken");
    }

    /// The target hears the source on this connection last, and its user acknowledges a message.
    fn ack_after_hearing(&mut self, (path, conn): (PathId, ConnId), sn: Sn) {
        let (now, frames) = (self.now, self.frames[&(true, path)]);
        let target = self.target.as_mut().expect("a target");
        // No more than that it was heard.
        target.handle_inbound(now, path, conn, frames, &mut Vec::new(), true).expect("is taken");
        target.ack(now, sn, 3).expect("it is owed");
    }
}

/// [A1] [A5] Acknowledgments are taken in order, and do not overtake each other: while some are on their way on a path, the next ones follow them
/// there, although another path was heard last. Else those that come first are useless, and all wait for a timer.
#[test]
fn acknowledgments_do_not_overtake_each_other() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Synchronous, ..config(2) });
    let first = pair.send(1, b"one").expect("is accepted");
    let second = pair.send(1, b"two").expect("is accepted");
    pair.run();
    let (slow, fast) = (pair.conns[0], pair.conns[1]);
    pair.ack_after_hearing(slow, first);
    let on_the_way = pair.poll_target(slow);
    let carries = |frames: &[Frame]| frames.iter().any(|f| matches!(f, Frame::Completions(_)));
    assert!(carries(&on_the_way), "{on_the_way:?}");
    pair.ack_after_hearing(fast, second);
    let overtaking = pair.poll_target(fast);
    pair.arrive_at_source(fast, overtaking);
    pair.arrive_at_source(slow, on_the_way);
    let behind = pair.poll_target(slow);
    pair.arrive_at_source(slow, behind);
    pair.act(true);
    assert_eq!(pair.completed(), [(first.0, 3), (second.0, 3)]);
}
