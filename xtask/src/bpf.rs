//! `cargo xtask bpf`: the programs of bpf/ compiled for a processor, which need not be this machine's.

use std::env::consts::ARCH;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::ObjectBuilder;

use crate::dist;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Processors to compile for [default: all]
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
}

/// Names of libbpf's headers, which know where each processor passes arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    Arm64,
    X86,
}

impl Arch {
    fn define(self) -> &'static str {
        match self {
            Self::Arm64 => "-D__TARGET_ARCH_arm64",
            Self::X86 => "-D__TARGET_ARCH_x86",
        }
    }
}

const OBJECTS: [(&str, &str, &[&str]); 4] = include!("../../bpf/objects.rs");

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = if arguments.arch.is_empty() { Arch::value_variants() } else { &arguments.arch };
    for &arch in all {
        let mut registers = vec![];
        for (name, source, defines) in OBJECTS {
            let programs = compile(&dist::root()?.join(source), defines, arch)?;
            println!("{arch:?}: {name}: {} programs", programs.len());
            registers.extend(programs.into_iter().filter(Program::reads_registers));
        }
        // Only these differ between processors: without them nothing was shown.
        ensure!(!registers.is_empty(), "no program of bpf/ is a kprobe: compiling for {arch:?} shows nothing");
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    section: String,
}

impl Program {
    fn reads_registers(&self) -> bool {
        ["kprobe", "kretprobe"].iter().any(|kind| self.section.split(['/', '.']).next() == Some(kind))
    }
}

/// Compiles one object as build.rs does, and tells its programs.
fn compile(source: &Path, defines: &[&str], arch: Arch) -> Result<Vec<Program>> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let object = directory.path().join("object.o");
    // The kernel's uapi headers include <asm/types.h>, which is the same for all of these processors.
    let multiarch = format!("-I/usr/include/{ARCH}-linux-gnu");
    let always = ["-mcpu=v3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", &multiarch, arch.define()];
    SkeletonBuilder::new()
        .source(source)
        .obj(&object)
        .clang_args(always.into_iter().chain(defines.iter().copied()))
        .build()
        .with_context(|| format!("cannot compile {} for {arch:?}", source.display()))?;
    let mut builder = ObjectBuilder::default();
    let open = builder.open_file(&object).with_context(|| format!("cannot read what {} became", source.display()))?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    Ok(open.progs().map(|program| Program { name: text(program.name()), section: text(program.section()) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kprobes_read_registers() {
        let program = |section: &str| Program { name: String::new(), section: section.to_owned() };
        for section in ["kprobe/io_write", "kretprobe/io_write", "kprobe", "kprobe.multi/x"] {
            assert!(program(section).reads_registers(), "{section}");
        }
        for section in ["raw_tp/kprobe", "fexit/io_write", "tp_btf/x"] {
            assert!(!program(section).reads_registers(), "{section}");
        }
    }
}
