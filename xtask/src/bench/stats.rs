//! Arithmetic on figures of several rounds.

use serde::Serialize;

/// The middle of the figures, and their ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of no figures.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }
}

/// The spread of `figure / base`, each pair of one round: what slows a whole round down cancels out.
pub(super) fn ratios(figures: &[(u32, f64)], bases: &[(u32, f64)]) -> Option<Spread> {
    Spread::of(figures.iter().filter_map(|&(round, figure)| {
        let &(_, base) = bases.iter().find(|&&(other, base)| other == round && base > 0.0)?;
        Some(figure / base)
    }))
}

/// `total / count`; `None` of nothing.
pub(super) fn per(total: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| total as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let base = [(0, 100.0), (1, 200.0), (2, 100.0)];
        // The second round was slow for all.
        let figures = [(1, 400.0), (0, 190.0), (2, 210.0)];
        assert_eq!(ratios(&figures, &base), Some(Spread { median: 2.0, min: 1.9, max: 2.1 }));
    }

    #[test]
    fn rounds_without_a_base_do_not_count() {
        assert_eq!(ratios(&[(0, 1.0), (1, 3.0)], &[(1, 2.0)]).map(|s| s.median), Some(1.5));
        assert_eq!(ratios(&[(0, 1.0)], &[(0, 0.0)]), None);
        assert_eq!(ratios(&[], &[(0, 1.0)]), None);
    }

    #[test]
    fn nothing_has_no_share() {
        assert_eq!(per(10, 4), Some(2.5));
        assert_eq!(per(10, 0), None);
    }
}
