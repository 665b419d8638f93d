//! The events beside io_write: what the workload did through io_uring, field by field, under every plan that this kernel
//! can run; new rings; the steps of a request; the kernel's opcodes.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Failed, Trial};
use ringwatch::kernel::facts;
use ringwatch::opcode;
use serde_json::Value;

use crate::corpus::{Form, user_data};
use crate::hard::in_vm;
use crate::support::{Test, directory, json_lines, lost, may_be_no_gap, named, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("ops::opcodes_are_those_of_the_kernel", opcodes_are_those_of_the_kernel),
    ("ops::new_rings_are_told", new_rings_are_told),
    ("ops::steps_of_requests", steps_of_requests),
    ("ops::older_kernels_say_which_events_they_tell", older_kernels_say_which_events_they_tell),
];

/// What was told of operations under one plan.
pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    let trial = |form: &Form| {
        let form = form.clone();
        Trial::test(format!("ops::{}", form.name), move || {
            if form.early {
                eprintln!("corpus case {}::operations skipped: completions do not name their requests here", form.name);
                return Ok(());
            }
            operations(form.arguments).map_err(|e| Failed::from(format!("{e:#}")))
        })
    };
    forms.iter().map(trial).collect()
}

fn operations(form: &[&str]) -> Result<()> {
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (events, truth, work) = (path("events"), path("truth"), path("work"));
    std::fs::create_dir(&work)?;
    let output = format!("json:{events}");
    let program = workload().display().to_string();
    let mut arguments = vec!["trace", "-e", "io_uring,io_issue_sqe", "-o", &output];
    arguments.extend(form);
    arguments.extend(["--", &program, "ops", "--truth", &truth, "--dir", &work]);
    run(arguments)?.expect_success()?;

    let mut events = json_lines(events.as_ref())?;
    events.retain(|event| !may_be_no_gap(event));
    ensure!(lost(&events) == 0, "events were lost");
    let created: HashSet<&str> =
        named(&events, "io_uring_create").iter().filter_map(|e| e["data"]["ctx"].as_str()).collect();
    let unknown = |event: &Value| !event["data"]["ctx"].as_str().is_some_and(|ctx| created.contains(ctx));
    ensure!(!events.iter().any(unknown), "requests of rings that were not created");
    let mut told: HashMap<(String, u64), Vec<&Value>> = HashMap::new();
    for event in events.iter().filter(|e| e["event"] != "io_uring_create") {
        let name = event["event"].as_str().context("an event without a name")?.to_owned();
        told.entry((name, user_data(&event["data"])?)).or_default().push(event);
    }
    let mut wrong = vec![];
    let (mut asked, mut late) = (0, 0);
    for truth in json_lines(truth.as_ref())? {
        if let Some(why) = truth["skipped"].as_str() {
            eprintln!("corpus case ops::{} skipped: {why}", truth["event"].as_str().unwrap_or_default());
            continue;
        }
        if truth["done"] == true {
            ensure!(truth["requests"] == asked, "the truth has {asked} requests: {truth}");
            continue;
        }
        asked += 1;
        let name = truth["event"].as_str().context("a truth without an event")?;
        for of in [name, "io_issue_sqe"] {
            let found = told.remove(&(of.to_owned(), user_data(&truth)?)).unwrap_or_default();
            match &found[..] {
                [event] => {
                    let differs = compare(&truth, event, of == name);
                    // Look-ups have a share of the time, which an emulated processor may use up: the path is that of the text.
                    if differs.is_some() && in_vm() && event["data"]["path_source"] == "name" {
                        late += 1;
                        eprintln!("corpus case ops::{name} {} skipped: no time to look it up", truth["user_data"]);
                    } else {
                        wrong.extend(differs);
                    }
                }
                other => wrong.push(format!("{} {of} events for {truth}", other.len())),
            }
        }
    }
    // What else was asked for has no event of its own.
    wrong.extend(told.into_keys().filter(|(name, _)| name != "io_issue_sqe").map(|stray| format!("a stray {stray:?}")));
    ensure!(late * 8 <= asked, "{late} of {asked} names were not looked up");
    const SHOWN: usize = 8;
    let shown = wrong.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(asked > 0 && wrong.is_empty(), "{} of {asked} wrong, the first:\n{shown}", wrong.len());
    Ok(())
}

/// What both events of a request say.
const SHARED: [&str; 12] = [
    "opcode",
    "opcode_number",
    "user_data",
    "result",
    "error",
    "outcome",
    "completion",
    "submitter",
    "worker_host_tid",
    "device",
    "inode",
    "deleted",
];

fn compare(truth: &Value, event: &Value, own: bool) -> Option<String> {
    let data = &event["data"];
    let mut wrong = vec![];
    for (name, value) in truth["data"].as_object()? {
        // An open has no file while it is made.
        let shared = SHARED.contains(&name.as_str()) && !(name == "opcode_number" && event["event"] == "io_write");
        if (own || shared)
            && !(event["event"] == "io_write" && name == "opcode_number")
            && data.get(name) != Some(value)
        {
            wrong.push(format!("{name} is {} and not {value}", data.get(name).unwrap_or(&Value::Null)));
        }
    }
    for (at, name) in [("host_pid", "host_pid"), ("host_tid", "host_tid")] {
        if event["process"][at] != truth[name] {
            wrong.push(format!("{at} of the process is {} and not {}", event["process"][at], truth[name]));
        }
    }
    if data["latency_ns"].is_null() && data["completion"] != "skipped" {
        wrong.push("no latency".to_owned());
    }
    (!wrong.is_empty()).then(|| format!("{}\n  truth {truth}\n  event {event}", wrong.join(", ")))
}

