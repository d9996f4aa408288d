//! From the driver's events of a port to the callbacks of C.

use std::ffi::c_void;
use std::ptr;

use cdps::{
    BackupChoice, ConnStatus, FenceRequest, LossRecord, Message, NodeId, Port, PortEvent, PortHandler,
    Reason, Sn, Verdict,
};

use crate::callback::{User, run};
use crate::decision::Record;
use crate::error::CDPS_E_NO_CALLBACK;
use crate::gate::Gate;
use crate::message::{self, Lent};
use crate::names;
use crate::port::PORTS;
use crate::sized::own_size;
use crate::types::{
    CDPS_CONNSTATUS_KEPT, CDPS_FENCE_NO, CDPS_FENCE_YES, CDPS_RECEIVED_REDELIVERED, CDPS_RECEIVED_WANTS_ACK,
    cdps_backup_t, cdps_complete_t, cdps_connstatus_t, cdps_fence_t, cdps_flow_t, cdps_generation_t,
    cdps_nack_t, cdps_overdue_t, cdps_path_t, cdps_port_callbacks_t, cdps_port_t, cdps_received_t,
    cdps_release_t, cdps_resolved_t,
};

/// Gets the events of one port.
pub(crate) struct PortBridge {
    pub(crate) table: cdps_port_callbacks_t,
    pub(crate) user: User,
    pub(crate) handle: usize,
    pub(crate) gate: Gate,
}

impl PortHandler for PortBridge {
    fn event(&self, port: &Port, event: PortEvent) {
        self.gate.pass();
        match event {
            PortEvent::Completed { sn, context, rc } => self.complete(sn.0, context, rc),
            PortEvent::Nacked { sn, context, reason, certainty } => {
                let event = cdps_nack_t {
                    struct_size: own_size::<cdps_nack_t>(),
                    reason: names::reason(reason),
                    sn: sn.0,
                    context: pointer(context),
                    port: self.port(),
                    text: names::reason_phrase(names::reason(reason)).as_ptr(),
                    certainty: names::certainty(certainty),
                    reserved0: 0,
                };
                if let Some(on_nack) = self.table.on_nack {
                    // SAFETY: the user registered this function for this pointer; the event lives until it returns.
                    run("on_nack", (), || unsafe { on_nack(self.user.0, &event) });
                }
            }
            PortEvent::Released { context } => self.release(context),
            PortEvent::Received(message) => self.received(port, message),
            PortEvent::Status(status) => self.status(status),
            PortEvent::Path { path, health, reason } => {
                let event = cdps_path_t {
                    struct_size: own_size::<cdps_path_t>(),
                    path: u32::from(path.0),
                    health: names::health(health),
                    reason: names::reason(reason),
                    text: names::reason_phrase(names::reason(reason)).as_ptr(),
                    port: self.port(),
                };
                if let Some(on_path) = self.table.on_path {
                    // SAFETY: as for on_nack.
                    run("on_path", (), || unsafe { on_path(self.user.0, &event) });
                }
            }
            PortEvent::Flow { on, reason, bytes, messages } => {
                let event = cdps_flow_t {
                    struct_size: own_size::<cdps_flow_t>(),
                    flow: if on { names::CDPS_FLOW_ON } else { names::CDPS_FLOW_OFF },
                    cause: names::cause(reason),
                    reserved0: 0,
                    bytes,
                    messages,
                    port: self.port(),
                };
                if let Some(on_flow) = self.table.on_flow {
                    // SAFETY: as for on_nack.
                    run("on_flow", (), || unsafe { on_flow(self.user.0, &event) });
                }
            }
            PortEvent::Overdue { sn, stream, waited } => {
                let event = cdps_overdue_t {
                    struct_size: own_size::<cdps_overdue_t>(),
                    stream: stream.0,
                    sn: sn.0,
                    waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                    port: self.port(),
                };
                if let Some(on_overdue) = self.table.on_overdue {
                    // SAFETY: as for on_nack.
                    run("on_overdue", (), || unsafe { on_overdue(self.user.0, &event) });
                }
            }
            PortEvent::Resolved { sn, verdict } => self.resolved(sn, verdict),
            PortEvent::Final => self.last(),
        }
    }

