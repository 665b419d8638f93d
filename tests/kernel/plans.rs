//! Plans held against each other: two runs of the corpus tell the same events, but for what the kernel chooses anew in
//! each run, and for the differences of docs/limits.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::corpus::{Form, Requests, Run, WIDE};

/// `data` or `process`, and the name in it.
type Field<'a> = (&'a str, &'a str);

/// A field that may differ.
struct Accepted {
    field: Field<'static>,
    /// Where exactly one of the runs has this plan; None: between any two runs.
    plan: Option<&'static str>,
    /// The truths of the event's user_data, and the event.
    when: fn(&[Value], &Value) -> bool,
    /// As in docs/limits.md.
    reason: &'static str,
}

const SEVERAL_EXECUTORS: &str = "Who carried a write out, where the kernel may choose: `executor`, and with it whether `executor_host_tid` is known.";

const ACCEPTED: [Accepted; 4] = [
    Accepted { field: ("data", "executor"), plan: None, when: several_executors, reason: SEVERAL_EXECUTORS },
    Accepted { field: ("data", "executor_host_tid"), plan: None, when: several_executors, reason: SEVERAL_EXECUTORS },
    Accepted {
        field: ("data", "latency_ns"),
        plan: Some("tracepoint"),
        when: |_, event| skipped(event),
        reason: "`latency_ns` of a write with `completion` `skipped` is null in the plan `tracepoint`; in the others it is known but for asynchronous direct I/O.",
    },
    Accepted {
        field: ("data", "executor_host_tid"),
        plan: Some("tracepoint"),
        when: |_, event| skipped(event) && event["data"]["executor"] != "submitter",
        reason: "`executor_host_tid` of such a write is null in the plan `tracepoint` unless the submitter carried it out; in the others it is known.",
    },
];

fn several_executors(truths: &[Value], _: &Value) -> bool {
    truths.iter().any(|t| t["executor"].as_array().is_none_or(|e| e.len() != 1))
}

fn skipped(event: &Value) -> bool {
    event["data"]["completion"] == "skipped"
}

/// What stands in the place of a value that is not compared.
const ANY: &str = "*";

/// What follows from a result: where the kernel gave the two runs different ones, only the truth can judge them.
const OUTCOME: [&str; 5] = ["result", "error", "outcome", "pos", "completion"];

pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    let mut trials = vec![
        test("plans::each_accepted_difference_is_a_limit".to_owned(), documented),
        test("plans::any_other_difference_is_found".to_owned(), sharp),
    ];
    let forms: Vec<_> = forms.iter().filter(|form| form.name != WIDE).collect();
    if let Some((first, others)) = forms.split_first() {
        for other in others {
            let (first, other) = ((*first).clone(), (*other).clone());
            let name = format!("plans::{}_and_{}_tell_the_same", first.name, other.name);
            trials.push(test(name, move || same(&first, &other)));
        }
    }
    trials
}

fn test(name: String, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(|e| Failed::from(format!("{e:#}"))))
}

fn same(a: &Form, b: &Form) -> Result<()> {
    const SHOWN: usize = 20;
    let found = differences((a.plan, a.run()?), (b.plan, b.run()?))?;
    ensure!(
        found.is_empty(),
        "{} differences between {} and {}:\n{}",
        found.len(),
        a.name,
        b.name,
        found[..found.len().min(SHOWN)].join("\n")
    );
    Ok(())
}

/// Fields of a normalised event.
type Told<'a> = BTreeMap<Field<'a>, String>;

fn differences((plan_a, a): (&str, &Run), (plan_b, b): (&str, &Run)) -> Result<Vec<String>> {
    let accepted: Vec<&Accepted> =
        ACCEPTED.iter().filter(|x| x.plan.is_none_or(|p| (p == plan_a) != (p == plan_b))).collect();
    let mut found = vec![];
    for name in a.cases.keys().chain(b.cases.keys()).collect::<BTreeSet<_>>() {
        let (Some(case_a), Some(case_b)) = (a.cases.get(name), b.cases.get(name)) else {
            found.push(format!("{name}: in one run only"));
            continue;
        };
        if case_a.skipped.is_some() != case_b.skipped.is_some() {
            found.push(format!("{name}: skipped: {:?} and {:?}", case_a.skipped, case_b.skipped));
            continue;
        }
        let (case_a, case_b) = (&a.requests(case_a)?, &b.requests(case_b)?);
        let same = Same::of(case_a, case_b);
        for user_data in &same.results_differ {
            eprintln!("{name}: the kernel gave request {user_data:#x} different results: they are not compared");
        }
        let mut told_a = told(a, case_a, &same, &accepted)?;
        let mut told_b = told(b, case_b, &same, &accepted)?;
        if told_a == told_b {
            continue;
        }
        told_a.sort();
        told_b.sort();
        found.extend(unmatched(told_a, told_b).into_iter().map(|d| format!("{name}: {d}")));
    }
    Ok(found)
}

