//! `cargo xtask fuzz-rings`: the kernel-facing test that makes programs by chance, for longer than `make test` does.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::dist::root;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// For how long programs are made, in all forms together
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    seconds: f64,
    /// Where they begin [default: 0, and after the first look the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Run the programs of this file instead, one in JSON each line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "seed"])]
    program: Option<PathBuf>,
    /// Only the forms whose name contains this, such as `typed` or `raw::io_uring`
    #[arg(long, value_name = "FORM", default_value = "")]
    form: String,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..1e6).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let at_root = || -> Result<Command> {
        let mut command = Command::new(&cargo);
        command.current_dir(root()?);
        Ok(command)
    };
    run_to_success(at_root()?.args(["build", "--package", "ringwatch", "--package", "ringwatch-workload"]))?;
    let mut test = at_root()?;
    test.args(["test", "--package", "ringwatch", "--test", "kernel", "--", &format!("fuzz::{}", arguments.form)]);
    test.env("RINGWATCH_FUZZ_SECONDS", arguments.seconds.to_string());
    if let Some(seed) = arguments.seed {
        test.env("RINGWATCH_FUZZ_SEED", seed.to_string());
    }
    if let Some(program) = &arguments.program {
        let program = program.canonicalize().with_context(|| format!("cannot find {}", program.display()))?;
        test.env("RINGWATCH_FUZZ_PROGRAM", program);
    }
    run_to_success(&mut test)
}

fn run_to_success(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo: {status}");
    }
    Ok(())
}