    fn choose_backup(&self, _: &Port, choice: &BackupChoice) -> Option<NodeId> {
        let candidates: Vec<u32> = choice.candidates.iter().map(|node| node.0).collect();
        // It is set with `port.backup_selection=callback`, and without that nobody asks.
        let on_backup = self.table.on_backup?;
        let asked = cdps_backup_t {
            struct_size: own_size::<cdps_backup_t>(),
            failed: choice.failed.0,
            reason: names::reason(choice.reason),
            candidate_count: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            candidates: candidates.as_ptr(),
            port: self.port(),
        };
        // SAFETY: as for on_nack; the candidates live until it returns. After a panic the first one is taken.
        let node = run("on_backup", candidates[0], || unsafe { on_backup(self.user.0, &asked) });
        (node != 0).then_some(NodeId(node))
    }

    fn fence(&self, _: &Port, request: &FenceRequest) -> bool {
        let Some(on_fence) = self.table.on_fence else { return false };
        let asked = cdps_fence_t {
            struct_size: own_size::<cdps_fence_t>(),
            node: request.node.0,
            generation: message::generation(request.generation),
            lease_left_ms: u64::try_from(request.lease_left.as_millis()).unwrap_or(u64::MAX),
            port: self.port(),
        };
        // SAFETY: as for on_nack.
        let answer = run("on_fence", CDPS_FENCE_NO, || unsafe { on_fence(self.user.0, &asked) });
        answer == CDPS_FENCE_YES
    }
}

impl PortBridge {
    fn port(&self) -> *mut cdps_port_t {
        ptr::without_provenance_mut(self.handle)
    }

    fn complete(&self, sn: u64, context: u64, rc: i32) {
        let event = cdps_complete_t {
            struct_size: own_size::<cdps_complete_t>(),
            rc,
            sn,
            context: pointer(context),
            port: self.port(),
        };
        if let Some(on_complete) = self.table.on_complete {
            // SAFETY: the user registered this function for this pointer; the event lives until it returns.
            run("on_complete", (), || unsafe { on_complete(self.user.0, &event) });
        }
    }

    fn resolved(&self, sn: Sn, verdict: Verdict) {
        let (verdict, rc) = names::verdict(verdict);
        let event = cdps_resolved_t {
            struct_size: own_size::<cdps_resolved_t>(),
            verdict,
            sn: sn.0,
            rc,
            reserved0: 0,
            port: self.port(),
        };
        if let Some(on_resolved) = self.table.on_resolved {
            // SAFETY: as for on_complete.
            run("on_resolved", (), || unsafe { on_resolved(self.user.0, &event) });
        }
    }

    fn release(&self, context: u64) {
        let event = cdps_release_t {
            struct_size: own_size::<cdps_release_t>(),
            reserved0: 0,
            context: pointer(context),
            port: self.port(),
        };
        if let Some(on_release) = self.table.on_release {
            // SAFETY: as for on_complete.
            run("on_release", (), || unsafe { on_release(self.user.0, &event) });
        }
    }

    fn received(&self, port: &Port, message: Message) {
        let Some(on_received) = self.table.on_received else {
            if message.wants_ack() {
                // Otherwise the sender would wait for ever. That it is not owed any more (session over) is no news.
                let _ = port.ack(message.sn(), CDPS_E_NO_CALLBACK);
            }
            return;
        };
        let mut flags = 0;
        if message.wants_ack() {
            flags |= CDPS_RECEIVED_WANTS_ACK;
        }
        if message.redelivered() {
            flags |= CDPS_RECEIVED_REDELIVERED;
        }
        let data = message.data();
        let mut event = cdps_received_t {
            struct_size: own_size::<cdps_received_t>(),
            flags,
            msg: ptr::null_mut(),
            data: data.as_ptr().cast(),
            size: data.len(),
            sn: message.sn().0,
            ssn: message.ssn().0,
            generation: message::generation(message.generation()),
            port: self.port(),
            stream: message.stream().0,
            reserved0: 0,
        };
        // The bytes stay where they are.
        let lent = Lent::new(message);
        event.msg = lent.pointer();
        // SAFETY: as for on_complete; the message lives until `lent` is dropped, longer if the user retains it.
        run("on_received", (), || unsafe { on_received(self.user.0, &event) });
    }

