//! How busy the polling threads of SQPOLL rings are, as /proc tells.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::report::Poller;

/// Processes that are looked at.
const PROCESSES: usize = 64;
/// How often.
const EVERY: Duration = Duration::from_millis(500);

/// What a thread had used at a moment.
#[derive(Debug, Clone, Copy)]
struct Used {
    at: Instant,
    cpu_ns: u64,
    work_ns: Option<u64>,
}

#[derive(Debug)]
struct Thread {
    first: Used,
    /// At the end of the interval before.
    before: Used,
    last: Used,
    /// The descriptor of one of its rings.
    ring: Option<String>,
}

/// Threads by process and thread id.
#[derive(Debug, Default)]
pub(super) struct Pollers {
    processes: Vec<u32>,
    threads: HashMap<(u32, u32), Thread>,
    looked: Option<Instant>,
}

impl Pollers {
    /// A process submits through an SQPOLL ring.
    pub(super) fn watch(&mut self, pid: u32) {
        if self.processes.len() < PROCESSES && !self.processes.contains(&pid) {
            self.processes.push(pid);
            self.looked = None;
        }
    }

    /// Looks, when it is time to.
    pub(super) fn look(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let processes = std::mem::take(&mut self.processes);
        processes.iter().for_each(|&pid| self.look_at(pid));
        // A process that ended keeps what was seen of it.
        self.processes = processes;
    }

    fn look_at(&mut self, pid: u32) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
        for tid in tids {
            let task = format!("/proc/{pid}/task/{tid}");
            if !fs::read_to_string(format!("{task}/comm")).is_ok_and(|name| name.starts_with("iou-sqp-")) {
                continue;
            }
            let Some(cpu_ns) = fs::read_to_string(format!("{task}/schedstat")).ok().as_deref().and_then(first_number)
            else {
                continue;
            };
            let held = self.threads.get(&(pid, tid)).and_then(|t| t.ring.clone());
            let ring = held.or_else(|| ring_of(pid, tid));
            let work_ns = ring.as_deref().and_then(|ring| work(&fs::read(ring).ok()?, tid));
            let now = Used { at: Instant::now(), cpu_ns, work_ns };
            let thread =
                self.threads.entry((pid, tid)).or_insert(Thread { first: now, before: now, last: now, ring: None });
            thread.last = now;
            // One that was closed is looked for anew.
            thread.ring = ring.filter(|_| work_ns.is_some());
        }
    }

    /// Since the beginning.
    pub(super) fn total(&self) -> Vec<Poller> {
        self.since(|thread| thread.first)
    }

    /// Since the last call.
    pub(super) fn interval(&mut self) -> Vec<Poller> {
        let pollers = self.since(|thread| thread.before);
        self.threads.values_mut().for_each(|thread| thread.before = thread.last);
        pollers
    }

    fn since(&self, then: impl Fn(&Thread) -> Used) -> Vec<Poller> {
        let poller = |(&(host_pid, host_tid), thread): (&(u32, u32), &Thread)| {
            let (then, now) = (then(thread), thread.last);
            let work = now.work_ns.zip(then.work_ns);
            Poller {
                host_pid,
                host_tid,
                watched_ns: u64::try_from((now.at - then.at).as_nanos()).unwrap_or(u64::MAX),
                cpu_ns: now.cpu_ns.saturating_sub(then.cpu_ns),
                work_ns: work.map(|(now, then)| now.saturating_sub(then)),
                writes: 0,
            }
        };
        let mut pollers: Vec<_> = self.threads.iter().map(poller).collect();
        pollers.sort_by_key(|p| (p.host_pid, p.host_tid));
        pollers
    }
}

pub(super) fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The fdinfo of a ring that this thread polls.
fn ring_of(pid: u32, tid: u32) -> Option<String> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.find_map(|fd| {
        let fd = fd.ok()?;
        let is_ring = fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]");
        let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_str().filter(|_| is_ring)?);
        work(&fs::read(&info).ok()?, tid).map(|_| info)
    })
}

/// The CPU time in which the thread found work, of an fdinfo that names it: 6.9 and later.
pub(super) fn work(info: &[u8], tid: u32) -> Option<u64> {
    let info = String::from_utf8_lossy(info);
    // Behind this line stand names of files, which a program chose.
    let own = || info.lines().take_while(|l| !l.starts_with("UserFiles:"));
    let value = |name: &str| -> Option<u64> {
        own().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).and_then(|v| v.trim().parse().ok())
    };
    (value("SqThread")? == u64::from(tid)).then_some(())?;
    value("SqWorkTime").map(|us| us.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_work_is_that_of_the_thread() {
        let info =
            b"pos:\t0\nSqThread:\t4711\nSqThreadCpu:\t1\nSqTotalTime:\t25000\nSqWorkTime:\t1300\nUserFiles:\t0\n";
        assert_eq!(work(info, 4711), Some(1_300_000));
        assert_eq!(work(info, 4712), None);
        assert_eq!(work(b"SqThread:\t4711\nSqThreadCpu:\t1\n", 4711), None);
    }

    #[test]
    fn a_file_name_is_no_time_of_work() {
        let info = b"SqThread:\t4711\nSqThreadCpu:\t1\nUserFiles:\t1\n    0: /tmp/x\nSqWorkTime:\t7\nUserBufs:\t0\n";
        assert_eq!(work(info, 4711), None);
        let info = b"SqThread:\t4711\nSqWorkTime:\t7\nUserFiles:\t1\n    0: /tmp/\xff\nUserBufs:\t0\n";
        assert_eq!(work(info, 4711), Some(7000));
    }
}
