//! A path is one that existed, of the file that was written, and holds nothing else; or it is unknown, and says so.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{NOBODY, Place, Told, text};
use crate::support::{Test, lost};

pub(crate) const TESTS: &[Test] = &[
    ("adversary_paths_detached", detached),
    ("adversary_paths_detached_and_path_filter", detached_filtered),
    ("adversary_paths_nameless", nameless),
    ("adversary_paths_deep_rename", deep_rename),
    ("adversary_paths_deep_rename_and_path_filter", deep_rename_filtered),
    ("adversary_paths_names_of_equal_hash", alike),
    ("adversary_paths_torn", torn),
    ("adversary_paths_lengths", lengths),
    ("adversary_paths_many_deep", many_deep),
];

/// Writes by their user_data, each told once.
fn by_user_data(told: &Told) -> Result<HashMap<u64, &Value>> {
    let mut all = HashMap::new();
    for event in told.events.iter().filter(|e| e["event"] == "io_write") {
        let user_data = event["data"]["user_data"].as_u64().context("no user_data")?;
        ensure!(all.insert(user_data, &event["data"]).is_none(), "write {user_data} is told twice");
    }
    ensure!(lost(&told.events) == 0, "events were lost: {:?}", told.ended.summary());
    Ok(all)
}

/// The path of a write, or `None` where it is unknown and says why.
fn path_of(write: &Value) -> Result<Option<&str>> {
    match &write["path"] {
        Value::Null => {
            let reason = write["path_unknown"].as_str().context("no path, and no reason")?;
            ensure!(["renamed", "too_deep"].contains(&reason), "no path: {reason}");
            Ok(None)
        }
        path => Ok(path.as_str()),
    }
}

const DEPTHS: [usize; 5] = [10, 62, 63, 100, 900];
const ROUNDS: usize = 40;

/// What a write of `deep` is told as; where the path is cut, of that what is known.
fn right_name(path: &str, wanted: &str) -> bool {
    path.strip_prefix("...").map_or(path == wanted, |end| wanted.ends_with(end))
}

fn deep_rename() -> Result<()> {
    for depth in DEPTHS {
        let place = Place::new()?;
        let work = text(&place.work());
        let told = place.attack(NOBODY, &["paths", "deep", &work, &depth.to_string(), &ROUNDS.to_string()], &[])?;
        let writes = by_user_data(&told)?;
        ensure!(writes.len() == 2 * ROUNDS, "depth {depth}: {} writes", writes.len());
        let mut known = 0;
        for (user_data, write) in writes {
            let top = if user_data % 2 == 0 { "evil" } else { "good" };
            let wanted = format!("{work}/{top}{}/f", "/d".repeat(depth));
            if let Some(path) = path_of(write)? {
                known += 1;
                ensure!(right_name(path, &wanted), "depth {depth}: {top} is told as {}", &path[..work.len() + 10]);
            }
        }
        // Of very deep ones so many are read at a time.
        let wanted = if depth > 100 { 1 } else { 2 * ROUNDS };
        ensure!(known >= wanted, "depth {depth}: of {} writes only {known} have a path", 2 * ROUNDS);
    }
    Ok(())
}

/// What could not be judged is not left out, and told as that.
fn deep_rename_filtered() -> Result<()> {
    for depth in DEPTHS {
        let place = Place::new()?;
        let work = text(&place.work());
        let globs = format!("{work}/evil/*");
        let attack = ["paths", "deep", &work, &depth.to_string(), &ROUNDS.to_string()];
        let told = place.attack(NOBODY, &attack, &["--path", &globs])?;
        let writes = by_user_data(&told)?;
        let missing = (0..ROUNDS as u64).filter(|i| !writes.contains_key(&(2 * i))).count();
        ensure!(missing == 0, "depth {depth}: {missing} of {ROUNDS} writes to evil are left out");
        let others = writes.values().filter(|w| w["path"].as_str().is_none_or(|p| p.starts_with("..."))).count();
        let says = told.ended.summary()?;
        ensure!(says.contains(&format!(", {others} shown since")) || others == 0, "{others} unknown, and: {says}");
    }
    Ok(())
}

fn alike() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(NOBODY, &["paths", "alike", &work, "400"], &[])?;
    let writes = by_user_data(&told)?;
    for round in &told.truth {
        let i = round["round"].as_u64().context("no round")?;
        let name: Vec<u8> = serde_json::from_value(round["second"].clone())?;
        let write = writes.get(&(2 * i + 1)).context("a write is missing")?;
        let wanted = format!("{work}/{i}/{}", String::from_utf8_lossy(&name));
        ensure!(write["path"] == wanted.as_str(), "{} is told, and it was {wanted}", write["path"]);
    }
    Ok(())
}

