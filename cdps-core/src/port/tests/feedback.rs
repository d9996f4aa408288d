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

/// How many RECEIPTs the target writes on each connection now.
fn receipts(pair: &mut Pair) -> Vec<usize> {
    let is = |f: &&Frame| matches!(f, Frame::Receipt(_));
    let (now, mut batch) = (pair.now, Batch::default());
    let conns = pair.conns.clone();
    let target = pair.target.as_mut().unwrap();
    let mut counts = vec![0; conns.len()];
    loop {
        let kicks = target.take_kicks();
        if kicks == 0 {
            return counts;
        }
        for (count, (path, conn)) in counts.iter_mut().zip(&conns) {
            while kicks >> path.0 & 1 == 1 && target.poll_transmit(now, *path, *conn, &mut batch) {
                let control = |o: &Outgoing<Vec<u8>>| match o {
                    Outgoing::Control(frame) => Some(frame.clone()),
                    Outgoing::Bundle { .. } | Outgoing::Fragment { .. } => None,
                };
                *count += batch.frames.iter().filter_map(control).filter(|f| is(&f)).count();
            }
        }
    }
}

fn doubt(pair: &mut Pair, path: u16, one_way: Option<crate::cluster::OneWay>) {
    let state = crate::cluster::LinkState { health: Health::Suspect, rtt: None, one_way };
    let now = pair.now;
    pair.target.as_mut().unwrap().handle_link(now, PathId(path), state);
    pair.run();
}

/// One message arrives at the target on path 0.
fn arrives_on_first(pair: &mut Pair) {
    pair.send(0, b"message").unwrap();
    while pair.carry(true) {}
}

/// [A5] [T3] While a path is in doubt, receipts travel on two others; while none is, on one; and not on the one in doubt if there are two better ones. With
/// one good path left the second copy goes where it may still arrive, and never where the peer does not hear.
#[test]
fn receipts_take_two_paths_while_one_is_suspect() {
    let pair = || Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(3) });
    let mut calm = pair();
    arrives_on_first(&mut calm);
    assert_eq!(receipts(&mut calm).iter().sum::<usize>(), 1);

    let mut three = pair();
    doubt(&mut three, 2, None);
    arrives_on_first(&mut three);
    let mut written = receipts(&mut three);
    let suspect = three.conns.iter().position(|c| c.0 == PathId(2)).unwrap();
    assert_eq!(written.remove(suspect), 0);
    assert_eq!(written, [1, 1]);

    let mut one_good = pair();
    doubt(&mut one_good, 1, None);
    doubt(&mut one_good, 2, Some(crate::cluster::OneWay::Out));
    arrives_on_first(&mut one_good);
    let written = receipts(&mut one_good);
    let of = |path| written[one_good.conns.iter().position(|c| c.0 == PathId(path)).unwrap()];
    assert_eq!([of(0), of(1), of(2)], [1, 1, 0]);
}

/// [A5] [A1] A receipt that would ride with an acknowledgment takes two paths as well while one is suspect.
#[test]
fn receipts_with_acknowledgments_take_two_paths() {
    for in_doubt in [false, true] {
        let mut pair = Pair::connected(config(3));
        if in_doubt {
            doubt(&mut pair, 2, None);
        }
        // Acknowledged before its receipt is due by itself.
        arrives_on_first(&mut pair);
        let now = pair.now;
        pair.target.as_mut().unwrap().ack(now, Sn(1), 0).unwrap();
        assert_eq!(receipts(&mut pair).iter().sum::<usize>(), 1 + usize::from(in_doubt));
    }
}

/// [A5] [M9] What answers a probe takes two paths as well, if it says something new.
#[test]
fn answers_to_probes_take_two_paths() {
    for in_doubt in [false, true] {
        let mut pair = Pair::connected(config(3));
        if in_doubt {
            doubt(&mut pair, 2, None);
        }
        let probed = |pair: &mut Pair| {
            let ((path, conn), now) = (pair.conns[0], pair.now);
            let seen = pair.frames.entry((true, path)).or_default();
            *seen += 1;
            let mut items = vec![Inbound::Frame(Box::new(Frame::Probe))];
            pair.target.as_mut().unwrap().handle_inbound(now, path, conn, *seen, &mut items, true).unwrap();
            receipts(pair).iter().sum::<usize>()
        };
        arrives_on_first(&mut pair);
        assert_eq!(probed(&mut pair), 1 + usize::from(in_doubt));
        // It says what the last one said.
        assert_eq!(probed(&mut pair), 1);
    }
}

/// [A5] [T2] The first path of two that are left swallows receipts, and nobody knows yet: messages complete all the same, at once.
#[test]
fn a_second_copy_makes_up_for_a_loss() {
    for in_doubt in [false, true] {
        let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(3) });
        if in_doubt {
            doubt(&mut pair, 2, None);
        }
        arrives_on_first(&mut pair);
        let first = pair.target.as_ref().unwrap().feedback_path().unwrap();
        let first = pair.target.as_ref().unwrap().paths[first].id;
        pair.conns.retain(|c| c.0 != first);
        pair.run();
        assert_eq!(pair.completed().len(), usize::from(in_doubt));
    }
}

