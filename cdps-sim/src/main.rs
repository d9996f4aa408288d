//! `cdps-sim --seeds 2000`: runs seeds until one fails.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cdps_sim::{Broken, Invariant, Options, Outcome, Tally, Violation, run, run_printing};
use clap::Parser;

/// Runs clusters of the CDPS engine under faults, in virtual time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000, conflicts_with = "seed")]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    start: u64,
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens (with --seed).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run an engine that is broken on purpose.
    #[arg(long, value_parser = broken)]
    broken: Option<Broken>,
    /// List the ways to be broken.
    #[arg(long)]
    list_broken: bool,
    /// Leave every fault out.
    #[arg(long)]
    no_faults: bool,
    /// An hour of virtual time in which paths flap and targets fail.
    #[arg(long, conflicts_with = "no_faults")]
    hour: bool,
    /// Go on after a failure, and list every seed that fails.
    #[arg(long)]
    keep_going: bool,
    /// Threads; default: one per core.
    #[arg(long)]
    threads: Option<usize>,
}

fn broken(name: &str) -> Result<Broken, String> {
    Broken::from_name(name).ok_or_else(|| format!("{name} is not one of those that --list-broken lists"))
}

/// Standard output may be a closed pipe; that is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_broken {
        for b in Broken::ALL {
            say(&format!("{:16} {}", b.name(), b.what()));
        }
        return ExitCode::SUCCESS;
    }
    let options = Options { broken: arguments.broken, no_faults: arguments.no_faults, hour: arguments.hour };
    match arguments.seed {
        Some(seed) => one(seed, options, arguments.trace),
        None => many(&arguments, options),
    }
}

fn one(seed: u64, options: Options, trace: bool) -> ExitCode {
    let outcome = if trace { run_printing(seed, options) } else { run(seed, options) };
    let t = outcome.tally;
    say(&format!(
        "seed {seed}: {:.3} virtual seconds, {} sent, {} completed, {} nacked, {} delivered, {} downs, {} switches, fingerprint {:016x}",
        outcome.lasted, t.sent, t.completed, t.nacked, t.delivered, t.downs, t.switches, outcome.fingerprint
    ));
    match &outcome.violation {
        Some(violation) => {
            report(seed, options, violation);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn report(seed: u64, options: Options, violation: &Violation) {
    let extra = options.broken.map_or(String::new(), |b| format!(" --broken {b}"));
    let extra = extra + if options.no_faults { " --no-faults" } else { "" };
    let extra = extra + if options.hour { " --hour" } else { "" };
    say(&format!("seed {seed} FAILED after {:.6} virtual seconds", violation.at));
    say(&format!("  broken rule: {}", violation.invariant));
    say(&format!("  {}", violation.text));
    say(&format!("  replay: cargo run --release -p cdps-sim -- --seed {seed} --trace{extra}"));
}

/// A run whose panic counts as a violation.
fn guarded(seed: u64, options: Options) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "a panic without a text".into());
        let violation = Violation { invariant: Invariant::Sanity, at: 0.0, text: format!("panic: {text}") };
        Outcome {
            seed,
            violation: Some(violation),
            lasted: 0.0,
            fingerprint: 0,
            tally: Tally::default(),
            broke: 0,
        }
    })
}

#[derive(Default)]
struct Progress {
    done: u64,
    lasted: f64,
    tally: Tally,
    failed: Vec<(u64, Violation)>,
}