fn opcodes_are_those_of_the_kernel() -> Result<()> {
    let kernel = facts::opcodes(None);
    ensure!(kernel.len() > 20, "the kernel's BTF has no opcodes: {kernel:?}");
    for (name, number) in kernel {
        let known = u8::try_from(number).ok().and_then(opcode::name);
        ensure!(known == Some(&name[..]), "the kernel's opcode {number} is {name}: ringwatch knows {known:?}");
    }
    Ok(())
}

/// `workload rings` says of each of its rings what it asked for, and which thread polls it.
fn new_rings_are_told() -> Result<()> {
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (events, truth) = (path("events"), path("truth"));
    let output = format!("json:{events}");
    let program = workload().display().to_string();
    // It stands still until its standard input ends, which is at once.
    let script = r#"exec "$0" rings >"$1""#;
    let command = ["--", "sh", "-c", script, &program, &truth];
    run(["trace", "-e", "io_uring_create", "-o", &output].iter().chain(&command))?.expect_success()?;

    let events = json_lines(events.as_ref())?;
    let told = named(&events, "io_uring_create");
    let text = std::fs::read_to_string(&truth)?;
    let truths: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(truths.len() > 3, "{text}");
    let same = |event: &Value, ring: &Value| {
        let data = &event["data"];
        data["sq_entries"] == ring["sq_entries"]
            && data["cq_entries"] == ring["cq_entries"]
            && data["flag_names"] == ring["flags"]
            && data["sqpoll_host_tid"] == ring["sqpoll"]["host_tid"]
            && data["worker_host_tid"] == ring["threads"][0]["host_tid"]
    };
    for ring in &truths {
        let wanted =
            truths.iter().filter(|other| ["sq_entries", "cq_entries", "flags"].iter().all(|f| other[f] == ring[f]));
        let found = told.iter().filter(|event| same(event, ring)).count();
        ensure!(found == wanted.count(), "{found} events for {ring} among {told:?}");
    }
    for event in told {
        let data = &event["data"];
        let polled = data["flag_names"].as_array().is_some_and(|names| names.iter().any(|name| name == "SQPOLL"));
        ensure!(data["polling"] == polled && data["sqpoll_host_tid"].is_u64() == polled, "{event}");
        ensure!(data["worker_host_tid"] == event["process"]["host_tid"] && data["fd"].is_i64(), "{event}");
    }
    Ok(())
}

/// Writes that wait for their pipe, that a worker does, and that end at once, each with the steps of its life.
fn steps_of_requests() -> Result<()> {
    if runs_no_requests()? {
        eprintln!("corpus case steps_of_requests skipped: completions do not name their requests here");
        return Ok(());
    }
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (events, truth, work) = (path("events"), path("truth"), path("work"));
    let output = format!("json:{events}");
    let program = workload().display().to_string();
    let cases = ["poll-pipe", "async", "dev-full"];
    let command = ["--", &program, "run", "--truth", &truth, "--dir", &work];
    run(["trace", "--requests", "-o", &output].iter().chain(&command).chain(&cases))?.expect_success()?;
    let events = json_lines(events.as_ref())?;
    let writes: HashMap<u64, &Value> =
        named(&events, "io_write").into_iter().map(|e| Ok((user_data(&e["data"])?, e))).collect::<Result<_>>()?;
    let mut seen = 0;
    for truth in json_lines(truth.as_ref())?.iter().filter(|t| t["user_data"].is_u64()) {
        let event = writes.get(&user_data(truth)?).with_context(|| format!("no event for {truth}"))?;
        let life = event["data"]["life"].as_array().context("no life")?;
        let stages: Vec<_> = life.iter().filter_map(|step| step["stage"].as_str()).collect();
        let whole: u64 = life.iter().filter_map(|step| step["after_ns"].as_u64()).sum();
        ensure!(event["data"]["latency_ns"] == whole, "{event}");
        ensure!(stages.first() == Some(&"submitted") && stages.last() == Some(&"completed"), "{event}");
        let by_worker = event["data"]["executor"] == "io-wq";
        ensure!(by_worker == stages.contains(&"punted"), "{event}");
        match truth["case"].as_str() {
            // The first ones fill the pipe.
            Some("poll-pipe") if stages.contains(&"poll_armed") => seen += 1,
            Some("async") => ensure!(by_worker, "{event}"),
            _ => {}
        }
    }
    ensure!(seen > 0, "no write waited for its pipe: {writes:#?}");
    Ok(())
}

pub(crate) fn runs_no_requests() -> Result<bool> {
    let ended = run(["trace", "--requests", "--duration", "1ms"])?;
    Ok(ended.code() == Some(1) && ended.stderr.contains("only io_write and io_uring_create"))
}

/// Where the completion does not name its request, only some events can be told; that is said, and no event is made up.
fn older_kernels_say_which_events_they_tell() -> Result<()> {
    let ended = run(["trace", "-e", "io_mkdirat", "--duration", "1ms"])?;
    if runs_no_requests()? {
        ensure!(ended.code() == Some(1) && ended.stderr.contains("only io_write and io_uring_create"), "{ended:?}");
    } else {
        ended.expect_success()?;
    }
    let ended = run(["trace", "-e", "io_nothing", "--duration", "1ms"])?;
    ensure!(ended.code() == Some(2) && ended.stderr.contains("`ringwatch events` lists them"), "{ended:?}");
    let ended = run(["trace", "-e", "io_write,-io_*", "--duration", "1ms"])?;
    ensure!(ended.code() == Some(2) && ended.stderr.contains("leaves every event out"), "{ended:?}");
    Ok(())
}
