//! Fig. 7 as a table (L1): every call that a port knows, and where it leads from each state and link.

use std::fmt;

use thiserror::Error;

/// State of a port (Fig. 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Created.
    Idle,
    /// Has a client.
    Registered,
    /// Target side: a source is connected to it.
    ConnectedTo,
    /// Source side: has its address table.
    Initialized,
    /// Source side: negotiating, or waiting for the first path.
    Connecting,
    /// Source side: in use.
    Connected,
    /// Source side: takes no more sends, keeps its session.
    Stopped,
    /// Gone.
    Destroyed,
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Idle,
        State::Registered,
        State::ConnectedTo,
        State::Initialized,
        State::Connecting,
        State::Connected,
        State::Stopped,
        State::Destroyed,
    ];

    /// The name that Fig. 7 uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Idle => "IDLE",
            State::Registered => "REGISTERED",
            State::ConnectedTo => "CONNECTEDTO",
            State::Initialized => "INITIALIZED",
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::Stopped => "STOPPED",
            State::Destroyed => "DESTROYED",
        }
    }
}

/// The second axis of CONNECTED and STOPPED; `Up` in every other state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// Messages flow.
    Up,
    /// Down, and not every unfinished message has been nacked yet.
    Down,
    /// Down, and every earlier send has ended.
    Drained,
    /// On the way to another target by itself, or waiting for the old one before it goes (F5).
    Switching,
    /// Down, and the target is being asked to go on with the session (F3).
    Resetting,
}

impl Link {
    /// Every value.
    pub const ALL: [Link; 5] = [Link::Up, Link::Down, Link::Drained, Link::Switching, Link::Resetting];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Link::Up => "up",
            Link::Down => "down",
            Link::Drained => "down and drained",
            Link::Switching => "switching",
            Link::Resetting => "resetting",
        }
    }
}

/// What moves a port, or is allowed only in some states.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// registerdpclient.
    Register,
    /// The client goes; the port comes down.
    Unregister,
    /// Builds the address table.
    Initialize,
    /// connectreq: a source connects to this port.
    ConnectRequest,
    /// Connects, or adds a user to the connection.
    Connect,
    /// connectcomplete: the first path is up.
    ConnectComplete,
    /// A connect was refused or took too long.
    ConnectFailed,
    /// Holds what has not been sent (L7).
    Suspend,
    /// Lets it go.
    Resume,
    /// Goes over to another target in an orderly way (F6).
    Switch,
    /// Adds or removes an address, or changes timeouts and policies (L8).
    Change,
    /// Takes no more sends.
    Stop,
    /// reset: asks the target of a stopped port to go on under a new generation (F3).
    Reset,
    /// The target has answered a reset that the user asked for.
    ResetComplete,
    /// close by the last user, or at once.
    CloseLast,
    /// close while other users remain (use count above 1).
    CloseShared,
    /// The peer closed the session.
    PeerClosed,
    /// Target side: superseded, revoked or expired.
    SessionLost,
    /// dctor.
    Destroy,
    /// Hands a message over.
    Send,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 20] = [
        Call::Register,
        Call::Unregister,
        Call::Initialize,
        Call::ConnectRequest,
        Call::Connect,
        Call::ConnectComplete,
        Call::ConnectFailed,
        Call::Suspend,
        Call::Resume,
        Call::Switch,
        Call::Change,
        Call::Stop,
        Call::Reset,
        Call::ResetComplete,
        Call::CloseLast,
        Call::CloseShared,
        Call::PeerClosed,
        Call::SessionLost,
        Call::Destroy,
        Call::Send,
    ];

    /// Its name, as users know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Register => "register",
            Call::Unregister => "unregister",
            Call::Initialize => "initialize",
            Call::ConnectRequest => "connectreq",
            Call::Connect => "connect",
            Call::ConnectComplete => "connectcomplete",
            Call::ConnectFailed => "connect failed",
            Call::Suspend => "suspend",
            Call::Resume => "resume",
            Call::Switch => "switch",
            Call::Change => "change",
            Call::Stop => "stop",
            Call::Reset => "reset",
            Call::ResetComplete => "reset complete",
            Call::CloseLast => "close",
            Call::CloseShared => "close (shared)",
            Call::PeerClosed => "peer closed",
            Call::SessionLost => "session lost",
            Call::Destroy => "destroy",
            Call::Send => "send",
        }
    }
}

/// A call that the port's state does not allow. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{} is not allowed while the port is {} (link {})", call.name(), state.name(), link.name())]
pub struct StateError {
    /// The call.
    pub call: Call,
    /// State of the port.
    pub state: State,
    /// Its link.
    pub link: Link,
}

struct Rule {
    call: Call,
    from: &'static [State],
    links: &'static [Link],
    to: State,
}

const ANY: &[Link] = &Link::ALL;
const USABLE: &[Link] = &[Link::Up, Link::Switching];

