//! From what a program saw to what is true of each request, or may be.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::files::Files;
use super::log::{Asked, Entry};
use super::program::Program;
use crate::sys;
use crate::truth::CqeFate;

/// A program, and all of its requests.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'p> {
    number: u64,
    program: &'p Program,
    skipped: Vec<String>,
    /// What the program met that it should not have.
    errors: Vec<String>,
    groups: Vec<Group>,
}

/// Requests that share their `user_data`.
#[derive(Debug, Serialize)]
struct Group {
    user_data: u64,
    /// The results of their completions. `None`: not all are known.
    results: Option<Vec<i32>>,
    requests: Vec<Fate>,
}

#[derive(Debug, Serialize)]
struct Fate {
    /// As the corpus has it, but for its end.
    truth: Value,
    /// Whether the kernel took it is not known.
    optional: bool,
    /// It may have ended after its submitter, which had its file: the kernel looks for that when it begins with a request.
    orphaned: bool,
    /// The ends that it may have had: what became of its completion, and the result, from and to.
    ends: BTreeSet<(CqeFate, i32, i32)>,
}

#[derive(Clone, Copy)]
struct Seen {
    ring: usize,
    res: i32,
    direct: bool,
}

#[derive(Default)]
struct Collected {
    asked: Vec<Asked>,
    taken: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Completions by `user_data`, without those that more follow.
    seen: BTreeMap<u64, Vec<Seen>>,
    closed: BTreeSet<usize>,
    skipped: Vec<String>,
    errors: Vec<String>,
    ended: bool,
    unsettled: bool,
}

pub(crate) fn settle<'p>(
    number: u64,
    program: &'p Program,
    entries: Vec<Entry>,
    files: &Files,
    gone: bool,
) -> Result<Told<'p>> {
    let mut all = Collected::default();
    for entry in entries {
        match entry {
            Entry::Asked(asked) => all.asked.push(*asked),
            Entry::Taken(seqs) => all.taken.extend(seqs),
            Entry::Refused(seqs) => all.refused.extend(seqs),
            Entry::Cqe { flags, .. } if flags & sys::CQE_MORE != 0 => {}
            Entry::Cqe { ring, user_data, res, direct, .. } => {
                all.seen.entry(user_data).or_default().push(Seen { ring, res, direct });
            }
            Entry::Closed(ring) => drop(all.closed.insert(ring)),
            Entry::Unsettled(ring) => {
                all.unsettled = true;
                all.errors.push(format!("not everything ended in ring {ring}"));
            }
            Entry::Skipped(why) => all.skipped.push(why),
            Entry::Error(why) => all.errors.push(why),
            Entry::End => all.ended = true,
        }
    }
    if !gone {
        all.errors.push("the program's rings did not end".to_owned());
    }
    if !all.ended && super::ends_by_itself(program.end) {
        all.errors.push("the program did not come to its end".to_owned());
    }
    if all.unsettled {
        let open = |asked: &&Asked| {
            asked.certain && all.taken.contains(&asked.seq) && !all.seen.contains_key(&asked.user_data)
        };
        all.errors.extend(all.asked.iter().filter(open).map(|asked| format!("open: {}", asked.truth)));
    }
    let mut uncertain = all.take_messages();
    let mut groups: BTreeMap<u64, Vec<Asked>> = BTreeMap::new();
    for asked in std::mem::take(&mut all.asked) {
        if !all.refused.contains(&asked.seq) {
            groups.entry(asked.user_data).or_default().push(asked);
        }
    }
    let mut made = vec![];
    for (user_data, requests) in groups {
        let seen = all.seen.remove(&user_data).unwrap_or_default();
        if let ([asked], [seen]) = (&requests[..], &seen[..])
            && !asked.allows(seen.res)
            && !uncertain.contains(&user_data)
        {
            all.errors.push(format!("the result {} was not foreseen: {}", seen.res, asked.truth));
        }
        made.push(all.group(user_data, requests, &seen, uncertain.remove(&user_data), files)?);
    }
    for (user_data, seen) in all.seen {
        // A message to nobody has it, or one whose own completion was not seen.
        if !seen.is_empty() && !uncertain.contains(&user_data) {
            all.errors.push(format!("{} completions with the unknown user_data {user_data:#x}", seen.len()));
        }
    }
    Ok(Told { number, program, skipped: all.skipped, errors: all.errors, groups: made })
}

