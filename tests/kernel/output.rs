//! What people and programs read: the table on a terminal, several outputs at once, check, events, the schema.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::pty::{Winsize, openpty};
use ringwatch::event::Kind;
use serde_json::Value;

use crate::depth::{self, Depth};
use crate::ops::runs_no_requests;
use crate::support::{Test, command, directory, json_lines, ringwatch, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("a_table_fits_the_terminal_and_obeys_no_file_name", terminal),
    ("eighty_columns_show_each_request_once_with_its_time_operation_result_and_name", eighty_columns),
    ("the_looks_of_a_table_are_as_asked_for", looks),
    ("quiet_and_verbose_messages", quiet_and_verbose),
    ("several_outputs_tell_the_same", several),
    ("every_event_fits_the_schema", schema),
    ("a_path_that_is_too_deep_says_so", too_deep),
    ("a_path_is_cut_where_the_walk_ends", depth::cut_where_the_walk_ends),
    ("check_attaches_every_probe_of_the_plan", check),
    ("events_prints_manual_and_schema", events),
];

/// Runs the odd names of the corpus on a terminal of `columns`; what it showed.
fn on_terminal(columns: u16, no_colour: bool) -> Result<String> {
    let directory = directory()?;
    let mut command = Command::new(ringwatch());
    command.args(["trace", "--"]).arg(workload()).arg("run");
    command.arg("--truth").arg(directory.path().join("truth"));
    command.arg("--dir").arg(directory.path().join("work")).args(["odd-names", "not-utf8", "bad-fd", "long-names"]);
    if no_colour {
        command.env("NO_COLOR", "1");
    } else {
        command.env_remove("NO_COLOR");
    }
    shown(command, columns)
}

/// What a command shows on a terminal of `columns`.
fn shown(mut command: Command, columns: u16) -> Result<String> {
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None)?;
    command.stdin(Stdio::null()).stdout(pty.slave).stderr(Stdio::null()).env("TERM", "xterm");
    let mut child = command.spawn()?;
    // The command holds the terminal's other end: without it, reading ends with the child.
    drop(command);
    let mut shown = vec![];
    let mut master = File::from(pty.master);
    let mut part = [0; 4096];
    // A terminal without a program reads as an error.
    while let Ok(n @ 1..) = master.read(&mut part) {
        shown.extend_from_slice(&part[..n]);
    }
    ensure!(child.wait()?.success());
    Ok(String::from_utf8(shown)?)
}

fn terminal() -> Result<()> {
    use unicode_width::UnicodeWidthStr as _;
    for columns in [60, 80, 120, 200] {
        let shown = on_terminal(columns, true)?;
        ensure!(shown.lines().count() > 10, "{shown}");
        for line in shown.replace("\r\n", "\n").lines() {
            ensure!(!line.chars().any(char::is_control), "control characters: {line:?}");
            ensure!(!line.contains('\u{202e}'), "a right-to-left override: {line:?}");
            ensure!(line.width() <= usize::from(columns), "{} columns: {line}", line.width());
        }
        if columns == 200 {
            ensure!(shown.contains("\\n") && shown.contains("\\u{1b}"), "{shown}");
        }
    }
    let shown = on_terminal(120, false)?;
    ensure!(shown.contains("\x1b[31m") && shown.contains("\x1b[0m"), "no colours: {shown:?}");
    for escape in shown.split('\x1b').skip(1) {
        ensure!(["[31m", "[33m", "[1m", "[0m"].iter().any(|c| escape.starts_with(c)), "{escape:?}");
    }
    Ok(())
}

