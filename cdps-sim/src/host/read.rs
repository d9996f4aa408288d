//! From the network to the engines: read, decode, hand in.

use cdps_core::id::{ConnId, Generation, PathId, Side as PortSide};
use cdps_core::port::{Inbound, Placement};
use cdps_core::reason::Reason;
use cdps_core::wire::{FragmentHead, Frame, Item, Items, Step, item};

use super::conn::{Body, Place, Stage, Use};
use super::{Host, Slot};
use crate::broken::Broken;
use crate::checksum::CRC;
use crate::env::{Env, note};
use crate::net::ReadEnd;
use crate::payload::{Buffer, Received};
use crate::rules::Invariant;

/// The port that a data connection serves.
#[derive(Clone, Copy)]
struct Serves {
    slot: usize,
    path: PathId,
    conn: ConnId,
    generation: Generation,
}

/// What one read brought, on its way to the engine.
struct Digest {
    input: Vec<u8>,
    /// Decoded up to here.
    at: usize,
    items: Vec<Inbound<Received>>,
    /// Frames that the engine knows of.
    before: u64,
}

impl Host {
    /// Reads all there is, a chunk at a time; each chunk is one batch for the engine.
    pub(super) fn readable(&mut self, env: &mut Env, c: usize) {
        loop {
            let Some(hc) = self.conns.get_mut(&c) else { return };
            let (n, end) = env.net_read(c, hc.side, self.plan.read_chunk, &mut hc.input);
            if hc.stage == Stage::Lingering {
                hc.input.clear();
                if n == 0 && end != ReadEnd::Open {
                    self.hang_up(env, c, None);
                    return;
                }
            } else if end == ReadEnd::Reset {
                self.lost(env, c, Reason::ConnectionLost);
                return;
            } else {
                let drained = n < self.plan.read_chunk;
                let ready = hc.stage == Stage::Ready;
                if let Err(reason) = self.digest(env, c, drained) {
                    if ready && !self.plan.has_corruption() && env.broken.is_none() {
                        let text =
                            format!("node {}: conn {c}: {reason}, and no byte was damaged", self.node());
                        env.oracle.fail(Invariant::Sanity, text);
                    }
                    self.refuse(env, c, reason);
                    return;
                }
                if drained && end == ReadEnd::Ended {
                    self.lost(env, c, Reason::ConnectionLost);
                    return;
                }
            }
            if n < self.plan.read_chunk {
                return;
            }
        }
    }

