//! Each request ends once, by its own end, whatever other requests, rings and messages claim; and none ends unseen.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{COMM, NOBODY, Place, Told, text};
use crate::support::{Test, Tracer, json_lines, lost, named};

pub(crate) const TESTS: &[Test] = &[
    ("adversary_requests_a_nop_ends_no_write", nop),
    ("adversary_requests_a_message_ends_no_write", message),
    ("adversary_requests_equal_user_data_overflow", equal),
    ("adversary_requests_behind_silent_ones", behind_silent),
    ("adversary_requests_older_and_overflowing", older_overflow),
    ("adversary_requests_older_and_silent", older_silent),
    ("adversary_requests_silent_behind_a_full_table", table_full),
    ("adversary_requests_many_rings_drive_out_no_creator", creators),
];

/// With writes alone, with everything, and without typed reads: the mechanism is one, its forms are several.
const FORMS: [&[&str]; 3] = [&[], &["-e", "io_uring"], &["--raw-reads"]];

/// One event for each write of the truth, and no other, with its result and path.
fn compare(told: &Told) -> Result<()> {
    let mut wanted: HashMap<(u64, i64, Option<&str>), i64> = HashMap::new();
    for write in &told.truth {
        let user_data = write["user_data"].as_u64().context("no user_data")?;
        let result = write["result"].as_i64().context("no result")?;
        *wanted.entry((user_data, result, write["path"].as_str())).or_default() += 1;
    }
    let chosen: Vec<u64> = wanted.keys().map(|w| w.0).collect();
    for event in named(&told.events, "io_write") {
        let data = &event["data"];
        let user_data = data["user_data"].as_u64().context("no user_data")?;
        if !chosen.contains(&user_data) {
            continue;
        }
        let result = data["result"].as_i64().with_context(|| format!("no result: {data}"))?;
        let path = data["path"].as_str().filter(|p| p.starts_with('/'));
        *wanted.entry((user_data, result, path)).or_default() -= 1;
    }
    let wrong: Vec<_> = wanted.iter().filter(|&(_, &n)| n != 0).collect();
    ensure!(wrong.is_empty(), "missing (positive) or too many (negative): {wrong:?}; {}", told.ended.stderr);
    ensure!(lost(&told.events) == 0, "{}", told.ended.stderr);
    Ok(())
}

fn in_each_form(what: &[&str]) -> Result<()> {
    for form in FORMS {
        let place = Place::new()?;
        let work = text(&place.work());
        let told = place.attack(NOBODY, &[&["requests", what[0], &work], &what[1..]].concat(), form)?;
        compare(&told).with_context(|| format!("with {form:?}"))?;
    }
    Ok(())
}

fn nop() -> Result<()> {
    in_each_form(&["nop"])
}

fn message() -> Result<()> {
    in_each_form(&["message"])
}

fn equal() -> Result<()> {
    in_each_form(&["equal", "2000"])
}

fn behind_silent() -> Result<()> {
    in_each_form(&["behind-silent", "10000"])
}

/// Starts the attack first, and ringwatch when it waits.
fn older(what: &str, form: &[&str]) -> Result<Told> {
    let place = Place::new()?;
    let mut child = Command::new(&place.program)
        .args(["attack", "requests", what, &text(&place.work())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the attack")?;
    let mut out = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(line == "ready\n", "the attack says {line:?}");
    let file = place.directory.path().join("events");
    let output = format!("json:{}", file.display());
    let tracer = Tracer::start(&[&["-o", &output, "--comm", COMM], form].concat())?;
    child.stdin.take().context("no input")?.write_all(b"\n")?;
    let mut said = String::new();
    out.read_to_string(&mut said)?;
    ensure!(child.wait()?.success(), "the attack failed");
    let ended = tracer.stop()?;
    let truth = said.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(Told { truth, events: json_lines(&file)?, ended })
}

fn older_overflow() -> Result<()> {
    for form in FORMS {
        compare(&older("older-overflow", form)?).with_context(|| format!("with {form:?}"))?;
    }
    Ok(())
}

fn older_silent() -> Result<()> {
    for form in FORMS {
        compare(&older("older-silent", form)?).with_context(|| format!("with {form:?}"))?;
    }
    Ok(())
}

/// What cannot be followed is reported at once: its file is known, its result is not.
fn table_full() -> Result<()> {
    let place = Place::new()?;
    let told = place.attack(NOBODY, &["requests", "table-full", &text(&place.work()), "82000"], &[])?;
    ensure!(lost(&told.events) == 0, "{}", told.ended.stderr);
    for write in &told.truth {
        let all = named(&told.events, "io_write");
        let events: Vec<_> = all.into_iter().filter(|e| e["data"]["user_data"] == write["user_data"]).collect();
        ensure!(events.len() == 1, "{} events of {write}", events.len());
        ensure!(events[0]["data"]["path"] == write["path"], "{write}: {}", events[0]);
    }
    Ok(())
}

/// As root, since so many rings are more than others may have.
fn creators() -> Result<()> {
    let place = Place::new()?;
    let told = place.attack(0, &["requests", "creators", &text(&place.work()), "9000"], &[])?;
    compare(&told)?;
    let [write] = &named(&told.events, "io_write")[..] else { bail!("{:?}", told.events) };
    let [truth] = &told.truth[..] else { bail!("{:?}", told.truth) };
    ensure!(write["process"]["thread_from_name"] != true, "{write:#}");
    for tid in [&write["process"]["host_tid"], &write["data"]["worker_host_tid"]] {
        ensure!(*tid == truth["host_tid"], "{truth}: {write:#}");
    }
    Ok(())
}
