//! The inventory of rings as a table: one line a ring.

use super::{Holder, Ring};
use crate::output::text::{fit, nanoseconds, visible, width};
use crate::output::{Style, pad};

/// The last column gets at least this much, before others are left out for it.
const FLAGS_MIN: usize = 12;

struct Column {
    title: &'static str,
    width: usize,
    left: bool,
    /// Lower ones are left out first when the terminal is narrow.
    rank: u8,
    cell: fn(&Ring) -> String,
}

const COLUMNS: [Column; 12] = [
    Column { title: "PID", width: 10, left: false, rank: 12, cell: pid },
    Column { title: "COMM", width: 15, left: true, rank: 11, cell: |r| first(r, |p| p.name.clone()) },
    Column { title: "FD", width: 8, left: true, rank: 10, cell: fds },
    Column { title: "SQ", width: 9, left: false, rank: 9, cell: |r| fill(r.sq_used, r.sq_entries) },
    Column { title: "CQ", width: 10, left: false, rank: 8, cell: completions },
    Column { title: "SQPOLL", width: 14, left: true, rank: 7, cell: sqpoll },
    Column { title: "WRK", width: 3, left: false, rank: 6, cell: workers },
    Column { title: "FILES", width: 5, left: false, rank: 4, cell: |r| known(r.registered_files) },
    Column { title: "BUFS", width: 5, left: false, rank: 3, cell: |r| known(r.registered_buffers) },
    Column { title: "CREDS", width: 5, left: false, rank: 5, cell: |r| known(r.personality_count) },
    Column { title: "AGE", width: 6, left: false, rank: 2, cell: age },
    Column { title: "EXECUTABLE", width: 24, left: true, rank: 1, cell: |r| first(r, |p| p.executable.clone()) },
];

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn first(ring: &Ring, of: impl Fn(&Holder) -> Option<String>) -> String {
    known(ring.processes.first().and_then(of))
}

/// The first process, and how many more.
fn pid(ring: &Ring) -> String {
    let first = known(ring.processes.first().map(|p| p.host_pid));
    match ring.processes.len() {
        0 | 1 => first,
        n => format!("{first}+{}", n - 1),
    }
}

/// Descriptors; `r` with a number: registered; `mapped`: neither.
fn fds(ring: &Ring) -> String {
    let Some(holder) = ring.processes.first() else { return "-".to_owned() };
    let registered = holder.registered.iter().flatten().map(|r| format!("r{}", r.index));
    let all: Vec<_> = holder.fds.iter().map(ToString::to_string).chain(registered).collect();
    if all.is_empty() { "mapped".to_owned() } else { all.join(",") }
}

fn fill(used: Option<u32>, entries: Option<u32>) -> String {
    if entries.is_none() { "-".to_owned() } else { format!("{}/{}", known(used), known(entries)) }
}

/// A plus: the kernel holds back more.
fn completions(ring: &Ring) -> String {
    let more = if ring.cq_overflowed == Some(true) { "+" } else { "" };
    fill(ring.cq_used, ring.cq_entries) + more
}

fn sqpoll(ring: &Ring) -> String {
    let Some(thread) = &ring.sqpoll else { return "-".to_owned() };
    let time = match thread.cpu_time_ms {
        None => String::new(),
        Some(0) => " 0ms".to_owned(),
        Some(ms) => format!(" {}", nanoseconds(ms.saturating_mul(1_000_000))),
    };
    known(thread.host_tid) + &time
}

fn workers(ring: &Ring) -> String {
    let all: Vec<_> = ring.processes.iter().filter_map(|p| p.io_wq_workers.as_ref().map(Vec::len)).collect();
    if all.is_empty() { "-".to_owned() } else { all.iter().sum::<usize>().to_string() }
}

fn age(ring: &Ring) -> String {
    let Some(created) = ring.created else { return "-".to_owned() };
    let seconds = ring.timestamp.0.saturating_sub(created.0).max(0) / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn flags(ring: &Ring) -> String {
    match &ring.flags {
        None => "?".to_owned(),
        Some(flags) if flags.is_empty() => "-".to_owned(),
        Some(flags) => flags.join(" "),
    }
}

fn columns(terminal: Option<usize>) -> Vec<&'static Column> {
    let mut chosen: Vec<_> = COLUMNS.iter().collect();
    while terminal.is_some_and(|t| chosen.iter().map(|c| c.width + 1).sum::<usize>() + FLAGS_MIN > t) {
        let Some(least) = chosen.iter().map(|c| c.rank).min() else { break };
        chosen.retain(|c| c.rank != least);
    }
    chosen
}

/// The beginning of `text`: flags tell most there.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(columns.saturating_sub(1)).collect();
    out.push('…');
    out
}

fn line(columns: &[&Column], terminal: Option<usize>, cell: impl Fn(&Column) -> String, last: &str) -> String {
    let mut line = String::new();
    for column in columns {
        // A descriptor list and a path may be longer than their column.
        line += &pad(&fit(&visible(&cell(column)), column.width), column.width, column.left);
        line.push(' ');
    }
    line += &terminal.map_or_else(|| last.to_owned(), |t| cut(last, t.saturating_sub(width(&line)).max(1)));
    line.trim_end().to_owned()
}

/// The title and one line for each ring.
#[must_use]
pub fn table(rings: &[Ring], style: Style) -> Vec<String> {
    let columns = columns(style.width);
    let title = line(&columns, style.width, |c| c.title.to_owned(), "FLAGS");
    let rows = rings.iter().map(|r| line(&columns, style.width, |c| (c.cell)(r), &flags(r)));
    std::iter::once(title).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::rings::{Source, Sqpoll};

    fn ring() -> Ring {
        let holder = |host_pid, fds: &[u32]| Holder {
            host_pid,
            pid: Some(1),
            name: Some("a\x1b[31mb\n".to_owned()),
            executable: Some("/a/long/path/to/some/program\x07".to_owned()),
            command_line: None,
            uid: Some(0),
            cgroup_id: None,
            cgroup: None,
            container_id: None,
            fds: fds.to_vec(),
            registered: None,
            mapped: None,
            io_wq_workers: Some(vec![]),
        };
        Ring {
            timestamp: Timestamp(100_000_000_000),
            source: Source::Bpf,
            inode: None,
            created: Some(Timestamp(1)),
            flags: Some(vec!["SQPOLL".to_owned(), "0x80000000".to_owned()]),
            sq_entries: Some(8),
            sq_used: Some(3),
            cq_entries: Some(16),
            cq_used: None,
            cq_overflowed: Some(true),
            sqpoll: Some(Sqpoll { host_tid: Some(77), cpu: None, cpu_time_ms: Some(1250) }),
            registered_files: Some(4),
            registered_buffers: None,
            personality_count: Some(1),
            personalities: None,
            threads: None,
            processes: vec![holder(4711, &[3, 7]), holder(4712, &[3])],
        }
    }

    #[test]
    fn one_line_a_ring() {
        let lines = table(&[ring()], Style { width: None, colour: false });
        let words: Vec<_> = lines[1].split_whitespace().collect();
        let wanted = ["4711+1", "a\\u{1b}[31mb\\n", "3,7", "3/8", "-/16+", "77", "1.3s", "0", "4", "-", "1", "99s"];
        assert_eq!(words[..12], wanted);
        assert!(lines[1].ends_with("SQPOLL 0x80000000"));
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_or_obeyed_by_it() {
        for columns in [12, 20, 40, 80, 132, 200] {
            for line in table(&[ring()], Style { width: Some(columns), colour: false }) {
                assert!(width(&line) <= columns, "{columns}: {line}");
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
