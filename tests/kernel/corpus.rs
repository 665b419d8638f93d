//! The corpus of the workload: every request that it made, field by field, under every plan that this kernel can run,
//! and in both forms of the programs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::depth::Depth;
use crate::support::{command, directory, may_be_no_gap, run, workload};
use crate::truth::{Notes, Threads};

/// Plans and forms: names of the trials, the plan, and the arguments that force it.
const FORMS: [(&str, &str, &[&str]); 6] = [
    ("typed", "tracepoint", &["--probes", "tracepoint"]),
    ("raw", "tracepoint", &["--probes", "tracepoint", "--raw-reads"]),
    ("fentry", "fentry", &["--probes", "fentry"]),
    ("kprobe", "kprobe", &["--probes", "kprobe"]),
    // The long record instead of the queues.
    (WIDE, "tracepoint", &["--probes", "tracepoint", "--requests"]),
    ("kprobe-legacy", "kprobe-legacy", &["--probes", "kprobe-legacy"]),
];

/// The form that differs from another one only in how the kernel side tells.
pub(crate) const WIDE: &str = "requests";

/// A form that this kernel runs, and what came of it.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) plan: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// It tells only of writes.
    pub(crate) early: bool,
    run: Arc<OnceLock<Result<Run, String>>>,
}

impl Form {
    /// Runs the corpus when the first test asks.
    pub(crate) fn run(&self) -> Result<&Run> {
        let run = self.run.get_or_init(|| trace(self.arguments).map_err(|e| format!("{e:#}")));
        run.as_ref().map_err(|error| anyhow!("{}: {error}", self.name))
    }
}

/// The forms that run here; those that do not are told, and each with its reason if none does.
pub(crate) fn forms(root: bool) -> Result<Vec<Form>, String> {
    let mut forms = vec![];
    let mut refusals = String::new();
    for (name, plan, arguments) in FORMS {
        if let Err(why) = if root { runs(plan, arguments) } else { Ok(()) } {
            eprintln!("the form {name} does not run here: {}", why.lines().next().unwrap_or_default());
            refusals += &format!("{name}: {why}\n");
            continue;
        }
        let early = root && runs(plan, &[arguments, &["-e", "io_issue_sqe"]].concat()).is_err();
        forms.push(Form { name, plan, arguments, early, run: Arc::default() });
    }
    if forms.is_empty() { Err(refusals) } else { Ok(forms) }
}

/// Whether ringwatch runs `plan`. Otherwise what it said: it knows no such plan, it cannot, or it took another one.
fn runs(plan: &str, arguments: &[&str]) -> Result<(), String> {
    let ended =
        run(["trace"].iter().chain(arguments).chain(&["--duration", "1ms"])).map_err(|error| format!("{error:#}"))?;
    // Then its events are complete only as long as nothing preempts it.
    let exact = !ended.stderr.contains("can be preempted");
    if exact && ended.code() == Some(0) && ended.stderr.contains(&format!("tracing (plan: {plan})")) {
        return Ok(());
    }
    Err(format!("{} ({})", ended.stderr.trim_end(), ended.status))
}

/// A JSON object as it was told: parsed, all of them would take the memory of a small machine.
type Line = Box<str>;

/// No write takes so short a time.
const FILLED_IN: u64 = 1;

/// One traced run of the whole corpus.
#[derive(Default)]
pub(crate) struct Run {
    tracepoints_only: bool,
    /// The directories that the workload was given.
    pub(crate) directory: PathBuf,
    pub(crate) cases: BTreeMap<String, Case>,
    /// Events by user_data.
    events: HashMap<u64, Vec<Line>>,
    /// Writes that nobody asked for, and gaps.
    strays: Vec<Line>,
    /// Programs that the kernel skipped.
    skips: u64,
}

#[derive(Default)]
pub(crate) struct Case {
    truths: Vec<Line>,
    threads: Threads,
    /// Why the case could not run.
    pub(crate) skipped: Option<String>,
    error: Option<String>,
    requests: Option<u64>,
}

/// What a case asked for, and what was told of it, by user_data.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) truths: BTreeMap<u64, Vec<Value>>,
    pub(crate) events: BTreeMap<u64, Vec<Value>>,
}

type Check = Box<dyn FnOnce(&Run) -> Result<()> + Send>;

