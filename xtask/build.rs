//! Compiles the empty programs that the benchmark compares with.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/empty.bpf.c";

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let mut args = ["-mcpu=v3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"].map(str::to_owned).to_vec();
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
        .build_and_generate(out.join("empty.skel.rs"))
        .with_context(|| format!("cannot build {SOURCE}"))?;
    Ok(())
}