fn eighty_columns() -> Result<()> {
    use unicode_width::UnicodeWidthStr as _;
    if runs_no_requests()? {
        eprintln!("corpus case output::eighty_columns skipped: completions do not name their requests here");
        return Ok(());
    }
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("work"))?;
    let mut trace = Command::new(ringwatch());
    trace.args(["trace", "--utc", "--color=never", "-e", "io_uring", "-o", "table", "-o"]);
    trace.arg(format!("json:{}", path("events").display())).arg("--").arg(workload()).args(["ops", "--truth"]);
    trace.arg(path("truth")).arg("--dir").arg(path("work"));
    let shown = shown(trace, 80)?.replace("\r\n", "\n");
    let mut lines = shown.lines();
    let titles = lines.next().context("nothing is shown")?;
    ensure!(
        titles.split_whitespace().collect::<Vec<_>>() == ["TIME", "UTC", "COMM", "OP", "RESULT", "PATH"],
        "{titles}"
    );
    let events = json_lines(&path("events"))?;
    ensure!(events.len() > 50 && lines.clone().count() == events.len(), "{} events: {shown}", events.len());
    let mut whole = 0;
    for (line, event) in lines.zip(&events) {
        ensure!(line.width() <= 80, "{line}");
        let data = &event["data"];
        if event["event"] == "events_lost" {
            continue;
        }
        let time = event["timestamp"].as_str().and_then(|t| t.get(11..23)).context("no time")?;
        let operation = data["opcode"].as_str().unwrap_or("create");
        let words: Vec<_> = line.split_whitespace().collect();
        ensure!(words[0] == time && words.contains(&operation), "{line}\n{event}");
        // A file that was opened into the table of registered ones has a place there.
        let created = if event["event"] == "io_uring_create" { &data["fd"] } else { &data["result"] };
        let result = match (data["error"].as_str(), data["fixed_slot"].as_i64().or(created.as_i64())) {
            (Some(error), _) => error.to_owned(),
            (None, Some(result @ 0..1000)) => result.to_string(),
            (None, Some(_)) => continue,
            (None, None) => "?".to_owned(),
        };
        ensure!(words.contains(&&*result), "no {result}: {line}\n{event}");
        // Of two paths, either; of none in the kernel, the one that was given.
        for key in ["path", "old_path", "new_path"] {
            let name = data[key].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            if !name.is_empty() && name.len() < 8 && !name.contains([' ', '"', '\\']) {
                ensure!(line.contains(name), "no {name}: {line}\n{event}");
                whole += 1;
            }
        }
    }
    ensure!(whole > 20, "{whole} names: {shown}");
    // What has an event of its own is not reported as any request as well.
    let truths = json_lines(&path("truth"))?;
    let asked = truths.iter().filter(|t| t["skipped"].is_null() && t["done"] != true);
    let number = |of: &Value| of["data"]["user_data"].clone();
    let requests = |name: &str| events.iter().filter(|e| e["event"] == name).collect::<Vec<_>>();
    ensure!(requests("io_issue_sqe").iter().all(|e| Kind::of_opcode(opcode(e)).is_none()), "{shown}");
    for truth in asked {
        let name = truth["event"].as_str().context("a truth without an event")?;
        let told = requests(name).iter().filter(|e| number(e) == number(truth)).count();
        let again = requests("io_issue_sqe").iter().filter(|e| number(e) == number(truth)).count();
        ensure!((told, again) == (1, 0), "{told} and {again} events for {truth}");
    }
    Ok(())
}