/// What the truths of two runs of a case have in common.
struct Same {
    /// Each request has the same user_data in both. Threads that draw from one sequence do not.
    order: bool,
    results_differ: BTreeSet<u64>,
}

impl Same {
    fn of(a: &Requests, b: &Requests) -> Self {
        const FIELDS: [&str; 9] =
            ["opcode", "fixed_file", "fd", "len", "iov_count", "rw_flags", "result", "pos", "cqe"];
        let requests = |case: &Requests, with_user_data: bool| -> Vec<(u64, String)> {
            let mut all = vec![];
            for (&user_data, truths) in &case.truths {
                for truth in truths {
                    let values = FIELDS.map(|name| truth[name].to_string());
                    all.push((if with_user_data { user_data } else { 0 }, values.join(" ")));
                }
            }
            all.sort();
            all
        };
        let (in_a, in_b) = (requests(a, true), requests(b, true));
        let order = in_a == in_b || requests(a, false) != requests(b, false);
        let differ = in_a.iter().filter(|request| order && in_b.binary_search(request).is_err());
        Self { order, results_differ: differ.map(|(user_data, _)| *user_data).collect() }
    }
}

/// The events of a case with names in the place of what is new in each run.
fn told<'a>(run: &Run, case: &'a Requests, same: &Same, accepted: &[&Accepted]) -> Result<Vec<Told<'a>>> {
    let mut events: Vec<(u64, &Value)> =
        case.events.iter().flat_map(|(u, events)| events.iter().map(move |event| (*u, event))).collect();
    // Names are given in an order that both runs share.
    events.sort_by_key(|(user_data, event)| {
        let data = &event["data"];
        (same.order.then_some(*user_data), data["pos"].as_i64(), data["len"].as_u64())
    });
    let mut names = Names::default();
    let mut all = vec![];
    for (user_data, event) in events {
        let mut fields = names.fields(event, run)?;
        let mut hide = |field: Field<'static>| {
            if let Some(value) = fields.get_mut(&field) {
                ANY.clone_into(value);
            }
        };
        if !same.order {
            hide(("data", "user_data"));
        }
        if same.results_differ.contains(&user_data) {
            OUTCOME.iter().for_each(|name| hide(("data", name)));
        }
        for accept in accepted.iter().filter(|a| (a.when)(&case.truths[&user_data], event)) {
            hide(accept.field);
        }
        all.push(fields);
    }
    Ok(all)
}

