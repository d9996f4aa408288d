//! When broken paths are dialled again.

use std::net::SocketAddr;

use cdps_core::cluster::{Health, LinkState};
use cdps_core::config::{PortConfig, Target};
use cdps_core::id::{ConnId, Incarnation, NodeId, PathId, SessionId};
use cdps_core::port::{Action, Link, Payload, Port, State};
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::time::{Duration, Time};
use cdps_core::wire::{Answer, NodeBody};

/// What is sent: it sends nothing.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Nothing;

impl Payload for Nothing {}

/// A source port whose driver makes every connection that is asked for.
struct Source {
    port: Port<Nothing, ()>,
    now: Time,
    /// The newest connection of each path, and when it was dialled.
    dials: Vec<(ConnId, Time)>,
}

impl Source {
    fn connected(paths: usize, seed: u64) -> Source {
        let addresses: Vec<SocketAddr> =
            (0..paths).map(|i| SocketAddr::from(([127, 0, 0, 1], 1 + i as u16))).collect();
        let addresses = addresses.into_iter().map(Into::into).collect();
        let targets = vec![Target { node: NodeId(2), addresses }];
        let session = SessionId { node: NodeId(1), incarnation: Incarnation(7), port: 1 };
        let port = Port::source(PortConfig { targets, ..PortConfig::default() }, session, seed)
            .expect("a good configuration");
        let mut source =
            Source { port, now: Time(1_000_000_000), dials: vec![(ConnId(0), Time::ZERO); paths] };
        source.port.register().expect("registers");
        source.port.initialize().expect("initializes");
        source.port.connect(source.now, None).expect("connects");
        source.act();
        assert_eq!(source.port.state(), State::Connected, "seed {seed}");
        source
    }

    fn act(&mut self) {
        while let Some(action) = self.port.poll_action() {
            match action {
                Action::Tell { body: NodeBody::Connect(connect), .. } => {
                    let answer = Answer {
                        session: connect.session,
                        generation: connect.generation,
                        reason: 0,
                        highest: connect.generation,
                        window: 1 << 20,
                        high_window: 0,
                        max_message: 1 << 20,
                        max_streams: 16,
                        secret: Secret::new([1; 32]),
                        addresses: Vec::new(),
                        text: Box::default(),
                        features: 0,
                    };
                    self.port.handle_answer(self.now, &answer);
                }
                Action::Watch { path, .. } => {
                    self.port.handle_link(
                        self.now,
                        path,
                        LinkState { health: Health::Good, ..LinkState::DEAD },
                    );
                }
                Action::Dial { path, conn, .. } => {
                    self.dials[usize::from(path.0)] = (conn, self.now);
                    self.port.handle_conn_up(self.now, path, conn);
                }
                _ => {}
            }
        }
        while self.port.poll_event(true).is_some() {}
    }

    /// Lets time go on until the port has nothing due before `end`.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.port.poll_timeout() <= end {
            self.now = self.now.max(self.port.poll_timeout());
            self.port.handle_timeout(self.now);
            self.act();
        }
        self.now = end;
    }

    fn break_path(&mut self, path: u16) {
        let (conn, _) = self.dials[usize::from(path)];
        self.port.handle_conn_lost(self.now, PathId(path), conn, Reason::BadChecksum);
        self.act();
    }
}

/// [T4] [F1] Connections that break again and again are dialled ever more slowly; but as long as no path is up at all, so often that the
/// target is not given up for want of trying.
#[test]
fn a_session_without_a_path_tries_often() {
    for seed in 0..200 {
        let mut source = Source::connected(2, seed);
        for round in 0..12 {
            for path in [0, 1] {
                source.break_path(path);
            }
            let broken = source.now;
            source.pass(Duration::from_millis(400));
            assert_eq!(
                (source.port.state(), source.port.link()),
                (State::Connected, Link::Up),
                "seed {seed}"
            );
            let dialled = source.dials.iter().map(|d| d.1).max().expect("two paths");
            assert!(
                dialled >= broken,
                "seed {seed}, round {round}: not dialled within {:?}",
                source.now.since(broken)
            );
        }
    }
}
