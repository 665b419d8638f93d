//! Columns for people, as wide as the terminal.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::IsTerminal as _;

use super::Encode;
use super::text::{bytes, fit, nanoseconds, quoted, visible, width};
use crate::event::ops::{Named, OldNew, Request, Stage, Step};
use crate::event::{Completion, Data, Event, Executor, Outcome, PathUnknown, Submitter, Text};
use crate::opcode::Names;

/// How a table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns; `None`: as many as needed.
    pub width: Option<usize>,
    /// Colours.
    pub colour: bool,
}

impl Style {
    /// For this terminal, or for a file or pipe.
    #[must_use]
    pub fn detect(terminal: bool) -> Self {
        let width = terminal.then(|| {
            terminal_size::terminal_size().map_or(80, |(terminal_size::Width(columns), _)| usize::from(columns))
        });
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { width, colour: terminal && !refused && std::io::stdout().is_terminal() }
    }
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// A path gets at least this much, before columns are left out for it.
const PATH_MIN: usize = 18;

/// A column before the path.
struct Column {
    title: &'static str,
    width: usize,
    left: bool,
    /// Lower ones are left out first when the terminal is narrow.
    rank: u8,
    cell: fn(&Event, &Row<'_>) -> String,
}

const COLUMNS: [Column; 9] = [
    Column { title: "TIME", width: 12, left: true, rank: 3, cell: |e, _| time_of_day(e) },
    Column { title: "TID", width: 8, left: false, rank: 9, cell: |_, r| tid(r) },
    Column { title: "COMM", width: 15, left: true, rank: 8, cell: |e, _| name(e) },
    Column { title: "OP", width: 12, left: true, rank: 1, cell: |_, r| fit(&r.op, 12) },
    Column { title: "LEN", width: 5, left: false, rank: 2, cell: |_, r| r.len.map_or_else(|| "-".to_owned(), bytes) },
    Column { title: "RESULT", width: 9, left: false, rank: 7, cell: |_, r| result(r) },
    Column { title: "POS", width: 12, left: false, rank: 5, cell: |_, r| known(r.pos) },
    Column { title: "LAT", width: 6, left: false, rank: 6, cell: |_, r| known(r.latency_ns.map(nanoseconds)) },
    Column { title: "BY", width: 6, left: true, rank: 4, cell: |_, r| executor(r).to_owned() },
];

/// What the columns show of an event.
struct Row<'a> {
    op: Cow<'a, str>,
    tid: u32,
    submitter: Submitter,
    len: Option<u64>,
    /// Shown as a number of bytes.
    transfer: bool,
    result: Option<i32>,
    error: Option<&'static str>,
    outcome: Outcome,
    completion: Completion,
    pos: Option<i64>,
    latency_ns: Option<u64>,
    executor: Option<Executor>,
    life: Option<&'a [Step]>,
    what: String,
}

/// `None`: it is a gap in the stream.
fn row(data: &Data) -> Option<Row<'_>> {
    match data {
        Data::EventsLost(_) => None,
        Data::IoWrite(w) => Some(Row {
            op: w.opcode.name().into(),
            tid: w.worker_host_tid,
            submitter: w.submitter,
            len: Some(w.len.into()),
            transfer: true,
            result: w.result,
            error: w.error,
            outcome: w.outcome,
            completion: w.completion,
            pos: w.pos,
            latency_ns: w.latency_ns,
            executor: w.executor,
            life: w.life.as_deref(),
            what: what(data),
        }),
        Data::VfsWrite(e) | Data::VfsWritev(e) => Some(Row {
            op: if matches!(data, Data::VfsWrite(_)) { "write".into() } else { "writev".into() },
            len: Some(e.len.into()),
            transfer: true,
            pos: e.pos,
            ..plain(e.worker_host_tid, e.result, e.error, e.outcome, data)
        }),
        Data::SecurityFileOpen(e) => {
            Some(Row { op: "open".into(), ..plain(e.worker_host_tid, e.result, e.error, e.outcome, data) })
        }
        Data::FileModification(e) => {
            Some(Row { op: "modified".into(), ..plain(e.worker_host_tid, 0, None, Outcome::Success, data) })
        }
        Data::IoUringCreate(c) => {
            Some(Row { op: "create".into(), ..plain(c.worker_host_tid, c.fd, None, Outcome::Success, data) })
        }
        _ => {
            let request = data.request()?;
            Some(Row {
                op: op(data, request),
                tid: request.worker_host_tid,
                submitter: request.submitter,
                len: length(data),
                transfer: matches!(data, Data::IoSplice(_) | Data::IoTee(_)),
                result: request.result,
                error: request.error,
                outcome: request.outcome,
                completion: request.completion,
                pos: offset(data),
                latency_ns: request.latency_ns,
                executor: request.executor,
                life: request.life.as_deref(),
                what: what(data),
            })
        }
    }
}

