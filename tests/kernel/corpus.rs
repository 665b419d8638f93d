//! The corpus of the workload: every request that it made, field by field, under every plan that this kernel can run,
//! and in both forms of the programs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::support::{command, directory, json_lines, run, workload};

/// Plans and forms: names of the trials, the plan, and the arguments that force it.
const FORMS: [(&str, &str, &[&str]); 4] = [
    ("typed", "tracepoint", &["--probes", "tracepoint"]),
    ("raw", "tracepoint", &["--probes", "tracepoint", "--raw-reads"]),
    ("fentry", "fentry", &["--probes", "fentry"]),
    ("kprobe", "kprobe", &["--probes", "kprobe"]),
];

/// Whether the kernel runs `plan`, or another one takes its place.
fn runs(plan: &str) -> bool {
    // The first is what the tests are about: it is never left out.
    if plan == "tracepoint" {
        return true;
    }
    let ended = run(["trace", "--probes", plan, "--duration", "1ms"]);
    let said = ended.map_or_else(|e| e.to_string(), |e| e.stderr);
    let runs = said.contains(&format!("tracing (plan: {plan})"));
    if !runs {
        eprintln!("the plan {plan} does not run on this kernel: {}", said.lines().next().unwrap_or_default());
    }
    runs
}

/// One traced run of the whole corpus.
struct Run {
    tracepoints_only: bool,
    /// Truths by case; None: the case said why it could not run.
    cases: HashMap<String, Case>,
    /// Events by user_data.
    events: HashMap<u64, Vec<Value>>,
    /// Writes that nobody asked for, and gaps.
    strays: Vec<Value>,
}

#[derive(Default)]
struct Case {
    truths: Vec<Value>,
    skipped: Option<String>,
    error: Option<String>,
    requests: Option<u64>,
}

pub(crate) fn trials(root: bool) -> Vec<Trial> {
    let names = match command(workload(), &["list"]) {
        Ok(list) => list.lines().filter_map(|l| l.split('\t').next().map(str::to_owned)).collect::<Vec<_>>(),
        Err(error) => {
            let message =
                format!("{error:#}: build it with `cargo build -p ringwatch-workload` in the same profile first");
            return vec![Trial::test("corpus", move || Err(message.into()))];
        }
    };
    let mut trials = vec![];
    for (form, plan, arguments) in FORMS {
        if root && !runs(plan) {
            continue;
        }
        let run: Arc<Result<Run, String>> =
            Arc::new(if root { trace(arguments).map_err(|e| format!("{e:#}")) } else { Err("not run".to_owned()) });
        for name in &names {
            let (run, name) = (Arc::clone(&run), name.clone());
            trials.push(Trial::test(format!("corpus::{form}::{name}"), move || {
                let run = run.as_ref().as_ref().map_err(|e| Failed::from(e.as_str()))?;
                run.check(&name).map_err(|e| format!("{e:#}").into())
            }));
        }
        trials.push(Trial::test(format!("corpus::{form}::nothing_else"), move || {
            let run = run.as_ref().as_ref().map_err(|e| Failed::from(e.as_str()))?;
            match run.strays.first() {
                None => Ok(()),
                Some(stray) => Err(format!("{} events that nobody asked for, first {stray}", run.strays.len()).into()),
            }
        }));
    }
    trials
}

fn trace(arguments: &[&str]) -> Result<Run> {
    let directory = directory()?;
    let (events, truth) = (directory.path().join("events"), directory.path().join("truth"));
    let work = directory.path().join("work");
    let mut all: Vec<std::ffi::OsString> = vec!["trace".into()];
    all.extend(arguments.iter().map(Into::into));
    all.extend(["-o".into(), format!("json:{}", events.display()).into(), "--".into()]);
    all.extend([workload().into_os_string(), "run".into(), "--truth".into(), truth.clone().into()]);
    all.extend(["--dir".into(), work.into()]);
    let ended = run(all)?;

    let mut cases: HashMap<String, Case> = HashMap::new();
    let mut events_by: HashMap<u64, Vec<Value>> = HashMap::new();
    let mut strays = vec![];
    for line in json_lines(&truth)? {
        let case = cases.entry(line["case"].as_str().context("a truth without a case")?.to_owned()).or_default();
        if let Some(why) = line["skipped"].as_str() {
            case.skipped = Some(why.to_owned());
        } else if let Some(why) = line["error"].as_str() {
            case.error = Some(why.to_owned());
        } else if line["done"] == true {
            case.requests = line["requests"].as_u64();
        } else {
            events_by.entry(user_data(&line)?).or_default();
            case.truths.push(line);
        }
    }
    for event in json_lines(&events)? {
        let known = (event["event"] == "io_write").then(|| user_data(&event["data"]).ok()).flatten();
        match known.and_then(|u| events_by.get_mut(&u)) {
            Some(of) => of.push(event),
            None => strays.push(event),
        }
    }
    let errors = cases.values().any(|c| c.error.is_some());
    ensure!(ended.status.success() || errors, "ringwatch: {}: {}", ended.status, ended.stderr);
    Ok(Run { tracepoints_only: arguments.contains(&"tracepoint"), cases, events: events_by, strays })
}

