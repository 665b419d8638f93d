//! Each event alone: what it needs is attached, and it tells of all that there is to tell, and of nothing else.

use std::fs::{self, OpenOptions};
use std::io::{IoSlice, Write as _};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Failed, Trial};
use ringwatch::event::Kind;
use serde_json::Value;

use crate::corpus::{Form, WIDE};
use crate::hard::in_vm;
use crate::support::{Tracer, burst, command, directory, json_lines, lost, may_be_no_gap, named, workload};

pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    let trial = |form: &Form| {
        let form = form.clone();
        Trial::test(format!("selections::each_event_alone::{}", form.name), move || {
            each_alone(&form).map_err(|e| Failed::from(format!("{e:#}")))
        })
    };
    let runs = |form: &&Form| form.name != WIDE && !(in_vm() && (form.early || form.name == "raw"));
    forms.iter().filter(runs).map(trial).collect()
}

/// Requests of `burst`.
const WRITES: usize = 7;

fn each_alone(form: &Form) -> Result<()> {
    for kind in Kind::ALL {
        let name = kind.name();
        let of_files = !name.starts_with("io_");
        // What needs functions differs from kernel to kernel; the rest takes long where a processor is emulated.
        if in_vm() && !of_files {
            continue;
        }
        let told = alone(form, name, of_files);
        let refusal = if of_files { "neither by fentry nor by kprobe" } else { "before 5.18" };
        if told.as_ref().is_err_and(|e| (of_files || form.early) && e.to_string().contains(refusal)) {
            continue;
        }
        told.with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn alone(form: &Form, name: &str, of_files: bool) -> Result<()> {
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (output, truth, work) = (format!("json:{}", path("events")), path("truth"), path("work"));
    fs::create_dir(&work)?;
    let tracer = Tracer::start(&[&["-e", name, "-o", &output], form.arguments].concat())?;
    let requests = if of_files {
        files(&path("file"))?;
        1
    } else {
        burst(&["--writes", &WRITES.to_string()])?;
        if form.early { WRITES } else { operations(&truth, &work, name)? }
    };
    tracer.stop()?.expect_success()?;

    let mut events = json_lines(path("events").as_ref())?;
    events.retain(|event| !may_be_no_gap(event));
    ensure!(lost(&events) == 0, "events were lost");
    ensure!(named(&events, name).len() == events.len(), "other events than {name}");
    let own = |event: &&Value| match of_files {
        true => event["data"]["path"] == path("file"),
        false => event["process"]["ppid"] == std::process::id(),
    };
    let told = events.iter().filter(own).count();
    if name == "io_uring_create" {
        ensure!(told > 0, "no ring is told");
        return Ok(());
    }
    // Of any opcode there are some that the truth has no words for.
    let right = told == requests || name == "io_issue_sqe" && told > requests;
    ensure!(right, "{told} of {requests} were told");
    Ok(())
}

/// One open, one write of each kind, one first change.
fn files(path: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(b"one")?;
    ensure!(file.write_vectored(&[IoSlice::new(b"two"), IoSlice::new(b"three")])? == 8, "a short write");
    Ok(())
}

/// How many requests there were that the event tells of, those of `burst` included.
fn operations(truth: &str, work: &str, name: &str) -> Result<usize> {
    command(workload(), &["ops", "--truth", truth, "--dir", work])?;
    let truths = json_lines(truth.as_ref())?;
    let asked = truths.iter().filter(|t| t["skipped"].is_null() && t["done"] != true);
    Ok(match name {
        "io_write" => WRITES + asked.filter(|t| t["event"] == name).count(),
        "io_issue_sqe" => WRITES + asked.count(),
        _ => asked.filter(|t| t["event"] == name).count(),
    })
}