impl Collected {
    /// Leaves out what messages posted. Returns the `user_data` of which that is not known for certain.
    fn take_messages(&mut self) -> BTreeSet<u64> {
        let mut uncertain = BTreeSet::new();
        for asked in &self.asked {
            let Some(message) = asked.message else { continue };
            match self.seen.get(&asked.user_data).map(|seen| &seen[..]) {
                Some([own]) if own.res == 0 => {
                    let seen = self.seen.entry(message.user_data).or_default();
                    let is_it = |s: &Seen| s.ring == message.ring && s.res == message.result;
                    match seen.iter().position(is_it) {
                        Some(at) => drop(seen.remove(at)),
                        None => drop(uncertain.insert(message.user_data)),
                    }
                    // Which of two with the same result was held back is not known.
                    let held = seen.iter().any(|s| !s.direct);
                    seen.iter_mut().for_each(|s| s.direct &= !held);
                }
                Some([_]) => {}
                _ if self.refused.contains(&asked.seq) => {}
                _ => drop(uncertain.insert(message.user_data)),
            }
        }
        uncertain
    }

    fn group(&self, user_data: u64, requests: Vec<Asked>, seen: &[Seen], loose: bool, files: &Files) -> Result<Group> {
        let without = requests.len().saturating_sub(seen.len());
        let may_be_without = requests.iter().filter(|r| r.skip || r.behind).count();
        let optional = |asked: &Asked| !self.taken.contains(&asked.seq);
        // What waits may fail, with a completion, after the program has looked for the last time.
        let late = |r: &Asked| !self.ended || self.closed.contains(&r.ring) || (r.skip && r.allows(-libc::ECANCELED));
        let after_all = without > 0 && requests.iter().any(late);
        let loose = loose || self.unsettled || after_all || without > may_be_without || requests.iter().any(optional);
        let alone = requests.len() == 1;
        let mut fates = vec![];
        for asked in requests {
            let ends = if alone && !seen.is_empty() && !loose {
                seen.iter().flat_map(posted).collect()
            } else {
                let mut ends = BTreeSet::new();
                ends.extend(seen.iter().filter(|s| asked.allows(s.res)).flat_map(posted));
                // Where more have ended than were seen, it may be any of those, and have ended with the ring.
                if without > 0 || loose {
                    ends.extend(unseen(&asked));
                }
                narrow(&asked, ends, files)?
            };
            // What never began when its thread ended fails with this, whoever waits for it.
            let never_begun = seen.iter().any(|s| s.res == -libc::EFAULT);
            let orphaned = never_begun || (!self.ended && without > 0);
            fates.push(Fate { optional: optional(&asked), orphaned, truth: asked.truth, ends });
        }
        let results = (!loose).then(|| seen.iter().map(|s| s.res).collect());
        Ok(Group { user_data, results, requests: fates })
    }
}

fn posted(seen: &Seen) -> Vec<(CqeFate, i32, i32)> {
    let one = |fate| (fate, seen.res, seen.res);
    if seen.direct { vec![one(CqeFate::Posted)] } else { vec![one(CqeFate::Posted), one(CqeFate::Overflow)] }
}

/// Ends of which no completion tells the program.
fn unseen(asked: &Asked) -> Vec<(CqeFate, i32, i32)> {
    let mut ends = vec![];
    if asked.skip {
        ends.extend(asked.accept.iter().map(|&(low, high)| (CqeFate::Skipped, low.max(0), high)));
    }
    if asked.behind || asked.skip {
        ends.push((CqeFate::None, -libc::ECANCELED, -libc::ECANCELED));
        // What was refused before the chain began keeps its own error.
        ends.extend(asked.accept.iter().map(|&(low, high)| (CqeFate::None, low, high.min(-1))));
    }
    // With its ring, or just after the program looked for the last time.
    let both = [CqeFate::Posted, CqeFate::Overflow];
    ends.extend(both.iter().flat_map(|&fate| asked.accept.iter().map(move |&(low, high)| (fate, low, high))));
    ends.retain(|&(_, low, high)| low <= high);
    ends
}

/// Where the data can be looked for, it decides.
fn narrow(asked: &Asked, ends: BTreeSet<(CqeFate, i32, i32)>, files: &Files) -> Result<BTreeSet<(CqeFate, i32, i32)>> {
    let Some(region) = &asked.region else { return Ok(ends) };
    let written = files.written(region)?;
    Ok(ends.into_iter().filter(|&(_, low, high)| if written { high > 0 } else { low < 0 }).collect())
}
