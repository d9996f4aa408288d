//! From the engines to the network: poll, encode, write.

use cdps_core::id::Sn;
use cdps_core::node::Node;
use cdps_core::port::{Batch, Changed, ItemBytes, Outgoing};
use cdps_core::wire::{self, Frame};

use super::Host;
use super::conn::{Stage, Use};
use crate::broken::Broken;
use crate::checksum::CRC;
use crate::env::{Env, note};
use crate::oracle::FlowKey;
use crate::payload::{self, SentHandle};
use crate::rejoin::Proof;
use crate::rules::Invariant;

impl Host {
    /// The engine wants these paths to be polled.
    pub(super) fn kick(&mut self, env: &mut Env, slot: usize, kicks: u64) {
        if kicks == 0 {
            return;
        }
        let Some(s) = self.slots[slot].as_ref() else { return };
        let conns: Vec<usize> =
            s.conns.iter().filter(|((path, _), _)| kicks & (1 << path.0) != 0).map(|(_, c)| *c).collect();
        for c in conns {
            if let Some(hc) = self.conns.get_mut(&c)
                && hc.stage == Stage::Ready
            {
                hc.kicked = true;
                self.flush(env, c);
            }
        }
    }

    /// Puts a frame of the handshake on a connection.
    pub(super) fn say(&mut self, env: &mut Env, c: usize, frame: &Frame) {
        if let Some(hc) = self.conns.get_mut(&c) {
            wire::encode_frame(frame, CRC, &mut hc.output);
        }
        self.flush(env, c);
    }

    /// There is room again.
    pub(super) fn writable(&mut self, env: &mut Env, c: usize) {
        self.flush(env, c);
    }

    /// Writes what there is, then polls the engine for more, until the network or the engine has had enough.
    pub(super) fn flush(&mut self, env: &mut Env, c: usize) {
        loop {
            let Some(hc) = self.conns.get_mut(&c) else { return };
            if hc.stage == Stage::Dialling {
                return;
            }
            if hc.written < hc.output.len() {
                hc.written += env.net_write(c, hc.side, &hc.output[hc.written..]);
                if hc.written < hc.output.len() {
                    return;
                }
                hc.output.clear();
                hc.written = 0;
            }
            if hc.stage == Stage::Lingering {
                env.net_shutdown(c, hc.side);
                return;
            }
            let more = match hc.usage {
                Use::Control { .. } => self.poll_control(c),
                Use::Data { .. } if hc.stage == Stage::Ready && hc.kicked => self.poll_data(env, c),
                Use::Data { .. } | Use::Unknown => false,
            };
            if !more {
                return;
            }
        }
    }

    fn poll_control(&mut self, c: usize) -> bool {
        let Some(hc) = self.conns.get_mut(&c) else { return false };
        let Use::Control { key, serial } = hc.usage else { return false };
        if hc.stage != Stage::Ready {
            return false;
        }
        let Some(frame) = self.engine.as_mut().and_then(|e: &mut Node| e.poll_transmit(key, serial)) else {
            return false;
        };
        wire::encode_frame(&frame, CRC, &mut hc.output);
        true
    }

