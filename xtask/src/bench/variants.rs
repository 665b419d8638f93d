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
    /// Another tracer, which starts the workload itself.
    Other(Other),
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

/// A tracer to compare with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    pub(super) program: &'static str,
    /// [`EVENTS`] within them is replaced. The command of the workload follows as the last argument, or as arguments.
    pub(super) arguments: &'static [&'static str],
    pub(super) one_argument: bool,
}

/// Slower than all others by far: this part of the writes is enough.
pub(super) const SLOW: u64 = 10;

pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: BASE, about: "no tracer", tracer: Tracer::Nobody },
    Variant { name: FLOOR, about: "an empty program at submission and one at completion", tracer: Tracer::Empty },
    Variant {
        name: "json",
        about: "every write as a JSON line to a file",
        tracer: trace(&["trace", "-o", "json:{events}"], true),
    },
    Variant {
        name: "null",
        about: "every write as a JSON line to /dev/null",
        tracer: trace(&["trace", "-o", "json:/dev/null"], true),
    },
    // Process 1 is never the workload.
    Variant {
        name: "pid",
        about: "every write left out in the kernel, by process",
        tracer: trace(&["trace", "--pid", "1", "-o", "json:{events}"], false),
    },
    Variant {
        name: "uid",
        about: "every write left out in the kernel, by user",
        tracer: trace(&["trace", "--uid", "4000000000", "-o", "json:{events}"], false),
    },
    Variant {
        name: "path",
        about: "every write left out by ringwatch, by path",
        tracer: trace(&["trace", "--path", "/nowhere/*", "-o", "json:{events}"], false),
    },
    Variant {
        name: "stat",
        about: "every write added to sums in the kernel",
        tracer: Tracer::Ringwatch(Ringwatch { arguments: &["stat", "--json"], tells: true }),
    },
    Variant {
        name: "perf",
        about: "perf record of the two tracepoints",
        tracer: Tracer::Other(Other {
            program: "perf",
            arguments: &[
                "record",
                "-q",
                "-e",
                "io_uring:io_uring_submit_req",
                "-e",
                "io_uring:io_uring_complete",
                "-o",
                "{events}",
                "--",
            ],
            one_argument: false,
        }),
    },
    Variant {
        name: "bpftrace",
        about: "bpftrace printing a line for each completion",
        tracer: Tracer::Other(Other {
            program: "bpftrace",
            arguments: &[
                "-e",
                "tracepoint:io_uring:io_uring_complete { printf(\"%s %d %lu %d\\n\", comm, tid, args->user_data, args->res); }",
                "-o",
                "{events}",
                "-c",
            ],
            one_argument: true,
        }),
    },
];

const fn trace(arguments: &'static [&'static str], tells: bool) -> Tracer {
    Tracer::Ringwatch(Ringwatch { arguments, tells })
}

/// What is watched.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) program: Program,
    /// [`WRITES`] and [`DIRECTORY`] within them are replaced.
    pub(super) arguments: &'static [&'static str],
    /// Of the usual number of writes, one in this many.
    pub(super) fewer: u64,
    /// Whether its requests are writes.
    pub(super) writes: bool,
    /// Whether it sleeps to keep to a rate.
    pub(super) paced: bool,
    /// Whether ringwatch has to share its CPU.
    pub(super) shared: bool,
    /// Empty: all.
    pub(super) variants: &'static [&'static str],
}

/// Whose arguments they are, and whose result is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `ringwatch-workload burst`.
    Burst,
    Fio,
}

/// Stands in arguments for a directory on the disk of the target directory.
pub(super) const DIRECTORY: &str = "{directory}";

/// The workload of the budget's ratios.
pub(super) const TIGHT: &str = "write";
/// The workloads of the budget's losses: rates that a tracer has to bear for ever.
pub(super) const PACED: &str = "paced";
pub(super) const SHARED: &str = "shared";
/// No writes at all: who makes none pays as well.
pub(super) const NOP: &str = "nop";
/// Where a disk has to be waited for.
pub(super) const DIRECT: &str = "direct";

const USUAL: Workload = Workload {
    name: TIGHT,
    about: "512 bytes to /dev/null, 32 with a system call",
    program: Program::Burst,
    arguments: &["--file", "/dev/null", "--size", "512", "--depth", "32", "--writes", WRITES],
    fewer: 1,
    writes: true,
    paced: false,
    shared: false,
    variants: &[],
};

pub(super) const WORKLOADS: &[Workload] = &[
    USUAL,
    Workload {
        name: "one",
        about: "512 bytes to /dev/null, one with a system call",
        arguments: &["--file", "/dev/null", "--size", "512", "--depth", "1", "--writes", WRITES],
        variants: &[BASE, FLOOR, "json", "pid", "stat"],
        ..USUAL
    },
    Workload {
        name: NOP,
        about: "requests that are no writes, 32 with a system call",
        arguments: &["--op", "nop", "--depth", "32", "--writes", WRITES],
        writes: false,
        variants: &[BASE, FLOOR, "json", "stat"],
        ..USUAL
    },
    Workload {
        name: "tmpfs",
        about: "4 KiB buffered to tmpfs",
        arguments: &["--file", "/dev/shm/ringwatch-bench", "--size", "4096", "--depth", "32", "--writes", WRITES],
        fewer: 4,
        variants: &[BASE, FLOOR, "json", "stat"],
        ..USUAL
    },
    Workload {
        name: "sqpoll",
        about: "512 bytes to /dev/null through a poll thread",
        arguments: &["--file", "/dev/null", "--size", "512", "--depth", "32", "--sqpoll", "--writes", WRITES],
        variants: &[BASE, FLOOR, "json", "stat"],
        ..USUAL
    },
    Workload {
        name: DIRECT,
        about: "fio, 4 KiB O_DIRECT at depth 16; CPU and time of fio",
        program: Program::Fio,
        arguments: &[
            "--name=direct",
            "--filename={directory}/direct",
            "--ioengine=io_uring",
            "--rw=randwrite",
            "--bs=4k",
            "--direct=1",
            "--iodepth=16",
            "--size=64M",
            "--io_size=64M",
            "--fallocate=none",
            "--output-format=json",
        ],
        variants: &[BASE, FLOOR, "json"],
        ..USUAL
    },
    Workload {
        name: PACED,
        about: "512 bytes to /dev/null, a million a second",
        arguments: &["--file", "/dev/null", "--size", "512", "--rate", "1000000", "--writes", WRITES],
        paced: true,
        variants: &[BASE, "json", "null"],
        ..USUAL
    },
    Workload {
        name: SHARED,
        about: "512 bytes to /dev/null, 250,000 a second, ringwatch on the same CPU",
        arguments: &["--file", "/dev/null", "--size", "512", "--rate", "250000", "--writes", WRITES],
        paced: true,
        shared: true,
        variants: &[BASE, "json", "null"],
        ..USUAL
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
        for name in [TIGHT, PACED, SHARED, NOP, DIRECT] {
            assert_eq!(WORKLOADS.iter().filter(|w| w.name == name).count(), 1);
        }
    }

    #[test]
    fn every_burst_is_told_how_much() {
        assert!(WORKLOADS.iter().all(|w| w.program != Program::Burst || w.arguments.contains(&WRITES)));
    }

    #[test]
    fn workloads_name_variants_that_exist() {
        for name in WORKLOADS.iter().flat_map(|w| w.variants) {
            assert!(VARIANTS.iter().any(|v| v.name == *name), "{name}");
        }
    }
}