pub(crate) fn trials(forms: &Result<Vec<Form>, String>) -> Vec<Trial> {
    let forms = match forms {
        Ok(forms) => forms,
        Err(refusals) => {
            let message = format!("ringwatch cannot trace here at all:\n{refusals}");
            return vec![Trial::test("corpus", move || Err(message.into()))];
        }
    };
    let names = match command(workload(), &["list"]) {
        Ok(list) => list.lines().filter_map(|l| l.split('\t').next().map(str::to_owned)).collect::<Vec<_>>(),
        Err(error) => {
            let message =
                format!("{error:#}: build it with `cargo build -p ringwatch-workload` in the same profile first");
            return vec![Trial::test("corpus", move || Err(message.into()))];
        }
    };
    let mut trials = vec![];
    for form in forms {
        let mut test = |name: &str, check: Check| {
            let (name, form) = (format!("corpus::{}::{name}", form.name), form.clone());
            let run = move || form.run().and_then(check).map_err(|e| Failed::from(format!("{e:#}")));
            trials.push(Trial::test(name, run));
        };
        for name in &names {
            let case = name.clone();
            let form = form.name;
            test(name, Box::new(move |run| run.check(form, &case)));
        }
        test("nothing_else", Box::new(Run::has_no_strays));
        test("another_process_time_or_executor_is_seen", Box::new(Run::is_sharp));
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
    let mut run = Run::new(lines(&truth)?, lines(&events)?)?;
    let errors = run.cases.values().any(|c| c.error.is_some());
    ensure!(ended.status.success() || errors, "ringwatch: {}: {}", ended.status, ended.stderr);
    run.tracepoints_only = arguments.contains(&"tracepoint");
    run.directory = directory.path().canonicalize()?;
    Ok(run)
}

fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file).lines().map(|line| Ok(line?)))
}

fn parse(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))
}

pub(crate) fn user_data(object: &Value) -> Result<u64> {
    object["user_data"].as_u64().with_context(|| format!("no user_data in {object}"))
}

impl Run {
    pub(crate) fn new(
        truths: impl IntoIterator<Item = Result<String>>,
        events: impl IntoIterator<Item = Result<String>>,
    ) -> Result<Self> {
        let mut run = Self::default();
        for line in truths {
            let line = line?;
            let truth = parse(&line)?;
            let case =
                run.cases.entry(truth["case"].as_str().context("a truth without a case")?.to_owned()).or_default();
            if let Some(why) = truth["skipped"].as_str() {
                case.skipped = Some(why.to_owned());
            } else if let Some(why) = truth["error"].as_str() {
                case.error = Some(why.to_owned());
            } else if truth["done"] == true {
                case.requests = truth["requests"].as_u64();
            } else if !case.threads.take(&truth)? {
                run.events.entry(user_data(&truth)?).or_default();
                case.truths.push(line.into());
            }
        }
        for line in events {
            let line = line?;
            let event = parse(&line)?;
            let known = (event["event"] == "io_write").then(|| user_data(&event["data"]).ok()).flatten();
            match known.and_then(|u| run.events.get_mut(&u)) {
                Some(of) => of.push(line.into()),
                None if may_be_no_gap(&event) => run.skips += event["data"]["count"].as_u64().unwrap_or(0),
                None => run.strays.push(line.into()),
            }
        }
        Ok(run)
    }

    pub(crate) fn requests(&self, case: &Case) -> Result<Requests> {
        let mut requests = Requests::default();
        for line in &case.truths {
            let truth = parse(line)?;
            let user_data = user_data(&truth)?;
            requests.truths.entry(user_data).or_default().push(truth);
        }
        for &user_data in requests.truths.keys() {
            let events = self.events.get(&user_data).into_iter().flatten();
            let mut events = events.map(|line| parse(line)).collect::<Result<Vec<_>>>()?;
            if let ([truth], [event]) = (&requests.truths[&user_data][..], &mut events[..]) {
                self.fill_in(truth, event);
            }
            requests.events.insert(user_data, events);
        }
        Ok(requests)
    }

    /// Where the kernel skipped programs, some writes are told without their submission: docs/limits.md.
    fn fill_in(&self, truth: &Value, event: &mut Value) {
        let data = &mut event["data"];
        let unseen = data["fd"].is_null() && data["latency_ns"].is_null() && !truth["fd"].is_null();
        if self.skips > 0 && unseen {
            data["fd"] = truth["fd"].clone();
            data["latency_ns"] = FILLED_IN.into();
        }
    }

