//! Log-linear buckets, as `bucket_of` in bpf/stat.h fills them.

/// Where a value is counted, with 1 << `bits` buckets for each power of two.
#[must_use]
pub fn index(value: u64, bits: u32) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(bits);
    ((u64::from(shift) << bits) + (value >> shift)) as usize
}

/// The least and the greatest value of a bucket.
#[must_use]
pub fn bounds(index: usize, bits: u32) -> (u64, u64) {
    let index = index as u64;
    let shift = (index >> bits).saturating_sub(1);
    let low = (index - (shift << bits)) << shift;
    (low, low + ((1 << shift) - 1))
}

/// A range of values, and how many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub from: u64,
    /// The greatest.
    pub to: u64,
    /// How many.
    pub count: u64,
}

/// Counts by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<const BITS: u32>(Vec<u64>);

/// Of latencies; `RW_LATENCY_BITS`.
pub type Latencies = Histogram<5>;
/// Of sizes; `RW_SIZE_BITS`.
pub type Sizes = Histogram<6>;

impl<const BITS: u32> Histogram<BITS> {
    /// What is told of a bucket's values, at most 1.6 % from any of them. Fine buckets tell the least: sizes are mostly
    /// round, and so is that.
    fn told(index: usize) -> u64 {
        let (low, high) = bounds(index, BITS);
        if BITS > 5 { low } else { low + (high - low) / 2 }
    }

    /// From the counts of all buckets.
    #[must_use]
    pub fn new(counts: Vec<u64>) -> Self {
        Self(counts)
    }

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        let index = index(value, BITS);
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        self.0[index] += 1;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(sum, n)| *sum = sum.wrapping_add(*n));
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    /// All values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value that `percent` of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().enumerate().find_map(|(index, &n)| {
            seen += u128::from(n);
            (n > 0 && seen >= rank).then(|| Self::told(index))
        })
    }

    /// The greatest value.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.0.iter().rposition(|&n| n > 0).map(Self::told)
    }

    /// The buckets that hold something.
    pub fn buckets(&self) -> impl Iterator<Item = Range> {
        let counted = self.0.iter().enumerate().filter(|&(_, &count)| count > 0);
        counted.map(|(index, &count)| {
            let (from, to) = bounds(index, BITS);
            Range { from, to, count }
        })
    }

    /// The same by powers of two, without gaps: for people.
    #[must_use]
    pub fn octaves(&self) -> Vec<Range> {
        let mut octaves: Vec<Range> = vec![];
        for bucket in self.buckets() {
            let (from, to) = octave(bucket.from);
            while let Some(last) = octaves.last()
                && last.to.saturating_add(1) < from
            {
                let (from, to) = octave(last.to + 1);
                octaves.push(Range { from, to, count: 0 });
            }
            match octaves.last_mut() {
                Some(last) if last.from == from => last.count += bucket.count,
                _ => octaves.push(Range { from, to, count: bucket.count }),
            }
        }
        octaves
    }
}

/// From a power of two to before the next; 0 is with 1.
fn octave(value: u64) -> (u64, u64) {
    match value.checked_ilog2() {
        None | Some(0) => (0, 1),
        Some(log) => (1 << log, (1 << log) + ((1 << log) - 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of every magnitude.
    fn any_value() -> impl Strategy<Value = u64> {
        (0u32..64, any::<u64>()).prop_map(|(shift, v)| v >> shift)
    }

    #[test]
    fn the_kernel_side_has_as_many_buckets() {
        assert_eq!((index(u64::MAX, 5) + 1, index(u32::MAX.into(), 6) + 1), (1920, 1728));
        let bounds = |index| bounds(index, 5);
        assert_eq!((bounds(0), bounds(31), bounds(32), bounds(64)), ((0, 0), (31, 31), (32, 32), (64, 65)));
        assert_eq!(bounds(1919).1, u64::MAX);
    }

    #[test]
    fn round_sizes_are_told_as_they_are() {
        let mut sizes = Sizes::default();
        sizes.add(4096);
        assert_eq!((sizes.percentile(50), sizes.max()), (Some(4096), Some(4096)));
    }

    #[test]
    fn octaves_have_no_gaps() {
        let mut histogram = Latencies::default();
        [0, 1, 9, 10, 15, 40].into_iter().for_each(|v| histogram.add(v));
        let octaves: Vec<_> = histogram.octaves().iter().map(|o| (o.from, o.to, o.count)).collect();
        assert_eq!(octaves, [(0, 1, 2), (2, 3, 0), (4, 7, 0), (8, 15, 3), (16, 31, 0), (32, 63, 1)]);
        let mut histogram = Latencies::default();
        histogram.add(u64::MAX);
        assert_eq!(histogram.octaves().len(), 1);
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!((Sizes::default().percentile(50), Sizes::default().max()), (None, None));
    }

    fn told<const BITS: u32>(value: u64) -> u64 {
        Histogram::<BITS>::told(index(value, BITS))
    }

    /// Whether `told` is at most 3 % off.
    fn is_near(told: u64, exact: u64) -> bool {
        u128::from(told.abs_diff(exact)) * 100 <= u128::from(exact) * 3
    }

    proptest! {
        #[test]
        fn a_value_is_told_with_an_error_of_at_most_3_percent(value in any_value()) {
            for bits in [5, 6] {
                let (low, high) = bounds(index(value, bits), bits);
                prop_assert!(low <= value && value <= high);
            }
            prop_assert!(is_near(told::<5>(value), value) && is_near(told::<6>(value), value));
        }

        #[test]
        fn greater_values_are_in_no_lower_buckets(a in any_value(), b in any_value()) {
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(index(a, 5) <= index(b, 5) && told::<5>(a) <= told::<5>(b));
            prop_assert!(index(a, 6) <= index(b, 6) && told::<6>(a) <= told::<6>(b));
        }

        #[test]
        fn neighbours_are_in_neighbouring_buckets(value in any_value()) {
            let next = index(value.saturating_add(1), 5) - index(value, 5);
            prop_assert!(next <= 1);
        }

        #[test]
        fn percentiles_are_those_of_the_values(mut values in proptest::collection::vec(any_value(), 1..200), percent in 1u64..=100) {
            let mut histogram = Latencies::default();
            values.iter().for_each(|&v| histogram.add(v));
            values.sort_unstable();
            let exact = values[(values.len() * percent as usize).div_ceil(100).max(1) - 1];
            prop_assert!(histogram.percentile(percent).is_some_and(|told| is_near(told, exact)));
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert_eq!(histogram.octaves().iter().map(|o| o.count).sum::<u64>(), values.len() as u64);
        }
    }
}
