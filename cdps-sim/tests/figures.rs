//! The flows of the seed's figures in the simulator: the same scripts as in tests/c/fig*.c, each on the clusters of many seeds, whose networks, clocks
//! and users differ in their times. The order of calls and callbacks on both sides is always the same. (Fig. 7 is the engine's state table, every
//! entry of which a test of cdps-core walks.)

use cdps_core::config::AckModel;
use cdps_core::port::State;
use cdps_sim::Cue::{Now, Told};
use cdps_sim::{Act, Cue, Line, Options, Script, run_script};

/// Clusters on which each figure is run.
const SEEDS: u64 = 40;

/// The source's node, its primary target and the backup.
const S: u32 = 1;
const T: u32 = 2;
const B: u32 = 3;

/// What users called and were told in a run, but for how paths fare, which has an order of its own.
struct Story {
    seed: u64,
    lines: Vec<Line>,
}

/// Runs a script on a seed. The oracle's rules hold in it as in every run.
fn tell(seed: u64, script: &Script) -> Story {
    let (outcome, mut lines) = run_script(seed, script, Options::default());
    lines.retain(|line| !line.what.starts_with("path "));
    let story = Story { seed, lines };
    if let Some(violation) = outcome.violation {
        story.fail(&format!("{}: {}", violation.invariant, violation.text));
    }
    story
}

impl Story {
    fn fail(&self, why: &str) -> ! {
        let lines: Vec<String> = (self.lines.iter())
            .map(|l| format!("  {:>10.6} {}: {} ({})", l.at.as_secs_f64(), l.node, l.what, l.state.name()))
            .collect();
        panic!("seed {}: {why}\n{}", self.seed, lines.join("\n"));
    }

    /// This is what the user of a node called and was told, from first to last.
    fn of(&self, node: u32, expected: &str) -> &Story {
        let expected: Vec<&str> = expected.split("; ").collect();
        let told = self.lines.iter().filter(|line| line.node == node);
        let told: Vec<&str> = told.map(|line| line.what.as_str()).collect();
        if told != expected {
            let at = told.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            self.fail(&format!("node {node}: {:?}, not {:?}", told.get(at), expected.get(at)));
        }
        self
    }

    fn place(&self, node: u32, what: &str) -> usize {
        match self.lines.iter().position(|line| line.node == node && line.what == what) {
            Some(place) => place,
            None => self.fail(&format!("node {node} has no {what:?}")),
        }
    }

    /// Each of these comes before the next one.
    fn order(&self, lines: &[(u32, &str)]) -> &Story {
        for pair in lines.windows(2) {
            if self.place(pair[0].0, pair[0].1) >= self.place(pair[1].0, pair[1].1) {
                self.fail(&format!("{:?} does not come before {:?}", pair[0], pair[1]));
            }
        }
        self
    }

    /// The state of the port when its user called this, or was told.
    fn state(&self, node: u32, what: &str, state: State) -> &Story {
        let is = self.lines[self.place(node, what)].state;
        if is != state {
            self.fail(&format!("node {node} is {} at {what:?}, not {}", is.name(), state.name()));
        }
        self
    }
}

/// One source and as many targets, each with two paths.
fn script(targets: u32, steps: &[(Cue, Act)]) -> Script {
    let connect = [
        (Told(S, "initialize"), Act::Connect(None)),
        (Told(S, "connected to 2"), Act::Wait),
        (Told(T, "connected to 1"), Act::Wait),
    ];
    Script {
        targets,
        paths: 2,
        ack: AckModel::Synchronous,
        autoswitch: false,
        held: Vec::new(),
        steps: [&connect[..], steps].concat(),
    }
}

/// [L1] [L3] [L5] Fig. 6: register on both sides, negotiate, connect, send and acknowledge, stop, close; then a target that closes by itself.
#[test]
fn figure_6() {
    let script = script(
        1,
        &[
            (Now, Act::Send(S, None)),
            (Told(S, "complete 1, rc 2"), Act::Send(S, None)),
            (Told(S, "complete 2, rc 2"), Act::Stop),
            // The source halts; session and paths stay, and the port still receives.
            (Told(S, "drained"), Act::Send(S, None)),
            (Now, Act::Send(T, None)),
            (Told(T, "complete 1, rc 1"), Act::Close(S)),
            (Told(S, "closed"), Act::Wait),
            (Told(T, "closed"), Act::Connect(None)),
            (Told(S, "connected to 2"), Act::Wait),
            (Told(T, "connected to 1"), Act::Close(T)),
        ],
    );
    for seed in 1..=SEEDS {
        let story = tell(seed, &script);
        story.of(
            S,
            "register; initialize; connect; connected to 2; send 1; complete 1, rc 2; send 2; complete 2, rc 2; stop; drained; \
             send refused; received 1; ack 1; close; closed; connect; connected to 2; closed",
        );
        story.of(
            T,
            "connectreq from 1; connected to 1; received 1; ack 1; received 2; ack 2; send 1; complete 1, rc 1; closed; \
             connectreq from 1; connected to 1; close; closed",
        );
        story.order(&[(S, "connect"), (T, "connectreq from 1"), (S, "connected to 2")]);
        story.order(&[(S, "send 1"), (T, "received 1"), (T, "ack 1"), (S, "complete 1, rc 2")]);
        story.order(&[(S, "close"), (T, "closed")]);
        story.order(&[(S, "closed"), (T, "close")]);
        story.state(S, "register", State::Registered).state(S, "initialize", State::Initialized);
        story.state(S, "connect", State::Connecting);
        story.state(S, "connected to 2", State::Connected).state(T, "connected to 1", State::ConnectedTo);
        story.state(S, "drained", State::Stopped).state(S, "closed", State::Initialized);
        story.state(T, "closed", State::Registered);
    }
}

