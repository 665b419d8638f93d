//! `cargo xtask docs`: the generated documents.

use std::fs;

use anyhow::{Context as _, Result};
use ringwatch::{manual, rings, stat};

use crate::vm::saved;
use crate::{compatibility, dist};

fn documents() -> Result<[(&'static str, String); 6]> {
    Ok([
        ("docs/events.md", manual::markdown()),
        ("docs/events.schema.json", manual::schema_file()),
        ("docs/rings.md", rings::manual::markdown()),
        ("docs/rings.schema.json", rings::manual::schema_file()),
        ("docs/stat.schema.json", stat::manual::schema_file()),
        ("docs/compatibility.md", compatibility::markdown(&saved::all()?)),
    ])
}

pub(crate) fn run() -> Result<()> {
    let root = dist::root()?;
    documents()?
        .into_iter()
        .try_for_each(|(name, text)| fs::write(root.join(name), text).with_context(|| format!("cannot write {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_current() -> Result<()> {
        for (name, now) in documents()? {
            let held = fs::read_to_string(dist::root()?.join(name)).unwrap_or_default();
            assert!(held == now, "{name} is out of date: run `cargo xtask docs`");
        }
        Ok(())
    }
}
