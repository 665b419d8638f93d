//! Sums of `ringwatch stat`: what the events of the same writes sum up to, exactly.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, Tracer, command, directory, json_lines, named, none_lost, ringwatch, workload};

pub(crate) const TESTS: &[Test] = &[
    ("stat_sums_up_what_the_events_of_the_corpus_tell", corpus),
    ("stat_sums_up_what_the_events_of_a_burst_tell", bursts),
    ("stat_of_fio_finds_punted_buffered_writes", fio),
    ("stat_sums_up_what_its_tables_have_no_room_for", full_tables),
    ("stat_tells_of_intervals_and_their_total", intervals),
    ("stat_by_path_sums_up_the_files_that_match", by_path),
    ("stat_finds_errors_that_are_ignored_and_idle_polling", findings),
];

/// `ringwatch stat` and `ringwatch trace` of the threads of one name, which start when both are ready: the last report,
/// and the events.
fn both(workload_arguments: &[&str], more: &[&str], directory: &Path) -> Result<(Value, Vec<Value>)> {
    let (events, sums) = (directory.join("events"), directory.join("sums"));
    let name = format!("stat-{}", std::process::id());
    let program = directory.join(&name);
    fs::copy(workload(), &program)?;
    let tracer = Tracer::start(&["-o", &format!("json:{}", events.display()), "--comm", &name])?;
    let mut stat = Command::new(ringwatch());
    stat.args(["stat", "--json", "--comm", &name]).args(more).stdout(File::create(&sums)?);
    let stat = Tracer::spawn(&mut stat)?;
    let output = Command::new(&program).args(workload_arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    for tracer in [stat, tracer] {
        let ended = tracer.stop()?;
        ended.expect_success()?;
        ensure!(none_lost(&ended.stderr), "{}", ended.stderr);
    }
    let report = json_lines(&sums)?.pop().context("no report")?;
    let events = json_lines(&events)?;
    ensure!(named(&events, "io_write").len() == events.len(), "events were lost");
    Ok((report, events))
}

/// Sums over events, or what a row of the report has of the same names.
type Sums = BTreeMap<&'static str, u64>;

const NAMES: [&str; 8] = ["writes", "bytes", "failed", "unknown", "short", "tiny", "overflows", "timed"];

/// Writes without a CQE. Of these either program may have found the end by looking, and then without its latency, before
/// `io_write` returned to the other.
const SILENT: &str = "silent";

fn sums<'a>(events: impl IntoIterator<Item = &'a Value>) -> Sums {
    let mut sums: Sums = NAMES.iter().chain(&[SILENT]).map(|&name| (name, 0)).collect();
    for event in events {
        let data = &event["data"];
        let (len, result) = (data["len"].as_u64().unwrap_or(0), data["result"].as_i64());
        let written = result.and_then(|r| u64::try_from(r).ok());
        let mut add = |name: &'static str, n: u64| *sums.entry(name).or_default() += n;
        add("writes", 1);
        add("bytes", written.unwrap_or(0));
        add("failed", result.is_some_and(|r| r < 0).into());
        add("unknown", result.is_none().into());
        add("short", written.is_some_and(|w| w < len).into());
        add("tiny", (len < 512).into());
        add("overflows", (data["completion"] == "overflow").into());
        add("timed", data["latency_ns"].is_u64().into());
        add(SILENT, (data["completion"] == "skipped").into());
    }
    sums
}

fn row(row: &Value) -> Sums {
    NAMES.iter().map(|&name| (name, row[name].as_u64().unwrap_or(u64::MAX))).collect()
}

fn merge(into: &mut Sums, other: &Sums) {
    other.iter().for_each(|(name, n)| *into.entry(name).or_default() += n);
}

/// The events by what `key` says of each.
fn by(events: &[Value], key: impl Fn(&Value) -> String) -> BTreeMap<String, Vec<&Value>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    events.iter().for_each(|event| groups.entry(key(event)).or_default().push(event));
    groups
}

