//! From the driver's questions and events of a client to the callbacks of C.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use cdps::{ClientHandler, ClusterChange, ClusterEvent, ConnectRequest, Decision, PortConfig, PortHandler};

use crate::callback::{self, User, run};
use crate::client::CLIENTS;
use crate::config;
use crate::error::Failure;
use crate::gate::Gate;
use crate::message;
use crate::names::{CDPS_CLUSTER_DOWN, CDPS_CLUSTER_UNREACHABLE, CDPS_CLUSTER_UP};
use crate::port::{Abilities, PORTS, PortEntry};
use crate::port_bridge::PortBridge;
use crate::sized::{self, own_size};
use crate::strings;
use crate::types::{
    CDPS_CONNECT_ACCEPT, cdps_accept_t, cdps_client_callbacks_t, cdps_cluster_t, cdps_connectreq_t,
    cdps_on_connectreq_fn, cdps_session_t,
};

/// Answers for one client.
pub(crate) struct ClientBridge {
    pub(crate) table: cdps_client_callbacks_t,
    pub(crate) user: User,
    pub(crate) handle: usize,
    pub(crate) gate: Gate,
}

impl ClientHandler for ClientBridge {
    fn connect_request(&self, request: &ConnectRequest) -> Decision {
        self.gate.pass();
        if self.table.on_connectreq.is_none() {
            return Decision::Refuse { text: "the client takes no connects".to_owned() };
        }
        match self.ask(request) {
            Ok((config, handler)) => Decision::Accept { config, handler },
            Err(failure) => Decision::Refuse { text: failure.message().to_owned() },
        }
    }

    fn cluster(&self, event: &ClusterEvent) {
        self.gate.pass();
        let Some(on_cluster) = self.table.on_cluster else { return };
        let (change, incarnation) = match event.change {
            ClusterChange::Up { incarnation } => (CDPS_CLUSTER_UP, incarnation.0),
            ClusterChange::Unreachable => (CDPS_CLUSTER_UNREACHABLE, 0),
            ClusterChange::Down => (CDPS_CLUSTER_DOWN, 0),
        };
        let event = cdps_cluster_t {
            struct_size: own_size::<cdps_cluster_t>(),
            change,
            node: event.node.0,
            reserved0: 0,
            membership: event.membership,
            incarnation,
        };
        // SAFETY: the user registered this function for this pointer; the event lives until it returns.
        run("on_cluster", (), || unsafe { on_cluster(self.user.0, &event) });
    }

    fn closed(&self) {
        self.gate.pass();
        // Gone already if the user unregistered the client; not if its node went.
        drop(CLIENTS.take(self.handle));
        if let Some(on_final) = self.table.on_final {
            // SAFETY: as above; nothing is called for this user after it.
            run("on_final", (), || unsafe { on_final(self.user.0) });
        }
    }
}

impl ClientBridge {
    /// Asks the user, and takes what it filled in. The port's handle exists while the callback runs, and lives on only if the answer is
    /// good.
    fn ask(&self, request: &ConnectRequest) -> Result<(PortConfig, Arc<dyn PortHandler>), Failure> {
        let reserved = PORTS.reserve()?;
        let handle = reserved.handle();
        reserved.fill(PortEntry::new(request.port.clone(), Abilities::default()));
        let decided = self.filled_in(request, handle).and_then(|accept| accepted(&accept, handle));
        if decided.is_err() {
            drop(PORTS.take(handle));
        }
        decided
    }

    fn filled_in(&self, request: &ConnectRequest, handle: usize) -> Result<cdps_accept_t, Failure> {
        let client = strings::c_string(&request.client);
        let event = cdps_connectreq_t {
            struct_size: own_size::<cdps_connectreq_t>(),
            node: request.node.0,
            session: session(request.session),
            generation: message::generation(request.generation),
            client: client.as_ptr(),
            port: ptr::without_provenance_mut(handle),
            paths: request.paths,
            reserved0: 0,
        };
        let mut accept = cdps_accept_t {
            struct_size: own_size::<cdps_accept_t>(),
            flags: 0,
            config: ptr::null(),
            callbacks: ptr::null(),
            user: ptr::null_mut(),
            text: [0; 128],
        };
        let answer = answer(self.table.on_connectreq, self.user, &event, &mut accept);
        if answer == CDPS_CONNECT_ACCEPT {
            return Ok(accept);
        }
        let text = refusal(&accept.text);
        Err(Failure::new(crate::error::CDPS_E_INVALID, if text.is_empty() { "refused" } else { &text }))
    }
}

fn answer(
    on_connectreq: cdps_on_connectreq_fn,
    user: User,
    event: &cdps_connectreq_t,
    accept: &mut cdps_accept_t,
) -> i32 {
    let Some(ask) = on_connectreq else { return 0 };
    // SAFETY: the user registered this function for this pointer; both structures live until it returns.
    run("on_connectreq", 0, || unsafe { ask(user.0, event, accept) })
}

/// Checks an acceptance and makes the handler of the new port.
fn accepted(accept: &cdps_accept_t, handle: usize) -> Result<(PortConfig, Arc<dyn PortHandler>), Failure> {
    // SAFETY: the header asks the callback for a whole table, or NULL.
    let table = unsafe { sized::read(accept.callbacks) }?;
    callback::check_port(&table)?;
    let settings = if accept.config.is_null() { Default::default() } else { config::copy(accept.config)? };
    let entry = PORTS.get(handle)?;
    let config = settings.port(entry.port.liveness())?;
    entry.allow(Abilities::of(&table));
    Ok((config, Arc::new(PortBridge { table, user: User(accept.user), handle, gate: Gate::opened() })))
}

fn refusal(text: &[c_char; 128]) -> String {
    let bytes: Vec<u8> = text.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn session(session: cdps::SessionId) -> cdps_session_t {
    cdps_session_t { node: session.node.0, port: session.port, incarnation: session.incarnation.0 }
}
