//! The clock that workers go by: the processor's time-stamp counter, if that is a clock here.
//!
//! Reading the counter takes some 10 ns, the kernel's clock two to three times that; a worker reads it once per message. It counts at
//! one rate on all processors if the processor says so (*invariant*), and they agree on it if the kernel keeps its own time by
//! it. Otherwise the kernel's monotonic clock is read.
//!
//! The rate is measured once, against the kernel's clock, for a ms: good to a ten-thousandth, which is enough for differences.
//! Both clocks begin alike, and may drift apart by that.

use std::sync::OnceLock;

/// How long the rate is measured, in ns.
const MEASURE: u64 = 1_000_000;

/// Where the kernel says what it keeps time by.
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

static RATE: OnceLock<Option<Rate>> = OnceLock::new();

/// Nanoseconds of the workers' clock.
#[inline]
pub(crate) fn stamp() -> u64 {
    match RATE.get_or_init(Rate::measure) {
        Some(rate) => rate.nanos(counter()),
        None => monotonic(),
    }
}

/// Nanoseconds of the kernel's monotonic clock.
#[inline]
pub(crate) fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in ns: a call to the kernel, 640 ns.
pub(crate) fn thread_time() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// libc's call and not rustix's: that one looks for the vDSO by itself, and crashes under valgrind, which hides it.
fn read(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a `timespec` to write to; on failure it stays as it is.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// From the counter to nanoseconds.
struct Rate {
    counter: u64,
    nanos: u64,
    /// Nanoseconds per count, times 2^32.
    scale: u64,
}

impl Rate {
    /// `None` if the counter is no clock.
    fn measure() -> Option<Self> {
        if !is_invariant() || !is_the_kernels() {
            return None;
        }
        let (from_counter, from_nanos) = both();
        while monotonic() < from_nanos + MEASURE {}
        let (counter, nanos) = both();
        Self::between((from_counter, from_nanos), (counter, nanos))
    }

    /// The rate between two readings, from the first one on. `None` if the counter did not go forward, or not by a rate that a
    /// processor has.
    fn between(from: (u64, u64), to: (u64, u64)) -> Option<Self> {
        let counts = to.0.checked_sub(from.0)?;
        let nanos = to.1.checked_sub(from.1)?;
        // 100 MHz to 20 GHz.
        (nanos > 0 && counts >= nanos / 10 && counts <= nanos.saturating_mul(20)).then(|| Self {
            counter: from.0,
            nanos: from.1,
            scale: ((u128::from(nanos) << 32) / u128::from(counts)) as u64,
        })
    }

    #[inline]
    fn nanos(&self, counter: u64) -> u64 {
        // Another processor may be a few counts behind the one that measured.
        let since = counter.saturating_sub(self.counter);
        self.nanos.wrapping_add(((u128::from(since) * u128::from(self.scale)) >> 32) as u64)
    }
}

/// Both clocks at one moment: the closest of a few tries.
fn both() -> (u64, u64) {
    let tries = (0..16).map(|_| {
        let before = counter();
        let nanos = monotonic();
        (counter().wrapping_sub(before), (before, nanos))
    });
    tries.min_by_key(|it| it.0).map_or((0, 0), |it| it.1)
}

fn is_the_kernels() -> bool {
    let source = std::fs::read_to_string(SOURCE).unwrap_or_default();
    matches!(source.trim(), "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page")
}

#[cfg(target_arch = "x86_64")]
mod processor {
    use core::arch::x86_64::{__cpuid, _rdtsc};

    const POWER_MANAGEMENT: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;

    #[inline]
    pub(super) fn counter() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and `is_invariant` is only asked where it is allowed.
        unsafe { _rdtsc() }
    }

    pub(super) fn is_invariant() -> bool {
        __cpuid(0x8000_0000).eax >= POWER_MANAGEMENT && __cpuid(POWER_MANAGEMENT).edx & INVARIANT != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod processor {
    pub(super) fn counter() -> u64 {
        0
    }

    pub(super) fn is_invariant() -> bool {
        false
    }
}

use processor::{counter, is_invariant};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_leads_from_one_reading_to_the_other() {
        let rate = Rate::between((1_000, 5_000_000), (2_601_000, 6_000_000)).unwrap();
        assert_eq!(rate.nanos(1_000), 5_000_000);
        assert!(rate.nanos(2_601_000).abs_diff(6_000_000) <= 1);
        // Ten years at 2.6 GHz.
        let years = 10 * 365 * 86_400;
        let told = rate.nanos(1_000 + years * 2_600_000_000) - 5_000_000;
        assert!(told.abs_diff(years * 1_000_000_000) < years * 10, "{told}");
        assert_eq!(rate.nanos(0), 5_000_000, "behind: not far ahead");
    }

    #[test]
    fn a_counter_that_stands_or_runs_wild_is_no_clock() {
        assert!(Rate::between((5, 0), (5, 1_000_000)).is_none());
        assert!(Rate::between((5, 0), (4, 1_000_000)).is_none());
        assert!(Rate::between((5, 9), (50_000, 9)).is_none());
        assert!(Rate::between((0, 0), (1 << 60, 1_000_000)).is_none());
    }

    #[test]
    fn the_clock_goes_on_while_time_passes() {
        let (before, stamped) = (monotonic(), stamp());
        while monotonic() < before + 2_000_000 {}
        assert!(stamp() - stamped > 1_000_000);
    }
}
