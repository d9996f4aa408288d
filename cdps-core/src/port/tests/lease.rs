//! The lease of a target (F8): what waits for it, and what its end takes away.

use super::*;

/// [F8] [F5] A switch waits until the former target can deliver no more, as the node knows it, and no longer.
#[test]
fn a_switch_waits_for_the_lease() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    pair.send(0, b"x").unwrap();
    pair.run();
    let former = pair.source.generation();
    pair.silent = vec![PathId(0)];
    pair.break_path(0);
    pair.pass(MS * 1550);
    assert_eq!(pair.source.link(), Link::Switching, "no path for the dead time");
    let answer =
        Answer { generation: pair.source.generation(), ..pair.target.as_ref().unwrap().answer(Vec::new()) };
    pair.source.handle_answer(pair.now, &answer);
    while let Some(action) = pair.source.poll_action() {
        if let Action::Dial { path, conn, .. } = action {
            pair.source.handle_conn_up(pair.now, path, conn);
        }
    }
    assert_eq!(pair.source.link(), Link::Switching, "nobody has said when the lease ends");
    pair.source.handle_fenced(pair.now, former, pair.now + MS * 100);
    pair.source.handle_timeout(pair.now + MS * 100);
    assert_eq!(pair.source.link(), Link::Switching, "clocks may not run alike");
    let over = pair.source.poll_timeout();
    assert!(over <= pair.now + MS * 130, "{over:?}");
    pair.source.handle_timeout(pair.now + MS * 130);
    assert_eq!(pair.source.link(), Link::Up);
}

/// [F8] A target whose own user has closed delivers nothing more: the source may be with another target by then.
#[test]
fn a_closed_target_delivers_nothing() {
    let mut pair = Pair::connected(config(1));
    pair.send(1, b"late").unwrap();
    while pair.carry(true) {}
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    assert!(target.has_events());
    target.close(now, true).unwrap();
    assert_eq!(target.state(), State::Registered);
    while let Some(event) = target.poll_event(true) {
        assert!(!matches!(event, Event::Received(_)), "{event:?} after the end of the session");
    }
}

/// [F8] Without a lease the messages wait, and what comes before them does not; with one they come all at once, in order.
#[test]
fn events_are_taken_up_to_the_first_message_that_waits() {
    let mut pair = Pair::connected(config(1));
    let target = pair.target.as_mut().expect("a target");
    assert!(!target.has_events());
    target.events.status(ConnStatus::Drained);
    for _ in 0..3 {
        pair.send(1, b"message").expect("is accepted");
    }
    while pair.carry(true) {}
    let target = pair.target.as_mut().expect("a target");
    let mut taken = Queue::default();
    target.take_events(false, &mut taken);
    assert!(matches!(taken.front(), Some(Event::Status(ConnStatus::Drained))));
    target.take_events(false, &mut taken);
    assert_eq!(taken.iter().count(), 1);
    taken = Queue::default();
    target.take_events(true, &mut taken);
    let numbers: Vec<u64> =
        taken.iter().filter_map(|e| if let Event::Received(r) = e { Some(r.sn.0) } else { None }).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(!target.has_events());
}

/// [F8] A message that was being put together when the lease was taken away is not delivered afterwards.
#[test]
fn what_is_assembled_after_a_revocation_is_not_delivered() {
    let mut pair = Pair::connected(config(2));
    let now = pair.now;
    let target = pair.target.as_mut().unwrap();
    let head = FragmentHead { sn: Sn(1), ssn: Ssn(1), stream: StreamId(1), offset: 0, total: 8, flags: 0x02 };
    let (one, two) = (pair.conns[0], pair.conns[1]);
    // The first connection holds the claim on the first half, and what comes there again goes aside.
    let whole = vec![0; 8];
    assert!(matches!(
        target.begin_fragment(now, one.0, one.1, &head, 4, Some(whole)),
        Ok(Placement::Into(_))
    ));
    assert!(matches!(target.begin_fragment(now, two.0, two.1, &head, 4, None), Ok(Placement::Aside)));
    let second = FragmentHead { offset: 4, ..head };
    let mut items = vec![Inbound::Aside { sn: Sn(1), offset: 0, len: 4, payload: vec![1; 4] }];
    target.handle_inbound(now, two.0, two.1, 2, &mut items, true).unwrap();
    assert!(matches!(target.begin_fragment(now, two.0, two.1, &second, 4, None), Ok(Placement::Into(_))));
    let mut items = vec![Inbound::Fragment { sn: Sn(1), offset: 4, len: 4 }];
    target.handle_inbound(now, two.0, two.1, 3, &mut items, true).unwrap();
    let assemble = std::iter::from_fn(|| target.poll_action()).any(|a| a == Action::Assemble { sn: Sn(1) });
    assert!(assemble, "both halves are here");
    target.handle_revoke(now, target.generation());
    target.handle_assembled(now, Sn(1), vec![1; 8]);
    while let Some(event) = target.poll_event(true) {
        assert!(!matches!(event, Event::Received(_)), "{event:?} after the lease was taken away");
    }
}
