//! Sightings to rings: each once, with all that hold it, and what /proc adds to its processes.

use std::collections::BTreeMap;

use super::process::Proc;
use super::{Facts, Hold, Holder, Key, Owner, Ring, Sighting, Source, Sqpoll, used};
use crate::event::Timestamp;
use crate::names::setup_flags;

/// What the source of the sightings could see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) source: Source,
    pub(super) registered: bool,
    pub(super) mapped: bool,
}

#[derive(Debug, Default)]
struct Group {
    facts: Option<Facts>,
    processes: BTreeMap<u32, (Owner, Vec<Hold>)>,
}

pub(super) fn merge(sightings: Vec<Sighting>, sight: Sight, proc: &Proc, timestamp: Timestamp) -> Vec<Ring> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    for Sighting { key, facts, owner, hold } in sightings {
        let group = groups.entry(key).or_default();
        // A mapping found through /proc tells nothing of the ring, nor does one that was busy.
        match &group.facts {
            Some(held) if held.sq.is_some() || facts.sq.is_none() => {}
            _ => group.facts = Some(facts),
        }
        group.processes.entry(owner.host_pid).or_insert_with(|| (owner, vec![])).1.push(hold);
    }
    let mut holders = Holders { proc, sight, known: BTreeMap::new() };
    let mut rings: Vec<_> =
        groups.into_values().filter_map(|g| ring(g, sight, proc, &mut holders, timestamp)).collect();
    // No order of the kernel's addresses shows.
    rings.sort_by_cached_key(|r| {
        let first = r.processes.first();
        let hold = first.map(|p| (p.host_pid, p.fds.first().copied().unwrap_or(u32::MAX), p.registered.clone()));
        (hold, r.inode)
    });
    rings
}

fn ring(group: Group, sight: Sight, proc: &Proc, holders: &mut Holders<'_>, timestamp: Timestamp) -> Option<Ring> {
    let facts = group.facts?;
    let processes: Vec<_> = group.processes.into_values().map(|(owner, holds)| holders.holder(owner, &holds)).collect();
    let polled = facts.flags.is_some_and(|f| f & super::SQPOLL != 0);
    let sqpoll = match facts.sqpoll {
        Some(thread) => Some(Sqpoll {
            host_tid: Some(thread.host_tid),
            cpu: thread.cpu,
            cpu_time_ms: proc.poll_cpu_ms(thread.host_tid),
        }),
        None => polled.then_some(Sqpoll { host_tid: None, cpu: None, cpu_time_ms: None }),
    };
    Some(Ring {
        timestamp,
        source: sight.source,
        inode: facts.inode,
        created: facts.created,
        flags: facts.flags.map(setup_flags),
        sq_entries: facts.sq.map(|q| q.entries),
        sq_used: facts.sq.and_then(|q| used(q.head, q.tail, q.entries)),
        cq_entries: facts.cq.map(|q| q.entries),
        cq_used: facts.cq.and_then(|q| used(q.head, q.tail, q.entries)),
        cq_overflowed: facts.cq_overflowed,
        sqpoll,
        registered_files: facts.files,
        registered_buffers: facts.buffers,
        personality_count: facts.personality_count,
        personalities: facts.personalities,
        threads: facts.threads,
        processes,
    })
}

/// What was read of processes, each once for all its rings.
struct Holders<'a> {
    proc: &'a Proc,
    sight: Sight,
    known: BTreeMap<u32, Holder>,
}

impl Holders<'_> {
    fn holder(&mut self, owner: Owner, holds: &[Hold]) -> Holder {
        let known = self.known.entry(owner.host_pid).or_insert_with(|| read(self.proc, owner));
        let mut holder = known.clone();
        let mut registered = vec![];
        let mut mapped = false;
        for hold in holds {
            match *hold {
                Hold::Fd(fd) => holder.fds.push(fd),
                Hold::Registered(place) => registered.push(place),
                Hold::Mapped => mapped = true,
            }
        }
        // Threads with tables of their own, and older kernels, tell the same descriptor several times.
        holder.fds.sort_unstable();
        holder.fds.dedup();
        registered.sort_unstable();
        holder.registered = self.sight.registered.then_some(registered);
        holder.mapped = self.sight.mapped.then_some(mapped);
        holder
    }
}

fn read(proc: &Proc, owner: Owner) -> Holder {
    let mut holder = Holder {
        host_pid: owner.host_pid,
        pid: owner.pid,
        name: owner.name,
        executable: None,
        command_line: None,
        uid: owner.uid,
        cgroup_id: owner.cgroup_id,
        cgroup: None,
        container_id: None,
        fds: vec![],
        registered: None,
        mapped: None,
        io_wq_workers: None,
    };
    let pid = holder.host_pid;
    // Another process may have its id by now.
    let is_same = || owner.start.is_none_or(|start| proc.stat(pid).is_some_and(|s| s.started_at(start)));
    let place = proc.place(pid);
    let executable = proc.executable(pid);
    let command_line = proc.command_line(pid);
    let workers = proc.workers(pid);
    if is_same() {
        holder.executable = executable;
        holder.command_line = command_line;
        holder.io_wq_workers = workers;
        holder.cgroup_id = holder.cgroup_id.or_else(|| proc.cgroup_id(place.cgroup.as_deref()?));
        holder.cgroup = place.cgroup;
        holder.container_id = place.container;
    }
    holder
}

#[cfg(test)]
mod tests {
    use super::super::{Queue, Registered};
    use super::*;

    fn sighting(key: u64, pid: u32, hold: Hold, entries: Option<u32>) -> Sighting {
        let sq = entries.map(|entries| Queue { entries, head: 0, tail: 1 });
        Sighting {
            key: Key::Context(key),
            facts: Facts { sq, ..Facts::default() },
            owner: Owner { host_pid: pid, ..Owner::default() },
            hold,
        }
    }

    #[test]
    fn each_ring_once_with_all_its_holders() {
        let proc = Proc::new(std::path::Path::new("/nonexistent"));
        let sight = Sight { source: Source::Bpf, registered: true, mapped: false };
        let place = Registered { host_tid: 8, index: 0 };
        let all = vec![
            sighting(2, 7, Hold::Mapped, None),
            sighting(2, 9, Hold::Fd(5), Some(8)),
            sighting(2, 7, Hold::Fd(4), Some(8)),
            sighting(2, 7, Hold::Fd(3), Some(8)),
            sighting(2, 7, Hold::Fd(4), Some(8)),
            sighting(1, 7, Hold::Registered(place), Some(16)),
        ];
        let rings = merge(all, sight, &proc, Timestamp(0));
        assert_eq!(rings.iter().map(|r| r.sq_entries).collect::<Vec<_>>(), [Some(8), Some(16)]);
        let holders: Vec<_> = rings[0].processes.iter().map(|p| (p.host_pid, p.fds.clone())).collect();
        assert_eq!(holders, [(7, vec![3, 4]), (9, vec![5])]);
        assert_eq!(rings[1].processes[0].registered, Some(vec![place]));
        assert_eq!(rings[1].processes[0].mapped, None);
    }
}
