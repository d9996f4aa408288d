//! quinn as a peer of the bench: QUIC on one connection and one stream, encrypted, acknowledged, batched, an 8 MiB window.
//!
//! The command line and the line on standard output are those of `bench.h`, and so is what a message's first byte says. The receiver
//! is a process of its own: this program once more, with `--receive`.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use socket2::{Domain, Protocol, Socket, Type};

const WINDOW: u32 = 8 << 20;
const FRAME: usize = 128 << 10;
/// From here on a message is not copied.
const COPY_UP_TO: usize = 2048;
const TICK: Duration = Duration::from_millis(1);
const BURST: u64 = 20;
/// As the kernel allows.
const SOCKET_BUFFER: usize = 4 << 20;

const PLAIN_MESSAGE: u8 = 0x5a;
const ANSWER: u8 = 1;
const END: u8 = 2;

type Failure = Box<dyn Error>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stream,
    RoundTrip,
    Loaded,
}

struct Options {
    size: usize,
    seconds: f64,
    mode: Mode,
    /// Where sender and receiver run.
    cpus: Option<[usize; 2]>,
    calls: bool,
    receive: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, Failure> {
        let mut options =
            Options { size: 64, seconds: 1.0, mode: Mode::Stream, cpus: None, calls: false, receive: false };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{name}: a value is missing"));
            match name.as_str() {
                "--size" => options.size = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--paths" if value()? == "1" => {}
                "--mode" => {
                    options.mode = match value()?.as_str() {
                        "stream" => Mode::Stream,
                        "round-trip" => Mode::RoundTrip,
                        "loaded" => Mode::Loaded,
                        other => return Err(format!("unknown mode {other}").into()),
                    }
                }
                "--cpus" => {
                    let (send, receive) = value()?.split_once(',').ok_or("two processors")?;
                    options.cpus = Some([send.parse()?, receive.parse()?]);
                }
                "--calls" => options.calls = true,
                "--receive" => options.receive = true,
                other => return Err(format!("this peer has no {other}").into()),
            }
        }
        Ok(options)
    }
}

/// What a process has used since a moment.
struct Used {
    began: Duration,
    calls_began: Option<u64>,
}

fn cpu() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of =
        |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

impl Used {
    fn now(calls: &mut Option<Counter>) -> Result<Used, Failure> {
        Ok(Used { began: cpu()?, calls_began: calls.as_mut().map(Counter::read).transpose()? })
    }

    /// Nanoseconds of processor time, system calls (-1: not counted), peak memory in KiB.
    fn until_now(self, calls: &mut Option<Counter>) -> Result<[i64; 3], Failure> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        let calls = match (self.calls_began, calls) {
            (Some(began), Some(counter)) => (counter.read()? - began) as i64,
            _ => -1,
        };
        Ok([(cpu()? - self.began).as_nanos() as i64, calls, peak.ok_or("no VmHWM")?])
    }
}

/// Before there are threads: they inherit it.
fn take_place(options: &Options, end: usize) -> Result<Option<Counter>, Failure> {
    if let Some(cpus) = options.cpus {
        let mut set = CpuSet::new();
        set.set(cpus[end])?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    if !options.calls {
        return Ok(None);
    }
    let Ok(id) = std::fs::read_to_string("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id") else {
        return Ok(None);
    };
    let mut counter = Builder::new(Tracepoint::with_id(id.trim().parse()?));
    Ok(counter.inherit(true).include_kernel().enabled(true).build().ok())
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .send_window(WINDOW.into())
        .receive_window(VarInt::from_u32(WINDOW))
        .stream_receive_window(VarInt::from_u32(WINDOW));
    Arc::new(transport)
}

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket.into(), Arc::new(TokioRuntime))?)
}

/// One end of the stream: messages with their length before them.
struct Pipe {
    out: SendStream,
    from: RecvStream,
    frame: Vec<u8>,
    read: Vec<u8>,
    at: usize,
    filled: usize,
}

