//! Files outside of io_uring: what this process does to its own, and that a write through io_uring is no system call.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::corpus::Form;
use crate::support::{Test, Tracer, burst, directory, json_lines, lost, may_be_no_gap, named, run};

pub(crate) const TESTS: &[Test] = &[("files::where_functions_cannot_be_watched_that_is_said", refused)];

const EVENTS: &str = "io_write,vfs_write,vfs_writev,security_file_open,file_modification";

pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    let watching = forms.iter().filter(|form| matches!(form.name, "fentry" | "kprobe"));
    let trial = |form: &Form| {
        let arguments = form.arguments;
        Trial::test(format!("files::{}", form.name), move || {
            files(arguments).map_err(|e| Failed::from(format!("{e:#}")))
        })
    };
    watching.map(trial).collect()
}

fn files(form: &[&str]) -> Result<()> {
    let directory = directory()?;
    let work = directory.path().canonicalize()?.join("work");
    std::fs::create_dir(&work)?;
    let events = directory.path().join("events");
    let (output, glob) = (format!("json:{}", events.display()), format!("{}/*", work.display()));
    let tracer = Tracer::start(&[&["-e", EVENTS, "-o", &output, "--path", &glob], form].concat())?;
    let path = work.join("file");
    let mut wanted = vec![];
    let mut expect = |event: &str, data: Value| wanted.push((event.to_owned(), data));

    let mut file = File::create(&path)?;
    let inode = file.metadata()?.ino();
    expect("security_file_open", json!({"created": true, "result": 0, "outcome": "success"}));
    file.write_all(b"hello")?;
    expect("file_modification", json!({"inode": inode}));
    expect("vfs_write", json!({"pos": 0, "len": 5, "result": 5, "error": null}));
    file.write_all_at(b"far", 100)?;
    expect("vfs_write", json!({"pos": 100, "len": 3, "result": 3}));
    ensure!(file.write_vectored(&[IoSlice::new(b"abc"), IoSlice::new(b"defg")])? == 7, "a short write");
    expect("vfs_writev", json!({"pos": 5, "len": 7, "iov_count": 2, "result": 7}));
    drop(file);
    let mut file = OpenOptions::new().append(true).open(&path)?;
    expect("security_file_open", json!({"created": false, "result": 0}));
    file.write_all(b"end")?;
    expect("file_modification", json!({"inode": inode}));
    expect("vfs_write", json!({"pos": 103, "len": 3, "result": 3}));
    drop(file);
    let file = File::open(&path)?;
    expect("security_file_open", json!({"created": false}));
    // SAFETY: the buffer has that many bytes.
    let n = unsafe { libc::write(file.as_fd().as_raw_fd(), b"no".as_ptr().cast(), 2) };
    ensure!(n == -1, "a write to what is open for reading");
    expect("vfs_write", json!({"result": -libc::EBADF, "error": "EBADF", "outcome": "failure"}));
    drop(file);

    // The same by io_uring, and nothing that looks like a system call.
    let ring = work.join("ring").display().to_string();
    burst(&["--file", &ring, "--writes", "50"])?;
    tracer.stop()?.expect_success()?;

    let mut events = json_lines(&events)?;
    events.retain(|event| !may_be_no_gap(event));
    ensure!(lost(&events) == 0, "events were lost");
    let own: Vec<_> = (events.iter()).filter(|e| e["data"]["path"] == path.display().to_string()).collect();
    ensure!(own.len() == wanted.len(), "{} events, not {}: {own:#?}", own.len(), wanted.len());
    for (event, (name, data)) in own.iter().zip(&wanted) {
        ensure!(event["event"] == *name, "not {name}: {event}");
        for (field, value) in data.as_object().context("an object")? {
            ensure!(event["data"][field] == *value, "{field} is not {value}: {event}");
        }
        ensure!(event["data"]["inode"] == inode && event["process"]["host_pid"] == std::process::id(), "{event}");
        ensure!(event["process"]["host_tid"] == event["data"]["worker_host_tid"], "{event}");
    }
    let by_ring = |name: &str| named(&events, name).iter().filter(|e| e["data"]["path"] == ring).count();
    ensure!(by_ring("io_write") == 50, "{} io_write", by_ring("io_write"));
    ensure!(by_ring("vfs_write") == 0 && by_ring("vfs_writev") == 0, "a write by io_uring as a system call");
    ensure!(by_ring("file_modification") == 1, "{} changes of {ring}", by_ring("file_modification"));
    Ok(())
}

fn refused() -> Result<()> {
    let ended = run(["trace", "-e", "vfs_write", "--probes", "tracepoint", "--duration", "1ms"])?;
    let kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists();
    ensure!(
        kprobes || (ended.code() == Some(1) && ended.stderr.contains("neither by fentry nor by kprobe")),
        "{ended:?}"
    );
    Ok(())
}
