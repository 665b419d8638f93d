//! What is measured: the tables of tracers and of workloads.

use clap::builder::PossibleValuesParser;

/// The variant that the others are compared with.
pub(super) const BASE: &str = "none";
/// The least that tracing with two programs costs.
pub(super) const FLOOR: &str = "empty";

/// Stands in arguments for the path of the file that events go to.
pub(super) const EVENTS: &str = "{events}";
/// Stands in arguments for the number of writes.
pub(super) const WRITES: &str = "{writes}";

/// A workload under a tracer.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) tracer: Tracer,
}

/// Who watches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tracer {
    Nobody,
    /// Programs that do nothing, attached by this process.
    Empty,
    Ringwatch(Ringwatch),
}

/// A way to run ringwatch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ringwatch {
    /// [`EVENTS`] within them is replaced.
    pub(super) arguments: &'static [&'static str],
    /// Whether it has to tell of each write of the workload, or of none.
    pub(super) tells: bool,
}

impl Ringwatch {
    pub(super) fn writes_file(&self) -> bool {
        self.arguments.iter().any(|a| a.contains(EVENTS))
    }
}

pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: BASE, about: "no tracer", tracer: Tracer::Nobody },
    Variant { name: FLOOR, about: "an empty program at submission and one at completion", tracer: Tracer::Empty },
    Variant {
        name: "json",
        about: "every write as a JSON line to a file",
        tracer: Tracer::Ringwatch(Ringwatch { arguments: &["trace", "-o", "json:{events}"], tells: true }),
    },
    Variant {
        name: "filtered",
        about: "every write left out in the kernel, by process",
        // Process 1 is never the workload.
        tracer: Tracer::Ringwatch(Ringwatch {
            arguments: &["trace", "--pid", "1", "-o", "json:{events}"],
            tells: false,
        }),
    },
];

/// What is watched: a run of `ringwatch-workload burst`.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// [`WRITES`] within them is replaced.
    pub(super) arguments: &'static [&'static str],
    /// Whether its requests are writes.
    pub(super) writes: bool,
    /// Whether it sleeps to keep to a rate.
    pub(super) paced: bool,
}

/// The workload of the budget's ratios.
pub(super) const TIGHT: &str = "write";
/// The workload of the budget's losses: a rate that a tracer has to bear for ever.
pub(super) const PACED: &str = "paced";

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: TIGHT,
        arguments: &["burst", "--file", "/dev/null", "--size", "512", "--depth", "32", "--writes", WRITES],
        writes: true,
        paced: false,
    },
    Workload {
        name: PACED,
        arguments: &["burst", "--file", "/dev/null", "--size", "512", "--rate", "1000000", "--writes", WRITES],
        writes: true,
        paced: true,
    },
    Workload {
        name: "nop",
        arguments: &["burst", "--op", "nop", "--depth", "32", "--writes", WRITES],
        writes: false,
        paced: false,
    },
];

pub(super) fn variant_names() -> PossibleValuesParser {
    VARIANTS.iter().map(|v| clap::builder::PossibleValue::new(v.name).help(v.about)).collect::<Vec<_>>().into()
}

pub(super) fn workload_names() -> PossibleValuesParser {
    WORKLOADS.iter().map(|w| w.name).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_base_exists() {
        let mut names: Vec<_> = VARIANTS.iter().map(|v| v.name).collect();
        assert!(names.contains(&BASE) && names.contains(&FLOOR));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIANTS.len());
    }

    #[test]
    fn the_workloads_of_the_budget_exist() {
        for name in [TIGHT, PACED] {
            assert_eq!(WORKLOADS.iter().filter(|w| w.name == name).count(), 1);
        }
    }

    #[test]
    fn every_workload_is_told_how_much() {
        assert!(WORKLOADS.iter().all(|w| w.arguments.contains(&WRITES)));
    }
}
