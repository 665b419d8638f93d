//! Real programs: what ringwatch saw is what they say they did.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, directory, json_lines, named, run};

pub(crate) const TESTS: &[Test] = &[
    ("fio_buffered", || fio("buffered", &["--direct=0"])),
    ("fio_direct", || fio("direct", &["--direct=1"])),
    ("fio_sqpoll", || fio("sqpoll", &["--direct=1", "--sqthread_poll=1"])),
    ("fio_fixed", || fio("fixed", &["--direct=1", "--fixedbufs=1", "--registerfiles=1"])),
    ("qemu_img_bench", qemu_img),
];

const BLOCK: u64 = 4096;
const SIZE: u64 = 4 << 20;

/// Traces `command`; its io_uring writes.
fn trace(directory: &Path, command: &[OsString]) -> Result<Vec<Value>> {
    let file = directory.join("events");
    let mut all: Vec<OsString> =
        vec!["trace".into(), "-o".into(), format!("json:{}", file.display()).into(), "--".into()];
    all.extend_from_slice(command);
    let ended = run(all)?;
    ended.expect_success()?;
    let events = json_lines(&file)?;
    ensure!(named(&events, "io_write").len() == events.len(), "events were lost: {}", ended.stderr);
    Ok(events)
}

/// How often each offset was written, with whole blocks.
fn offsets(events: &[Value], path: &Path) -> Result<BTreeMap<u64, u64>> {
    let mut offsets = BTreeMap::new();
    for event in events {
        let data = &event["data"];
        ensure!(data["path"] == path.to_string_lossy().as_ref(), "{event}");
        ensure!(data["result"] == BLOCK && data["len"] == BLOCK, "{event}");
        *offsets.entry(data["pos"].as_u64().with_context(|| format!("no position: {event}"))?).or_default() += 1;
    }
    Ok(offsets)
}

fn fio(name: &str, options: &[&str]) -> Result<()> {
    let directory = directory()?;
    let (file, report) = (directory.path().join("data"), directory.path().join("report"));
    let mut command: Vec<OsString> =
        ["fio", "--ioengine=io_uring", "--rw=randwrite", "--iodepth=16", "--output-format=json"].map(Into::into).into();
    command.push(format!("--name={name}").into());
    command.push(format!("--bs={BLOCK}").into());
    command.push(format!("--size={SIZE}").into());
    command.push(format!("--filename={}", file.display()).into());
    command.push(format!("--output={}", report.display()).into());
    command.extend(options.iter().map(Into::into));
    let events = trace(directory.path(), &command)?;

    let text = fs::read_to_string(&report)?;
    let start = text.find('{').context("fio printed no report")?;
    let said: Value = serde_json::from_str(&text[start..])?;
    let write = &said["jobs"][0]["write"];
    let bytes: u64 = events.iter().filter_map(|e| e["data"]["result"].as_u64()).sum();
    ensure!(write["total_ios"] == events.len(), "{} events, fio {}", events.len(), write["total_ios"]);
    ensure!(write["io_bytes"] == bytes, "{bytes} bytes, fio {}", write["io_bytes"]);
    // Without norandommap fio writes each block once.
    let wanted: BTreeMap<u64, u64> = (0..SIZE / BLOCK).map(|i| (i * BLOCK, 1)).collect();
    ensure!(offsets(&events, &file)? == wanted, "the offsets differ");
    let sqpoll = options.contains(&"--sqthread_poll=1");
    ensure!(events.iter().all(|e| (e["data"]["submitter"] == "sqpoll") == sqpoll));
    let fixed = options.contains(&"--fixedbufs=1");
    ensure!(events.iter().all(|e| (e["data"]["opcode"] == "WRITE_FIXED") == fixed));
    Ok(())
}

fn qemu_img() -> Result<()> {
    const COUNT: u64 = 2000;
    let directory = directory()?;
    let image = directory.path().join("image");
    fs::File::create(&image)?.set_len(SIZE)?;
    let mut command: Vec<OsString> =
        ["qemu-img", "bench", "-w", "-i", "io_uring", "-t", "none", "-f", "raw", "-d", "8"].map(Into::into).into();
    command.extend(["-c".into(), COUNT.to_string().into(), "-s".into(), BLOCK.to_string().into()]);
    command.push(image.clone().into());
    let events = trace(directory.path(), &command)?;
    ensure!(events.len() as u64 == COUNT, "{} events", events.len());
    // It starts anew at the end of the image.
    let mut wanted = BTreeMap::new();
    for i in 0..COUNT {
        *wanted.entry(i * BLOCK % SIZE).or_default() += 1;
    }
    ensure!(offsets(&events, &image)? == wanted, "the offsets differ");
    Ok(())
}
