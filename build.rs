//! Compiles the BPF objects and generates their skeletons, whose types are the one definition of the records.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const OBJECTS: [(&str, &str, &[&str]); 4] = include!("bpf/objects.rs");

const OLD_TYPES: &str = "tests/kernels/types/linux-5.4.c";

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
    println!("cargo::rerun-if-changed={OLD_TYPES}");
    for (name, define) in [("linux-5.4.o", "-DWHOLE"), ("linux-5.4-broken.o", "-DWITHOUT_CQ")] {
        let compiled = Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", define, "-c", OLD_TYPES, "-o"])
            .arg(out.join(name))
            .status()
            .context("cannot run clang")?;
        anyhow::ensure!(compiled.success(), "cannot compile {OLD_TYPES} ({compiled})");
    }
    Ok(())
}
