//! What was told of programs against what they know.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::corpus::{FIELDS, Fields, from_event, from_truth};
use crate::depth::Depth;
use crate::hard::in_vm;
use crate::support::may_be_no_gap;

/// What ringwatch is asked to tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinds {
    Writes,
    Requests,
}

impl Kinds {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Writes => "io_write",
            Self::Requests => "io_uring",
        }
    }

    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Writes => &[],
            Self::Requests => &["-e", "io_uring,io_issue_sqe"],
        }
    }
}

#[derive(Default)]
pub(super) struct Judgement {
    pub(super) programs: u64,
    pub(super) requests: usize,
    /// Programs of which something is told that is not so, and what.
    pub(super) wrong: Vec<(Value, String)>,
    /// Programs that met what they should not have, which is no fault of who looks on.
    pub(super) troubled: Vec<(Value, Vec<String>)>,
    pub(super) skipped: BTreeSet<String>,
    pub(super) lost: u64,
}

/// An event, or a request.
type Told<'a> = Vec<&'a Value>;

pub(super) fn judge(kinds: Kinds, truths: &[Value], events: &[Value]) -> Result<Judgement> {
    let mut judgement = Judgement::default();
    // By the number of the program, which is in the user_data of its requests.
    let mut told: HashMap<u64, HashMap<u64, Told<'_>>> = HashMap::new();
    for event in events {
        if event["event"] == "events_lost" {
            let count = if may_be_no_gap(event) { 0 } else { event["data"]["count"].as_u64().unwrap_or(1) };
            judgement.lost += count;
        } else if let Some(user_data) = event["data"]["user_data"].as_u64() {
            told.entry(user_data >> 32).or_default().entry(user_data).or_default().push(event);
        }
    }
    let depth = Depth::here()?;
    for truth in truths {
        judgement.programs += 1;
        let program = &truth["program"];
        let strings = |list: &Value| {
            let all = list.as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        judgement.skipped.extend(strings(&truth["skipped"]));
        let errors = strings(&truth["errors"]);
        if !errors.is_empty() {
            judgement.troubled.push((program.clone(), errors));
        }
        let number = truth["number"].as_u64().context("a program without a number")?;
        let mut of = told.remove(&(number + 1)).unwrap_or_default();
        let groups = truth["groups"].as_array().context("a program without groups")?;
        let mut wrong = vec![];
        for group in groups {
            let user_data = group["user_data"].as_u64().context("a group without user_data")?;
            let group = Group::new(group, &depth)?;
            judgement.requests += group.requests.len();
            wrong.extend(group.check(kinds, &of.remove(&user_data).unwrap_or_default())?);
        }
        wrong.extend(of.values().flatten().map(|event| format!("an event that no request made: {event}")));
        if let Some(first) = wrong.first() {
            judgement.wrong.push((program.clone(), format!("{} times, first {first}", wrong.len())));
        }
    }
    // Of no program at all.
    for event in told.values().flat_map(HashMap::values).flatten() {
        judgement.wrong.push((Value::Null, format!("an event of nobody: {event}")));
    }
    Ok(judgement)
}

struct Request<'a> {
    truth: &'a Value,
    fields: Fields,
    optional: bool,
    /// Where it never began, its submitter may be gone with the file that was meant.
    orphaned: bool,
    ends: Vec<(&'a str, i64, i64)>,
}

/// Requests that share their user_data.
struct Group<'a> {
    requests: Vec<Request<'a>>,
    /// The results of all of their completions, where they are known.
    results: Option<Vec<i64>>,
}