/// [T2] [F5] Fig. 8: a path that is lost is hidden from both users; a target that dies is replaced by the port itself, which sends again what
/// the dead one had not finished.
#[test]
fn figure_8() {
    let mut sent_on_the_way = 0;
    for seed in 1..=SEEDS {
        let (silent, dead) = if seed % 2 == 0 { (0, "path 0 Dead") } else { (1, "path 1 Dead") };
        let script = Script {
            autoswitch: true,
            held: vec![(T, 5), (T, 6)],
            ..script(
                2,
                &[
                    (Told(S, "path 0 Good"), Act::Wait),
                    (Told(S, "path 1 Good"), Act::Silence(T, Some(silent))),
                    (Now, Act::Send(S, None)),
                    (Now, Act::Send(S, None)),
                    (Told(S, "complete 1, rc 2"), Act::Wait),
                    (Told(S, "complete 2, rc 2"), Act::Wait),
                    (Told(S, dead), Act::Send(S, None)),
                    (Told(S, "complete 3, rc 2"), Act::Send(S, Some(AckModel::Asynchronous))),
                    // Its user holds two messages, and one is complete that only its port had to have.
                    (Told(S, "complete 4, rc 0"), Act::Send(S, None)),
                    (Now, Act::Send(S, None)),
                    (Told(T, "received 6"), Act::Kill(T)),
                    (Told(S, "switching"), Act::Send(S, None)),
                    (Told(S, "complete 7, rc 3"), Act::Wait),
                ],
            )
        };
        let mut story = tell(seed, &script);
        // A user that is told late sends when the port is there already.
        story.order(&[(S, "switching"), (S, "send 7"), (S, "complete 7, rc 3")]);
        let (sent, switched) = (story.place(S, "send 7"), story.place(S, "switched to 3, 1 only received"));
        sent_on_the_way += u64::from(sent < switched);
        story.lines.remove(sent);
        story.of(
            S,
            "register; initialize; connect; connected to 2; send 1; send 2; complete 1, rc 2; complete 2, rc 2; send 3; complete 3, rc 2; \
             send 4; complete 4, rc 0; send 5; send 6; switching; switched to 3, 1 only received; complete 5, rc 3; \
             complete 6, rc 3; complete 7, rc 3",
        );
        story.of(
            T,
            "connectreq from 1; connected to 1; received 1; ack 1; received 2; ack 2; received 3; ack 3; received 4; received 5; \
             received 6",
        );
        story.of(
            B,
            "connectreq from 1; connected to 1; received 5 again; ack 5; received 6 again; ack 6; received 7; ack 7",
        );
        story.order(&[(T, "received 6"), (B, "connectreq from 1"), (S, "switched to 3, 1 only received")]);
        story.order(&[(S, "send 5"), (B, "received 5 again"), (B, "ack 5"), (S, "complete 5, rc 3")]);
        story.state(S, "switching", State::Connected);
    }
    assert!(sent_on_the_way > SEEDS / 4, "{sent_on_the_way} of {SEEDS}");
}

/// [A1] [A2] [A3] Fig. 9: the flow of a synchronous message, and of the two other models.
#[test]
fn figure_9() {
    let sync = Script {
        held: vec![(T, 2), (T, 3)],
        ..script(
            1,
            &[
                (Now, Act::Send(S, None)),
                (Told(S, "complete 1, rc 2"), Act::Send(S, None)),
                (Now, Act::Send(S, None)),
                // Acknowledgments may come late, and in any order, with any code.
                (Told(T, "received 3"), Act::Ack(T, 3, 42)),
                (Told(S, "complete 3, rc 42"), Act::Ack(T, 2, -1)),
                (Told(S, "complete 2, rc -1"), Act::Wait),
            ],
        )
    };
    let other = |ack| Script {
        ack,
        ..script(1, &[(Now, Act::Send(S, None)), (Told(S, "complete 1, rc 0"), Act::Send(S, None))])
    };
    for seed in 1..=SEEDS {
        let story = tell(seed, &sync);
        story.of(
            S,
            "register; initialize; connect; connected to 2; send 1; complete 1, rc 2; send 2; send 3; complete 3, rc 42; complete 2, rc -1",
        );
        story.of(
            T,
            "connectreq from 1; connected to 1; received 1; ack 1; received 2; received 3; ack 3; ack 2",
        );
        story.order(&[(S, "send 1"), (T, "received 1"), (T, "ack 1"), (S, "complete 1, rc 2")]);
        story.order(&[(T, "ack 3"), (S, "complete 3, rc 42"), (T, "ack 2"), (S, "complete 2, rc -1")]);

        // Complete at the receipt, or at the hand-over to the transport: the target's user has no part in it.
        let story = tell(seed, &other(AckModel::Asynchronous));
        story
            .of(S, "register; initialize; connect; connected to 2; send 1; complete 1, rc 0; send 2; complete 2, rc 0");
        story.of(T, "connectreq from 1; connected to 1; received 1; received 2");
        let story = tell(seed, &other(AckModel::Sent));
        story.of(T, "connectreq from 1; connected to 1; received 1; received 2");
        story.order(&[(S, "send 1"), (S, "complete 1, rc 0"), (S, "send 2"), (S, "complete 2, rc 0")]);
        // The port keeps it until the receipt all the same.
        story.order(&[(S, "send 1"), (S, "complete 1, rc 0"), (S, "done")]);
    }
}