    /// Decodes what has been read.
    fn digest(&mut self, env: &mut Env, c: usize, drained: bool) -> Result<(), Reason> {
        let Some(hc) = self.conns.get_mut(&c) else { return Ok(()) };
        let mut d =
            Digest { input: std::mem::take(&mut hc.input), at: 0, items: Vec::new(), before: hc.frames };
        let result = loop {
            match self.digest_one(env, c, &mut d) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        // What came whole before the fault is good, and was counted.
        let handed_in = self.hand_in(env, c, &mut d, drained);
        if let Some(hc) = self.conns.get_mut(&c) {
            hc.input = d.input;
            hc.input.drain(..d.at);
        }
        result.and(handed_in)
    }

    /// Takes the next frame, or the body of one. False: there is no whole one.
    fn digest_one(&mut self, env: &mut Env, c: usize, d: &mut Digest) -> Result<bool, Reason> {
        let Some(hc) = self.conns.get_mut(&c) else { return Ok(false) };
        if let Some(mut body) = hc.body.take() {
            d.at += body.take(&d.input[d.at..]);
            if body.done < body.len {
                hc.body = Some(body);
                return Ok(false);
            }
            hc.frames += 1;
            self.body_done(env, c, body, &mut d.items)?;
            return Ok(true);
        }
        let step = hc.decoder.step(&d.input[d.at..]).map_err(|e| {
            note!(env, "conn {c}: {e}");
            e.reason()
        })?;
        let ready = hc.stage == Stage::Ready;
        let control = matches!(hc.usage, Use::Control { .. });
        match step {
            Step::Need(_) => return Ok(false),
            Step::Frame { frame, consumed } => {
                d.at += consumed;
                if !ready {
                    self.handshake(env, c, frame)?;
                } else if control {
                    self.control_frame(env, c, frame)?;
                } else {
                    hc.frames += 1;
                    d.items.push(Inbound::Frame(Box::new(frame)));
                }
            }
            Step::Bundle { head, body, consumed } if ready && !control => {
                hc.frames += 1;
                let bytes = &d.input[d.at..][body];
                d.at += consumed;
                for item in Items::new(&head, bytes) {
                    self.bundled(env, c, item.map_err(|e| e.reason())?, bytes, &mut d.items);
                }
            }
            Step::Fragment { head, len, crc, consumed } if ready && !control => {
                d.at += consumed;
                // In the order in which they came: the engine must know what was before.
                self.hand_in(env, c, d, false)?;
                self.fragment_begins(env, c, &head, len, crc)?;
            }
            Step::Bundle { .. } | Step::Fragment { .. } => return Err(Reason::ProtocolError),
        }
        Ok(true)
    }

    fn hand_in(&mut self, env: &mut Env, c: usize, d: &mut Digest, drained: bool) -> Result<(), Reason> {
        let now = self.clock(env);
        let mut items = std::mem::take(&mut d.items);
        let Some(hc) = self.conns.get_mut(&c) else { return Ok(()) };
        let Use::Data { slot, path, conn, .. } = hc.usage else { return Ok(()) };
        if hc.stage != Stage::Ready || d.before == hc.frames {
            return Ok(());
        }
        d.before = hc.frames;
        let frames = hc.frames;
        self.check_release(env, &items);
        let Some(s) = self.slots[slot].as_mut() else { return Ok(()) };
        if s.conns.get(&(path, conn)) != Some(&c) {
            return Ok(());
        }
        crate::mutate::inbound(env, &mut items);
        if env.tracing() {
            for inbound in &items {
                let text = describe(inbound);
                note!(
                    env,
                    "n{} p{slot}: path {path} conn {conn} -> {text}",
                    self.plan.hosts[self.index].node
                );
            }
        }
        s.port.handle_inbound(now, path, conn, frames, &mut items, drained)
    }

    fn control_frame(&mut self, env: &mut Env, c: usize, frame: Frame) -> Result<(), Reason> {
        let now = self.clock(env);
        let Some(Use::Control { key, serial }) = self.conns.get(&c).map(|hc| hc.usage) else { return Ok(()) };
        match self.engine.as_mut() {
            Some(engine) => engine.handle_frame(now, key, serial, frame),
            None => Ok(()),
        }
    }

    fn serves(&mut self, c: usize) -> Option<(Serves, &mut Slot)> {
        let Use::Data { slot, path, conn, generation, .. } = self.conns.get(&c)?.usage else { return None };
        let s = self.slots[slot].as_mut()?;
        Some((Serves { slot, path, conn, generation }, s))
    }

    fn bundled(
        &mut self,
        env: &mut Env,
        c: usize,
        item: Item,
        body: &[u8],
        items: &mut Vec<Inbound<Received>>,
    ) {
        let Some((serves, s)) = self.serves(c) else { return };
        let bytes = &body[item.offset as usize..(item.offset + item.len) as usize];
        let meter = s.meter(serves.generation);
        let payload = Buffer::from_vec(bytes.to_vec(), &meter);
        self.whole(env, serves, item, payload, items);
    }

    /// A whole message is about to be shown to the engine.
    fn whole(
        &mut self,
        env: &mut Env,
        serves: Serves,
        it: Item,
        payload: Received,
        items: &mut Vec<Inbound<Received>>,
    ) {
        let Some(s) = self.slots[serves.slot].as_mut() else { return };
        let flow = s.flow_in(serves.generation);
        let Item { sn, stream, ssn, flags, len, .. } = it;
        if flags & item::TOMBSTONE == 0
            && env.broken == Some(Broken::NoDedup)
            && s.side == PortSide::Target
            && env.oracle.has_arrived(flow, serves.generation, sn)
        {
            env.broke += 1;
            crate::mutate::deliver_again(env, s, serves.generation, &it, &payload);
        }
        let head = FragmentHead { sn, ssn, stream, offset: 0, total: len, flags };
        s.shown(env, serves, &head, len);
        items.push(Inbound::Message { item: it, payload });
    }

    fn fragment_begins(
        &mut self,
        env: &mut Env,
        c: usize,
        head: &FragmentHead,
        len: u32,
        crc: u32,
    ) -> Result<(), Reason> {
        let now = self.clock(env);
        let Some((serves, s)) = self.serves(c) else { return Err(Reason::UnknownSession) };
        let meter = s.meter(serves.generation);
        let place = if len == head.total {
            if u64::from(head.total) > u64::from(s.port.config().max_message) {
                return Err(Reason::Limit);
            }
            Place::Whole(Buffer::zeroed(len as usize, &meter))
        } else {
            let Serves { path, conn, .. } = serves;
            let mut placement = s.port.begin_fragment(now, path, conn, head, len, None)?;
            if matches!(placement, Placement::NeedBuffer) {
                let offered = Buffer::zeroed(head.total as usize, &meter);
                placement = s.port.begin_fragment(now, path, conn, head, len, Some(offered))?;
            }
            match placement {
                Placement::Discard => Place::Nowhere,
                Placement::Into(buffer) => Place::Into(buffer),
                Placement::Aside => Place::Aside(Buffer::zeroed(len as usize, &meter)),
                Placement::NeedBuffer => return Err(Reason::Limit),
            }
        };
        let body = Body { head: *head, len, done: 0, crc, sum: 0, place };
        if let Some(hc) = self.conns.get_mut(&c) {
            hc.body = Some(body);
        }
        Ok(())
    }

    /// The body of a fragment has come whole.
    fn body_done(
        &mut self,
        env: &mut Env,
        c: usize,
        body: Body,
        items: &mut Vec<Inbound<Received>>,
    ) -> Result<(), Reason> {
        if body.sum != body.crc && env.broken != Some(Broken::NoChecksum) {
            return Err(Reason::BadChecksum);
        }
        let Some((serves, s)) = self.serves(c) else { return Err(Reason::UnknownSession) };
        let FragmentHead { sn, ssn, stream, offset, flags, .. } = body.head;
        let len = body.len;
        match body.place {
            Place::Nowhere => {}
            Place::Whole(payload) => {
                let item = Item { sn, stream, ssn, flags, offset: 0, len };
                self.whole(env, serves, item, payload, items);
            }
            Place::Into(_) => {
                s.shown(env, serves, &body.head, len);
                items.push(Inbound::Fragment { sn, offset, len });
            }
            Place::Aside(payload) => {
                s.shown(env, serves, &body.head, len);
                items.push(Inbound::Aside { sn, offset, len, payload });
            }
        }
        Ok(())
    }
}

impl Slot {
    /// The engine is about to be shown a message, or a part of it; it looks at none of a session that it has ended.
    fn shown(&self, env: &mut Env, serves: Serves, head: &FragmentHead, len: u32) {
        if self.port.path_ids().any(|path| path == serves.path) {
            env.oracle.arrived(self.flow_in(serves.generation), serves.generation, head, len);
        }
    }
}

impl Body {
    /// Takes bytes that belong to the body; says how many.
    fn take(&mut self, input: &[u8]) -> usize {
        let n = input.len().min((self.len - self.done) as usize);
        let bytes = &input[..n];
        self.sum = CRC.append(self.sum, bytes);
        let start = match &self.place {
            Place::Into(_) => self.head.offset + self.done,
            Place::Whole(_) | Place::Aside(_) | Place::Nowhere => self.done,
        } as usize;
        match &self.place {
            Place::Nowhere => {}
            Place::Whole(buffer) | Place::Into(buffer) | Place::Aside(buffer) => {
                buffer.bytes.borrow_mut()[start..start + n].copy_from_slice(bytes);
            }
        }
        self.done += n as u32;
        n
    }
}

/// What came, in few words.
fn describe(inbound: &Inbound<Received>) -> String {
    match inbound {
        Inbound::Message { item, .. } => format!(
            "message {} stream {} ssn {} flags {:#x}, {} bytes",
            item.sn, item.stream, item.ssn, item.flags, item.len
        ),
        Inbound::Fragment { sn, offset, len } => format!("fragment {sn} [{offset}..{}]", offset + len),
        Inbound::Aside { sn, offset, len, .. } => format!("aside {sn} [{offset}..{}]", offset + len),
        Inbound::Frame(frame) => format!("{frame:?}"),
    }
}
