//! What is measured: how unequal paths add up, what waits in the kernel, and how long a failover takes.

use std::time::Duration;

use cdps_tests::load::run_for;
use cdps_tests::netns::{Fault, LINKS};

use crate::cluster::{Cluster, SOURCE, alone};
use crate::{A_WHILE, LARGE, budgeted, freeze, hidden_from, kill, start_budgeted, switched, wake};

/// The links of the source, in bits a second, one ten times slower; together they leave the processors time.
const FAST: u64 = 100_000_000;
const SLOW: u64 = FAST / 10;
const UNEQUAL: [Fault; 2] = [Fault::Slow(SOURCE, 0, FAST), Fault::Slow(SOURCE, 1, SLOW)];

/// Bytes of payload a second that arrive over these links.
fn goodput(links: &[usize], balance: &str) -> f64 {
    let mut cluster = Cluster::over(links, LARGE, &[&format!("port.balance={balance}")], &UNEQUAL);
    run_for(Duration::from_millis(1500));
    let (before, since) = cluster.delivered();
    run_for(Duration::from_millis(2500));
    let (after, until) = cluster.delivered();
    ((after - before) * LARGE as u64) as f64 * 1e9 / (until - since) as f64
}

/// [T1] With *fastest*, one path and another that is ten times slower carry 95 % of what they carry one by one. In rotation the slow one
/// decides.
#[test]
#[ignore = "needs root: make test-net"]
fn unequal_paths_add_up() {
    let _alone = alone();
    let alone = [0, 1].map(|link| goodput(&[link], "fastest"));
    let sum: f64 = alone.iter().sum();
    eprintln!("  one by one: {:.2} and {:.2} MB/s", alone[0] / 1e6, alone[1] / 1e6);
    let [fastest, rotation] = ["fastest", "round_robin"].map(|balance| {
        let both = goodput(&[0, 1], balance);
        eprintln!("  {balance}: {:.2} MB/s, {:.1} % of their sum", both / 1e6, 100.0 * both / sum);
        both
    });
    assert!((8.0..12.0).contains(&(alone[0] / alone[1])), "the links are not what they should be");
    assert!(fastest >= 0.95 * sum, "fastest: {fastest:.0} of {sum:.0} bytes a second");
    assert!(
        rotation < 0.5 * sum,
        "round robin: {rotation:.0} of {sum:.0} bytes a second: nothing was compared"
    );
}

/// Bytes of a connection that the kernel has and has not sent, at most: its limit, and one packet as it makes them.
const UNSENT: u64 = (128 << 10) + (64 << 10);

/// [T6] Under a full load little waits in the kernel besides what is on its way, on a fast path and on a slow one.
#[test]
#[ignore = "needs root: make test-net"]
fn little_waits_in_the_kernel() {
    let _alone = alone();
    let mut cluster = Cluster::over(&[0, 1], LARGE, &[], &UNEQUAL);
    run_for(A_WHILE);
    let mut most = [0; 2];
    for _ in 0..100 {
        run_for(Duration::from_millis(10));
        let sockets = cluster.net.node(SOURCE).run("ss -tinOH");
        for (link, most) in most.iter_mut().enumerate() {
            let of_link = sockets.lines().filter(|line| line.contains(&format!(" 10.77.{link}.1:")));
            let unsent = of_link
                .filter_map(|line| line.split_once("notsent:")?.1.split_whitespace().next()?.parse().ok());
            *most = unsent.chain([*most]).max().unwrap_or(0);
        }
    }
    eprintln!("  not sent, at most: {} and {} bytes", most[0], most[1]);
    for most in most {
        assert!(most > 16 << 10, "{most} bytes are no load");
        assert!(most <= UNSENT, "{most} bytes wait in the kernel; {UNSENT} is the limit");
    }
    cluster.check_hidden();
}

/// How often each failover is measured: CDPS_FAILOVER_RUNS.
fn runs() -> usize {
    std::env::var("CDPS_FAILOVER_RUNS").map_or(1, |text| text.parse().expect("a number"))
}

/// A path fails, each time on a new cluster: one that dies again and again is kept out longer and longer (T4).
fn path_lost(fault: fn(usize, usize) -> Fault) -> Vec<Duration> {
    let _alone = alone();
    (0..runs()).flat_map(|run| hidden_from(start_budgeted(), &[fault(SOURCE, run % LINKS)])).collect()
}

/// The target fails, each time on a new cluster.
fn target_lost(strike: fn(&mut Cluster), heal: fn(&mut Cluster)) -> Vec<Duration> {
    (0..runs()).map(|_| switched(strike, heal)).collect()
}

/// [T2] [T3] [F5] [F7] [F8] [F12] [A4] [M2] A path or the target is lost, and how long the user waits: a stream whose path fails, everybody
/// when the target does. Each run is held against what follows from the failover budget: an unanswered path is suspect after 200 ms and dead
/// after 1500 ms, and its pause well below that ([`PATH_LIMIT`](crate::PATH_LIMIT)); a target is given up after 1500 ms, and the pause is
/// shorter than what all timers add up to.
#[test]
#[ignore = "needs root: make test-net"]
fn failover_takes_what_the_timers_say() {
    let config = budgeted();
    let (live, promise) = (&config.liveness, config.longest_pause());
    let table = [
        ("path killed", live.suspect, live.dead, path_lost(Fault::DeviceDown)),
        ("path silent", live.suspect, live.dead, path_lost(Fault::Silent)),
        ("target killed", live.dead, promise, target_lost(kill, |_| {})),
        ("target frozen", live.dead, promise, target_lost(freeze, wake)),
    ];
    eprintln!(
        "  {:<14} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}  (ms)",
        "", "runs", "timer", "minimum", "median", "maximum", "promise"
    );
    for (what, timer, promise, mut pauses) in table {
        pauses.sort();
        let [least, median, most] = [0, pauses.len() / 2, pauses.len() - 1].map(|at| pauses[at].as_millis());
        let (runs, timer, promise) = (pauses.len(), timer.as_millis(), promise.as_millis());
        eprintln!("  {what:<14} {runs:>5} {timer:>9} {least:>9} {median:>9} {most:>9} {promise:>9}");
    }
}
