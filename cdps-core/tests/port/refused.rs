//! What a source makes of a refusal.

use cdps_core::config::{PortConfig, Target};
use cdps_core::id::{Generation, Incarnation, NodeId, SessionId};
use cdps_core::port::{Action, ConnStatus, Event, Port, State};
use cdps_core::reason::Reason;
use cdps_core::time::Time;
use cdps_core::wire::{Answer, NodeBody};

use crate::redial::Nothing;

/// [L3] A target that does not serve what is asked for says so in its answer: the connect fails at once, with that reason, and no path is dialled.
#[test]
fn a_refusal_ends_the_connect() {
    for reason in
        [Reason::UnsupportedFeature, Reason::UnsupportedVersion, Reason::NoSuchClient, Reason::Refused]
    {
        let targets = vec![Target { node: NodeId(2), addresses: vec![([127, 0, 0, 1], 1).into()] }];
        let session = SessionId { node: NodeId(1), incarnation: Incarnation(7), port: 1 };
        let config = PortConfig { targets, ..PortConfig::default() };
        let mut port: Port<Nothing, ()> = Port::source(config, session, 1).expect("a good configuration");
        port.register().expect("registers");
        port.initialize().expect("initializes");
        port.connect(Time(1), None).expect("connects");
        let actions: Vec<Action> = std::iter::from_fn(|| port.poll_action()).collect();
        let connect = actions.iter().find_map(|action| match action {
            Action::Tell { body: NodeBody::Connect(connect), .. } => Some(connect.clone()),
            _ => None,
        });
        let connect = connect.expect("it asks");
        assert_eq!(connect.judge(), Ok(()), "it asks for nothing that is not served");
        let answer = Answer::refusal(&connect, reason, Generation::default(), "why not".into());
        port.handle_answer(Time(2), &answer);
        assert_eq!(port.state(), State::Initialized);
        let failed = ConnStatus::ConnectFailed { node: NodeId(2), reason };
        let events: Vec<Event<Nothing, ()>> = std::iter::from_fn(|| port.poll_event(true)).collect();
        assert!(events.contains(&Event::Status(failed)), "{events:?}");
        let dials = std::iter::from_fn(|| port.poll_action()).filter(|a| matches!(a, Action::Dial { .. }));
        assert_eq!(dials.count(), 0);
    }
}
