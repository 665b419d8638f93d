//! Task records to processes.

use std::fs;

use super::Clock;
use crate::event::Process;
use crate::here::Here;
use crate::record::Task;

/// Bytes up to the first NUL.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// NULs between the arguments become blanks.
pub(crate) fn join(arguments: &[u8]) -> Option<String> {
    let end = arguments.iter().rposition(|&b| b != 0)? + 1;
    let bytes: Vec<u8> = arguments[..end].iter().map(|&b| if b == 0 { b' ' } else { b }).collect();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn process(task: &Task<'_>, executable: Option<String>, clock: &Clock) -> Process {
    // Memory that was not present could not be read in the kernel; the process may still be there to ask.
    let command_line = join(task.command_line).or_else(|| {
        let here = Here::get().id_of(task.tgid, task.pid_ns, task.ns_tgid)?;
        join(&fs::read(format!("/proc/{here}/cmdline")).ok()?)
    });
    Process {
        host_pid: task.tgid,
        host_tid: task.tid,
        pid: task.ns_tgid,
        tid: task.ns_tid,
        ppid: task.ppid,
        name: name(&task.comm),
        executable,
        command_line,
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
        assert_eq!(join(b"sh\0-c\0a b\0").as_deref(), Some("sh -c a b"));
        assert_eq!(join(b""), None);
        assert_eq!(join(b"\0\0"), None);
    }

    #[test]
    fn a_name_ends_at_its_nul() {
        assert_eq!(name(b"abc\0xyz"), "abc");
    }
}
