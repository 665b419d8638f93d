//! The project's chores.

mod bench;
mod bpf;
mod dist;
mod vm;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Parser;

#[derive(Debug, Parser)]
enum Chore {
    /// Write the generated documents: docs/events.md, docs/events.schema.json.
    Docs,
    /// Measure what tracing costs the traced program, and ringwatch itself.
    Bench(bench::Arguments),
    /// Compile the programs of bpf/ for processors that this machine may not have.
    Bpf(bpf::Arguments),
    /// Build one static executable: target/dist/ringwatch-VERSION-x86_64.
    Dist,
    /// Run the kernel-facing tests on distribution kernels in virtual machines.
    Vm(vm::Arguments),
}

fn main() -> Result<()> {
    match Chore::parse() {
        Chore::Docs => docs(),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Bpf(arguments) => bpf::run(&arguments),
        Chore::Dist => dist::run(),
        Chore::Vm(arguments) => vm::run(&arguments),
    }
}

fn docs() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (name, text) in
        [("events.md", ringwatch::manual::markdown()), ("events.schema.json", ringwatch::manual::schema_file())]
    {
        fs::write(root.join(name), text).with_context(|| format!("cannot write docs/{name}"))?;
    }
    Ok(())
}