    fn has_no_strays(&self) -> Result<()> {
        match self.strays.first() {
            None => Ok(()),
            Some(stray) => bail!("{} events that nobody asked for, first {stray}", self.strays.len()),
        }
    }

    /// What is compared, of some requests of each case, can be no other.
    fn is_sharp(&self) -> Result<()> {
        const OF_EACH: usize = 20;
        let depth = Depth::here()?;
        for (name, case) in self.cases.iter().filter(|(_, case)| case.skipped.is_none() && case.error.is_none()) {
            let requests = self.requests(case)?;
            for (user_data, truths) in requests.truths.iter().take(OF_EACH) {
                for (truth, event) in pairs(truths, &requests.events[user_data], &depth)? {
                    case.threads.is_sharp(truth, event).with_context(|| name.clone())?;
                }
            }
        }
        Ok(())
    }

    fn check(&self, form: &str, name: &str) -> Result<()> {
        let case = self.cases.get(name).context("the workload did not run it")?;
        if let Some(error) = &case.error {
            bail!("the workload: {error}");
        }
        if let Some(why) = &case.skipped {
            ensure!(std::env::var_os("CI").is_none_or(|v| v != "true"), "skipped: {why}");
            eprintln!("corpus case {form}::{name} skipped: {why}");
            return Ok(());
        }
        ensure!(case.requests == Some(case.truths.len() as u64), "the truth has {} requests", case.truths.len());
        let depth = Depth::here()?;
        let requests = self.requests(case)?;
        let mut notes = Notes::new();
        for (user_data, truths) in &requests.truths {
            let events = &requests.events[user_data];
            ensure!(
                events.len() == truths.len(),
                "{} events for {} requests with user_data {user_data}: {truths:?} {events:?}",
                events.len(),
                truths.len()
            );
            for (truth, event) in pairs(truths, events, &depth)? {
                compare(truth, event, &depth, self.tracepoints_only)?;
                if event["data"]["latency_ns"] == FILLED_IN {
                    *notes
                        .entry("the submission: the kernel skipped the program that sees it".to_owned())
                        .or_default() += 1;
                    continue;
                }
                case.threads.compare(truth, event, &mut notes)?;
            }
        }
        for (note, count) in notes {
            eprintln!("corpus truth {form}::{name}: not compared, {count} times: {note}");
        }
        Ok(())
    }
}

/// What both sides know, under the names of the truth.
pub(crate) const FIELDS: [&str; 21] = [
    "host_pid",
    "host_tid",
    "tid",
    "submitter",
    "opcode",
    "user_data",
    "fd",
    "fixed_file",
    "path",
    "path_bytes",
    "path_truncated",
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

pub(crate) type Fields = BTreeMap<&'static str, String>;

pub(crate) fn from_truth(truth: &Value, depth: &Depth) -> Fields {
    let mut fields: Fields = FIELDS.iter().map(|&name| (name, truth[name].to_string())).collect();
    if let Some(cut) = truth["path"].as_str().and_then(|path| depth.cut(path)) {
        fields.insert("path", Value::from(cut).to_string());
        fields.insert("path_truncated", true.to_string());
    }
    fields
}

pub(crate) fn from_event(event: &Value) -> Result<Fields> {
    let data = &event["data"];
    let process = &event["process"];
    FIELDS
        .iter()
        .map(|&name| {
            let value = match name {
                "host_pid" => process["host_pid"].clone(),
                "host_tid" => data["worker_host_tid"].clone(),
                "tid" => process["tid"].clone(),
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

/// Each request and its event. Where requests share their user_data, all that both sides know decides.
fn pairs<'a>(truths: &'a [Value], events: &'a [Value], depth: &Depth) -> Result<Vec<(&'a Value, &'a Value)>> {
    let mut wanted: Vec<_> = truths.iter().map(|truth| (from_truth(truth, depth), truth)).collect();
    let mut got = events.iter().map(|event| Ok((from_event(event)?, event))).collect::<Result<Vec<_>>>()?;
    wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
    got.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(wanted.into_iter().zip(got).map(|((_, truth), (_, event))| (truth, event)).collect())
}

fn compare(truth: &Value, event: &Value, depth: &Depth, tracepoints_only: bool) -> Result<()> {
    let (wanted, got) = (from_truth(truth, depth), from_event(event)?);
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
