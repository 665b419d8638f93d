//! What is lost is counted: events and losses together are what the workload did, to the unit.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::support::{Test, Tracer, burst, command, directory, json_lines, lost, named, none_lost, signal};

pub(crate) const TESTS: &[Test] = &[
    ("a_stopped_consumer_loses_and_counts", stopped),
    ("a_default_buffer_loses_nothing", default_buffer),
    ("a_full_disk_is_reported_counted_and_survived", full_disk),
    ("with_80000_inodes_each_file_keeps_its_path", many_files),
];

const WRITES: u64 = 100_000;

fn stopped() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let tracer = Tracer::start(&[
        "-o",
        &format!("json:{}", file.display()),
        "--buffer-size",
        "64K",
        "--comm",
        "ringwatch-workl",
    ])?;
    signal(&tracer.child, Signal::SIGSTOP)?;
    let done = burst(&["--writes", &WRITES.to_string()])?;
    signal(&tracer.child, Signal::SIGCONT)?;
    let ended = tracer.stop()?;
    ended.expect_success()?;
    ensure!(done["writes"] == WRITES, "{done}");
    let events = json_lines(&file)?;
    let (told, missing) = (named(&events, "io_write").len() as u64, lost(&events));
    ensure!(missing > 0, "a buffer of 64 KiB held {WRITES} writes");
    ensure!(told + missing == WRITES, "{told} events and {missing} lost are not {WRITES} writes");
    ensure!(named(&events, "events_lost").iter().all(|e| e["data"]["cause"] == "ring_full"), "{}", ended.stderr);
    ensure!(ended.summary()?.starts_with(&format!("{told} events, {missing} lost")), "{}", ended.stderr);
    // Whatever was told is whole, also the first write after the gap.
    ensure!(
        named(&events, "io_write").iter().all(|e| e["data"]["path"] == "/dev/null" && e["process"]["name"].is_string())
    );
    Ok(())
}

fn default_buffer() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let tracer = Tracer::start(&["-o", &format!("json:{}", file.display()), "--comm", "ringwatch-workl"])?;
    burst(&["--writes", "50000", "--rate", "100000"])?;
    let ended = tracer.stop()?;
    ensure!(ended.summary()?.starts_with("50000 events, ") && none_lost(&ended.stderr), "{}", ended.stderr);
    ensure!(json_lines(&file)?.len() == 50_000);
    Ok(())
}

/// A tmpfs of limited size, gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Result<Self> {
        let directory = directory()?;
        let path = directory.path().to_string_lossy().into_owned();
        command("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "ringwatch-test", &path])?;
        Ok(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command("umount", &["-l".as_ref(), self.0.path().as_os_str()]);
    }
}

fn full_disk() -> Result<()> {
    let disk = Disk::mount("1M")?;
    let (small, other) = (disk.0.path().join("events"), directory()?);
    let healthy = other.path().join("events");
    let outputs = [format!("json:{}", small.display()), format!("json:{}", healthy.display())];
    let tracer = Tracer::start(&["-o", &outputs[0], "-o", &outputs[1], "--comm", "ringwatch-workl"])?;
    burst(&["--writes", "20000", "--rate", "200000"])?;
    let ended = tracer.stop()?;
    ended.expect_success()?;
    let reports = ended.stderr.lines().filter(|l| l.contains("cannot write to") && l.contains("No space left")).count();
    ensure!(reports == 1, "reported {reports} times: {}", ended.stderr);

    // The other output has everything.
    ensure!(named(&json_lines(&healthy)?, "io_write").len() == 20_000, "{}", ended.stderr);
    // The last line may be torn, be it only that its end is missing: it counts as lost.
    let text = std::fs::read_to_string(&small)?;
    let lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    let whole = lines.filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()).collect::<Vec<_>>();
    let told = named(&whole, "io_write").len();
    ensure!(told > 0 && told < 20_000, "{told} events on a disk of 1 MiB");
    let missing = 20_000 - told;
    ensure!(ended.stderr.contains(&format!("lost {missing}: an output could not be written")), "{}", ended.stderr);
    Ok(())
}

/// More files than are remembered: strings are forgotten and sent anew, and no write is told without its own.
fn many_files() -> Result<()> {
    let directory = directory()?;
    let (events, file) = (directory.path().join("events"), directory.path().join("f"));
    let output = format!("json:{}", events.display());
    let tracer = Tracer::start(&["-o", &output, "--comm", "ringwatch-workl"])?;
    let file = file.to_string_lossy();
    burst(&["--file", &file, "--files", "2000", "--processes", "40", "--writes", "160000"])?;
    let ended = tracer.stop()?;
    ended.expect_success()?;
    let lines = json_lines(&events)?;
    let writes = named(&lines, "io_write");
    let told = writes.len() as u64;
    ensure!(told + lost(&lines) == 160_000, "{told} events: {}", ended.stderr);
    for write in writes {
        let path = write["data"]["path"].as_str();
        ensure!(path.is_some_and(|path| path.starts_with(&*file)), "{write}");
    }
    Ok(())
}
