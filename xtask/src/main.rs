//! The project's chores.

mod bench;
mod bpf;
mod compatibility;
mod dist;
mod docs;
mod fuzz_rings;
mod instructions;
mod lint;
mod share;
mod table;
mod vm;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
enum Chore {
    /// Write the generated documents: docs/events.md, docs/events.schema.json, docs/compatibility.md.
    Docs,
    /// Measure what tracing costs the traced program, and ringwatch itself.
    Bench(bench::Arguments),
    /// Measure how the cost of a write grows, and write docs/growth.md and docs/growth.svg.
    Growth(bench::growth::Arguments),
    /// Compile the programs of bpf/ for processors that this machine may not have.
    Bpf(bpf::Arguments),
    /// Build one static executable: target/dist/ringwatch-VERSION-x86_64, and an archive with its man pages and completions.
    Dist,
    /// Run random io_uring programs, and compare what each request did with what ringwatch reports.
    FuzzRings(fuzz_rings::Arguments),
    /// Count the instructions that an event takes in ringwatch, and compare with what is recorded.
    Instructions(instructions::Arguments),
    /// Look for mistakes in the C of bpf/.
    Lint,
    /// Write the man pages and the completions for bash, zsh and fish.
    Share(share::Arguments),
    /// Run the kernel-facing tests on distribution kernels in virtual machines.
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Docs => docs::run(),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Growth(arguments) => bench::growth::run(&arguments),
        Chore::Bpf(arguments) => bpf::run(&arguments),
        Chore::Dist => dist::run(),
        Chore::FuzzRings(arguments) => fuzz_rings::run(&arguments),
        Chore::Instructions(arguments) => instructions::run(&arguments),
        Chore::Lint => lint::run(),
        Chore::Share(arguments) => share::run(&arguments),
        Chore::Vm(arguments) => vm::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // No backtrace, whatever RUST_BACKTRACE says: what failed must stay the last thing on the screen.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
