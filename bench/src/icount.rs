//! Does one kind of engine work a given number of times, for `bench/icount.py` to count its instructions.
//!
//! Two ports of `cdps-core` are connected in memory. No checksum (its function comes from outside), no sockets, no payload copies
//! beyond what the codec does: what is counted is the engine and the codec.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use cdps_core::cluster::{Health, LinkState};
use cdps_core::config::{AckModel, PortConfig, Target};
use cdps_core::id::{ConnId, Incarnation, NodeId, PathId, SessionId, StreamId};
use cdps_core::port::{Action, Batch, CreditToken, Event, Inbound, Outbound, Outgoing, Payload, Port, Queue};
use cdps_core::secret::Secret;
use cdps_core::time::{Duration, Time};
use cdps_core::wire::{
    Checksum, Decoder, Items, NodeBody, Step, encode_bundle_head, encode_frame, encode_item,
};

/// Messages per batch, as in one read of a busy socket.
const BATCH: u64 = 64;
const SIZE: usize = 64;
const NO_SUM: Checksum = Checksum(None);

type Engine = Port<Handle, u32>;

/// As large as the driver's handles, so that moving them counts. Payloads lie one behind the other.
#[derive(Clone)]
#[expect(dead_code, reason = "it is there to be moved")]
struct Handle([u64; 3]);

impl Payload for Handle {
    fn join(&mut self, _next: &Self) -> bool {
        true
    }
}
type Failure = Box<dyn Error>;

/// What is done with each message. Each step includes those before it, so that differences of counts tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Work {
    /// The send call, nothing else.
    Send,
    /// Send calls, then `poll_transmit` until it says false.
    Transmit,
    /// And the frames as bytes.
    Encode,
    /// And decoded at the target, handed to its port in one batch, delivered and released.
    Receive,
    /// And receipts brought back, sends completed.
    Complete,
}

/// How messages lie in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Frames {
    /// A batch is one frame.
    Bundled,
    /// Each message is a frame.
    Single,
}

struct Bench {
    source: Engine,
    target: Engine,
    path: PathId,
    conn: ConnId,
    now: Time,
    batch: Batch<Handle>,
    bytes: Vec<u8>,
    body: Vec<u8>,
    inbound: Vec<Inbound<u32>>,
    decoder: Decoder,
    /// Taken at once, as the driver does.
    events: Queue<Event<Handle, u32>>,
    /// Frames that each side has received whole.
    to_target: u64,
    to_source: u64,
    payload: [u8; SIZE],
}