    fn status(&self, status: ConnStatus) {
        if let Some(on_connstatus) = self.table.on_connstatus {
            let record = decision(&status).map(|decision| (Record::new(decision), decision));
            let decided = record.as_ref().map(|(record, decision)| record.describe(decision));
            let mut event = describe(&status);
            event.port = self.port();
            event.decision = decided.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: as for on_complete.
            run("on_connstatus", (), || unsafe { on_connstatus(self.user.0, &event) });
        }
    }

    fn last(&self) {
        // Gone already if the user destroyed the port; not if its node or client went.
        drop(PORTS.take(self.handle));
        if let Some(on_final) = self.table.on_final {
            // SAFETY: as for on_complete; nothing is called for this user after it.
            run("on_final", (), || unsafe { on_final(self.user.0) });
        }
    }
}

fn decision(status: &ConnStatus) -> Option<&LossRecord> {
    match status {
        ConnStatus::Down { decision, .. }
        | ConnStatus::Switching { decision, .. }
        | ConnStatus::Switched { decision, .. } => Some(decision),
        ConnStatus::Connected { .. }
        | ConnStatus::Recovered { .. }
        | ConnStatus::Reset { .. }
        | ConnStatus::ConnectFailed { .. }
        | ConnStatus::SwitchFailed { .. }
        | ConnStatus::Drained
        | ConnStatus::Closed { .. } => None,
    }
}

fn describe(status: &ConnStatus) -> cdps_connstatus_t {
    let mut event = cdps_connstatus_t {
        struct_size: own_size::<cdps_connstatus_t>(),
        status: 0,
        node: 0,
        reason: 0,
        generation: cdps_generation_t { role_epoch: 0, counter: 0 },
        paths_up: 0,
        paths: 0,
        only_receipted: 0,
        text: ptr::null(),
        port: ptr::null_mut(),
        flags: 0,
        reserved0: 0,
        decision: ptr::null(),
    };
    let mut because = Reason::None;
    match *status {
        ConnStatus::Connected { node, generation, paths_up, paths } => {
            event.status = names::CDPS_CONN_CONNECTED;
            event.node = node.0;
            event.generation = message::generation(generation);
            event.paths_up = u32::from(paths_up);
            event.paths = u32::from(paths);
        }
        ConnStatus::ConnectFailed { node, reason } => {
            event.status = names::CDPS_CONN_CONNECT_FAILED;
            event.node = node.0;
            because = reason;
        }
        ConnStatus::Down { node, reason, .. } => {
            event.status = names::CDPS_CONN_DOWN;
            event.node = node.0;
            because = reason;
        }
        ConnStatus::Drained => event.status = names::CDPS_CONN_DRAINED,
        ConnStatus::Switching { from, reason, .. } => {
            event.status = names::CDPS_CONN_SWITCHING;
            event.node = from.0;
            because = reason;
        }
        ConnStatus::Switched { node, generation, only_receipted, .. } => {
            event.status = names::CDPS_CONN_SWITCHED;
            event.node = node.0;
            event.generation = message::generation(generation);
            event.only_receipted = only_receipted;
        }
        ConnStatus::Recovered { node, generation, paths_up, paths, kept } => {
            event.status = names::CDPS_CONN_RECOVERED;
            event.node = node.0;
            event.generation = message::generation(generation);
            event.paths_up = u32::from(paths_up);
            event.paths = u32::from(paths);
            event.flags = if kept { CDPS_CONNSTATUS_KEPT } else { 0 };
        }
        ConnStatus::SwitchFailed { node, reason } => {
            event.status = names::CDPS_CONN_SWITCH_FAILED;
            event.node = node.0;
            because = reason;
        }
        ConnStatus::Reset { generation } => {
            event.status = names::CDPS_CONN_RESET;
            event.generation = message::generation(generation);
        }
        ConnStatus::Closed { reason } => {
            event.status = names::CDPS_CONN_CLOSED;
            because = reason;
        }
    }
    event.reason = names::reason(because);
    event.text = names::reason_phrase(event.reason).as_ptr();
    event
}

/// The user's context as it was given.
fn pointer(context: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(usize::try_from(context).expect("it was a pointer of this process"))
}