/// What no request did.
fn plain<'a>(tid: u32, result: i32, error: Option<&'static str>, outcome: Outcome, data: &Data) -> Row<'a> {
    Row {
        op: "".into(),
        tid,
        submitter: Submitter::Thread,
        len: None,
        transfer: false,
        result: Some(result),
        error,
        outcome,
        completion: Completion::Cqe,
        pos: None,
        latency_ns: None,
        executor: None,
        life: None,
        what: what(data),
    }
}

/// The opcode; of what is told of every request it is marked, since another event may tell of it as well.
fn op<'a>(data: &Data, request: &Request) -> Cow<'a, str> {
    let name = request.opcode.map_or_else(|| format!("opcode {}", request.opcode_number).into(), Cow::from);
    if matches!(data, Data::IoIssueSqe(_)) { format!("sqe {name}").into() } else { name }
}

fn length(data: &Data) -> Option<u64> {
    match data {
        Data::IoFallocate(e) => u64::try_from(e.len).ok(),
        Data::IoFtruncate(e) => u64::try_from(e.len).ok(),
        Data::IoSplice(e) | Data::IoTee(e) => Some(e.len),
        Data::IoSetxattr(e) => Some(e.size),
        _ => None,
    }
}

fn offset(data: &Data) -> Option<i64> {
    match data {
        Data::IoFallocate(e) => e.pos,
        Data::IoFsync(e) => e.pos,
        Data::IoSplice(e) | Data::IoTee(e) => e.pos,
        _ => None,
    }
}

/// Every file may be large where this is read.
fn flags(names: &Names) -> String {
    names.iter().filter(|name| *name != "O_LARGEFILE").map(|name| &**name).collect::<Vec<_>>().join("|")
}

