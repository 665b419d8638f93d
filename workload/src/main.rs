//! io_uring programs that know what they wrote: the ground truth of the tests, the load of the
//! benchmarks, and the demo.

mod attack;
mod burst;
mod cases;
mod cli;
mod clock;
mod cx;
mod demo;
mod fuzz;
mod harm;
mod identity;
mod inventory;
mod loopdev;
mod ops;
mod os;
mod request;
mod ring;
mod runner;
mod session;
mod stepped;
mod sys;
mod target;
mod truth;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringwatch-workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}
