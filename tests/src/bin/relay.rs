//! `cdps-relay`: one network path as a process that can be frozen and killed, and told to be deaf.

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use cdps_tests::relay::{BUFFER, Direction, MAX_BUFFER, Options, Relay};
use clap::Parser;

/// Relays TCP connections and holds little of them. Prints the address that it listens on.
///
/// Lines on standard input are orders: "silence forth", "silence back" (nothing more goes that way; forth is from the side that
/// connects), "flow forth", "flow back", "reset" (every connection). Each is answered by "done".
#[derive(Parser, Debug)]
#[command(name = "cdps-relay", version)]
struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where to connect to
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// Bytes held per direction and connection, kernel buffers included (suffix K); half of it for what is held back
    #[arg(long, default_value_t = BUFFER, value_parser = buffer)]
    buffer: usize,
    /// Bytes per second, per direction and connection; 0: no limit
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    rate: u64,
    /// Milliseconds that every byte is held back
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
}

fn buffer(text: &str) -> Result<usize, String> {
    let (digits, unit) = text.strip_suffix(['K', 'k']).map_or((text, 1), |digits| (digits, 1024));
    let bytes = digits.parse::<usize>().map_err(|e| e.to_string())?.saturating_mul(unit);
    if (16 << 10..=MAX_BUFFER).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{bytes} bytes; allowed is 16K to {}K", MAX_BUFFER >> 10))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cdps-relay: {} -> {}: {e}", args.listen, args.to);
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    let delay = Duration::from_millis(args.delay);
    let options = Options { listen: args.listen, to: args.to, buffer: args.buffer, rate: args.rate, delay };
    let relay = Relay::start(options)?;
    say(&relay.address());
    for line in io::stdin().lock().lines() {
        obey(&relay, &line?)?;
        say(&"done");
    }
    // Nobody has orders any more.
    relay.join()
}

/// A parent that reads waits for it; one that has gone away needs no answer.
fn say(what: &dyn Display) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{what}").and_then(|()| out.flush()));
}

fn obey(relay: &Relay, order: &str) -> io::Result<()> {
    match order {
        "silence forth" => relay.silence(Direction::Forth, true),
        "silence back" => relay.silence(Direction::Back, true),
        "flow forth" => relay.silence(Direction::Forth, false),
        "flow back" => relay.silence(Direction::Back, false),
        "reset" => relay.reset(),
        other => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no order: {other}"))),
    }
    Ok(())
}