impl Request<'_> {
    fn is_write(&self) -> bool {
        self.truth["opcode"].as_str().is_some_and(|name| name.starts_with("WRITE"))
    }

    /// What is wrong with the event as that of this request.
    fn differs(&self, event: &Value) -> Result<Vec<String>> {
        let data = &event["data"];
        let mut wrong = vec![];
        if event["event"] == "io_write" {
            let got = from_event(event)?;
            // The same where a registered file is chosen by an earlier link: docs/limits.md.
            let silent = data["completion"] == "skipped" && data["fixed_file"] == true;
            let failed = data["result"].as_i64().is_some_and(|result| result < 0);
            // The kernel ends what it never began for a thread that is gone.
            let of_thread = self.truth["host_tid"] != self.truth["host_pid"];
            let never_begun =
                failed && (of_thread || data["executor"] == "kernel" || data["executor_host_tid"].is_null());
            let fileless = never_begun || silent || (self.orphaned && failed);
            for name in FIELDS.into_iter().filter(|&name| name != "result" && name != "cqe") {
                if fileless && got["path"] == "null" && ["path", "device", "inode", "pos"].contains(&name) {
                    continue;
                }
                // The kernel reads the segments of this one when it begins with it.
                if failed && self.truth["opcode"] == "WRITEV_FIXED" && ["len", "buf"].contains(&name) {
                    continue;
                }
                if got[name] != self.fields[name] {
                    wrong.push(format!("{name} is {} and not {}", got[name], self.fields[name]));
                }
            }
        } else {
            for (name, of) in [
                ("opcode", "opcode"),
                ("submitter", "submitter"),
                ("worker_host_tid", "host_tid"),
                ("user_data", "user_data"),
            ] {
                if data[name] != self.truth[of] {
                    wrong.push(format!("{name} is {} and not {}", data[name], self.truth[of]));
                }
            }
            for name in ["host_pid", "host_tid"] {
                if event["process"][name] != self.truth[name] {
                    wrong.push(format!("process.{name} is not {}", self.truth[name]));
                }
            }
        }
        if !self.may_end(event) {
            wrong.push(format!("{} with {} is no end of it", data["completion"], data["result"]));
        }
        Ok(wrong)
    }

    fn may_end(&self, event: &Value) -> bool {
        let data = &event["data"];
        let (fate, result) = (fate(data), data["result"].as_i64());
        // What is no write and ended without a completion has no result that is known.
        let unknown = !self.is_write() && matches!(fate, "skipped" | "none") && result.is_none();
        // The look may come too late for a link, whose ring is gone: docs/limits.md.
        let too_late = in_vm() && fate == "in_flight" && result.is_none();
        self.ends.iter().any(|&(end, low, high)| {
            let silent = (unknown || too_late) && matches!(end, "skipped" | "none");
            silent || (end == fate && result.is_some_and(|result| (low..=high).contains(&result)))
        })
    }
}

fn fate(data: &Value) -> &str {
    match data["completion"].as_str().unwrap_or_default() {
        "cqe" => "posted",
        "link" => "none",
        other => other,
    }
}

impl<'a> Group<'a> {
    fn new(group: &'a Value, depth: &Depth) -> Result<Self> {
        let list = group["requests"].as_array().context("a group without requests")?;
        let end = |end: &'a Value| Some((end[0].as_str()?, end[1].as_i64()?, end[2].as_i64()?));
        let requests = list
            .iter()
            .map(|request| {
                let truth = &request["truth"];
                let ends = request["ends"].as_array().context("a request without ends")?;
                Ok(Request {
                    truth,
                    fields: from_truth(truth, depth),
                    optional: request["optional"] == true,
                    orphaned: request["orphaned"] == true,
                    ends: ends.iter().map(end).collect::<Option<_>>().context("no end")?,
                })
            })
            .collect::<Result<_>>()?;
        let results = group["results"].as_array().map(|list| list.iter().filter_map(Value::as_i64).collect());
        Ok(Self { requests, results })
    }

