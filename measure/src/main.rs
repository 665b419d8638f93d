//! `ringwatch-measure FORMAT WRITES`: that many made-up writes in an output format, to nowhere. `cargo xtask instructions` counts
//! what it executes.

use std::process::ExitCode;

use ringwatch_measure::feed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [format, writes] => writes.parse().map_err(|e| format!("{writes}: {e}")).and_then(|n| feed(format, n)),
        _ => Err("usage: ringwatch-measure FORMAT WRITES".to_owned()),
    };
    match done {
        Ok(summary) => {
            println!("{}", summary.events);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringwatch-measure: {error}");
            ExitCode::FAILURE
        }
    }
}