    fn poll_data(&mut self, env: &mut Env, c: usize) -> bool {
        let now = self.clock(env);
        let node = self.node();
        let Some(hc) = self.conns.get_mut(&c) else { return false };
        let Use::Data { slot, path, conn, .. } = hc.usage else { return false };
        let Some(s) = self.slots[slot].as_mut() else { return false };
        let (mut batch, mut changed) = (Batch::default(), Vec::new());
        hc.kicked = s.port.poll_transmit(now, path, conn, &mut batch);
        if env.tracing() {
            for frame in &batch.frames {
                let text = describe(frame);
                note!(env, "n{node} p{slot}: path {path} conn {conn} <- {text}");
            }
        }
        if env.broken == Some(Broken::OneReceipt) {
            s.drop_copies(path, &mut batch.frames);
        }
        if let Some(text) = s.lacks_a_copy(path, &batch.frames, env.now) {
            env.oracle.fail(Invariant::Receipts, text);
        }
        let carries = batch.frames.iter().any(|frame| !matches!(frame, Outgoing::Control(_)));
        if carries && let Some(text) = s.is_removed(path) {
            env.oracle.fail(Invariant::Changes, text);
        }
        if carries && let Some(text) = s.misuses_standby(&self.plan, node, path) {
            env.oracle.fail(Invariant::Standby, text);
        }
        if carries {
            match s.proves(path, env.now) {
                Ok(Proof::None) => {}
                Ok(Proof::Rejoined) => env.oracle.tally.rejoins += 1,
                Ok(Proof::Damped) => env.oracle.tally.damped += 1,
                Err(text) => env.oracle.fail(Invariant::Rejoin, text),
            }
        }
        refuse(env, &mut batch, &mut changed);
        if !changed.is_empty() {
            s.port.handle_changed(now, path, conn, &changed);
        }
        encode(env, &batch, s.flow_out(), &mut hc.output);
        !hc.output.is_empty() || hc.kicked
    }
}

/// A frame in few words.
fn describe(frame: &Outgoing<SentHandle>) -> String {
    match frame {
        Outgoing::Control(frame) => format!("{frame:?}"),
        Outgoing::Bundle { head, .. } => format!("bundle {} +{}", head.sn, head.count),
        Outgoing::Fragment { head, len, .. } => {
            format!("fragment {} [{}..{}] of {}", head.sn, head.offset, head.offset + len, head.total)
        }
    }
}

/// Fragments of what its user has changed since the send are not written.
fn refuse(env: &mut Env, batch: &mut Batch<SentHandle>, changed: &mut Vec<Changed>) {
    for frame in &mut batch.frames {
        let Outgoing::Fragment { head, len, payload } = frame else { continue };
        let given = &payload::bytes(payload.id, payload.len)[head.offset as usize..][..*len as usize];
        if CRC.append(0, &payload.part(env.now, head.offset, *len)) == CRC.append(0, given) {
            continue;
        }
        match env.broken {
            Some(Broken::NewChecksum) => {
                env.broke += 1;
                continue;
            }
            Some(Broken::NoSkip) => env.broke += 1,
            _ => changed.push(Changed { sn: head.sn, len: *len }),
        }
        *frame = Outgoing::Control(Frame::Probe);
    }
}

fn encode(env: &mut Env, batch: &Batch<SentHandle>, flow: FlowKey, out: &mut Vec<u8>) {
    let (now, oracle) = (env.now, &mut env.oracle);
    let mut payloads = batch.payloads.iter().map(SentHandle::bytes);
    let mut rest = Vec::new();
    for frame in &batch.frames {
        match frame {
            Outgoing::Control(frame) => wire::encode_frame(frame, CRC, out),
            Outgoing::Bundle { head, items, .. } => {
                let mut body = Vec::new();
                for (k, item) in batch.items[items.clone()].iter().enumerate() {
                    if item.bytes == ItemBytes::Next {
                        rest = payloads.next().unwrap_or_default();
                    }
                    let behind = rest.split_off(item.len as usize);
                    wire::encode_item(&mut body, item.flags, item.stream, &rest);
                    rest = behind;
                    if item.bytes != ItemBytes::None {
                        oracle.handed(flow, Sn(head.sn.0 + k as u64));
                    }
                }
                out.extend_from_slice(&wire::encode_bundle_head(head, &body, CRC));
                out.extend_from_slice(&body);
            }
            Outgoing::Fragment { head, len, payload } => {
                oracle.handed(flow, head.sn);
                let body = &payload.part(now, head.offset, *len);
                let sum = CRC.append(0, body);
                out.extend_from_slice(&wire::encode_fragment_head(head, *len, sum, CRC));
                out.extend_from_slice(body);
            }
        }
    }
}