/// The rows of a list, those of one key together.
fn rows(list: &Value, key: impl Fn(&Value) -> String) -> BTreeMap<String, Sums> {
    let mut rows = BTreeMap::new();
    list.as_array().into_iter().flatten().for_each(|r| merge(rows.entry(key(r)).or_default(), &row(r)));
    rows
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Every sum of the report against the events.
fn compare(report: &Value, events: &[Value]) -> Result<()> {
    let all = sums(events);
    for name in ["writes", "bytes", "failed", "unknown", "short"] {
        ensure!(report["totals"][name] == all[name], "{name}: {} of {all:?}", report["totals"]);
    }
    let asked: u64 = events.iter().filter_map(|e| e["data"]["len"].as_u64()).sum();
    ensure!(report["totals"]["asked"] == asked, "{asked} bytes asked for: {}", report["totals"]);
    timed(report["latency_ns"]["count"].as_u64().unwrap_or(0), &all)?;
    ensure!(report["size"]["count"] == all["writes"] && report["size"]["sum"] == asked, "{}", report["size"]);

    let errors: BTreeMap<_, _> =
        list(&report["errors"]).iter().map(|e| (text(&e["error"]), e["count"].as_u64())).collect();
    let failed: Vec<_> = events.iter().filter(|e| e["data"]["error"].is_string()).cloned().collect();
    let wanted: BTreeMap<_, _> =
        by(&failed, |e| text(&e["data"]["error"])).into_iter().map(|(k, v)| (k, Some(v.len() as u64))).collect();
    ensure!(errors == wanted, "errors {errors:?}, not {wanted:?}");

    for (completion, of) in by(events, |e| text(&e["data"]["completion"])) {
        ensure!(report["completions"][&completion] == of.len(), "{} {completion}: {}", of.len(), report["completions"]);
    }
    let executors = by(events, |e| text(&e["data"]["executor"]));
    ensure!(list(&report["executors"]).len() == executors.len(), "{}", report["executors"]);
    for executor in list(&report["executors"]) {
        let wanted = sums(executors.get(&text(&executor["executor"])).into_iter().flatten().copied());
        for name in ["writes", "bytes", "failed", "short"] {
            ensure!(executor[name] == wanted[name], "{name} of {wanted:?}: {executor}");
        }
        timed(executor["latency_ns"]["count"].as_u64().unwrap_or(0), &wanted)?;
        ensure!(executor["size"]["count"] == wanted["writes"], "{wanted:?}: {executor}");
    }

    let named: BTreeMap<_, _> =
        by(events, |e| text(&e["data"]["path"])).into_iter().map(|(k, v)| (k, sums(v))).collect();
    ensure!(report["files_other"]["writes"] == 0, "{}", report["files_other"]);
    same(&rows(&report["files"], |f| text(&f["path"])), &named)?;
    let key = |p: &Value| format!("{} {}", p["host_pid"], p["name"]);
    let named: BTreeMap<_, _> = by(events, |e| key(&e["process"])).into_iter().map(|(k, v)| (k, sums(v))).collect();
    same(&rows(&report["processes"], key), &named)?;

    // Buckets, and the percentiles that follow from them.
    let sizes: Vec<u64> = events.iter().filter_map(|e| e["data"]["len"].as_u64()).collect();
    for bucket in list(&report["size"]["buckets"]) {
        let (from, to) = (bucket["from"].as_u64().unwrap_or(0), bucket["to"].as_u64().unwrap_or(0));
        let wanted = sizes.iter().filter(|&&n| from <= n && n <= to).count();
        ensure!(bucket["count"] == wanted, "{wanted} writes: {bucket}");
    }
    percentiles(&report["size"], sizes, 1.03, &PERCENTILES)?;
    // Each program read the clock for itself, the one after the other, and either may be held up in between: that the
    // median has the same order of magnitude is all that can be asked for. What follows from the buckets is exact, and is tested where it is computed.
    let latencies = events.iter().filter_map(|e| e["data"]["latency_ns"].as_u64()).collect();
    percentiles(&report["latency_ns"], latencies, 3.0, &PERCENTILES[..1])
}

fn timed(told: u64, wanted: &Sums) -> Result<()> {
    ensure!(told.abs_diff(wanted["timed"]) <= wanted[SILENT], "{told} latencies: {wanted:?}");
    Ok(())
}

const PERCENTILES: [(&str, usize); 3] = [("p50", 50), ("p90", 90), ("p99", 99)];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn same(rows: &BTreeMap<String, Sums>, wanted: &BTreeMap<String, Sums>) -> Result<()> {
    for (key, sums) in wanted {
        let row = rows.get(key).with_context(|| format!("no row for {key}"))?;
        for name in NAMES.iter().filter(|&&name| name != "timed") {
            ensure!(row[name] == sums[name], "{key}: {row:?} instead of {sums:?}");
        }
        timed(row["timed"], sums)?;
    }
    ensure!(rows.len() == wanted.len(), "{} rows instead of {}", rows.len(), wanted.len());
    Ok(())
}

/// At most `off` times, or one part in it, of what the values say.
fn percentiles(told: &Value, mut values: Vec<u64>, off: f64, which: &[(&str, usize)]) -> Result<()> {
    values.sort_unstable();
    ensure!(!values.is_empty(), "there are no values");
    for &(name, percent) in which {
        let wanted = values[(values.len() * percent).div_ceil(100) - 1] as f64;
        let told = told[name].as_u64().unwrap_or(0) as f64;
        ensure!(told * off >= wanted && told <= wanted * off, "{name}: {told}, not {wanted}");
    }
    Ok(())
}

fn corpus() -> Result<()> {
    let directory = directory()?;
    let (truth, work) = (directory.path().join("truth"), directory.path().join("work"));
    let arguments = ["run", "--truth", &truth.to_string_lossy(), "--dir", &work.to_string_lossy()].map(str::to_owned);
    let (report, events) = both(&arguments.each_ref().map(String::as_str), &[], directory.path())?;
    ensure!(events.len() > 6000, "{} events", events.len());
    compare(&report, &events)?;
    let schema: Value = serde_json::from_str(&command(ringwatch(), &["stat", "--schema"])?)?;
    let validator = jsonschema::validator_for(&schema)?;
    if let Err(error) = validator.validate(&report) {
        anyhow::bail!("{error}: {report}");
    }
    Ok(())
}

fn bursts() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("file").to_string_lossy().into_owned();
    for arguments in [
        &["burst", "--writes", "6000", "--rings", "3"][..],
        &["burst", "--writes", "1500", "--size", "3000", "--file", &file],
        &["burst", "--writes", "1500", "--sqpoll"],
        &["burst", "--writes", "500", "--file", "/dev/full"],
    ] {
        let (report, events) = both(arguments, &[], directory.path())?;
        compare(&report, &events).with_context(|| arguments.join(" "))?;
    }
    Ok(())
}

