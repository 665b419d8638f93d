//! Everything that was not seen, by cause.

use std::collections::BTreeMap;

use crate::event::{EventsLost, LossCause};
use crate::kernel::driver::Counters;

/// Sums of losses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<LossCause, u64>);

impl Losses {
    /// Adds a loss.
    pub fn add(&mut self, lost: EventsLost) {
        *self.0.entry(lost.cause).or_default() += lost.count;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = self.iter().map(|lost| {
            let before = earlier.0.get(&lost.cause).copied().unwrap_or(0);
            (lost.cause, lost.count.saturating_sub(before))
        });
        Self(grown.filter(|&(_, count)| count > 0).collect())
    }

    /// Each cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = EventsLost> {
        self.0.iter().map(|(&cause, &count)| EventsLost { count, cause })
    }
}

/// Turns the kernel side's ever-growing counters into losses since the last look.
#[derive(Debug, Default)]
pub struct Watch {
    ring_full: u64,
    scratch: u64,
    skipped: u64,
}

impl Watch {
    /// What was lost since the last call.
    pub fn since(&mut self, counters: &Counters, skipped: u64) -> impl Iterator<Item = EventsLost> {
        let grown = |held: &mut u64, now: u64, cause| {
            let count = now.saturating_sub(*held);
            *held = (*held).max(now);
            EventsLost { count, cause }
        };
        // A string that found no buffer takes the write with it, which is counted as ring_full as well.
        let scratch = grown(&mut self.scratch, counters.scratch, LossCause::ScratchBusy);
        let mut ring = grown(&mut self.ring_full, counters.ring_full, LossCause::RingFull);
        ring.count = ring.count.saturating_sub(scratch.count);
        let skipped = grown(&mut self.skipped, skipped, LossCause::ProgramSkipped);
        [ring, scratch, skipped].into_iter().filter(|lost| lost.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_is_told_and_no_write_counts_twice() {
        let mut watch = Watch::default();
        let counters = Counters { ring_full: 5, scratch: 2, ..Counters::default() };
        let told: Vec<_> = watch.since(&counters, 0).map(|l| (l.cause, l.count)).collect();
        assert_eq!(told, [(LossCause::RingFull, 3), (LossCause::ScratchBusy, 2)]);
        assert_eq!(watch.since(&counters, 0).count(), 0);
        assert_eq!(watch.since(&counters, 1).map(|l| l.cause).collect::<Vec<_>>(), [LossCause::ProgramSkipped]);
    }
}