fn many(arguments: &Arguments, options: Options) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.unwrap_or(cores).max(1);
    let next = AtomicU64::new(0);
    let progress = Mutex::new(Progress::default());
    let began = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    if !terminal {
        // Violations are reported; the panics among them need not be printed twice.
        std::panic::set_hook(Box::new(|_| {}));
    }
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= arguments.seeds {
                        break;
                    }
                    let outcome = guarded(arguments.start + n, options);
                    let Ok(mut p) = progress.lock() else { break };
                    p.take(&outcome);
                    if outcome.violation.is_some() && !arguments.keep_going {
                        next.store(arguments.seeds, Ordering::Relaxed);
                    }
                }
            });
        }
        if terminal {
            watch(&progress, arguments.seeds, began);
        }
    });
    let Ok(mut p) = progress.into_inner() else { return ExitCode::FAILURE };
    p.failed.sort_by_key(|f| f.0);
    for (seed, violation) in &p.failed {
        report(*seed, options, violation);
    }
    let took = began.elapsed().as_secs_f64();
    let t = p.tally;
    say(&format!(
        "{} seeds, {} failed; {:.0} virtual seconds in {took:.1} s; {} sent, {} completed, {} nacked, {} delivered, {} downs, {} switches ({} planned, {} more given up), {} returns in grace, {} resets ({} not delivered, {} delivered, {} acknowledged), {} reconnects, {} graceful closes by targets, {} sent while suspended, {} barriers, {} urgent beside kept bulk, {} changed by users, {} expired, {} overdue, {} backups asked for, {} targets fenced, {} suspicions ({} of healthy paths), {} one-way losses named, {} rejoins ({} damped), longest hidden pause {:.3} s, ack {:.3} s, expiry {:.3} s, switch {:.3} s",
        p.done,
        p.failed.len(),
        p.lasted,
        t.sent,
        t.completed,
        t.nacked,
        t.delivered,
        t.downs,
        t.switches,
        t.planned[0],
        t.planned[1],
        t.returns,
        t.resets,
        t.resolved[0],
        t.resolved[1],
        t.resolved[2],
        t.reconnects,
        t.closed_well,
        t.queued,
        t.barriers,
        t.urgent,
        t.changed,
        t.expired,
        t.overdue,
        t.questions,
        t.fenced,
        t.suspicions,
        t.false_suspicions,
        t.one_ways,
        t.rejoins,
        t.damped,
        t.longest_arrival as f64 / 1e9,
        t.longest_ack as f64 / 1e9,
        t.longest_expiry as f64 / 1e9,
        t.longest_switch as f64 / 1e9
    ));
    if p.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Progress {
    fn take(&mut self, outcome: &Outcome) {
        self.done += 1;
        self.lasted += outcome.lasted;
        let (sum, t) = (&mut self.tally, outcome.tally);
        sum.sent += t.sent;
        sum.completed += t.completed;
        sum.nacked += t.nacked;
        sum.delivered += t.delivered;
        sum.downs += t.downs;
        sum.switches += t.switches;
        sum.planned = std::array::from_fn(|k| sum.planned[k] + t.planned[k]);
        sum.returns += t.returns;
        sum.resets += t.resets;
        sum.reconnects += t.reconnects;
        sum.resolved = std::array::from_fn(|k| sum.resolved[k] + t.resolved[k]);
        sum.closed_well += t.closed_well;
        sum.queued += t.queued;
        sum.barriers += t.barriers;
        sum.urgent += t.urgent;
        sum.changed += t.changed;
        sum.expired += t.expired;
        sum.overdue += t.overdue;
        sum.questions += t.questions;
        sum.fenced += t.fenced;
        sum.suspicions += t.suspicions;
        sum.false_suspicions += t.false_suspicions;
        sum.one_ways += t.one_ways;
        sum.rejoins += t.rejoins;
        sum.damped += t.damped;
        sum.longest_ack = sum.longest_ack.max(t.longest_ack);
        sum.longest_expiry = sum.longest_expiry.max(t.longest_expiry);
        sum.longest_switch = sum.longest_switch.max(t.longest_switch);
        sum.longest_arrival = sum.longest_arrival.max(t.longest_arrival);
        if let Some(violation) = &outcome.violation {
            self.failed.push((outcome.seed, violation.clone()));
        }
    }
}

/// A line on the terminal that says how far it is.
fn watch(progress: &Mutex<Progress>, seeds: u64, began: Instant) {
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let Ok(p) = progress.lock() else { return };
        let rate = p.done as f64 / began.elapsed().as_secs_f64();
        eprint!("\r{} of {seeds} seeds, {} failed, {rate:.0} a second   ", p.done, p.failed.len());
        if p.done >= seeds || !p.failed.is_empty() {
            eprintln!();
            return;
        }
    }
}