    fn check(&self, kinds: Kinds, events: &[&Value]) -> Result<Vec<String>> {
        let named = |name: &str| events.iter().filter(|e| e["event"] == name).copied().collect::<Vec<_>>();
        let writes: Vec<_> = self.requests.iter().filter(|r| r.is_write()).collect();
        let mut wrong = self.compare(&writes, &named("io_write"), "io_write")?;
        if kinds == Kinds::Requests {
            let all: Vec<_> = self.requests.iter().collect();
            wrong.extend(self.compare(&all, &named("io_issue_sqe"), "io_issue_sqe")?);
        }
        Ok(wrong)
    }

    fn compare(&self, requests: &[&Request<'_>], events: &[&Value], name: &str) -> Result<Vec<String>> {
        if let ([request], [event]) = (requests, events) {
            let differs = request.differs(event)?;
            if !differs.is_empty() {
                return Ok(vec![format!("{}\n  truth {}\n  event {event}", differs.join(", "), request.truth)]);
            }
        }
        let required: Vec<_> = requests.iter().filter(|r| !r.optional).collect();
        if events.len() < required.len() || events.len() > requests.len() {
            let truths: Vec<_> = requests.iter().map(|r| r.truth).collect();
            return Ok(vec![format!(
                "{} {name} events for {} requests: {truths:?} {events:?}",
                events.len(),
                requests.len()
            )]);
        }
        let mut fits = vec![vec![]; requests.len()];
        for (at, request) in requests.iter().enumerate() {
            for (event_at, event) in events.iter().enumerate() {
                if request.differs(event)?.is_empty() {
                    fits[at].push(event_at);
                }
            }
        }
        // Those that must have one first.
        let mut order: Vec<_> = (0..requests.len()).collect();
        order.sort_by_key(|&at| requests[at].optional);
        let mut of_event = vec![None; events.len()];
        for at in order {
            let found = assign(at, &fits, &mut of_event, &mut vec![false; events.len()]);
            if !found && !requests[at].optional {
                return Ok(vec![format!(
                    "no {name} event fits {} {:?}: {events:?}",
                    requests[at].truth, requests[at].ends
                )]);
            }
        }
        if let Some(at) = of_event.iter().position(Option::is_none) {
            return Ok(vec![format!("an {name} event that fits no request: {}", events[at])]);
        }
        Ok(self.check_results(requests.len() == self.requests.len(), events, name).into_iter().collect())
    }

    /// Each completion's result is that of one request.
    fn check_results(&self, all: bool, events: &[&Value], name: &str) -> Option<String> {
        let mut left = self.results.clone()?;
        for event in events.iter().filter(|e| matches!(fate(&e["data"]), "posted" | "overflow")) {
            let result = event["data"]["result"].as_i64();
            match left.iter().position(|&r| Some(r) == result) {
                Some(at) => drop(left.swap_remove(at)),
                None => return Some(format!("{name} tells of one more result {result:?} than {:?}", self.results)),
            }
        }
        if all {
            return (!left.is_empty()).then(|| format!("{name} does not tell of the results {left:?}"));
        }
        // The others belong to requests that were not told.
        let others: Vec<_> = self.requests.iter().filter(|r| !r.is_write()).collect();
        let fit = |result: &i64| {
            let can = |r: &Request<'_>| {
                r.ends.iter().any(|&(end, low, high)| end != "skipped" && (low..=high).contains(result))
            };
            (0..others.len()).filter(|&at| can(others[at])).collect()
        };
        let fits: Vec<Vec<usize>> = left.iter().map(fit).collect();
        let mut taken = vec![None; others.len()];
        let at = (0..left.len()).find(|&at| !assign(at, &fits, &mut taken, &mut vec![false; others.len()]))?;
        Some(format!("{name}: the result {} of {:?} belongs to no other request", left[at], self.results))
    }
}

/// Gives `at` one of those that fit, moving others where that helps.
fn assign(at: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &to in &fits[at] {
        if std::mem::replace(&mut tried[to], true) {
            continue;
        }
        if taken[to].is_none_or(|other| assign(other, fits, taken, tried)) {
            taken[to] = Some(at);
            return true;
        }
    }
    false
}
