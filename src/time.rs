//! Time of day, and the kernel's clocks to it.

use std::fmt;

use nix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};

use crate::here::Here;

/// Nanoseconds since the epoch; RFC 3339 with nine digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.0.into()) {
            Ok(t) => write!(f, "{t:.9}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000000000Z"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Offsets of the kernel's clocks, taken together.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    monotonic: i64,
    boot: i64,
}

fn read(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

/// What the wall clock shows more than another one.
fn wall_above(clock: ClockId) -> i64 {
    // Clocks that are read one after the other are apart by what happens in between, preemption included: of some looks,
    // the closest counts.
    const LOOKS: usize = 8;
    let look = |_| {
        let (before, wall) = (read(clock), read(ClockId::CLOCK_REALTIME));
        let width = read(clock) - before;
        (width, wall - before - width / 2)
    };
    (0..LOOKS).map(look).min().map_or(0, |(_, above)| above)
}

impl Clock {
    /// Reads the clocks.
    #[must_use]
    pub fn now() -> Self {
        let here = Here::get();
        // The kernel side's clocks are the host's.
        Self {
            monotonic: wall_above(ClockId::CLOCK_MONOTONIC) + here.monotonic_offset_ns,
            boot: wall_above(ClockId::CLOCK_BOOTTIME) + here.boottime_offset_ns,
        }
    }

    /// Reads them again. A thread's start stays what it was told as, unless the wall clock was set meanwhile.
    pub fn refresh(&mut self) {
        const APART: u64 = 1_000_000;
        let now = Self::now();
        let boot = if now.boot.abs_diff(self.boot) < APART { self.boot } else { now.boot };
        *self = Self { boot, ..now };
    }

    /// The kernel side's `CLOCK_MONOTONIC`, now.
    #[must_use]
    pub fn kernel_monotonic() -> u64 {
        u64::try_from(read(ClockId::CLOCK_MONOTONIC) - Here::get().monotonic_offset_ns).unwrap_or(0)
    }

    /// A moment of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn from_monotonic(&self, ns: u64) -> Timestamp {
        Timestamp(i64::try_from(ns).unwrap_or(i64::MAX).saturating_add(self.monotonic))
    }

    /// A moment of `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn from_boot(&self, ns: u64) -> Timestamp {
        Timestamp(i64::try_from(ns).unwrap_or(i64::MAX).saturating_add(self.boot))
    }

    /// Now.
    #[must_use]
    pub fn wall() -> Timestamp {
        Timestamp(read(ClockId::CLOCK_REALTIME))
    }
}