fn user_data(object: &Value) -> Result<u64> {
    object["user_data"].as_u64().with_context(|| format!("no user_data in {object}"))
}

impl Run {
    fn check(&self, name: &str) -> Result<()> {
        let case = self.cases.get(name).context("the workload did not run it")?;
        if let Some(error) = &case.error {
            bail!("the workload: {error}");
        }
        if let Some(why) = &case.skipped {
            ensure!(std::env::var_os("CI").is_none_or(|v| v != "true"), "skipped: {why}");
            eprintln!("corpus case {name} skipped: {why}");
            return Ok(());
        }
        ensure!(case.requests == Some(case.truths.len() as u64), "the truth has {} requests", case.truths.len());
        let mut by_user_data: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for truth in &case.truths {
            by_user_data.entry(user_data(truth)?).or_default().push(truth);
        }
        for (user_data, truths) in by_user_data {
            let events = &self.events[&user_data];
            ensure!(
                events.len() == truths.len(),
                "{} events for {} requests with user_data {user_data}: {truths:?} {events:?}",
                events.len(),
                truths.len()
            );
            match truths[..] {
                [truth] => compare(truth, &events[0], self.tracepoints_only)?,
                // Equal user_data: the same set of requests.
                _ => {
                    let mut wanted: Vec<_> = truths.iter().map(|t| from_truth(t)).collect();
                    let mut got = events.iter().map(from_event).collect::<Result<Vec<_>>>()?;
                    wanted.sort();
                    got.sort();
                    ensure!(wanted == got, "wanted {wanted:#?}, got {got:#?}");
                }
            }
        }
        Ok(())
    }
}

/// What both sides know, under the names of the truth.
const FIELDS: [&str; 19] = [
    "host_pid",
    "host_tid",
    "submitter",
    "opcode",
    "user_data",
    "fd",
    "fixed_file",
    "path",
    "path_bytes",
    "deleted",
    "device",
    "inode",
    "pos",
    "buf",
    "len",
    "iov_count",
    "rw_flags",
    "result",
    "cqe",
];

type Fields = BTreeMap<&'static str, String>;

fn from_truth(truth: &Value) -> Fields {
    FIELDS.iter().map(|&name| (name, truth[name].to_string())).collect()
}

fn from_event(event: &Value) -> Result<Fields> {
    let data = &event["data"];
    let process = &event["process"];
    FIELDS
        .iter()
        .map(|&name| {
            let value = match name {
                "host_pid" => process["host_pid"].clone(),
                "host_tid" => data["worker_host_tid"].clone(),
                "buf" => {
                    let hex = data["buf"].as_str().and_then(|b| b.strip_prefix("0x")).context("buf is no address")?;
                    u64::from_str_radix(hex, 16)?.into()
                }
                "cqe" => match data["completion"].as_str() {
                    Some("cqe") => "posted".into(),
                    Some("link") => "none".into(),
                    other => other.into(),
                },
                name => data[name].clone(),
            };
            Ok((name, value.to_string()))
        })
        .collect()
}

fn compare(truth: &Value, event: &Value, tracepoints_only: bool) -> Result<()> {
    let (wanted, got) = (from_truth(truth), from_event(event)?);
    let wrong: Vec<_> = FIELDS
        .iter()
        .filter(|&name| wanted[name] != got[name])
        .map(|name| format!("{name} is {} and not {}", got[name], wanted[name]))
        .collect();
    ensure!(wrong.is_empty(), "{}\n  truth {truth}\n  event {event}", wrong.join(", "));

    let data = &event["data"];
    let accepted = truth["executor"].as_array().context("no executor")?;
    ensure!(
        accepted.is_empty() || accepted.contains(&data["executor"]),
        "executor {} is none of {accepted:?}: {event}",
        data["executor"]
    );
    let result = data["result"].as_i64().context("every case knows its results")?;
    let outcome = if result < 0 { "failure" } else { "success" };
    ensure!(data["outcome"] == outcome, "outcome: {event}");
    ensure!(data["error"].is_string() == (result < 0), "error: {event}");
    // Without a CQE only the probes of io_write see the end, and not that of asynchronous I/O.
    let skipped = data["completion"] == "skipped";
    ensure!(!data["latency_ns"].is_null() || skipped, "latency: {event}");
    ensure!(data["latency_ns"].is_null() || !(skipped && tracepoints_only), "latency: {event}");
    ensure!(event["process"]["host_tid"] == data["worker_host_tid"], "process and submitter differ: {event}");
    Ok(())
}