impl Pipe {
    fn new((out, from): (SendStream, RecvStream)) -> Pipe {
        Pipe { out, from, frame: Vec::new(), read: vec![0; 2 * FRAME + (1 << 20)], at: 0, filled: 0 }
    }

    async fn send(&mut self, message: &bytes::Bytes) -> Result<(), Failure> {
        self.frame.extend_from_slice(&(message.len() as u32).to_le_bytes());
        if message.len() <= COPY_UP_TO {
            self.frame.extend_from_slice(message);
            if self.frame.len() >= FRAME {
                self.flush().await?;
            }
        } else {
            self.flush().await?;
            self.out.write_chunk(message.clone()).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if !self.frame.is_empty() {
            let frame = std::mem::replace(&mut self.frame, Vec::with_capacity(FRAME + COPY_UP_TO + 4));
            self.out.write_chunk(frame.into()).await?;
        }
        Ok(())
    }

    /// Where the next message is. What was read of the one before may be overwritten.
    async fn receive(&mut self) -> Result<std::ops::Range<usize>, Failure> {
        loop {
            let have = self.filled - self.at;
            let need = match self.read[self.at..self.filled].first_chunk::<4>() {
                Some(length) => 4 + u32::from_le_bytes(*length) as usize,
                None => 4,
            };
            if have >= need && have >= 4 {
                let found = self.at + 4..self.at + need;
                self.at += need;
                return Ok(found);
            }
            if self.at + need > self.read.len() || self.at == self.filled {
                self.read.copy_within(self.at..self.filled, 0);
                (self.at, self.filled) = (0, have);
            }
            self.filled +=
                self.from.read(&mut self.read[self.filled..]).await?.ok_or("the other end went away")?;
        }
    }
}

/// The receiver: says where it is and who, in a line; and what it used, in another.
async fn receive(options: &Options, mut calls: Option<Counter>) -> Result<(), Failure> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut server = ServerConfig::with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    server.transport_config(transport());
    let endpoint = endpoint(Some(server))?;
    let hex: String = certified.cert.der().iter().map(|byte| format!("{byte:02x}")).collect();
    say(&format!("{} {hex}", endpoint.local_addr()?))?;
    let connection = endpoint.accept().await.ok_or("closed")?.await?;
    let mut pipe = Pipe::new(connection.accept_bi().await?);
    let mut begun = None;
    loop {
        let found = pipe.receive().await?;
        if begun.is_none() {
            begun = Some(Used::now(&mut calls)?);
        }
        let kind = pipe.read[found.start];
        if kind == PLAIN_MESSAGE {
            continue;
        }
        let answer = bytes::Bytes::copy_from_slice(&pipe.read[found]);
        debug_assert_eq!(answer.len(), options.size);
        pipe.send(&answer).await?;
        pipe.flush().await?;
        if kind == END {
            break;
        }
    }
    let [cpu, count, peak] = begun.ok_or("nothing came")?.until_now(&mut calls)?;
    say(&format!("{cpu} {count} {peak}"))?;
    connection.closed().await;
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The receiver's process.
struct Receiver {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Receiver {
    fn start(arguments: &[String]) -> Result<Receiver, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .arg("--receive")
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Receiver { child, lines })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if line.is_empty() { Err("the receiver failed".into()) } else { Ok(line.trim_end().to_owned()) }
    }

    fn end(mut self) -> Result<(), Failure> {
        self.lines.read_to_end(&mut Vec::new())?;
        if self.child.wait()?.success() { Ok(()) } else { Err("the receiver failed".into()) }
    }
}

async fn connect(at: &str) -> Result<quinn::Connection, Failure> {
    let (address, hex) = at.split_once(' ').ok_or("no address")?;
    let bytes: Result<Vec<u8>, _> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16)).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(bytes?))?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client.transport_config(transport());
    Ok(endpoint(None)?.connect_with(client, address.parse()?, "localhost")?.await?)
}

/// What the sender measured.
#[derive(Default)]
struct Figures {
    messages: u64,
    elapsed: Duration,
    rounds: Vec<Duration>,
}