/// [F2] [F3] Fig. 10: messages that time out, and the reset of the target that follows when it is reachable again; then a stop, and a reset by
/// the user.
#[test]
fn figure_10() {
    let script = script(
        1,
        &[
            (Now, Act::Silence(T, None)),
            (Now, Act::Send(S, None)),
            (Now, Act::Send(S, None)),
            (Told(S, "drained"), Act::Send(S, None)),
            (Now, Act::Mend(T)),
            (Told(S, "up"), Act::Wait),
            (Told(T, "reset"), Act::Send(S, None)),
            (Now, Act::Send(S, None)),
            (Told(S, "complete 3, rc 2"), Act::Wait),
            (Told(S, "complete 4, rc 2"), Act::Stop),
            (Told(S, "drained"), Act::Reset),
            (Told(S, "up"), Act::Send(S, None)),
            (Told(S, "complete 5, rc 2"), Act::Wait),
        ],
    );
    for seed in 1..=SEEDS {
        let story = tell(seed, &script);
        story.of(
            S,
            "register; initialize; connect; connected to 2; send 1; send 2; down; nack 1, Unreachable; nack 2, Unreachable; drained; \
             send refused, down; resolved 1, NotDelivered; resolved 2, NotDelivered; up; send 3; send 4; complete 3, rc 2; \
             complete 4, rc 2; stop; drained; reset; up; send 5; complete 5, rc 2",
        );
        story.of(
            T,
            "connectreq from 1; connected to 1; reset; received 3; ack 3; received 4; ack 4; reset; received 5; ack 5",
        );
        story.order(&[(S, "send refused, down"), (T, "reset"), (T, "received 3"), (S, "complete 3, rc 2")]);
        story.state(S, "drained", State::Connected).state(S, "up", State::Connected);
        story.state(S, "stop", State::Stopped).state(S, "send 5", State::Connected);
    }
}

/// [F2] [F4] Fig. 11: a target dies, or cannot be reached any more, and the user connects the same port to a backup and sends again there.
#[test]
fn figure_11() {
    for seed in 1..=SEEDS {
        let fault = if seed % 2 == 0 { Act::Kill(T) } else { Act::Silence(T, None) };
        let script = Script {
            held: vec![(T, 2), (T, 3)],
            ..script(
                2,
                &[
                    // While the link is up, going elsewhere is not a connect.
                    (Now, Act::Connect(Some(B))),
                    (Now, Act::Send(S, None)),
                    (Told(S, "complete 1, rc 2"), Act::Send(S, None)),
                    (Now, Act::Send(S, None)),
                    (Told(T, "received 3"), fault),
                    (Told(S, "drained"), Act::Send(S, None)),
                    (Now, Act::Connect(Some(B))),
                    (Told(S, "connected to 3"), Act::Wait),
                    (Told(B, "connected to 1"), Act::Send(S, None)),
                    (Now, Act::Send(S, None)),
                    (Told(S, "complete 4, rc 3"), Act::Wait),
                    (Told(S, "complete 5, rc 3"), Act::Wait),
                ],
            )
        };
        let story = tell(seed, &script);
        story.of(
            S,
            "register; initialize; connect; connected to 2; connect refused; send 1; complete 1, rc 2; send 2; send 3; down; \
             nack 2, Unreachable; nack 3, Unreachable; drained; send refused, down; connect; connected to 3; send 4; send 5; \
             complete 4, rc 3; complete 5, rc 3",
        );
        // For the backup they are messages like any others: sending again is the user's. The former target is told of none.
        story.of(T, "connectreq from 1; connected to 1; received 1; ack 1; received 2; received 3");
        story.of(B, "connectreq from 1; connected to 1; received 4; ack 4; received 5; ack 5");
        story.order(&[(S, "send refused, down"), (B, "connectreq from 1"), (S, "connected to 3")]);
        story.order(&[(S, "send 4"), (B, "received 4"), (B, "ack 4"), (S, "complete 4, rc 3")]);
    }
}
