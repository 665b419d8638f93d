//! What a program knows of itself and of the time, held against what is told of its requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

/// How far ringwatch's wall clock may be from the program's, in ns. Both take what it shows more than the kernel's clocks
/// from the closest of several looks, which an emulated processor may need some 100 us for.
const CLOCKS_APART: i64 = 1_000_000;

/// What was left out, with the reason, and how often.
pub(crate) type Notes = BTreeMap<String, u64>;

/// The threads of the programs of a case, and who they are.
#[derive(Default)]
pub(crate) struct Threads {
    identities: HashMap<u64, Value>,
    /// `own`, `worker` or `poller`, by process and thread.
    kinds: HashMap<(u64, u64), String>,
}

fn number(of: &Value, name: &str) -> Result<u64> {
    of[name].as_u64().with_context(|| format!("no {name} in {of}"))
}

/// The reason for what a program does not know.
fn unknown(value: &Value) -> Option<&str> {
    value["unknown"].as_str()
}

fn note(notes: &mut Notes, what: &str, why: &str) {
    *notes.entry(format!("{what}: {why}")).or_default() += 1;
}

/// Differences between the truth and an event, in words.
type Wrong = Vec<String>;

impl Threads {
    /// Whether the line of the truth is about threads.
    pub(crate) fn take(&mut self, line: &Value) -> Result<bool> {
        if line["process"].is_object() {
            self.identities.insert(number(line, "identity")?, line["process"].clone());
        } else if let Some(kind) = line["thread"].as_str() {
            self.kinds.insert((number(line, "host_pid")?, number(line, "host_tid")?), kind.to_owned());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub(crate) fn compare(&self, truth: &Value, event: &Value, notes: &mut Notes) -> Result<()> {
        let mut wrong = self.process(truth, event, notes)?;
        wrong.extend(self.executor(truth, event, notes)?);
        wrong.extend(times(truth, event, notes)?);
        ensure!(wrong.is_empty(), "{}\n  truth {truth}\n  event {event}", wrong.join(", "));
        Ok(())
    }

    /// All that an event says of the process, and nothing that the program does not know.
    fn process(&self, truth: &Value, event: &Value, notes: &mut Notes) -> Result<Wrong> {
        let identity = self.identities.get(&number(truth, "identity")?).context("nobody of this identity")?;
        let known = identity.as_object().context("no identity")?;
        let told = event["process"].as_object().context("no process")?;
        let mut wrong = vec![];
        for name in known.keys().chain(told.keys()).collect::<BTreeSet<_>>() {
            let (known, told) = (&identity[name], &event["process"][name]);
            if let Some(why) = unknown(known) {
                note(notes, name, why);
            } else if name == "start_time" {
                let told = moment(told)?;
                let [from, to] = [&known[0], &known[1]].map(Value::as_i64);
                let (from, to) = from.zip(to).context("no start")?;
                if told < from - CLOCKS_APART || told >= to + CLOCKS_APART {
                    wrong.push(format!("start_time {told} is not from {from} to {to}"));
                }
            } else if known != told {
                wrong.push(format!("{name} of the process is {told} and not {known}"));
            }
        }
        Ok(wrong)
    }

    /// Which thread carried the request out.
    fn executor(&self, truth: &Value, event: &Value, notes: &mut Notes) -> Result<Wrong> {
        let data = &event["data"];
        let (executor, tid) = (&data["executor"], &data["executor_host_tid"]);
        let Some(by) = executor.as_str() else {
            return Ok(if tid.is_null() { vec![] } else { vec![format!("nobody carried it out in thread {tid}")] });
        };
        let kind = tid.as_u64().and_then(|tid| self.kinds.get(&(truth["host_pid"].as_u64()?, tid))).map(String::as_str);
        let native = truth["native_workers"] == true;
        let right = match (by, kind) {
            ("submitter", _) => *tid == truth["host_tid"],
            _ if tid.is_null() => {
                note(notes, "executor_host_tid", &format!("not told of {by}"));
                true
            }
            ("sqpoll", Some("poller")) | ("io-wq", Some("worker")) => true,
            ("sqpoll", None) if !native => {
                note(notes, "executor_host_tid", "poll threads are none of the process's");
                true
            }
            ("io-wq", None) => {
                let why = if native { "the worker is gone" } else { "workers are none of the process's threads" };
                note(notes, "executor_host_tid", why);
                true
            }
            // A thread of its own is none of any process.
            ("kernel", kind) => kind.is_none(),
            _ => false,
        };
        Ok(if right { vec![] } else { vec![format!("{by} is thread {tid}, which is {}", kind.unwrap_or("unknown"))] })
    }

    /// Whether any other value of what is compared would be seen.
    pub(crate) fn is_sharp(&self, truth: &Value, event: &Value) -> Result<()> {
        for (at, value) in self.wrong_values(truth, event)? {
            let mut other = event.clone();
            *other.pointer_mut(&at).with_context(|| format!("no {at} in {event}"))? = value;
            let seen = self.compare(truth, &other, &mut Notes::new()).is_err();
            ensure!(seen, "another {at} goes unseen: {other}");
        }
        let mut more = event.clone();
        more["process"]["new"] = true.into();
        ensure!(self.compare(truth, &more, &mut Notes::new()).is_err(), "a new field of the process goes unseen");
        Ok(())
    }

    /// Places in an event, and what they should not hold.
    fn wrong_values(&self, truth: &Value, event: &Value) -> Result<Vec<(String, Value)>> {
        let identity = &self.identities[&number(truth, "identity")?];
        let mut wrong = vec![];
        for (name, value) in event["process"].as_object().context("no process")? {
            if unknown(&identity[name]).is_some() {
                continue;
            }
            let others = match (name.as_str(), value) {
                ("start_time", _) => {
                    let edges = [identity[name][0].as_i64(), identity[name][1].as_i64()];
                    let [from, to] = edges.map(Option::unwrap_or_default);
                    vec![told(from - CLOCKS_APART - 1), told(to + CLOCKS_APART)]
                }
                (_, Value::Number(n)) => vec![(n.as_u64().unwrap_or_default() + 1).into(), 0.into(), Value::Null],
                (_, Value::String(text)) => vec![format!("{text}x").into(), "".into(), Value::Null],
                (_, other) => vec![(*other != true).into()],
            };
            let changed = others.into_iter().filter(|other| other != value);
            wrong.extend(changed.map(|other| (format!("/process/{name}"), other)));
        }
        let mut add = |at: &str, value: Value| wrong.push((at.to_owned(), value));
        let (data, times) = (&event["data"], &truth["times"]);
        let at = |which: &str, clock: &str| times[which][clock].as_i64();
        let before = at("before", "wall").context("no times")?;
        add("/timestamp", told(before - CLOCKS_APART - 1));
        if let Some(latency) = data["latency_ns"].as_i64() {
            // The submission moves along with the end.
            add("/timestamp", told(before + latency - CLOCKS_APART - 1));
            if let Some(submitted) = at("submitted", "wall") {
                add("/timestamp", told(submitted + latency + CLOCKS_APART + 1));
            }
            if let Some(reaped) = at("reaped", "wall") {
                add("/timestamp", told(reaped + CLOCKS_APART + 1));
            }
            let longest = at("reaped", "monotonic").zip(at("before", "monotonic"));
            add("/data/latency_ns", longest.map_or(i64::MAX / 2, |(reaped, before)| reaped - before + 1).into());
        }
        let tid = "/data/executor_host_tid";
        match data["executor"].as_str() {
            None => add(tid, 1.into()),
            Some("submitter") => {
                add(tid, (number(truth, "host_tid")? + 1).into());
                add(tid, Value::Null);
            }
            // The main thread is nobody's worker.
            Some(_) => add(tid, truth["host_pid"].clone()),
        }
        Ok(wrong)
    }
}

fn told(ns: i64) -> Value {
    ringwatch::event::Timestamp(ns).to_string().into()
}

fn moment(time: &Value) -> Result<i64> {
    let time: Timestamp = time.as_str().context("no time")?.parse()?;
    Ok(time.as_nanosecond().try_into()?)
}

/// From before the request was handed over to after its completion was taken.
fn times(truth: &Value, event: &Value, notes: &mut Notes) -> Result<Wrong> {
    /// By the monotonic clock, and by the wall clock.
    type At = (i64, i64);
    let times = &truth["times"];
    let read = |which: &str| -> Result<At> {
        let at = |clock: &str| times[which][clock].as_i64();
        at("monotonic").zip(at("wall")).with_context(|| format!("no time {which} in {truth}"))
    };
    let mut known = |which: &str| match unknown(&times[which]) {
        Some(why) => {
            note(notes, which, why);
            Ok(None)
        }
        None => read(which).map(Some),
    };
    let (earliest, before) = read("before")?;
    let told = moment(&event["timestamp"])?;
    let mut wrong = vec![];
    if told < before - CLOCKS_APART {
        wrong.push(format!("timestamp is {} ns before the submission", before - told));
    }
    // Then the end was found some time later.
    let Some(latency) = event["data"]["latency_ns"].as_i64() else {
        note(notes, "latency_ns", "not told");
        return Ok(wrong);
    };
    let submission = told - latency;
    if submission < before - CLOCKS_APART {
        wrong.push(format!("the submission is told {} ns too early", before - submission));
    }
    if let Some((_, submitted)) = known("submitted")?
        && submission > submitted + CLOCKS_APART
    {
        wrong.push(format!("the submission is told {} ns too late", submission - submitted));
    }
    if let Some((latest, reaped)) = known("reaped")? {
        if told > reaped + CLOCKS_APART {
            wrong.push(format!("timestamp is {} ns after the completion was taken", told - reaped));
        }
        if latency > latest - earliest {
            wrong.push(format!("latency_ns is {latency} and not at most {}", latest - earliest));
        }
    }
    Ok(wrong)
}
