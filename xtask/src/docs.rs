//! `cargo xtask docs`: the generated documents.

use std::fs;

use anyhow::{Context as _, Result};

use crate::vm::saved;
use crate::{compatibility, dist};

const COMPATIBILITY: &str = "docs/compatibility.md";

pub(crate) fn run() -> Result<()> {
    let compatibility = compatibility::markdown(&saved::all()?);
    for (name, text) in [
        ("docs/events.md", ringwatch::manual::markdown()),
        ("docs/events.schema.json", ringwatch::manual::schema_file()),
        ("docs/rings.md", ringwatch::manual::rings_markdown()),
        ("docs/rings.schema.json", ringwatch::manual::rings_schema_file()),
        ("docs/stat.schema.json", ringwatch::manual::stat_schema_file()),
        (COMPATIBILITY, compatibility),
    ] {
        fs::write(dist::root()?.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other documents are held by a test of the library.
    #[test]
    fn the_document_is_current() -> Result<()> {
        let held = fs::read_to_string(dist::root()?.join(COMPATIBILITY)).unwrap_or_default();
        let now = compatibility::markdown(&saved::all()?);
        assert!(held == now, "{COMPATIBILITY} is out of date: run `cargo xtask docs`");
        Ok(())
    }
}