/// What stands under PATH: paths, and what an operation says beside.
fn what(data: &Data) -> String {
    let shown = |text: Option<&Text>| text.map_or_else(|| "-".to_owned(), |t| quoted(&t.text()));
    let [first, second] = data.paths();
    let path = match data.path_unknown() {
        Some(unknown) if unknown != PathUnknown::NoFile => unknown.shown().to_owned(),
        _ => shown(first),
    };
    let gone = |deleted, stale| match (deleted, stale) {
        (true, _) => " (deleted)",
        (_, true) => " (old name)",
        _ => "",
    };
    let both = |names: &OldNew| {
        let old = first.or(names.old_path_given.as_ref());
        format!("{} -> {}", shown(old), shown(second.or(names.new_path_given.as_ref())))
    };
    let given = |name: &Named| shown(first.or(name.path_given.as_ref()));
    match data {
        Data::EventsLost(_) => String::new(),
        Data::IoWrite(w) => path + gone(w.deleted, w.path_stale),
        Data::IoUringCreate(c) => {
            let flags = if c.flag_names.is_empty() { String::new() } else { format!(" {}", c.flag_names.join("|")) };
            format!("ring of {} and {} entries{flags}", c.sq_entries, c.cq_entries)
        }
        Data::IoIssueSqe(e) => path + gone(e.file.deleted, e.file.path_stale),
        Data::VfsWrite(e) | Data::VfsWritev(e) => path + gone(e.file.deleted, e.file.path_stale),
        Data::SecurityFileOpen(e) => {
            format!("{path} {}{}", flags(&e.flag_names), if e.created { " (created)" } else { "" })
        }
        Data::FileModification(e) => path + gone(e.file.deleted, e.file.path_stale),
        Data::IoOpenat(e) => {
            let made = if e.created == Some(true) { " (created)" } else { "" };
            let emptied = if e.truncated == Some(true) { " (truncated)" } else { "" };
            format!("{} {}{made}{emptied}", given(&e.name), flags(&e.flag_names))
        }
        Data::IoFallocate(e) => format!("{path}{} {}", gone(e.file.deleted, e.file.path_stale), e.mode_names.join("|")),
        Data::IoFtruncate(e) => path + gone(e.file.deleted, e.file.path_stale),
        Data::IoSplice(e) | Data::IoTee(e) => {
            format!("{path}{} <- {}", gone(e.file.deleted, e.file.path_stale), shown(second))
        }
        Data::IoRenameat(e) | Data::IoLinkat(e) => both(&e.names),
        Data::IoUnlinkat(e) => given(&e.name) + if e.directory { " (directory)" } else { "" },
        Data::IoMkdirat(e) => format!("{} {:04o}", given(&e.name), e.mode),
        Data::IoSymlinkat(e) => format!("{} -> {}", given(&e.name), shown(e.target.as_ref())),
        Data::IoSetxattr(e) => format!("{} {}", given(&e.path), shown(e.name.as_ref())),
        Data::IoFsync(e) => path + gone(e.file.deleted, e.file.path_stale),
        Data::IoUringCmd(e) => format!("{path} command {:#x}", e.command),
    }
    .trim_end()
    .to_owned()
}

/// `submitted, punted after 3us, completed (io-wq) after 40us`
fn story(steps: &[Step], by: &str) -> String {
    let mut told = String::new();
    for (i, step) in steps.iter().enumerate() {
        let by = if step.stage == Stage::Completed { format!(" ({by})") } else { String::new() };
        let name = step.stage.name().replace('_', "-") + &by;
        let times = step.times.map_or_else(String::new, |n| format!(" ({n} times)"));
        let after = if i == 0 { String::new() } else { format!(" after {}", nanoseconds(step.after_ns)) };
        let comma = if i == 0 { "" } else { ", " };
        told += &format!("{comma}{name}{times}{after}");
    }
    told
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn name(event: &Event) -> String {
    fit(&event.process.as_deref().map_or_else(|| "?".to_owned(), |p| visible(&p.name.text())), 15)
}

/// A star: whoever filled the SQPOLL ring, this thread created it.
fn tid(r: &Row<'_>) -> String {
    match r.submitter {
        Submitter::Thread => r.tid.to_string(),
        Submitter::Sqpoll => format!("{}*", r.tid),
    }
}

fn result(r: &Row<'_>) -> String {
    match (r.error, r.result) {
        (Some(error), _) => error.to_owned(),
        (None, Some(written)) if r.transfer => bytes(u64::try_from(written).unwrap_or(0)),
        (None, Some(result)) => result.to_string(),
        (None, None) => "?".to_owned(),
    }
}

fn executor(r: &Row<'_>) -> &'static str {
    match r.executor {
        _ if r.completion == Completion::InFlight => "open",
        Some(Executor::Submitter) => "inline",
        Some(Executor::IoWq) => "io-wq",
        Some(Executor::Sqpoll) => "sqpoll",
        Some(Executor::Kernel) => "kernel",
        None => "-",
    }
}

/// Local time with milliseconds.
fn time_of_day(event: &Event) -> String {
    thread_local! {
        /// The second that was told last: to find the time zone's rule for each event takes longer than all the rest.
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    const SECOND: i64 = 1_000_000_000;
    let (second, ns) = (event.timestamp.0.div_euclid(SECOND), event.timestamp.0.rem_euclid(SECOND));
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            let zoned = jiff::Timestamp::from_second(second).map(|t| t.to_zoned(jiff::tz::TimeZone::system()));
            *text = zoned.map(|t| t.strftime("%H:%M:%S").to_string()).unwrap_or_default();
            *last = second;
        }
        format!("{text}.{:03}", ns / 1_000_000)
    })
}