/// [A5] A fragment that is here already is answered on the path that brought it, as a message is: the sender waits for that there.
#[test]
fn a_fragment_that_comes_again_is_answered() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(2) });
    pair.send(0, &[1; 100]).unwrap();
    pair.pass(MS * 2000);
    assert_eq!(receipts(&mut pair), [0, 0]);
    let (path, conn) = pair.conns[1];
    let head = FragmentHead { sn: Sn(1), ssn: Ssn(1), stream: StreamId(0), offset: 0, total: 100, flags: 0 };
    let (now, frames) = (pair.now, pair.frames[&(true, path)]);
    let target = pair.target.as_mut().unwrap();
    assert_eq!(target.begin_fragment(now, path, conn, &head, 50, None), Ok(Placement::Discard));
    target.handle_inbound(now, path, conn, frames + 1, &mut Vec::new(), true).unwrap();
    assert_eq!(receipts(&mut pair), [0, 1]);
}

/// Two paths, of which the first has 20 of 40 messages on its way and brings no receipts by itself.
fn with_a_silent_path() -> Pair {
    let config = PortConfig {
        ack: AckModel::Asynchronous,
        balance: crate::config::Balance::RoundRobin,
        ack_timeout: MS * 1000,
        ..config(2)
    };
    let mut pair = Pair::connected(config);
    pair.silent = vec![PathId(0)];
    for stream in 0..40 {
        pair.send(stream, b"message").unwrap();
        pair.run();
    }
    assert_eq!((pair.conns[0].0, pair.conns[1].0), (PathId(0), PathId(1)));
    pair
}

/// After a while the other path says that `frames` have come on that one.
fn receipt_slowly(pair: &mut Pair, frames: u64) {
    let (slow, good) = (pair.conns[0], pair.conns[1]);
    pair.pass(MS * 100);
    let mut receipt = pair.target.as_mut().unwrap().receiver.receipt();
    receipt.paths = vec![wire::PathRecord { path: slow.0, conn: slow.1, frames }];
    let (seen, mut items) =
        (pair.frames[&(false, good.0)], vec![Inbound::Frame(Box::new(Frame::Receipt(receipt)))]);
    pair.source.handle_inbound(pair.now, good.0, good.1, seen, &mut items, true).unwrap();
}

/// [F1] [T2] [T3] A path that receipts what it carries, but too slowly for the receipt timeout, does not take the connection down while another one is good:
/// what is too old goes there as well.
#[test]
fn a_slow_path_is_no_lost_target() {
    let mut pair = with_a_silent_path();
    for k in 1..15 {
        receipt_slowly(&mut pair, 1 + k);
        pair.run();
    }
    assert_eq!(pair.source.stats().downs, 0);
    // What was receipted before that never arrived here; 20 went on the good path at once.
    assert!(pair.received().len() > 30, "{}", pair.received().len());
}

/// [F1] [T2] The same while new messages take their turn on the slow path between its receipts: what waits there for too long has gone on the good
/// one, and what is new there has not waited.
#[test]
fn a_slow_path_that_carries_on_is_no_lost_target() {
    let mut pair = with_a_silent_path();
    for k in 1..15 {
        receipt_slowly(&mut pair, 1 + k);
        for _ in 0..4 {
            pair.send(40, b"new").unwrap();
            pair.run();
        }
    }
    assert_eq!(pair.source.stats().downs, 0);
}

/// [F1] [T3] Where no path brings receipts any more the connection is down within the timeout and what it takes to hold each path for suspect, though the links
/// are heard, and though what was on its way on one path went on the others as well.
#[test]
fn silence_on_one_path_after_the_other_is_a_lost_target() {
    for paths in 1..=3 {
        let mut config = PortConfig { ack_timeout: MS * 1500, ..config(paths) };
        (config.liveness.suspect, config.liveness.dead) = (MS * 1000, MS * 3_600_000);
        (config.liveness.lease, config.session_timeout) = (MS * 3_000_000, MS * 7_200_000);
        config.liveness.heartbeat = MS * 1000;
        let mut pair = Pair::connected(config);
        pair.silent = (0..u16::from(paths)).map(PathId).collect();
        pair.send(0, b"message").unwrap();
        pair.pass(MS * 1000 * u32::from(paths) + MS * 1500);
        assert_eq!(pair.source.stats().downs, 1, "{paths} paths");
    }
}

/// [F1] [T5] The same where the only path is known not to be heard by the target: nothing is sent there again, and what was sent is waited for all the same.
#[test]
fn what_went_on_an_unheard_path_is_waited_for() {
    let mut pair = Pair::connected(PortConfig { ack_timeout: MS * 1000, ..config(1) });
    pair.silent = vec![PathId(0)];
    pair.one_way = true;
    pair.send(0, b"message").unwrap();
    pair.run();
    let one_way = Some(crate::cluster::OneWay::Out);
    let state = crate::cluster::LinkState { health: Health::Suspect, rtt: None, one_way };
    pair.source.handle_link(pair.now, PathId(0), state);
    pair.pass(MS * 1300);
    assert_eq!(pair.source.stats().downs, 1);
}

/// [F9] [T3] A connection whose peer does not answer what it was asked is given up, also when no message is on its way there: so a source
/// that is gone without a word is noticed by a target that merely waits for its acknowledgments to be confirmed.
#[test]
fn a_connection_that_does_not_answer_is_given_up() {
    let mut pair = Pair::connected(config(1));
    pair.send(1, b"message").unwrap();
    pair.run();
    let paths_up = |pair: &Pair| pair.target.as_ref().unwrap().stats().paths_up;
    pair.pass(MS * 5000);
    assert_eq!(paths_up(&pair), 1, "an idle connection is asked nothing");
    pair.silent = vec![PathId(0)];
    pair.target.as_mut().unwrap().ack(pair.now, Sn(1), 0).unwrap();
    pair.pass(MS * 2900);
    assert_eq!(paths_up(&pair), 1);
    pair.pass(MS * 1000);
    assert_eq!(paths_up(&pair), 0);
}