/// The reports of `ringwatch stat --json` with these arguments, and its status.
fn reports(arguments: &[&str], directory: &Path) -> Result<(Vec<Value>, Option<i32>)> {
    let sums = directory.join("sums");
    let mut stat = Command::new(ringwatch());
    stat.args(["stat", "--json"]).args(arguments).stdin(Stdio::null()).stdout(File::create(&sums)?);
    let output = stat.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(none_lost(&stderr), "{stderr}");
    let only = |line: &str| line.starts_with('{') && line.contains("\"span\"");
    let text = fs::read_to_string(&sums)?;
    let reports = text.lines().filter(|l| only(l)).map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((reports, output.status.code()))
}

fn kinds(report: &Value) -> Vec<String> {
    list(&report["findings"]).iter().map(|f| text(&f["kind"])).collect()
}

/// Buffered writes of fio; whether the file system makes io-wq do them is its own affair.
fn fio() -> Result<()> {
    let directory = directory()?;
    let file = format!("--filename={}/x", directory.path().display());
    let fio = ["fio", "--ioengine=io_uring", "--name=j", "--rw=write", "--bs=4k", "--size=4M", "--iodepth=8", &file];
    let (reports, status) = reports(&[&["--"], &fio[..]].concat(), directory.path())?;
    ensure!(status == Some(0) && reports.len() == 1, "{status:?}: {} reports", reports.len());
    let report = &reports[0];
    let totals = &report["totals"];
    ensure!(totals["writes"] == 1024 && totals["bytes"] == 4 << 20 && totals["failed"] == 0, "{totals}");
    let punted = totals["punted"].as_u64().unwrap_or(0);
    let found = kinds(report).iter().any(|k| k == "punted_buffered");
    ensure!(found == (punted >= 512), "{punted} punted: {}", report["findings"]);
    if found {
        let said = format!("% of 1,024 buffered writes to {}/x were punted to io-wq (", directory.path().display());
        ensure!(text(&report["findings"][0]["text"]).contains(&said), "{}", report["findings"]);
    }
    Ok(())
}

fn full_tables() -> Result<()> {
    let directory = directory()?;
    let script = "for i in $(seq 40); do \"$0\" burst --writes 10 --file \"$1/$i\" >/dev/null || exit 1; done; exit 5";
    let (program, place) = (workload(), directory.path().to_string_lossy().into_owned());
    let program = program.to_string_lossy();
    let (reports, status) = reports(&["--rows", "16", "--", "sh", "-c", script, &program, &place], directory.path())?;
    ensure!(status == Some(5), "{status:?}");
    let report = reports.last().context("no report")?;
    ensure!(report["totals"]["writes"] == 400 && report["totals"]["bytes"] == 400 * 512, "{}", report["totals"]);
    for (rows, other) in [("files", "files_other"), ("processes", "processes_other")] {
        ensure!(list(&report[rows]).len() == 16, "{} {rows}", list(&report[rows]).len());
        ensure!(list(&report[rows]).iter().all(|r| r["writes"] == 10 && r["bytes"] == 5120), "{}", report[rows]);
        ensure!(report[other]["writes"] == 240 && report[other]["bytes"] == 240 * 512, "{}", report[other]);
    }
    Ok(())
}