/// `format!` pads by characters, not by columns.
pub(crate) fn pad(text: &str, columns: usize, left: bool) -> String {
    let mut padded = String::with_capacity(columns.max(text.len()));
    pad_to(&mut padded, text, columns, left);
    padded
}

fn pad_to(out: &mut String, text: &str, columns: usize, left: bool) {
    let blanks = std::iter::repeat_n(' ', columns.saturating_sub(width(text)));
    if left {
        out.push_str(text);
        out.extend(blanks);
    } else {
        out.extend(blanks);
        out.push_str(text);
    }
}

/// The columns that leave enough for a path.
fn columns(terminal: Option<usize>) -> Vec<&'static Column> {
    let mut chosen: Vec<_> = COLUMNS.iter().collect();
    while terminal.is_some_and(|t| chosen.iter().map(|c| c.width + 1).sum::<usize>() + PATH_MIN > t) {
        let Some(least) = chosen.iter().map(|c| c.rank).min() else { break };
        chosen.retain(|c| c.rank != least);
    }
    chosen
}

/// The table format.
#[derive(Debug)]
pub struct Table {
    style: Style,
    columns: Vec<&'static Column>,
    started: bool,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.title)
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { style, columns: columns(style.width), started: false }
    }

    fn line(&self, colour: &str, text: &str, out: &mut Vec<u8>) {
        if self.style.colour && !colour.is_empty() {
            out.extend_from_slice(colour.as_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(PLAIN.as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        out.push(b'\n');
    }

    fn row(&self, cell: impl Fn(&Column) -> String, last: &str) -> String {
        let mut row = String::with_capacity(256);
        for column in &self.columns {
            pad_to(&mut row, &cell(column), column.width, column.left);
            row.push(' ');
        }
        let room = self.style.width.map(|columns| columns.saturating_sub(width(&row)).max(1));
        row += &room.map_or_else(|| last.to_owned(), |room| fit(last, room));
        // Numbers may be wider than their columns.
        if let Some(columns) = self.style.width { fit(&row, columns) } else { row }
    }
}

impl Encode for Table {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            self.line(BOLD, &self.row(|c| c.title.to_owned(), "PATH"), out);
        }
        if let Data::EventsLost(lost) = &event.data {
            let text = format!("{} events lost: {}", lost.count, lost.cause.explain());
            self.line(YELLOW, &text, out);
        }
        if let Some(row) = row(&event.data) {
            let colour = match row.outcome {
                Outcome::Success => "",
                Outcome::Failure => RED,
                Outcome::Unknown => YELLOW,
            };
            self.line(colour, &self.row(|c| (c.cell)(event, &row), &row.what), out);
            if let Some(steps) = row.life {
                let story = format!("  {}", story(steps, executor(&row)));
                let text = self.style.width.map_or_else(|| story.clone(), |columns| fit(&story, columns));
                self.line("", &text, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_drops_columns_and_keeps_the_path() {
        let titles = |t| columns(t).iter().map(|c| c.title).collect::<Vec<_>>().join(" ");
        assert_eq!(titles(None), "TIME TID COMM OP LEN RESULT POS LAT BY");
        assert_eq!(titles(Some(120)), "TIME TID COMM OP LEN RESULT POS LAT BY");
        assert_eq!(titles(Some(80)), "TID COMM RESULT POS LAT BY");
        assert_eq!(titles(Some(30)), "TID");
        assert_eq!(titles(Some(5)), "");
    }
}