fn opcode(event: &Value) -> u8 {
    event["data"]["opcode_number"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(u8::MAX)
}

/// What `burst` looks like, without a terminal.
fn table(arguments: &[&str]) -> Result<String> {
    let program = workload().display().to_string();
    let mut all = vec!["trace"];
    all.extend(arguments);
    all.extend(["--", &program, "burst", "--writes", "3"]);
    command(ringwatch(), &all)
}

fn looks() -> Result<()> {
    let plain = table(&[])?;
    ensure!(plain.lines().count() == 4 && !plain.contains('\x1b'), "{plain}");
    ensure!(table(&["--color=always"])?.starts_with("\x1b[1mTIME "), "no colors");
    let bare = table(&["--no-header", "--columns", "op,RESULT,path"])?;
    let words: Vec<Vec<_>> = bare.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(words == [["WRITE", "512", "/dev/null"]; 3], "{bare}");
    let dated = table(&["--date", "--utc", "--columns", "TIME,EVENT,PID,UID"])?;
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d ").to_string();
    ensure!(dated.starts_with("TIME UTC ") && dated.lines().skip(1).all(|l| l.starts_with(&today)), "{dated}");
    let zoned = Command::new(ringwatch())
        .args(["trace", "--"])
        .arg(workload())
        .args(["burst", "--writes", "1"])
        .env("TZ", "XYZ-05:30")
        .output()?;
    let zoned = String::from_utf8(zoned.stdout)?;
    ensure!(zoned.starts_with("TIME +05:30 "), "{zoned}");
    for (arguments, said) in [
        (&["--columns", "TIME,SIZE"][..], "there is no column `SIZE`: the columns are TIME, EVENT"),
        (&["--columns", "TIME", "-o", "json"], "--columns is for tables"),
        (&["--color=perhaps"], "auto, always, never"),
    ] {
        let ended = run([&["trace"], arguments].concat())?;
        ensure!(ended.code() == Some(2) && ended.stderr.contains(said), "{}", ended.stderr);
    }
    Ok(())
}

fn quiet_and_verbose() -> Result<()> {
    let program = workload().display().to_string();
    for of in ["trace", "stat"] {
        let said = |arguments: &[&str]| -> Result<String> {
            let ended = run([&[of], arguments, &["--", &program, "burst", "--writes", "3"]].concat())?;
            ended.expect_success()?;
            Ok(ended.stderr.lines().filter(|line| line.starts_with("ringwatch: ")).collect::<Vec<_>>().join("\n"))
        };
        ensure!(said(&["-q"])?.is_empty(), "{}", said(&["-q"])?);
        ensure!(said(&[])?.contains(", none lost (plan: "), "no summary");
        let verbose = said(&["--verbose"])?;
        for part in
            ["ringwatch: plan ", "ringwatch: probe io_uring_complete: attached, ", "ringwatch: reports CQ overflow"]
        {
            ensure!(verbose.contains(part), "{part}: {verbose}");
        }
    }
    let ended = run(["trace", "-q", "--", "/nowhere"])?;
    ensure!(ended.code() == Some(127) && ended.stderr.contains("/nowhere"), "{}", ended.stderr);
    Ok(())
}

fn several() -> Result<()> {
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name);
    let ended = run([
        "trace".as_ref(),
        "-o".as_ref(),
        format!("json:{}", path("a").display()).as_ref(),
        "-o".as_ref(),
        format!("json:{}", path("b").display()).as_ref(),
        "-o".as_ref(),
        format!("table:{}", path("c").display()).as_ref(),
        "--".as_ref(),
        workload().as_os_str(),
        "burst".as_ref(),
        "--writes".as_ref(),
        "50".as_ref(),
    ])?;
    ended.expect_success()?;
    let (a, b) = (json_lines(&path("a"))?, json_lines(&path("b"))?);
    ensure!(a.len() == 50 && a == b, "{} {}", a.len(), b.len());
    let table = std::fs::read_to_string(path("c"))?;
    ensure!(table.lines().count() == 51 && table.starts_with("TIME "), "{table}");
    ensure!(table.lines().skip(1).all(|l| l.ends_with(" /dev/null") && l.contains(" WRITE ")), "{table}");
    Ok(())
}

fn schema() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let ended = run([
        "trace".as_ref(),
        "-o".as_ref(),
        format!("json:{}", file.display()).as_ref(),
        "--".as_ref(),
        workload().as_os_str(),
        "run".as_ref(),
        "--truth".as_ref(),
        directory.path().join("truth").as_os_str(),
        "--dir".as_ref(),
        directory.path().join("work").as_os_str(),
    ])?;
    ended.expect_success()?;
    let schema: Value = serde_json::from_str(&command(ringwatch(), &["events", "--schema"])?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let events = json_lines(&file)?;
    ensure!(events.len() > 6000, "{} events", events.len());
    for event in &events {
        if let Err(error) = validator.validate(event) {
            anyhow::bail!("{error}: {event}");
        }
    }
    // The schema is not so wide that anything fits.
    let mut wrong = events[0].clone();
    wrong["data"]["pos"] = "zero".into();
    ensure!(!validator.is_valid(&wrong));
    Ok(())
}