/// Numbers for what the kernel numbers differently in each run, in order of appearance.
#[derive(Default)]
struct Names(HashMap<(&'static str, String), usize>);

impl Names {
    fn name(&mut self, kind: &'static str, value: &Value) -> String {
        if value.is_null() {
            return "null".to_owned();
        }
        let next = self.0.len();
        format!("{kind} {}", self.0.entry((kind, value.to_string())).or_insert(next))
    }

    /// Host thread ids must have been named before.
    fn thread_in_its_namespace(&mut self, value: &Value) -> String {
        if self.0.contains_key(&("thread", value.to_string())) {
            return self.name("thread", value);
        }
        // A pid namespace of its own begins at 1 in each run.
        value.to_string()
    }

    fn fields<'a>(&mut self, event: &'a Value, run: &Run) -> Result<Told<'a>> {
        let mut fields = Told::new();
        let (data, process) = (&event["data"], &event["process"]);
        for id in [&process["host_pid"], &process["host_tid"], &data["worker_host_tid"], &process["ppid"]] {
            self.name("thread", id);
        }
        for (part, object) in event.as_object().context("no object")? {
            let Some(object) = object.as_object() else {
                if part != "timestamp" {
                    fields.insert(("", part), object.to_string());
                }
                continue;
            };
            for (name, value) in object {
                let field = (part.as_str(), name.as_str());
                fields.insert(field, self.value(field, value, data, run));
            }
        }
        Ok(fields)
    }

    fn value(&mut self, field: Field<'_>, value: &Value, data: &Value, run: &Run) -> String {
        match (field, value) {
            (("data", "worker_host_tid") | ("process", "host_pid" | "host_tid" | "ppid"), id) => {
                self.name("thread", id)
            }
            (("process", "pid" | "tid"), id) => self.thread_in_its_namespace(id),
            (("process", "start_time"), time) => self.name("start", time),
            (("process", "cgroup_id"), id) => self.name("cgroup", id),
            (("process", "mount_ns" | "pid_ns"), id) => self.name("namespace", id),
            (("data", "inode"), Value::Number(_)) => self.inode(data),
            (("data", "buf"), address) if address != "0x0" => self.name("buffer", address),
            (("data", "latency_ns" | "executor_host_tid"), Value::Number(_)) => "known".to_owned(),
            // The kernel uses the memory of rings again.
            (("data", "ctx"), Value::String(_)) => "known".to_owned(),
            (("data", "path") | ("process", "executable" | "command_line"), Value::String(text)) => {
                self.text(text, data, run)
            }
            (("data", "path_bytes"), Value::String(text)) => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                self.text(&bytes.map_or_else(|_| text.clone(), |b| b.escape_ascii().to_string()), data, run)
            }
            (_, value) => value.to_string(),
        }
    }

    /// Devices number their inodes for themselves: a pipe and a file may have the same number in one run, and not in the
    /// other.
    fn inode(&mut self, data: &Value) -> String {
        self.name("inode", &json!([data["device"], data["inode"]]))
    }

    /// Without the run's own directories, and the inode where it stands for a name.
    fn text(&mut self, text: &str, data: &Value, run: &Run) -> String {
        const TMPFS: &str = "/ringwatch-workload-";
        let mut text = match run.directory.to_str() {
            Some(directory) if !directory.is_empty() => text.replace(directory, "{directory}"),
            _ => text.to_owned(),
        };
        // Paths that are cut may begin below.
        if let Some(name) = run.directory.file_name().and_then(|name| name.to_str()) {
            text = text.replace(name, "{directory}");
        }
        if let Some(at) = text.find(TMPFS) {
            let from = at + TMPFS.len();
            let digits = text[from..].bytes().take_while(u8::is_ascii_digit).count();
            text.replace_range(from..from + digits, "{process}");
        }
        let inode = &data["inode"];
        if inode.is_u64() {
            let name = self.inode(data);
            // A socket or pipe, and a file that never had a name.
            for (before, after) in [("[", "]"), ("/#", "")] {
                text = text.replace(&format!("{before}{inode}{after}"), &format!("{before}{name}{after}"));
            }
        }
        text
    }
}

/// What only one of two sorted lists has, in words.
fn unmatched(a: Vec<Told<'_>>, b: Vec<Told<'_>>) -> Vec<String> {
    let (mut only_a, mut only_b) = (vec![], vec![]);
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none_or(|y| x < y) => only_a.extend(a.next()),
            _ => only_b.extend(b.next()),
        }
    }
    const USER_DATA: Field<'_> = ("data", "user_data");
    let mut found = vec![];
    for x in only_a {
        let Some(i) = only_b.iter().position(|y| y.get(&USER_DATA) == x.get(&USER_DATA)) else {
            found.push(format!("only in the first: {x:?}"));
            continue;
        };
        let y = only_b.remove(i);
        let fields: BTreeSet<_> = x.keys().chain(y.keys()).collect();
        let differ: Vec<_> = fields
            .into_iter()
            .filter(|&field| x.get(field) != y.get(field))
            .map(|field| format!("{}.{} is {:?} and {:?}", field.0, field.1, x.get(field), y.get(field)))
            .collect();
        found.push(format!("{}: {x:?}", differ.join(", ")));
    }
    found.extend(only_b.into_iter().map(|y| format!("only in the second: {y:?}")));
    found
}

