//! The simulator itself: it finds what is broken, it repeats itself, and the engine passes a handful of seeds.

use cdps_sim::{Broken, Options, run, run_keeping};

/// Within so many seeds each broken variant must be caught.
const CAUGHT_WITHIN: u64 = 1000;

fn first_caught(broken: Broken) -> Option<u64> {
    let options = Options { broken: Some(broken), ..Options::default() };
    (1..=CAUGHT_WITHIN).find(|seed| run(*seed, options).violation.is_some())
}

/// [M2] [A4] [F8] An oracle that never says no proves nothing: every way to be broken is found.
#[test]
fn every_broken_variant_is_caught() {
    std::thread::scope(|scope| {
        let half = Broken::ALL.len() / 2;
        for part in [&Broken::ALL[..half], &Broken::ALL[half..]] {
            scope.spawn(move || {
                for broken in part {
                    assert!(
                        first_caught(*broken).is_some(),
                        "{broken} was not caught in {CAUGHT_WITHIN} seeds"
                    );
                }
            });
        }
    });
}

/// The same seed is the same run, to the last line of its trace; another seed is another run.
#[test]
fn a_seed_repeats_itself() {
    for seed in [1, 7, 42] {
        let (first, lines) = run_keeping(seed, Options::default());
        let (second, again) = run_keeping(seed, Options::default());
        assert!(lines.len() > 100, "seed {seed} did next to nothing");
        assert_eq!(lines, again, "seed {seed}");
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(
            first.fingerprint,
            run(seed, Options::default()).fingerprint,
            "tracing changes seed {seed}"
        );
    }
    assert_ne!(run(1, Options::default()).fingerprint, run(2, Options::default()).fingerprint);
}

/// [M2] [A4] [T2] [F2] [F5] [F8] A first look; `make test` runs thousands.
#[test]
fn seeds_pass() {
    for seed in 1..=60 {
        let outcome = run(seed, Options::default());
        if let Some(violation) = outcome.violation {
            panic!("seed {seed} at {:.6}: {}: {}", violation.at, violation.invariant, violation.text);
        }
    }
}

/// Without faults nothing is reported down, and nothing is switched that no user asked for.
#[test]
fn calm_seeds_pass() {
    for seed in 1..=60 {
        let outcome = run(seed, Options { no_faults: true, ..Options::default() });
        if let Some(violation) = outcome.violation {
            panic!("seed {seed} at {:.6}: {}: {}", violation.at, violation.invariant, violation.text);
        }
        let unasked = outcome.tally.switches - outcome.tally.planned[0];
        assert_eq!((outcome.tally.downs, unasked), (0, 0), "seed {seed}");
    }
}

/// [T4] [F5] [A4] An hour of virtual time in which every path flaps and one target after the other fails: every send is accounted for, the port
/// has switched often, and what flaps was kept out.
#[test]
fn an_hour_of_flapping_is_accounted_for() {
    let mut sum = (0, 0, 0, 0);
    for seed in [2, 3] {
        let outcome = run(seed, Options { hour: true, ..Options::default() });
        if let Some(violation) = outcome.violation {
            panic!("seed {seed} at {:.6}: {}: {}", violation.at, violation.invariant, violation.text);
        }
        let t = outcome.tally;
        assert!(outcome.lasted > 3600.0 && t.sent >= 3000, "seed {seed}: {t:?}");
        assert_eq!(t.sent, t.completed + t.nacked, "seed {seed}");
        sum = (sum.0 + t.switches, sum.1 + t.rejoins, sum.2 + t.damped, sum.3 + t.suspicions);
    }
    assert!(sum.0 >= 20 && sum.1 >= 30 && sum.2 >= 20 && sum.3 >= 500, "{sum:?}");
}
