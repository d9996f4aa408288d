//! The clock: one monotonic count of nanoseconds that goes on while the machine sleeps (`CLOCK_BOOTTIME`), so that a lease runs out
//! during a suspend as well (F8). The only place of the driver that asks what time it is.

use std::time::Duration;

use cdps_core::time::Time;

/// Now.
pub(crate) fn now() -> Time {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid place for the result; the clock exists since Linux 2.6.39, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut ts) };
    Time((ts.tv_sec as u64) * 1_000_000_000 + ts.tv_nsec as u64)
}

/// The processor's own counter, where the system keeps its time by it: it runs on steadily, is the same on all processors, and costs less
/// than half of what the time costs. It counts at least 100 times in a microsecond.
#[cfg(target_arch = "x86_64")]
pub(crate) fn counter() -> Option<u64> {
    static KEEPS_TIME: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc")
    });
    // SAFETY: every x86-64 processor has it, and Linux lets programs read it unless a program forbids it to itself.
    KEEPS_TIME.then(|| unsafe { std::arch::x86_64::_rdtsc() })
}

/// None that is known.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn counter() -> Option<u64> {
    None
}

/// Whether a moment for a condition variable has passed.
pub(crate) fn passed(at: std::time::Instant) -> bool {
    std::time::Instant::now() >= at
}

/// A moment after `wait`, for a condition variable; `None` if that is beyond its reckoning.
pub(crate) fn deadline(wait: Duration) -> Option<std::time::Instant> {
    std::time::Instant::now().checked_add(wait)
}
