//! The `ringwatch` program; see the library for everything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringwatch::cli::main()
}
