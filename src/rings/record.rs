//! Bytes of the iterators to sightings: pure, and never trusting what the bytes say of themselves.

use super::{
    Facts, Hold, Key, Owner, PERSONALITIES_MAX, Personality, PollThread, Queue, Registered, SQPOLL, Sighting, Thread,
};
use crate::event::Timestamp;
use crate::kernel::wire::{head, rw_ring};

const SIZE: usize = size_of::<rw_ring>();

/// `enum rw_ring_known`.
mod known {
    pub(super) const CREATED: u32 = 1 << 0;
    pub(super) const QUEUES: u32 = 1 << 1;
    pub(super) const FILES: u32 = 1 << 2;
    pub(super) const BUFFERS: u32 = 1 << 3;
    pub(super) const PERSONALITIES: u32 = 1 << 4;
    pub(super) const TASKS: u32 = 1 << 5;
    pub(super) const SQ_THREAD: u32 = 1 << 6;
    pub(super) const SQ_CPU: u32 = 1 << 7;
}

/// Whole records, and how many bytes made none.
pub(crate) fn decode(bytes: &[u8]) -> (Vec<Sighting>, usize) {
    let records = bytes.chunks_exact(SIZE);
    let rest = records.remainder().len();
    let mut wrong = rest;
    let sightings = records
        .filter_map(|record| {
            let sighting = head(record).and_then(|record| sighting(&record));
            wrong += if sighting.is_none() { SIZE } else { 0 };
            sighting
        })
        .collect();
    (sightings, wrong)
}

fn sighting(r: &rw_ring) -> Option<Sighting> {
    let hold = match r.hold {
        1 => Hold::Fd(r.fd),
        2 => Hold::Registered(Registered { host_tid: r.tid, index: r.fd }),
        3 => Hold::Mapped,
        _ => return None,
    };
    let owner = Owner {
        host_pid: r.tgid,
        start: Some(r.start_boottime),
        pid: Some(r.tgid_ns),
        name: Some(name(&r.comm)),
        uid: Some(r.uid),
        cgroup_id: Some(r.cgroup_id),
    };
    Some(Sighting { key: Key::Context(r.ctx), facts: facts(r), owner, hold })
}

fn name(comm: &[u8]) -> String {
    String::from_utf8_lossy(comm.split(|&b| b == 0).next().unwrap_or_default()).into_owned()
}

fn facts(r: &rw_ring) -> Facts {
    let has = |what: u32| r.known & what != 0;
    let queue = |entries, head, tail| has(known::QUEUES).then_some(Queue { entries, head, tail });
    let personalities = r.creds.iter().take((r.personalities as usize).min(PERSONALITIES_MAX));
    let threads = r.thread.iter().take(r.threads as usize).filter(|t| t.tid != 0 && t.tid != r.sq_tid);
    let mut threads: Vec<_> = threads.map(|t| Thread { host_pid: t.tgid, host_tid: t.tid }).collect();
    threads.sort_unstable();
    threads.dedup();
    Facts {
        inode: Some(r.inode),
        created: has(known::CREATED).then_some(Timestamp(r.created)),
        flags: Some(r.setup_flags),
        sq: queue(r.sq_entries, r.sq_head, r.sq_tail),
        cq: queue(r.cq_entries, r.cq_head, r.cq_tail),
        cq_overflowed: has(known::QUEUES).then_some(r.cq_overflowed != 0),
        sqpoll: (r.setup_flags & SQPOLL != 0 && has(known::SQ_THREAD)).then(|| PollThread {
            host_tid: r.sq_tid,
            cpu: u32::try_from(r.sq_cpu).ok().filter(|_| has(known::SQ_CPU)),
        }),
        files: has(known::FILES).then_some(r.files),
        buffers: has(known::BUFFERS).then_some(r.buffers),
        personality_count: has(known::PERSONALITIES).then_some(r.personalities),
        personalities: has(known::PERSONALITIES).then(|| {
            let told = personalities.map(|c| Personality {
                id: c.id,
                uid: c.uid,
                euid: c.euid,
                fsuid: c.fsuid,
                gid: c.gid,
                egid: c.egid,
                fsgid: c.fsgid,
                cap_effective: format!("{:016x}", c.cap_effective),
            });
            told.collect()
        }),
        threads: has(known::TASKS).then_some(threads),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_records_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..4 * SIZE)) {
            let (sightings, wrong) = decode(&bytes);
            prop_assert_eq!(sightings.len() * SIZE + wrong, bytes.len());
        }

        #[test]
        fn any_numbers_in_a_known_form_are_told(mut bytes in proptest::collection::vec(any::<u8>(), SIZE), hold in 1u32..4) {
            let at = std::mem::offset_of!(rw_ring, hold);
            bytes[at..at + 4].copy_from_slice(&hold.to_ne_bytes());
            let (sightings, wrong) = decode(&bytes);
            prop_assert_eq!((sightings.len(), wrong), (1, 0));
            prop_assert!(sightings[0].facts.personalities.as_ref().is_none_or(|p| p.len() <= PERSONALITIES_MAX));
        }
    }
}
