//! Errors on their way to Python: one variant for each class of `cdps._errors`.

use std::any::Any;

use cdps::{
    AckError, Certainty, ContractError, CreateError, NodeId, OpenError, PortError, Reason, RegisterError,
    SendError, State, StateError,
};
use pyo3::PyErr;

mod class {
    //! The classes; they are written in Python.
    pyo3::import_exception!(cdps._errors, ConfigError);
    pyo3::import_exception!(cdps._errors, StateError);
    pyo3::import_exception!(cdps._errors, SystemCallError);
    pyo3::import_exception!(cdps._errors, ClosedError);
    pyo3::import_exception!(cdps._errors, ForkedError);
    pyo3::import_exception!(cdps._errors, DeadlineExceeded);
    pyo3::import_exception!(cdps._errors, WouldBlock);
    pyo3::import_exception!(cdps._errors, MessageTooLarge);
    pyo3::import_exception!(cdps._errors, LinkError);
    pyo3::import_exception!(cdps._errors, Nacked);
    pyo3::import_exception!(cdps._errors, DeliveryUnknown);
    pyo3::import_exception!(cdps._errors, InternalError);
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A value given is not valid.
    Config(String),
    /// Not possible in the state that the object is in.
    State(String),
    /// The operating system refused.
    System { text: String, errno: Option<i32> },
    /// The object is closed.
    Closed(String),
    /// Called in a child of the process that made the object.
    Forked { parent: u32 },
    /// The time given is up.
    Deadline(String),
    /// The send buffer is full and no waiting was asked for.
    WouldBlock,
    /// The message is longer than both ends allow.
    TooLarge { size: u64, limit: u64 },
    /// There is no connection to the target.
    Link { text: String, node: Option<NodeId>, reason: Option<Reason> },
    /// The send has failed.
    Nacked { sn: u64, reason: Reason, certainty: Certainty },
    /// A fault of the library.
    Internal(String),
}

impl Failure {
    /// What a caught panic becomes.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a text".into());
        Failure::Internal(text)
    }

    /// The node that an object belongs to is closed.
    pub(crate) fn node_closed() -> Failure {
        Failure::Closed("the node is closed".into())
    }
}

/// A reason's name as the C interface spells it, without its prefix: `NoSuchClient` is NO_SUCH_CLIENT.
pub(crate) fn reason_name(reason: Reason) -> String {
    let mut name = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        match failure {
            Failure::Config(text) => class::ConfigError::new_err(text),
            Failure::State(text) => class::StateError::new_err(text),
            Failure::System { text, errno } => class::SystemCallError::new_err((text, errno)),
            Failure::Closed(text) => class::ClosedError::new_err(text),
            Failure::Forked { parent } => class::ForkedError::new_err(format!(
                "made in process {parent}, and useless in a child made by fork: open nodes after the fork, or use spawn"
            )),
            Failure::Deadline(text) => class::DeadlineExceeded::new_err(text),
            Failure::WouldBlock => class::WouldBlock::new_err("the send buffer is full: try again"),
            Failure::TooLarge { size, limit } => class::MessageTooLarge::new_err((
                format!("the message has {size} bytes; at most {limit} are allowed"),
                size,
                limit,
            )),
            Failure::Link { text, node, reason } => {
                class::LinkError::new_err((text, node.map(|node| node.0), reason.map(reason_name)))
            }
            Failure::Nacked { sn, reason, certainty } => {
                let name = reason_name(reason);
                match certainty {
                    Certainty::NotSent => {
                        class::Nacked::new_err((format!("message {sn} was not sent: {reason}"), sn, name))
                    }
                    Certainty::Unknown => class::DeliveryUnknown::new_err((
                        format!("message {sn} may or may not have arrived: {reason}"),
                        sn,
                        name,
                    )),
                }
            }
            Failure::Internal(text) => class::InternalError::new_err(text),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let text = error.to_string();
        match error {
            OpenError::Keep(_) | OpenError::Config(_) | OpenError::Threads { .. } => Failure::Config(text),
            OpenError::Listen { source, .. } | OpenError::System { source, .. } => {
                Failure::System { text, errno: source.raw_os_error() }
            }
        }
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Failure {
        match error {
            RegisterError::NameTaken { .. } | RegisterError::NameLength { .. } => {
                Failure::Config(error.to_string())
            }
            RegisterError::Keep(error) => Failure::Config(error.to_string()),
            RegisterError::Destroyed => Failure::node_closed(),
        }
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Failure {
        match error {
            CreateError::Config(error) => Failure::Config(error.to_string()),
            CreateError::Keep(error) => Failure::Config(error.to_string()),
            CreateError::Destroyed => Failure::node_closed(),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        if error.state == State::Destroyed {
            return Failure::Closed(format!("{}: the port is closed", error.call.name()));
        }
        Failure::State(error.to_string())
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Failure {
        let text = error.to_string();
        match error {
            PortError::State(error) => error.into(),
            PortError::Unregistered { .. } => Failure::Closed(text),
            PortError::OtherNode { .. }
            | PortError::NotATarget { .. }
            | PortError::NoTarget
            | PortError::There { .. }
            | PortError::Change(_)
            | PortError::StreamRange { .. }
            | PortError::Contract(ContractError::NoClasses { .. }) => Failure::Config(text),
            PortError::OtherTarget { .. }
            | PortError::Switching { .. }
            | PortError::Contract(ContractError::InUse { .. } | ContractError::TooManyStreams { .. }) => {
                Failure::State(text)
            }
        }
    }
}

impl From<AckError> for Failure {
    fn from(error: AckError) -> Failure {
        Failure::State(error.to_string())
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        let text = error.to_string();
        match error {
            SendError::State(error) => error.into(),
            SendError::Down => Failure::Link { text, node: None, reason: None },
            SendError::Closing | SendError::TooManyStreams { .. } => Failure::State(text),
            SendError::Again => Failure::WouldBlock,
            SendError::TimedOut => Failure::Deadline(text),
            // Python code never runs in a callback.
            SendError::InCallback => Failure::Internal(text),
            SendError::TooLong { len, max } => Failure::TooLarge { size: len, limit: max },
            SendError::StreamRange { .. } => Failure::Config(text),
        }
    }
}