fn intervals() -> Result<()> {
    let directory = directory()?;
    let program = workload().to_string_lossy().into_owned();
    let burst = ["burst", "--writes", "4000", "--rate", "4000"];
    let arguments = [&["--interval", "200ms", "--", program.as_str()], &burst[..]].concat();
    let (mut reports, _) = reports(&arguments, directory.path())?;
    let total = reports.pop().context("no report")?;
    ensure!(total["span"] == "total" && total["totals"]["writes"] == 4000, "{total}");
    ensure!(reports.len() >= 3 && reports.iter().all(|r| r["span"] == "interval"), "{} intervals", reports.len());
    let sum = |of: &dyn Fn(&Value) -> &Value| reports.iter().filter_map(|r| of(r).as_u64()).sum::<u64>();
    for (told, wanted) in [
        (sum(&|r| &r["totals"]["writes"]), 4000),
        (sum(&|r| &r["totals"]["bytes"]), 4000 * 512),
        (sum(&|r| &r["latency_ns"]["count"]), 4000),
        (sum(&|r| &r["size"]["count"]), 4000),
        (sum(&|r| &r["files"][0]["writes"]), 4000),
        (sum(&|r| &r["processes"][0]["writes"]), 4000),
    ] {
        ensure!(told == wanted, "{told} instead of {wanted}");
    }
    ensure!(reports.iter().all(|r| list(&r["files"]).iter().all(|f| f["path"] == "/dev/null")), "{reports:?}");
    Ok(())
}

fn by_path() -> Result<()> {
    let directory = directory()?;
    let script = "for f in a.log b.txt c.log; do \"$0\" burst --writes 30 --file \"$1/$f\" >/dev/null || exit 1; done";
    let (program, place) = (workload(), directory.path().to_string_lossy().into_owned());
    let (program, glob) = (program.to_string_lossy(), format!("{place}/*.log"));
    let (reports, _) = reports(&["--path", &glob, "--", "sh", "-c", script, &program, &place], directory.path())?;
    let report = reports.last().context("no report")?;
    ensure!(report["totals"]["writes"] == 60 && report["totals"]["bytes"] == 60 * 512, "{}", report["totals"]);
    ensure!(list(&report["files"]).len() == 2, "{}", report["files"]);
    for unknown in ["errors", "completions", "executors", "latency_ns", "size", "processes", "failures"] {
        ensure!(report[unknown].is_null(), "{unknown}: {}", report[unknown]);
    }
    Ok(())
}

fn findings() -> Result<()> {
    let directory = directory()?;
    let program = workload().to_string_lossy().into_owned();
    let run = |arguments: &[&str]| -> Result<Value> {
        let arguments = [&["--", program.as_str(), "burst"], arguments].concat();
        reports(&arguments, directory.path())?.0.pop().context("no report")
    };
    let full = run(&["--writes", "200", "--file", "/dev/full"])?;
    ensure!(kinds(&full) == ["ignored_errors"], "{}", full["findings"]);
    // The first 32 were submitted together.
    let (failed, later) = (&full["failures"][0]["count"], &full["failures"][0]["later"]);
    ensure!(failed == 200 && later.as_u64() >= Some(168), "{}", full["failures"]);
    let quiet = run(&["--writes", "200"])?;
    ensure!(kinds(&quiet).is_empty(), "{}", quiet["findings"]);
    // 40 writes a second for two seconds, by a thread that polls for a second after each.
    let idle = run(&["--sqpoll", "--writes", "80", "--depth", "1", "--rate", "40"])?;
    let polled = list(&idle["pollers"]).first();
    match polled {
        // Where the kernel's own thread polls, or its time is not told.
        None => eprintln!("no polling thread was seen"),
        Some(poller) => {
            let (cpu, watched) = (poller["cpu_ns"].as_u64(), poller["watched_ns"].as_u64());
            let busy = cpu.zip(watched).is_some_and(|(cpu, watched)| cpu * 2 >= watched && watched >= 500_000_000);
            ensure!(kinds(&idle).contains(&"sqpoll_idle".to_owned()) == busy, "{poller}: {}", idle["findings"]);
        }
    }
    Ok(())
}
