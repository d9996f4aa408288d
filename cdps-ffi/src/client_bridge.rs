//! From the driver's questions and events of a client to the callbacks of C.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use cdps::{
    ClientHandler, ClusterChange, ClusterEvent, ConnectRequest, Decision, LinkKey, PortConfig, PortHandler,
};

use crate::callback::{self, User, run};
use crate::client::CLIENTS;
use crate::config;
use crate::error::Failure;
use crate::gate::Gate;
use crate::message;
use crate::names::{
    self, CDPS_CLUSTER_DOWN, CDPS_CLUSTER_EFFECTIVE, CDPS_CLUSTER_GONE, CDPS_CLUSTER_NO_QUORUM,
    CDPS_CLUSTER_PATH, CDPS_CLUSTER_QUORUM, CDPS_CLUSTER_REGISTERED, CDPS_CLUSTER_UNREACHABLE,
    CDPS_CLUSTER_UP,
};
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
        let mut told = cdps_cluster_t {
            struct_size: own_size::<cdps_cluster_t>(),
            change: 0,
            node: event.node.0,
            reserved0: 0,
            membership: event.membership,
            incarnation: 0,
            client: ptr::null(),
            remote: ptr::null(),
            health: 0,
            link: 0,
        };
        // Lives until the callback has returned.
        let text;
        told.change = match &event.change {
            ClusterChange::Up { incarnation } => {
                told.incarnation = incarnation.map_or(0, |known| known.0);
                CDPS_CLUSTER_UP
            }
            ClusterChange::Unreachable => CDPS_CLUSTER_UNREACHABLE,
            ClusterChange::Down => CDPS_CLUSTER_DOWN,
            ClusterChange::Registered { client } | ClusterChange::Gone { client } => {
                text = strings::c_string(client);
                told.client = text.as_ptr();
                let is_gone = matches!(event.change, ClusterChange::Gone { .. });
                if is_gone { CDPS_CLUSTER_GONE } else { CDPS_CLUSTER_REGISTERED }
            }
            ClusterChange::Quorum(true) => CDPS_CLUSTER_QUORUM,
            ClusterChange::Quorum(false) => CDPS_CLUSTER_NO_QUORUM,
            ClusterChange::Path { link, remote, health } => {
                (told.health, told.link) = (names::health(*health), number(*link));
                if let Some(remote) = remote {
                    text = strings::c_string(&remote.to_string());
                    told.remote = text.as_ptr();
                }
                CDPS_CLUSTER_PATH
            }
            ClusterChange::Effective => CDPS_CLUSTER_EFFECTIVE,
        };
        // SAFETY: the user registered this function for this pointer; the event lives until it returns.
        run("on_cluster", (), || unsafe { on_cluster(self.user.0, &told) });
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

fn number(link: LinkKey) -> u32 {
    match link {
        LinkKey::Dialled(link) | LinkKey::Accepted { link, .. } => link.0,
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

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_void};
    use std::sync::Mutex;

    use cdps::{Health, Incarnation, NodeId};

    use super::*;

    type Told = Mutex<Vec<(String, u32, u64, u64, String)>>;

    unsafe extern "C-unwind" fn on_cluster(user: *mut c_void, event: *const cdps_cluster_t) {
        // SAFETY: the test gives a `Told` that outlives the bridge; the event lives until this returns.
        let (told, event) = unsafe { (&*user.cast::<Told>(), &*event) };
        let text = |at: *const c_char| {
            // SAFETY: NULL, or a text that lives until this returns.
            (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
        };
        let (client, remote) = (text(event.client), text(event.remote));
        // SAFETY: the names are static.
        let name = |at| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned();
        let mut rest = [client, remote].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if event.health != 0 {
            rest += &format!(" {} of link {}", name(names::cdps_health_name(event.health)), event.link);
        }
        let change = name(names::cdps_cluster_name(event.change));
        told.lock().unwrap().push((change, event.node, event.membership, event.incarnation, rest));
    }

    unsafe extern "C-unwind" fn on_final(_: *mut c_void) {}

    /// [N4] Every change of the cluster has a number and a name in C, and says what it is about.
    #[test]
    fn every_change_is_told_to_c() {
        let told = Told::default();
        let table = cdps_client_callbacks_t {
            struct_size: own_size::<cdps_client_callbacks_t>(),
            flags: 0,
            on_connectreq: None,
            on_cluster: Some(on_cluster),
            on_final: Some(on_final),
        };
        let user = User((&raw const told).cast_mut().cast());
        let bridge = ClientBridge { table, user, handle: 0, gate: Gate::opened() };
        let (client, remote) = ("disk".to_owned(), Some(([127, 0, 0, 1], 7).into()));
        let dialled = LinkKey::Dialled(cdps::LinkId(3));
        let accepted = LinkKey::Accepted { node: NodeId(2), link: cdps::LinkId(4) };
        for change in [
            ClusterChange::Up { incarnation: Some(Incarnation(9)) },
            ClusterChange::Up { incarnation: None },
            ClusterChange::Unreachable,
            ClusterChange::Down,
            ClusterChange::Registered { client: client.clone() },
            ClusterChange::Gone { client },
            ClusterChange::Quorum(true),
            ClusterChange::Quorum(false),
            ClusterChange::Path { link: dialled, remote, health: Health::Suspect },
            ClusterChange::Path { link: accepted, remote: None, health: Health::Good },
            ClusterChange::Effective,
        ] {
            bridge.cluster(&ClusterEvent { membership: 5, node: NodeId(2), change });
        }
        let told = told.into_inner().unwrap();
        assert!(told.iter().all(|event| (event.1, event.2) == (2, 5)));
        let told: Vec<_> = told.iter().map(|event| (event.0.as_str(), event.3, event.4.as_str())).collect();
        let expected = [
            ("UP", 9, ""),
            ("UP", 0, ""),
            ("UNREACHABLE", 0, ""),
            ("DOWN", 0, ""),
            ("REGISTERED", 0, "disk"),
            ("GONE", 0, "disk"),
            ("QUORUM", 0, ""),
            ("NO_QUORUM", 0, ""),
            ("PATH", 0, "127.0.0.1:7 SUSPECT of link 3"),
            ("PATH", 0, " GOOD of link 4"),
            ("EFFECTIVE", 0, ""),
        ];
        assert_eq!(told, expected);
    }
}
