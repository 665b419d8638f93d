//! The document of `ringwatch rings --json`.

use std::fmt::Write as _;

use super::{Holder, Personality, Registered, Ring, Sqpoll, Thread, Worker};
use crate::schema::{field_table, schema_of};

/// docs/rings.schema.json: a line of `ringwatch rings --json`.
#[must_use]
pub fn schema_file() -> String {
    format!("{:#}\n", schema_of::<Ring>())
}

/// docs/rings.md.
#[must_use]
pub fn markdown() -> String {
    let mut out = "# Rings\n\nMade by `cargo xtask docs`; do not edit. `ringwatch rings --json` prints one JSON object a line, \
one for each ring that exists, whoever created it and however long ago. Its JSON Schema is \
[rings.schema.json](rings.schema.json), which `ringwatch rings --schema` prints as well. What cannot be seen is in \
[limits.md](limits.md).\n\nRings are found by BPF iterators over the open files, the registered rings and the mapped memory \
of all tasks (Linux 5.8 and later, with BTF; CAP_BPF and CAP_PERFMON). Where these cannot be had, /proc tells what it \
shows: `source` is `proc` then. What is not known is null. Thread and process ids that begin with `host_` are those of \
ringwatch's own pid namespace.\n"
        .to_owned();
    let sections = [
        ("Ring", schema_of::<Ring>()),
        ("Holder", schema_of::<Holder>()),
        ("Sqpoll", schema_of::<Sqpoll>()),
        ("Personality", schema_of::<Personality>()),
        ("Thread", schema_of::<Thread>()),
        ("Registered", schema_of::<Registered>()),
        ("Worker", schema_of::<Worker>()),
    ];
    for (name, schema) in sections {
        let _ = write!(out, "\n## {name}\n\n{}", field_table(&schema));
    }
    out
}
