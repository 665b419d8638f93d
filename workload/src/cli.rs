//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::cases::CASES;
use crate::runner::{self, Places};
use crate::{attack, burst, demo, fuzz, harm, inventory, ops, stepped};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the cases
    List {
        /// As JSON, with what each case needs
        #[arg(long)]
        json: bool,
    },
    /// Run cases and write down what they did
    Run {
        /// File to append the truth to, one JSON object a line
        #[arg(long, value_name = "FILE")]
        truth: PathBuf,
        /// Directory on a real file system; each case gets a new one below it
        #[arg(long)]
        dir: PathBuf,
        /// Directory on a tmpfs
        #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
        tmpfs: PathBuf,
        /// Names of cases; none: all
        #[arg(value_name = "CASE")]
        cases: Vec<String>,
    },
    /// Run a case that meets the tracer half way: a step's name on stdout, then a line from stdin
    Stepped {
        /// before, before-inflight, outlive or exit-before
        #[arg(value_name = "CASE")]
        case: String,
        /// File to append the truth to
        #[arg(long, value_name = "FILE")]
        truth: PathBuf,
        /// Directory on a real file system
        #[arg(long)]
        dir: PathBuf,
    },
    /// Open, make, name, link, remove and change files by requests of every kind, and write down what came of it
    Ops {
        /// File to append the truth to, one JSON object a line
        #[arg(long, value_name = "FILE")]
        truth: PathBuf,
        /// Directory to work in; a new one is made below it
        #[arg(long)]
        dir: PathBuf,
    },
    /// Rings of all kinds that stand still: what they are on stdout, then `ready`, until stdin ends
    Rings,
    /// A few seconds of lively writes to look at
    Demo {
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Write as fast as it goes, and tell what it cost
    Burst(burst::Options),
    /// Try to be told wrongly
    #[command(subcommand)]
    Attack(attack::Attack),
    /// Run programs made by chance, and write down what each request did
    Fuzz(fuzz::Options),
    /// Do what may be slow where somebody looks on, and tell how long it took, and how late a thread woke up
    Harm(harm::Options),
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    description: &'static str,
    needs: &'static [&'static str],
}

pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::List { json } => list(json),
        Command::Run { truth, dir, tmpfs, cases } => {
            runner::check_table()?;
            // One directory for this run only, because /dev/shm belongs to everyone.
            let tmpfs = tmpfs.join(format!("ringwatch-workload-{}", std::process::id()));
            let places = Places { truth: &truth, dir: &dir, tmpfs: &tmpfs };
            let good = runner::run(&runner::select(&cases)?, &places);
            // Best effort: what stays behind harms nobody.
            let _ = std::fs::remove_dir_all(&tmpfs);
            Ok(if good? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Stepped { case, truth, dir } => {
            let good = stepped::run(&case, &truth, &dir)?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Ops { truth, dir } => ops::run(&truth, &dir).map(|()| ExitCode::SUCCESS),
        Command::Rings => inventory::run().map(|()| ExitCode::SUCCESS),
        Command::Demo { seconds } => demo::run(seconds).map(|()| ExitCode::SUCCESS),
        Command::Burst(options) => burst::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Attack(attack) => attack::run(&attack).map(|()| ExitCode::SUCCESS),
        Command::Harm(options) => harm::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(options) => fuzz::run(&options).map(|()| ExitCode::SUCCESS),
    }
}

fn list(json: bool) -> Result<ExitCode> {
    if json {
        let all: Vec<_> =
            CASES.iter().map(|c| Listed { name: c.name, description: c.description, needs: c.needs }).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for case in CASES.iter() {
            println!("{}\t{}", case.name, case.description);
        }
    }
    Ok(ExitCode::SUCCESS)
}
