//! `cargo xtask instructions`: how many instructions an event takes from raw record to text, counted by callgrind.
//! Counts repeat where times do not, so that a change which makes the pipeline slower is seen by a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::dist::{Static, root};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Record the counts instead of comparing them
    #[arg(long)]
    save: bool,
}

const RECORDED: &str = "measure/instructions.json";
const FORMATS: [&str; 2] = ["json", "table"];
/// The difference of two runs leaves start and end out.
const FEW: u64 = 5_000;
const MANY: u64 = 25_000;
/// Other compilers and C libraries make other code.
const SLACK: f64 = 0.10;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let program = Static::new()?.program("ringwatch-measure", &["build", "--package", "ringwatch-measure"])?;
    let counted = FORMATS
        .iter()
        .map(|&format| {
            let more = count(&program, format, MANY)?.saturating_sub(count(&program, format, FEW)?);
            Ok((format.to_owned(), more / (MANY - FEW)))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    let path = root()?.join(RECORDED);
    if arguments.save {
        let text = serde_json::to_string_pretty(&counted)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let recorded = read(&path)?;
    println!("instructions an event");
    println!("format  counted  recorded");
    for (format, count) in &counted {
        println!("{format:<6} {count:>8} {:>9}", recorded.get(format).map_or("-".to_owned(), u64::to_string));
    }
    match grown(&counted, &recorded) {
        grown if grown.is_empty() => Ok(()),
        grown => bail!(
            "more than {:.0} % above what {RECORDED} has: {}; where that is meant, record it: cargo xtask instructions --save",
            SLACK * 100.0,
            grown.join(", ")
        ),
    }
}

fn read(path: &PathBuf) -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
}

/// Formats that take more than recorded, or are not recorded.
fn grown(counted: &BTreeMap<String, u64>, recorded: &BTreeMap<String, u64>) -> Vec<String> {
    let over =
        |format: &String, count: u64| recorded.get(format).is_none_or(|&r| count as f64 > r as f64 * (1.0 + SLACK));
    counted.iter().filter(|&(format, &count)| over(format, count)).map(|(format, _)| format.clone()).collect()
}

/// Instructions of one run.
fn count(program: &Path, format: &str, writes: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([format, &writes.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind: install it (make deps-test)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed ({}):\n{said}", output.status);
    let told: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("the program told no number")?;
    ensure!(told == writes, "{told} of {writes} writes were told");
    collected(&said).with_context(|| format!("callgrind told no count:\n{said}"))
}

/// `==1== Collected : 123`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_in_what_callgrind_says() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 12345\n"), Some(12345));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn a_tenth_more_is_too_much() {
        let of = |n| BTreeMap::from([("json".to_owned(), n)]);
        assert!(grown(&of(110), &of(100)).is_empty());
        assert_eq!(grown(&of(111), &of(100)), ["json"]);
        assert!(grown(&of(50), &of(100)).is_empty());
        assert_eq!(grown(&of(1), &BTreeMap::new()), ["json"]);
    }
}
