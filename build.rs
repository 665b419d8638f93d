//! Compiles the BPF object and generates its skeleton, whose types are the one definition of the records.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/ringwatch.bpf.c";

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
        anyhow::bail!("clang is needed to compile {SOURCE}: install it (`make deps` does)");
    }
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(args)
        .build_and_generate(out.join("ringwatch.skel.rs"))
        .with_context(|| format!("cannot build {SOURCE}"))?;
    Ok(())
}