fn torn() -> Result<()> {
    for (depth, writes) in [(3, 20_000), (60, 6_000), (900, 2_000)] {
        let place = Place::new()?;
        let work = text(&place.work());
        let told = place.attack(NOBODY, &["paths", "torn", &work, &depth.to_string(), &writes.to_string()], &[])?;
        let told = by_user_data(&told)?;
        ensure!(told.len() == writes, "depth {depth}: {} of {writes} writes", told.len());
        let mut known = 0;
        for write in told.values() {
            let Some(path) = path_of(write)? else { continue };
            // Cut, of which the leaf is known alone.
            let Some(below) = path.strip_prefix(&format!("{work}/T")) else {
                ensure!(path.starts_with("..."), "{path}");
                continue;
            };
            known += 1;
            let (top, rest) = below.split_once('/').context("no top")?;
            let (between, leaf) = rest.rsplit_once("/L").unwrap_or_else(|| ("", rest.trim_start_matches('L')));
            ensure!(between.matches('d').count() == depth, "depth {depth}: {path}");
            let (top, leaf): (u64, u64) = (top.parse()?, leaf.parse()?);
            ensure!(leaf == top || leaf == top + 1, "depth {depth}: T{top} and L{leaf} never were there together");
        }
        ensure!(known > 0, "depth {depth}: no path was told");
    }
    Ok(())
}

fn lengths() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(NOBODY, &["paths", "lengths", &work, "100000"], &[])?;
    let writes = by_user_data(&told)?;
    ensure!(writes.len() == 100_000, "{} writes", writes.len());
    let mut known = 0;
    for write in writes.values() {
        let Some(path) = path_of(write)? else { continue };
        known += 1;
        let name = path.strip_prefix(&format!("{work}/")).with_context(|| format!("{path:?}"))?;
        let whole = [1, 250, 7, 100, 38, 255, 39, 40].contains(&name.len()) && name.bytes().all(|b| b == b'n');
        ensure!(whole && write["path_bytes"].is_null(), "no name of the file: {name:?}");
    }
    ensure!(known > 0, "no path was told");
    Ok(())
}

fn detached() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(NOBODY, &["paths", "detached", &work], &[])?;
    let writes = by_user_data(&told)?;
    let wanted = [
        (1, format!("{work}/before"), Some("other_namespace")),
        (2, format!("{work}/secret"), None),
        (3, "/".to_owned(), Some("nowhere")),
        (4, "/etc/shadow".to_owned(), Some("nowhere")),
        (5, format!("{work}/at/lost"), None),
        (6, "/lost".to_owned(), Some("nowhere")),
    ];
    for (user_data, path, detached) in wanted {
        let write = writes.get(&user_data).with_context(|| format!("write {user_data} is missing"))?;
        let shown = (write["path"].as_str(), write["path_detached"].as_str());
        ensure!(shown == (Some(path.as_str()), detached), "write {user_data}: {shown:?} and not {path} {detached:?}");
    }
    Ok(())
}

fn detached_filtered() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(NOBODY, &["paths", "detached", &work], &["--path", &format!("{work}/secret")])?;
    let mut told_of: Vec<u64> = by_user_data(&told)?.into_keys().collect();
    told_of.sort_unstable();
    // 5 is told by its own path.
    ensure!(told_of == [1, 2, 3, 4, 6], "told are {told_of:?}");
    let says = told.ended.summary()?;
    ensure!(says.contains("4 shown since --path could not judge them"), "{says}");
    Ok(())
}

/// Only root may open by handle.
fn nameless() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(0, &["paths", "nameless", &work], &[])?;
    let writes = by_user_data(&told)?;
    let temporary = writes.get(&1).context("the first write is missing")?;
    let path = temporary["path"].as_str().context("no path")?;
    ensure!(path.starts_with(&format!("{work}/#")) && temporary["deleted"] == true, "{path}");
    let handle = writes.get(&2).context("the second write is missing")?;
    let shown = told.truth.first().and_then(|t| t["shown"].as_str()).context("no truth")?;
    if shown == format!("{work}/handle") {
        // The kernel has not forgotten the name.
        ensure!(handle["path"] == shown, "{}", handle["path"]);
    } else {
        let told = (&handle["path"], handle["path_unknown"].as_str());
        ensure!(told == (&Value::Null, Some("no_name")), "{told:?}, and /proc shows {shown}");
    }
    Ok(())
}

/// A thousand files below 900 directories, whose completions the kernel tells of together.
fn many_deep() -> Result<()> {
    let place = Place::new()?;
    let work = text(&place.work());
    let told = place.attack(NOBODY, &["paths", "many", &work, "900", "1000"], &[])?;
    let writes = by_user_data(&told)?;
    ensure!(writes.len() == 2000, "{} writes", writes.len());
    for (user_data, write) in writes {
        if let Some(path) = path_of(write)? {
            ensure!(path.ends_with(&format!("/d/f{}", user_data % 1000)), "write {user_data}: {path}");
        }
    }
    Ok(())
}