impl Bench {
    fn new() -> Result<Bench, Failure> {
        let now = Time(1_000_000_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let config = PortConfig {
            client: "bench".into(),
            targets: vec![Target { node: NodeId(2), addresses: vec![address.into()] }],
            ack: AckModel::Asynchronous,
            window: 1 << 36,
            send_buffer_max: 1 << 36,
            max_pending_events: 1 << 24,
            ..PortConfig::default()
        };
        let session = SessionId { node: NodeId(1), incarnation: Incarnation(11), port: 1 };
        let mut source = Engine::source(config.clone(), session, 1)?;
        source.register()?;
        source.initialize()?;
        source.connect(now, Some(NodeId(2)))?;
        let mut target = None;
        let mut dialled = None;
        while let Some(action) = source.poll_action() {
            match action {
                Action::Tell { body: NodeBody::Connect(connect), .. } => {
                    let port = Engine::target(config.clone(), &connect, Secret::new([7; 32]), now, 2)?;
                    source.handle_answer(now, &port.answer(vec![address]));
                    target = Some(port);
                }
                Action::Dial { path, conn, .. } => dialled = Some((path, conn)),
                _ => {}
            }
        }
        let (path, conn) = dialled.ok_or("the source dialled nothing")?;
        let mut target = target.ok_or("the source asked for no connection")?;
        let good = LinkState { health: Health::Good, rtt: Some(Duration::from_micros(50)), one_way: None };
        source.handle_link(now, path, good);
        target.handle_link(now, path, good);
        target.handle_conn_up(now, path, conn);
        source.handle_conn_up(now, path, conn);
        let mut bench = Bench {
            source,
            target,
            path,
            conn,
            now,
            batch: Batch::default(),
            bytes: Vec::with_capacity(1 << 20),
            body: Vec::with_capacity(1 << 17),
            inbound: Vec::with_capacity(1 << 10),
            decoder: Decoder::new(NO_SUM),
            events: Queue::default(),
            to_target: 0,
            to_source: 0,
            payload: [0x5a; SIZE],
        };
        // What both sides say first (PATH_STATUS, receipts) is not counted with the work.
        for _ in 0..4 {
            bench.tick();
            bench.run(Work::Complete, Frames::Bundled, 1)?;
        }
        Ok(bench)
    }

    fn tick(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.source.handle_timeout(self.now);
        self.target.handle_timeout(self.now);
    }

    /// One batch of `messages`.
    fn run(&mut self, work: Work, frames: Frames, messages: u64) -> Result<(), Failure> {
        self.now = self.now + Duration::from_micros(10);
        self.bytes.clear();
        for _ in 0..messages {
            let len = SIZE as u32;
            let message = Outbound {
                stream: StreamId(1),
                len,
                ack: None,
                deadline: None,
                barrier: false,
                payload: Handle([0; 3]),
            };
            self.source.send(self.now, message).map_err(|refused| refused.0)?;
            if frames == Frames::Single && work > Work::Send {
                self.transmit(Side::Source, work >= Work::Encode);
            }
        }
        if frames == Frames::Bundled && work > Work::Send {
            self.transmit(Side::Source, work >= Work::Encode);
        }
        if work >= Work::Receive {
            self.receive(Side::Target)?;
            self.target.take_events(true, &mut self.events);
            let mut credit = CreditToken { account: 0, cost: 0 };
            while let Some(event) = self.events.pop_front() {
                if let Event::Received(message) = event {
                    credit = CreditToken { cost: credit.cost + message.credit.cost, ..message.credit };
                }
            }
            self.target.release(self.now, credit);
        }
        if work >= Work::Complete {
            self.bytes.clear();
            self.transmit(Side::Target, true);
            self.receive(Side::Source)?;
            self.source.handle_told(self.now);
            self.source.take_events(true, &mut self.events);
            while self.events.pop_front().is_some() {}
        }
        Ok(())
    }

    fn transmit(&mut self, from: Side, encode: bool) {
        let port = match from {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        port.take_kicks();
        loop {
            self.batch.clear();
            let more = port.poll_transmit(self.now, self.path, self.conn, &mut self.batch);
            if encode {
                for frame in &self.batch.frames {
                    match frame {
                        Outgoing::Control(frame) => encode_frame(frame, NO_SUM, &mut self.bytes),
                        Outgoing::Bundle { head, items, .. } => {
                            self.body.clear();
                            for item in &self.batch.items[items.clone()] {
                                encode_item(&mut self.body, item.flags, item.stream, &self.payload);
                            }
                            self.bytes.extend_from_slice(&encode_bundle_head(head, &self.body, NO_SUM));
                            self.bytes.extend_from_slice(&self.body);
                        }
                        Outgoing::Fragment { .. } => {}
                    }
                }
            }
            if !more {
                break;
            }
        }
    }

    fn receive(&mut self, at: Side) -> Result<(), Failure> {
        let (port, frames) = match at {
            Side::Source => (&mut self.source, &mut self.to_source),
            Side::Target => (&mut self.target, &mut self.to_target),
        };
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            match self.decoder.step(rest)? {
                Step::Need(_) | Step::Fragment { .. } => {
                    return Err("an incomplete frame, or a fragment".into());
                }
                Step::Frame { frame, consumed } => {
                    self.inbound.push(Inbound::Frame(Box::new(frame)));
                    rest = &rest[consumed..];
                }
                Step::Bundle { head, body, consumed } => {
                    for item in Items::new(&head, &rest[body]) {
                        self.inbound.push(Inbound::Message { item: item?, payload: 0 });
                    }
                    rest = &rest[consumed..];
                }
            }
            *frames += 1;
        }
        port.handle_inbound(self.now, self.path, self.conn, *frames, &mut self.inbound, true)
            .map_err(|reason| format!("{at:?}: {reason}"))?;
        self.inbound.clear();
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Target,
}

fn work(arguments: &[String]) -> Result<(), Failure> {
    let [work, frames, batches] = arguments else {
        return Err("usage: cdps-icount send|transmit|encode|receive|complete bundled|single BATCHES".into());
    };
    let work = match work.as_str() {
        "send" => Work::Send,
        "transmit" => Work::Transmit,
        "encode" => Work::Encode,
        "receive" => Work::Receive,
        "complete" => Work::Complete,
        other => return Err(format!("unknown work {other}").into()),
    };
    let frames = match frames.as_str() {
        "bundled" => Frames::Bundled,
        "single" => Frames::Single,
        other => return Err(format!("unknown frames {other}").into()),
    };
    let batches: u64 = batches.parse()?;
    let mut bench = Bench::new()?;
    for _ in 0..batches {
        bench.run(work, frames, BATCH)?;
    }
    let stats = (bench.source.stats(), bench.target.stats());
    if work >= Work::Receive && stats.1.messages_received < batches * BATCH {
        return Err(format!("only {} messages were received", stats.1.messages_received).into());
    }
    if work >= Work::Complete && stats.0.completed < batches * BATCH {
        return Err(format!("only {} messages were completed", stats.0.completed).into());
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match work(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cdps-icount: {e}");
            ExitCode::FAILURE
        }
    }
}