fn documented() -> Result<()> {
    let limits = include_str!("../../docs/limits.md");
    let (_, section) = limits.split_once("\n## Differences between plans\n").context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let listed: BTreeSet<_> =
        section.split("\n- ").skip(1).map(|item| item.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let accepted: BTreeSet<_> = ACCEPTED.iter().map(|a| a.reason.to_owned()).collect();
    ensure!(listed == accepted, "docs/limits.md lists {listed:#?}, accepted are {accepted:#?}");
    Ok(())
}

/// Two requests, and the events that `change` makes of theirs.
fn sample(change: impl FnOnce(&mut Vec<Value>)) -> Result<Run> {
    let truths = [1, 2].map(|user_data| json!({"case": "case", "user_data": user_data, "executor": ["submitter"]}));
    let event = |user_data: u64| {
        json!({
            "timestamp": "2026-11-23T06:01:31.335549427Z", "event": "io_write",
            "data": {
                "path": "/directory/file", "path_bytes": "L2Rpci9m", "deleted": false, "pos": 0,
                "buf": "0x7f8af0000ca0", "len": 29, "iov_count": 2, "worker_host_tid": 4712, "device": 8,
                "inode": 15, "opcode": "WRITE", "result": 29, "error": null, "outcome": "success",
                "completion": "cqe", "latency_ns": 122, "submitter": "thread", "executor": "submitter",
                "executor_host_tid": 4712, "user_data": user_data, "fd": 3, "fixed_file": false, "rw_flags": 0,
                "ctx": "0xc0a29ebc584c9601", "opcode_number": 23
            },
            "process": {
                "host_pid": 4711, "host_tid": 4712, "pid": 4711, "tid": 4712, "ppid": 4710, "name": "app",
                "executable": "/bin/app", "command_line": "app run", "uid": 0, "start_time": "2026", "cgroup_id": 1,
                "mount_ns": 4026531832u64, "pid_ns": 4026531836u64
            }
        })
    };
    let mut events = vec![event(1), event(2)];
    change(&mut events);
    let lines = |values: Vec<Value>| values.into_iter().map(|value| Ok(value.to_string()));
    Run::new(lines(truths.to_vec()), lines(events))
}

/// Any change of any field of an event, and an event more or less, is seen; but for a few fields, any value is as good.
fn sharp() -> Result<()> {
    const FREE: [&str; 3] = ["latency_ns", "executor_host_tid", "ctx"];
    let differ = |a: &Run, b: &Run| Ok::<_, anyhow::Error>(!differences(("tracepoint", a), ("fentry", b))?.is_empty());
    let one = sample(|_| ())?;
    let mut events = vec![];
    sample(|made| events.clone_from(made))?;
    ensure!(!differ(&one, &one)?, "a run differs from itself");
    for part in ["data", "process"] {
        let names: Vec<_> = events[1][part].as_object().context("no object")?.keys().cloned().collect();
        for name in names {
            let changes: [fn(&mut Value); 3] = [change, |value| *value = Value::Null, |value| *value = json!("new")];
            for (i, change) in changes.into_iter().enumerate() {
                let before = &events[1][part][&name];
                let mut value = before.clone();
                change(&mut value);
                // Another address, another number, or a string instead of null.
                let free = FREE.contains(&name.as_str()) && !value.is_null() || value == *before;
                let other = sample(|events| events[1][part][&name] = value)?;
                let seen = differ(&one, &other)? && differ(&other, &one)?;
                ensure!(seen || free, "change {i} of {part}.{name} goes unseen");
            }
        }
    }
    let changes: [fn(&mut Vec<Value>); 2] = [|events| events.truncate(1), |events| events.push(events[1].clone())];
    for change in changes {
        let other = sample(change)?;
        ensure!(differ(&one, &other)? && differ(&other, &one)?, "an event more or less goes unseen");
    }
    let mut other = sample(|_| ())?;
    other.cases.clear();
    ensure!(differ(&one, &other)?, "a missing case goes unseen");
    Ok(())
}

fn change(value: &mut Value) {
    *value = match &*value {
        Value::Bool(b) => (!b).into(),
        Value::Number(n) => (n.as_u64().unwrap_or(0) + 1).into(),
        Value::String(s) if s.starts_with("0x") => "0x1000".into(),
        // Four more characters keep base64 intact.
        Value::String(s) => format!("{s}eeee").into(),
        _ => "EIO".into(),
    };
}
