//! Rows of the kernel side's tables to rows of a report: ids to names, and one row for each name.

use std::collections::BTreeMap;

use globset::GlobSet;

use super::model::{self, Sums};
use super::report::{ByProcess, Failures, File, FileKind, Names, Row};
use crate::enrich::unknown_of;
use crate::event::{Base64, Process};
use crate::names::errno_name;

/// 0 stands for all that have no name.
pub(super) fn error_name(errno: u32) -> String {
    if errno == 0 { "UNKNOWN" } else { errno_name(errno.cast_signed()) }.to_owned()
}

/// Renamed and replaced files have several ids: one row for each path and way of opening it. And the sum of all.
pub(super) fn files(sums: &Sums, names: &Names, paths: Option<&GlobSet>) -> (Vec<File>, model::Row) {
    let mut merged: BTreeMap<_, model::Row> = BTreeMap::new();
    let mut all = model::Row::default();
    for (key, row) in &sums.files {
        let path = names.paths.get(&key.path_id);
        // What is not known, or not whole, cannot be judged, and is not left out.
        let fits = |globs: &GlobSet| {
            path.is_none_or(|p| globs.is_match(&*p.text()) || p.truncated || p.detached(None).is_some())
        };
        if !paths.is_none_or(fits) {
            continue;
        }
        all.merge(row);
        let path_unknown = path.is_none().then(|| unknown_of(key.path_id));
        let path = path.map(|p| (p.text().into_owned(), p.base64()));
        merged.entry((path, path_unknown, FileKind::of(key), key.direct)).or_default().merge(row);
    }
    let mut files = vec![];
    for ((path, path_unknown, kind, direct), row) in merged {
        let (path, path_bytes) = path.map_or((None, None), |(text, bytes)| (Some(text), bytes));
        files.push(File { path, path_bytes, path_unknown, kind, direct, row: Row::from(&row) });
    }
    files.sort_by_key(|f| std::cmp::Reverse(f.row.bytes));
    (files, all)
}

/// A thread's name, with its bytes where they are not UTF-8.
type Name = (String, Option<Base64>);

fn name(process: &Process) -> Name {
    (process.name.text().into_owned(), process.name_bytes.clone())
}

/// Threads of one process and one name are one row.
pub(super) fn processes(sums: &Sums, names: &Names) -> Vec<ByProcess> {
    let mut merged: BTreeMap<(u32, Name), (Option<&Process>, model::Row)> = BTreeMap::new();
    for (id, row) in &sums.tasks {
        let process = names.tasks.get(id).map(|p| &***p);
        let key = process.map_or_else(Default::default, |p| (p.host_pid, name(p)));
        let held = merged.entry(key).or_insert_with(|| (process, model::Row::default()));
        held.1.merge(row);
    }
    let process = |((host_pid, (name, name_bytes)), (process, row)): ((u32, Name), (Option<&Process>, _))| ByProcess {
        host_pid,
        name,
        name_bytes,
        uid: process.map_or(0, |p| p.uid),
        executable: process.and_then(|p| Some(p.executable.as_ref()?.text().into_owned())),
        executable_bytes: process.and_then(|p| p.executable_bytes.clone()),
        row: Row::from(&row),
    };
    let mut processes: Vec<_> = merged.into_iter().map(process).collect();
    processes.sort_by_key(|p| std::cmp::Reverse(p.row.bytes));
    processes
}

pub(super) fn failures(sums: &Sums, names: &Names) -> Vec<Failures> {
    let mut merged: BTreeMap<(u32, Name, u32), (u64, u64)> = BTreeMap::new();
    for (&(id, error), failure) in &sums.failures {
        let (pid, name) = names.tasks.get(&id).map_or_else(Default::default, |p| (p.host_pid, name(p)));
        let held = merged.entry((pid, name, error)).or_default();
        held.0 += failure.count;
        held.1 += failure.later;
    }
    let failure = |((host_pid, (name, name_bytes), error), (count, later)): ((u32, Name, u32), _)| Failures {
        host_pid,
        name,
        name_bytes,
        error: error_name(error),
        count,
        later,
    };
    let mut failures: Vec<_> = merged.into_iter().map(failure).collect();
    failures.sort_by_key(|f| std::cmp::Reverse(f.count));
    failures
}
