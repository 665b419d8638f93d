//! The clocks that a program notes.

use serde::Serialize;

/// A moment, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Moment {
    pub(crate) monotonic: i64,
    /// Since the epoch.
    pub(crate) wall: i64,
}

impl Moment {
    /// Now, for what comes later: the wall clock is read first.
    pub(crate) fn before() -> Self {
        let wall = read(libc::CLOCK_REALTIME);
        Self { monotonic: read(libc::CLOCK_MONOTONIC), wall }
    }

    /// Now, for what has been: the wall clock is read last.
    pub(crate) fn after() -> Self {
        let monotonic = read(libc::CLOCK_MONOTONIC);
        Self { monotonic, wall: read(libc::CLOCK_REALTIME) }
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live `struct timespec`; every kernel has these clocks, so the call does not fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// What the wall clock shows more than CLOCK_BOOTTIME.
pub(crate) fn wall_above_boot() -> i64 {
    // Whoever is preempted between two clocks sees them apart: the closest look of some is the best.
    let look = |_| {
        let (before, wall) = (read(libc::CLOCK_BOOTTIME), read(libc::CLOCK_REALTIME));
        let width = read(libc::CLOCK_BOOTTIME) - before;
        (width, wall - before - width / 2)
    };
    (0..16).map(look).min().map_or(0, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_on() {
        let (first, second) = (Moment::before(), Moment::after());
        assert!(first.monotonic <= second.monotonic && first.wall > 1_000_000_000_000_000_000);
        let boot = second.wall - wall_above_boot();
        assert!(boot >= first.monotonic, "the boot time counts suspension as well");
    }
}
