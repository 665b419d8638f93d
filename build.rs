//! Compiles the BPF objects and generates their skeletons, whose types are the one definition of the records.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const OBJECTS: [(&str, &str, &[&str]); 4] = include!("bpf/objects.rs");

/// Types of kernels that cannot be had, and programs that their verifiers refuse.
const OLD: &str = "tests/kernels/types";

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let mut args = vec![
        // v3 gives 32-bit operations and atomics; every kernel with the tracepoints has it.
        "-mcpu=v3".to_owned(),
        "-Wall".to_owned(),
        "-Wextra".to_owned(),
        "-Wno-unused-parameter".to_owned(),
        "-Werror".to_owned(),
    ];
    // The kernel's uapi headers include <asm/types.h>, which Debian keeps by architecture.
    let multiarch = format!("/usr/include/{arch}-linux-gnu");
    if PathBuf::from(&multiarch).is_dir() {
        args.push(format!("-I{multiarch}"));
    }
    if Command::new("clang").arg("--version").output().is_err() {
        anyhow::bail!("clang is needed to compile the programs of bpf/: install it (`make deps` does)");
    }
    for (object, source, defines) in OBJECTS {
        SkeletonBuilder::new()
            .source(source)
            .obj(out.join(format!("{object}.bpf.o")))
            .clang_args(args.iter().map(String::as_str).chain(defines.iter().copied()))
            .build_and_generate(out.join(format!("{object}.skel.rs")))
            .with_context(|| format!("cannot build {source}"))?;
    }
    // Test data: the types of a kernel that is too old for BTF of its own, and the same with one of them broken.
    println!("cargo::rerun-if-changed={OLD}");
    for (series, name, define) in [
        ("5.4", "linux-5.4.o", "-DWHOLE"),
        ("5.4", "linux-5.4-broken.o", "-DWITHOUT_CQ"),
        ("5.4", "linux-5.4-without-memcg.o", "-DWITHOUT_MEMCG"),
        ("5.6", "linux-5.6.o", "-DWHOLE"),
        ("5.6", "linux-5.6-without-memcg.o", "-DWITHOUT_MEMCG"),
        ("5.6", "linux-5.5-files.o", "-DFILES_5_5"),
        ("5.6", "linux-5.12-files.o", "-DFILES_5_12"),
        ("5.6", "linux-5.13-files.o", "-DFILES_5_13"),
    ] {
        let source = format!("{OLD}/linux-{series}.c");
        let compiled = Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", define, "-c", &source, "-o"])
            .arg(out.join(name))
            .status()
            .context("cannot run clang")?;
        anyhow::ensure!(compiled.success(), "cannot compile {source} ({compiled})");
    }
    let refused = format!("{OLD}/refused.bpf.c");
    SkeletonBuilder::new()
        .source(&refused)
        .obj(out.join("refused.bpf.o"))
        .clang_args(args.iter().map(String::as_str).chain(["-Ibpf"]))
        .build()
        .with_context(|| format!("cannot build {refused}"))?;
    Ok(())
}