async fn drive(options: &Options, pipe: &mut Pipe) -> Result<Figures, Failure> {
    let message = |kind| {
        let mut bytes = vec![PLAIN_MESSAGE; options.size];
        bytes[0] = kind;
        bytes::Bytes::from(bytes)
    };
    let (plain, ask, last) = (message(PLAIN_MESSAGE), message(ANSWER), message(END));
    let mut figures = Figures::default();
    let (start, time) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    match options.mode {
        Mode::Stream => {
            let run = ((64 << 10) / options.size).max(1) as u64;
            while start.elapsed() < time {
                for _ in 0..run {
                    pipe.send(&plain).await?;
                }
                figures.messages += run;
            }
        }
        Mode::RoundTrip => {
            while start.elapsed() < time {
                let before = Instant::now();
                pipe.send(&ask).await?;
                pipe.flush().await?;
                pipe.receive().await?;
                figures.rounds.push(before.elapsed());
                figures.messages += 1;
            }
            figures.elapsed = start.elapsed();
        }
        Mode::Loaded => {
            let mut due = start;
            while due < start + time && start.elapsed() < time {
                // This is no worker of the runtime: it may block.
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                for _ in 1..BURST {
                    pipe.send(&plain).await?;
                }
                pipe.send(&ask).await?;
                pipe.flush().await?;
                pipe.receive().await?;
                figures.rounds.push(due.elapsed());
                figures.messages += BURST;
                due += TICK;
            }
            figures.elapsed = start.elapsed();
        }
    }
    pipe.send(&last).await?;
    pipe.flush().await?;
    pipe.receive().await?;
    if options.mode == Mode::Stream {
        figures.elapsed = start.elapsed();
    }
    Ok(figures)
}

async fn send(options: &Options, arguments: &[String], mut calls: Option<Counter>) -> Result<(), Failure> {
    let mut receiver = Receiver::start(arguments)?;
    let connection = connect(&receiver.line()?).await?;
    let mut pipe = Pipe::new(connection.open_bi().await?);
    let begun = Used::now(&mut calls)?;
    let mut figures = drive(options, &mut pipe).await?;
    let mine = begun.until_now(&mut calls)?;
    let its = receiver.line()?;
    connection.close(VarInt::from_u32(0), b"");
    receiver.end()?;
    let its: Result<Vec<i64>, _> = its.split(' ').map(str::parse).collect();
    print(options, &mut figures, [("send", &mine), ("receive", &its?)])?;
    Ok(())
}

fn print(options: &Options, figures: &mut Figures, used: [(&str, &[i64]); 2]) -> std::io::Result<()> {
    let (messages, seconds) = (figures.messages.max(1) as f64, figures.elapsed.as_secs_f64());
    let mut line = format!(
        "{{\"messages\":{},\"seconds\":{seconds:.6},\"throughput\":{:.3},\"bandwidth\":{:.6}",
        figures.messages,
        messages / seconds,
        messages * options.size as f64 / seconds / 1e9
    );
    figures.rounds.sort_unstable();
    if !figures.rounds.is_empty() {
        for (name, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            let round = figures.rounds[figures.rounds.len() * per_mille / 1000];
            line += &format!(",\"{name}\":{:.2}", round.as_nanos() as f64 / 1e3);
        }
    }
    for (end, [cpu, calls, peak]) in used.map(|(end, used)| (end, [used[0], used[1], used[2]])) {
        if calls >= 0 {
            line += &format!(",\"calls {end}\":{:.5}", calls as f64 / messages);
        }
        line += &format!(",\"cpu {end}\":{:.3},\"memory {end}\":{peak}", cpu as f64 / messages);
    }
    say(&(line + "}"))
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::parse(&arguments)?;
    if options.receive {
        set_pdeathsig(Signal::SIGKILL)?;
    }
    let calls = take_place(&options, usize::from(options.receive))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.receive { receive(&options, calls).await } else { send(&options, &arguments, calls).await }
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("quinn-peer: {e}");
            ExitCode::FAILURE
        }
    }
}
