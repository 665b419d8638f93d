//! What the verifier made of each program, against what tests/kernels/verifier.json holds: see docs/verifier.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::series::Series;
use crate::dist;

/// Half of what the kernel allows.
const LIMIT: u64 = 500_000;
/// Growth that is told, in percent: less comes and goes with the compiler.
const GROWTH: u64 = 10;

/// One program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Figure {
    pub(super) instructions: u64,
    pub(super) verification_us: u64,
}

/// By the name of the program.
pub(super) type Figures = BTreeMap<String, Figure>;

/// The recorded figures of all series.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Recorded(BTreeMap<Series, Figures>);

impl Recorded {
    pub(super) fn load() -> Result<Self> {
        let path = path()?;
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            text => {
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| {
                    format!("{} is not what `cargo xtask vm --save` writes: remove it", path.display())
                })
            }
        }
    }

    pub(super) fn of(&self, series: Series) -> Option<&Figures> {
        self.0.get(&series)
    }

    pub(super) fn save(&mut self, series: Series, figures: Figures) -> Result<()> {
        self.0.insert(series, figures);
        let path = path()?;
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn path() -> Result<PathBuf> {
    Ok(dist::root()?.join("tests/kernels/verifier.json"))
}

/// A program that is not as it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) program: String,
    pub(super) before: Option<u64>,
    pub(super) now: Option<u64>,
}

impl Change {
    pub(super) fn words(&self) -> String {
        match (self.before, self.now) {
            (Some(before), Some(now)) => {
                format!("{:+.0} %", (now as f64 / before as f64 - 1.0) * 100.0)
            }
            (None, _) => "new".to_owned(),
            (_, None) => "absent".to_owned(),
        }
    }
}

/// Programs that grew, came or went.
pub(super) fn changes(before: &Figures, now: &Figures) -> Vec<Change> {
    let mut names: Vec<_> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let instructions = |figures: &Figures, name: &String| figures.get(name).map(|figure| figure.instructions);
    names
        .into_iter()
        .map(|name| Change { program: name.clone(), before: instructions(before, name), now: instructions(now, name) })
        .filter(|change| match (change.before, change.now) {
            (Some(before), Some(now)) => now * 100 > before * (100 + GROWTH),
            _ => true,
        })
        .collect()
}

/// Programs that are too near to the kernel's limit.
pub(super) fn excess(now: &Figures) -> Vec<String> {
    now.iter()
        .filter(|(_, figure)| figure.instructions > LIMIT)
        .map(|(program, figure)| {
            format!(
                "the verifier processes {} instructions of {program}, more than {LIMIT}: see docs/verifier.md",
                figure.instructions
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, u64)]) -> Figures {
        of.iter().map(|&(name, n)| (name.to_owned(), Figure { instructions: n, verification_us: 1 })).collect()
    }

    #[test]
    fn growth_is_told_from_a_tenth_on() {
        let before = figures(&[("a", 100), ("b", 100), ("c", 100), ("gone", 1)]);
        let now = figures(&[("a", 110), ("b", 111), ("c", 10), ("fresh", 1)]);
        let told: Vec<_> = changes(&before, &now).iter().map(|c| format!("{} {}", c.program, c.words())).collect();
        assert_eq!(told, ["b +11 %", "fresh new", "gone absent"]);
    }

    #[test]
    fn half_of_the_limit_is_enough() {
        assert!(excess(&figures(&[("a", 500_000)])).is_empty());
        let found = excess(&figures(&[("a", 500_001), ("b", 1)]));
        assert!(matches!(&found[..], [one] if one.contains("500001 instructions of a")), "{found:?}");
    }
}
