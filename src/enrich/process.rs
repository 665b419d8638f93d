//! Task records to processes.

use std::fs::{self, File};
use std::io::Read as _;

use super::helper::Helper;
use crate::event::{NoCommandLine, Process, Text};
use crate::here::Here;
use crate::proc::joined;
use crate::record::{Task, flag};
use crate::time::Clock;

/// Bytes of a command line that are kept; `RW_CMDLINE_MAX`.
const COMMAND_LINE: usize = 4096;

/// Bytes up to the first NUL.
fn name(bytes: &[u8]) -> Text {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    Text::new(&bytes[..end], false)
}

/// What tells one exec of a thread from the next in /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exec {
    /// When the thread was started, in ticks, as /proc shows it here.
    pub(super) start: u64,
    /// Where its arguments are.
    arguments: (u64, u64),
}

impl Exec {
    fn of_record(task: &Task<'_>) -> Self {
        let end = task.arg_start.saturating_add(task.arg_len.into());
        Self { start: Here::get().ticks(task.start_boottime), arguments: (task.arg_start, end) }
    }

    /// The name stands in brackets and may hold anything.
    pub(super) fn of_stat(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&b| b == b')')?;
        let fields: Vec<_> = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
        // The state is the third field.
        let number = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
        Some(Self { start: number(22)?, arguments: (number(48)?, number(49)?) })
    }
}

/// The arguments of a thread, if it still runs what it ran when the record was made. Their memory was not present then,
/// or belonged to another process than the one that ran; so the kernel side could not read it.
fn from_proc(task: &Task<'_>, helper: &mut Helper<()>) -> Option<Vec<u8>> {
    let here = |host, own| Here::get().id_of(host, task.pid_ns, own);
    let directory = format!("/proc/{}/task/{}", here(task.tgid, task.ns_tgid)?, here(task.tid, task.ns_tid)?);
    let then = Exec::of_record(task);
    // What is mapped there may be a file of a file system that the program itself answers for.
    let read = move |_: &mut ()| {
        let mut bytes = vec![];
        File::open(format!("{directory}/cmdline")).ok()?.take(COMMAND_LINE as u64 + 1).read_to_end(&mut bytes).ok()?;
        let now = Exec::of_stat(&fs::read(format!("{directory}/stat")).ok()?)?;
        (now == then).then_some(bytes)
    };
    helper.ask(read)?
}

fn command_line(task: &Task<'_>, helper: &mut Helper<()>) -> Result<Text, NoCommandLine> {
    if task.arg_len == 0 {
        return Err(NoCommandLine::None);
    }
    let cut = task.flags & flag::TRUNCATED != 0;
    if !task.command_line.is_empty() {
        return joined(task.command_line).map(|line| Text::new(&line, cut)).ok_or(NoCommandLine::None);
    }
    let bytes = from_proc(task, helper).ok_or(NoCommandLine::Unreadable)?;
    let kept = &bytes[..bytes.len().min(COMMAND_LINE)];
    // Nothing: they were made unreadable for everybody.
    joined(kept).map(|line| Text::new(&line, cut || bytes.len() > COMMAND_LINE)).ok_or(NoCommandLine::Unreadable)
}

pub(super) fn process(task: &Task<'_>, executable: Option<Text>, clock: &Clock, helper: &mut Helper<()>) -> Process {
    let (command_line, missing) = match command_line(task, helper) {
        Ok(line) => (Some(line), None),
        Err(missing) => (None, Some(missing)),
    };
    let name = name(&task.comm);
    Process {
        host_pid: task.tgid,
        host_tid: task.tid,
        pid: task.ns_tgid,
        tid: task.ns_tid,
        thread_from_name: task.flags & flag::CREATOR_NAME != 0,
        ppid: task.ppid,
        name_bytes: name.base64(),
        name,
        executable_bytes: executable.as_ref().and_then(Text::base64),
        executable,
        command_line_bytes: command_line.as_ref().and_then(Text::base64),
        command_line_truncated: command_line.as_ref().is_some_and(|line| line.truncated),
        command_line,
        command_line_missing: missing,
        uid: task.uid,
        start_time: clock.from_boot(task.start_boottime),
        cgroup_id: task.cgroup_id,
        mount_ns: task.mnt_ns,
        pid_ns: task.pid_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined_by_blanks() {
        assert_eq!(joined(b"sh\0-c\0a b\0").as_deref(), Some(&b"sh -c a b"[..]));
        assert_eq!(joined(b""), None);
        assert_eq!(joined(b"\0\0"), None);
    }

    #[test]
    fn a_name_ends_at_its_nul() {
        assert_eq!(name(b"abc\0xyz").exact(), b"abc");
        assert_eq!(name(b"\xff\0").base64().map(|b| b.to_string()).as_deref(), Some("/w=="));
    }

    #[test]
    fn an_exec_is_known_by_its_start_and_the_place_of_its_arguments() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 0 0 0 0 12 30 0 0 20 0 1 0 4711 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 \
                    19 20 21 22 23 24 25 100 164 26 27 0";
        assert_eq!(Exec::of_stat(text.as_bytes()), Some(Exec { start: 4711, arguments: (100, 164) }));
        assert_eq!(Exec::of_stat(b"7 (a"), None);
    }
}