fn too_deep() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let script = "cd \"$1\" && for i in $(seq 1100); do mkdir d && cd d || exit 1; done; : >f; exec \"$0\" burst --file f --writes 1";
    let ended = run([
        "trace".as_ref(),
        "-o".as_ref(),
        format!("json:{}", file.display()).as_ref(),
        "--".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        workload().as_os_str(),
        directory.path().as_os_str(),
    ])?;
    ended.expect_success()?;
    let events = json_lines(&file)?;
    ensure!(events.len() == 1, "{} events", events.len());
    let data = &events[0]["data"];
    let whole = format!("{}{}/f", directory.path().canonicalize()?.display(), "/d".repeat(1100));
    let cut = Depth::here()?.cut(&whole).context("it is not too deep")?;
    ensure!(data["path"] == cut && data["path_truncated"] == true, "{data}\nand not {cut}");
    Ok(())
}

fn check() -> Result<()> {
    let report: Value = serde_json::from_str(&command(ringwatch(), &["check", "--json"])?)?;
    let kind = report["plan"]["kind"].as_str().unwrap_or_default();
    ensure!(report["problem"].is_null() && !kind.is_empty(), "{report}");
    // All of the plan are attached, the others are not needed, and no refusal goes unseen.
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let (probes, planned) = (list(&report["probes"]), list(&report["plan"]["probes"]));
    let with = |verdict: &str| probes.iter().filter(|p| p["verdict"] == verdict).count();
    ensure!(planned.len() >= 8 && with("attached") == planned.len(), "{probes:?}");
    ensure!(with("attached") + with("not_needed") == probes.len(), "{probes:?}");
    // Where the kernel can, the hot programs are the typed ones.
    let functions = list(&report["facts"]["btf"]["functions"]);
    let typed = probes.iter().filter(|p| p["twin"] == "typed").count();
    ensure!(typed == if functions.iter().any(|f| f == "bpf_rdonly_cast") { 4 } else { 0 }, "{report}");
    // What the verifier said of each program, and what the plan tells.
    let programs = list(&report["programs"]);
    ensure!(programs.len() >= planned.len(), "{programs:?}");
    ensure!(programs.iter().all(|p| p["instructions"].as_u64() > Some(0)), "{programs:?}");
    let unknown = list(&report["capabilities"]).iter().filter(|c| c["yes"].is_null()).count();
    ensure!(unknown == 0 && list(&report["capabilities"]).len() == 7, "{report}");
    let text = command(ringwatch(), &["check"])?;
    for said in [
        "kernel ",
        &format!("plan           {kind}: "),
        "io_uring_complete          attached",
        "__io_submit_sqe            not needed",
        "ringwatch can trace here",
    ] {
        ensure!(text.contains(said), "{said}: {text}");
    }
    Ok(())
}

fn events() -> Result<()> {
    let list = command(ringwatch(), &["events"])?;
    ensure!(list.contains("io_write") && list.contains("events_lost"), "{list}");
    let page = command(ringwatch(), &["events", "io_write"])?;
    for said in [
        "DESCRIPTION",
        "SETS\n  io_uring",
        "worker_host_tid (uint32)",
        "DEPENDENCIES",
        "KERNELS",
        "USE CASES",
        "file_modification",
    ] {
        ensure!(page.contains(said), "{said}: {page}");
    }
    let schema: Value = serde_json::from_str(&command(ringwatch(), &["events", "io_write", "--schema"])?)?;
    ensure!(schema["properties"]["path"].is_object(), "{schema}");
    Ok(())
}