/// The table. What is not in it is refused.
const RULES: &[Rule] = {
    use Call as C;
    use State as S;
    const fn rule(call: Call, from: &'static [State], links: &'static [Link], to: State) -> Rule {
        Rule { call, from, links, to }
    }
    &[
        // First, since it is looked up with every message.
        rule(C::Send, &[S::Connected], USABLE, S::Connected),
        rule(C::Send, &[S::ConnectedTo], ANY, S::ConnectedTo),
        rule(C::Register, &[S::Idle], ANY, S::Registered),
        rule(C::ConnectRequest, &[S::Registered], ANY, S::ConnectedTo),
        rule(C::Initialize, &[S::Registered], ANY, S::Initialized),
        rule(C::Connect, &[S::Initialized, S::Connecting, S::Stopped], ANY, S::Connecting),
        rule(C::Connect, &[S::Connected], USABLE, S::Connected),
        rule(C::Connect, &[S::Connected], &[Link::Drained, Link::Resetting], S::Connecting),
        rule(C::ConnectComplete, &[S::Connecting], ANY, S::Connected),
        rule(C::ConnectFailed, &[S::Connecting], ANY, S::Initialized),
        rule(C::Suspend, &[S::Connecting], ANY, S::Connecting),
        rule(C::Suspend, &[S::Connected], ANY, S::Connected),
        rule(C::Suspend, &[S::ConnectedTo], ANY, S::ConnectedTo),
        rule(C::Resume, &[S::Connecting], ANY, S::Connecting),
        rule(C::Resume, &[S::Connected], ANY, S::Connected),
        rule(C::Resume, &[S::ConnectedTo], ANY, S::ConnectedTo),
        rule(C::Switch, &[S::Connected], &[Link::Up], S::Connected),
        rule(C::Change, &[S::Idle], ANY, S::Idle),
        rule(C::Change, &[S::Registered], ANY, S::Registered),
        rule(C::Change, &[S::ConnectedTo], ANY, S::ConnectedTo),
        rule(C::Change, &[S::Initialized], ANY, S::Initialized),
        rule(C::Change, &[S::Connecting], ANY, S::Connecting),
        rule(C::Change, &[S::Connected], ANY, S::Connected),
        rule(C::Change, &[S::Stopped], ANY, S::Stopped),
        rule(C::Stop, &[S::Connected], ANY, S::Stopped),
        rule(C::Reset, &[S::Stopped], &[Link::Up, Link::Drained, Link::Resetting], S::Stopped),
        rule(C::ResetComplete, &[S::Stopped], ANY, S::Connected),
        rule(C::CloseLast, &[S::ConnectedTo], ANY, S::Registered),
        rule(C::CloseLast, &[S::Connecting, S::Stopped], ANY, S::Initialized),
        rule(C::CloseLast, &[S::Connected], ANY, S::Stopped),
        rule(C::CloseShared, &[S::Connected], ANY, S::Connected),
        rule(C::CloseShared, &[S::Stopped], ANY, S::Stopped),
        rule(C::PeerClosed, &[S::Connecting, S::Connected, S::Stopped], ANY, S::Initialized),
        rule(C::PeerClosed, &[S::ConnectedTo], ANY, S::Registered),
        rule(C::SessionLost, &[S::ConnectedTo], ANY, S::Registered),
        rule(
            C::Unregister,
            &[S::Registered, S::ConnectedTo, S::Initialized, S::Connecting, S::Connected, S::Stopped],
            ANY,
            S::Idle,
        ),
        rule(
            C::Destroy,
            &[
                S::Idle,
                S::Registered,
                S::ConnectedTo,
                S::Initialized,
                S::Connecting,
                S::Connected,
                S::Stopped,
            ],
            ANY,
            S::Destroyed,
        ),
    ]
};

/// Where `call` leads.
pub(super) fn next(call: Call, state: State, link: Link) -> Result<State, StateError> {
    RULES
        .iter()
        .find(|r| r.call == call && r.from.contains(&state) && r.links.contains(&link))
        .map(|r| r.to)
        .ok_or(StateError { call, state, link })
}

/// The table as a Graphviz graph, one edge per rule and origin: what a snapshot test holds.
#[must_use]
pub fn graph() -> String {
    struct Edge<'a>(State, &'a Rule);
    impl fmt::Display for Edge<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "  {} -> {} [label=\"{}", self.0.name(), self.1.to.name(), self.1.call.name())?;
            if self.1.links.len() != Link::ALL.len() {
                let names: Vec<_> = self.1.links.iter().map(|l| l.name()).collect();
                write!(f, " (link {})", names.join(" or "))?;
            }
            writeln!(f, "\"];")
        }
    }
    let mut out = String::from("digraph port {\n");
    for rule in RULES {
        for from in rule.from {
            out += &Edge(*from, rule).to_string();
        }
    }
    out + "}\n"
}
