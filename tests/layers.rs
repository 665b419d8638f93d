//! The floors of the house: a room of `src/` knows those below it, and none beside or above.

#![allow(clippy::unwrap_used, reason = "the sources are there")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up.
const FLOORS: [&[&str]; 13] = [
    &["here", "interrupt", "json", "names", "opcode", "proc", "schema"],
    &["child", "say", "time"],
    &["wake"],
    &["event"],
    &["manual"],
    // What the kernel does, and what crosses to it and back.
    &["kernel"],
    &["filter", "loss", "record", "selection"],
    &["enrich", "output", "watched"],
    &["rings"],
    &["pipeline"],
    &["tracer"],
    &["stat"],
    &["cli"],
];

const LINES_MAX: usize = 500;
/// Longer, and why.
const LONG: [(&str, &str); 0] = [];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Files of `src/` with their room, without what is compiled for tests only.
fn product() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let product = files.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        if ["lib.rs", "main.rs", "fuzz.rs", "tests.rs"].contains(&name) {
            return None;
        }
        let room = path.strip_prefix(&root).ok()?.iter().next()?.to_str()?.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        Some((path, room, text))
    });
    product.collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn rooms_know_only_those_below() {
    let mut wrong = BTreeMap::new();
    let product = product();
    assert!(product.len() > 50, "only {} files were found", product.len());
    for (path, room, text) in &product {
        let from = floor(room).unwrap_or_else(|| panic!("{room} stands on no floor: add it to FLOORS"));
        for rest in text.split("crate::").skip(1) {
            let other = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let Some(to) = floor(other) else { continue };
            if room != other && to >= from {
                wrong.insert(format!("{} knows {other}", path.display()), ());
            }
        }
    }
    assert!(wrong.is_empty(), "imports upward or beside: {:#?}", wrong.keys().collect::<Vec<_>>());
}

#[test]
fn each_room_exists() {
    let rooms: Vec<String> = product().into_iter().map(|(_, room, _)| room).collect();
    for room in FLOORS.iter().flat_map(|rooms| rooms.iter()) {
        assert!(rooms.iter().any(|other| other == room), "there is no room {room}");
    }
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = product()
        .into_iter()
        .filter(|(path, ..)| !LONG.iter().any(|(name, _)| path.ends_with(name)))
        .map(|(path, _, text)| (path, text.lines().count()))
        .filter(|&(_, lines)| lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split these, or say in LONG why not: {long:#?}");
}
