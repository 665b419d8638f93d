//! Smaller programs of which the same is told wrong.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

/// What chance decides goes wrong once in so many runs, at least.
const RUNS: usize = 3;
/// Programs in one run of ringwatch.
const AT_ONCE: usize = 120;
const PATIENCE: Duration = Duration::from_secs(90);

/// The smallest program found, and what was wrong with it; `None`: nothing, when it ran again.
pub(super) fn shrink(
    program: &Value,
    mut wrong: impl FnMut(&[Value]) -> Result<Vec<(Value, String)>>,
) -> Result<(Value, Option<String>)> {
    let start = Instant::now();
    let mut best = (program.clone(), None);
    let repeat = |candidates: &[Value]| candidates.iter().flat_map(|c| vec![c.clone(); RUNS]).collect::<Vec<_>>();
    match wrong(&repeat(&[program.clone(), program.clone(), program.clone()]))?.into_iter().next() {
        Some((_, why)) => best.1 = Some(why),
        None => return Ok(best),
    }
    while start.elapsed() < PATIENCE {
        let mut candidates = smaller(&best.0);
        candidates.sort_by_key(|candidate| candidate.to_string().len());
        let mut found = None;
        for some in candidates.chunks(AT_ONCE / RUNS) {
            found = wrong(&repeat(some))?.into_iter().min_by_key(|(candidate, _)| candidate.to_string().len());
            if found.is_some() || start.elapsed() > PATIENCE {
                break;
            }
        }
        match found {
            Some((candidate, why)) => best = (candidate, Some(why)),
            None => break,
        }
    }
    Ok(best)
}

/// Each program that lacks one thing, or half of the things of one list.
fn smaller(program: &Value) -> Vec<Value> {
    let mut lists = vec![];
    find_lists(program, &mut String::new(), &mut lists);
    let mut candidates = vec![];
    for (pointer, len) in lists {
        let without = |from: usize, to: usize| {
            let mut candidate = program.clone();
            if let Some(Value::Array(list)) = candidate.pointer_mut(&pointer) {
                list.drain(from..to);
            }
            candidate
        };
        if len >= 4 {
            candidates.extend([without(0, len / 2), without(len / 2, len)]);
        }
        candidates.extend((0..len).map(|index| without(index, index + 1)));
    }
    if program["end"] != "settle" {
        let mut candidate = program.clone();
        candidate["end"] = "settle".into();
        candidates.push(candidate);
    }
    candidates
}

fn find_lists(value: &Value, pointer: &mut String, lists: &mut Vec<(String, usize)>) {
    const LISTS: [&str; 7] = ["steps", "ops", "left", "right", "flags", "lens", "namespaces"];
    let mut go = |key: &str, value: &Value, lists: &mut Vec<_>| {
        let end = pointer.len();
        pointer.push('/');
        pointer.push_str(key);
        if let Value::Array(list) = value
            && LISTS.contains(&key)
        {
            lists.push((pointer.clone(), list.len()));
        }
        find_lists(value, pointer, lists);
        pointer.truncate(end);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| go(key, value, lists)),
        Value::Array(list) => list.iter().enumerate().for_each(|(at, value)| go(&at.to_string(), value, lists)),
        _ => {}
    }
}
