//! The queues of writes: one for each CPU, filled by the kernel side and mapped here.

use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::MapMut;
use memmap2::{MmapOptions, MmapRaw};

use super::{Error, step};
use crate::kernel::wire::{rw_queue, rw_write};

/// Bytes of a write, and of what stands before the writes of a queue.
const ELEMENT: usize = size_of::<rw_write>();

/// Writes that each of `cpus` queues holds in `size` bytes: a power of two.
pub(super) fn length(size: u32, cpus: u32) -> u32 {
    let each = (size / cpus.max(1) / u32::try_from(ELEMENT).unwrap_or(u32::MAX)).max(1);
    1 << each.ilog2()
}

/// Bytes for `cpus` queues where nothing else is asked for: many CPUs must not make each queue too short for the time
/// between two looks.
pub(super) fn default_size(cpus: u32) -> u32 {
    const LEAST: u32 = 16 << 20;
    const EACH: u32 = 512 << 10;
    const MOST: u32 = 1 << 30;
    cpus.saturating_mul(EACH).clamp(LEAST, MOST).next_power_of_two()
}

/// Elements of the map.
pub(super) fn elements(length: u32, cpus: u32) -> u32 {
    cpus.saturating_mul(length.saturating_add(1))
}

#[derive(Debug)]
pub(super) struct Queues {
    map: MmapRaw,
    length: usize,
    /// Of each queue, writes taken out.
    taken: Vec<u64>,
}

impl Queues {
    pub(super) fn map(map: &MapMut<'_>, length: u32, cpus: u32) -> Result<Self, Error> {
        let (length, cpus) = (length as usize, cpus as usize);
        let map = MmapOptions::new()
            .len((length + 1) * cpus * ELEMENT)
            .map_raw(map.as_fd().as_raw_fd())
            .map_err(|e| step("map the queues of writes")(e.into()))?;
        Ok(Self { map, length, taken: vec![0; cpus] })
    }

    /// Where element `i` of a CPU's queue is; 0 is its `rw_queue`.
    fn element(&self, cpu: usize, i: usize) -> *mut u8 {
        let at = (cpu * (self.length + 1) + i) * ELEMENT;
        assert!(at + ELEMENT <= self.map.len(), "within the map");
        self.map.as_mut_ptr().wrapping_add(at)
    }

    /// A number of a CPU's `rw_queue`.
    fn number(&self, cpu: usize, offset: usize) -> &AtomicU64 {
        let at = self.element(cpu, 0).wrapping_add(offset).cast();
        // SAFETY: it is within the mapping, which lives as long as `self`; elements begin at multiples of 128 of a page,
        // so it is aligned; and both sides access it by single loads and stores of 8 bytes.
        unsafe { AtomicU64::from_ptr(at) }
    }

    /// A write that was put in and not yet taken out.
    fn write(&self, cpu: usize, number: u64) -> &[u8] {
        let i = usize::try_from(number).unwrap_or(usize::MAX) & (self.length - 1);
        // SAFETY: it is within the mapping. The kernel side does not touch it until `free` says that it was taken out, and
        // `free` needs `self` mutable.
        unsafe { std::slice::from_raw_parts(self.element(cpu, i + 1), ELEMENT) }
    }

    /// How many writes each queue was given up to now. What the kernel side did before putting them in has been done.
    pub(super) fn given(&self) -> Vec<u64> {
        (0..self.taken.len()).map(|cpu| self.number(cpu, offset_of!(rw_queue, head)).load(Ordering::Acquire)).collect()
    }

    fn free(&mut self, cpu: usize, taken: u64) {
        self.taken[cpu] = taken;
        self.number(cpu, offset_of!(rw_queue, tail)).store(taken, Ordering::Release);
    }

    /// Takes the writes out, in the order of their ends as far as each queue has it, up to what `given` said; at most
    /// `most` of each queue. Returns their number. The records of `aside` are put in their places.
    pub(super) fn take(
        &mut self,
        given: &[u64],
        most: usize,
        mut aside: Vec<Vec<u8>>,
        mut receive: impl FnMut(&[u8]),
    ) -> usize {
        aside.sort_by_key(|record| time(record));
        let mut aside = aside.iter().peekable();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let mut open: Vec<Front> = (given.iter().enumerate())
            .map(|(cpu, &given)| {
                let next = self.taken[cpu];
                Front { cpu, next, end: next + given.wrapping_sub(next).min(most).min(self.length as u64), time: 0 }
            })
            .filter(|front| front.next < front.end)
            .collect();
        for front in &mut open {
            front.time = time(self.write(front.cpu, front.next));
        }
        let mut n = 0;
        while let Some(first) = (0..open.len()).min_by_key(|&i| open[i].time) {
            let until = (0..open.len()).filter(|&i| i != first).map(|i| open[i].time).min().unwrap_or(u64::MAX);
            let front = &mut open[first];
            while front.next < front.end && front.time <= until {
                while let Some(record) = aside.next_if(|record| time(record) <= front.time) {
                    receive(record);
                }
                receive(self.write(front.cpu, front.next));
                n += 1;
                front.next += 1;
                if front.next < front.end {
                    front.time = time(self.write(front.cpu, front.next));
                }
            }
            if front.next == front.end {
                let done = open.swap_remove(first);
                self.free(done.cpu, done.end);
            }
        }
        aside.for_each(|record| receive(record));
        n
    }
}

/// A queue that still has writes.
struct Front {
    cpu: usize,
    next: u64,
    end: u64,
    /// The end of the next write.
    time: u64,
}

fn time(write: &[u8]) -> u64 {
    let at = offset_of!(rw_write, end_ns);
    write.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wire::{bytes_of, head};

    fn queues(length: u32, cpus: u32) -> Queues {
        let map = MmapOptions::new().len(elements(length, cpus) as usize * ELEMENT).map_anon().unwrap();
        Queues { map: map.into(), length: length as usize, taken: vec![0; cpus as usize] }
    }

    /// What the kernel side does. False: there is no room.
    fn put(queues: &Queues, cpu: usize, end_ns: u64) -> bool {
        let head = queues.number(cpu, offset_of!(rw_queue, head));
        let (given, tail) = (head.load(Ordering::Relaxed), queues.number(cpu, offset_of!(rw_queue, tail)));
        if given - tail.load(Ordering::Relaxed) >= queues.length as u64 {
            return false;
        }
        let bytes = bytes_of(&rw_write { end_ns, user_data: cpu as u64, ..rw_write::default() });
        let at = queues.element(cpu, 1 + (given as usize & (queues.length - 1)));
        // SAFETY: nobody else uses this anonymous mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        head.store(given + 1, Ordering::Release);
        true
    }

    fn take(queues: &mut Queues, most: usize) -> Vec<(u64, u64)> {
        let mut seen = vec![];
        let n = queues.take(&queues.given(), most, vec![], |bytes| {
            let write: rw_write = head(bytes).unwrap();
            seen.push((write.user_data, write.end_ns));
        });
        assert_eq!(n, seen.len());
        seen
    }

    #[test]
    fn the_size_is_shared_out() {
        assert_eq!(length(16 << 20, 2), 65536);
        assert_eq!(length(16 << 20, 3), 32768);
        assert_eq!(length(4096, 256), 1);
        assert_eq!(elements(65536, 2), 131_074);
        assert_eq!([1, 32, 33, 64, 100_000].map(default_size), [16 << 20, 16 << 20, 32 << 20, 32 << 20, 1 << 30]);
    }

    #[test]
    fn writes_of_several_cpus_come_in_the_order_of_their_ends() {
        let mut queues = queues(4, 3);
        for (cpu, end) in [(0, 1), (0, 5), (0, 6), (2, 2), (2, 3), (2, 9)] {
            assert!(put(&queues, cpu, end));
        }
        assert_eq!(take(&mut queues, 100), [(0, 1), (2, 2), (2, 3), (0, 5), (0, 6), (2, 9)]);
        assert_eq!(take(&mut queues, 100), []);
    }

    #[test]
    fn other_records_come_in_their_places() {
        let mut queues = queues(4, 2);
        for (cpu, end) in [(0, 2), (0, 6), (1, 4)] {
            assert!(put(&queues, cpu, end));
        }
        let aside = [5, 1, 9].map(|end_ns| bytes_of(&rw_write { end_ns, ..rw_write::default() })).to_vec();
        let mut seen = vec![];
        queues.take(&queues.given(), 100, aside, |bytes| seen.push(time(bytes)));
        assert_eq!(seen, [1, 2, 4, 5, 6, 9]);
    }

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_room_again() {
        let mut queues = queues(4, 1);
        for round in 0..10u64 {
            for i in 0..4 {
                assert!(put(&queues, 0, round * 4 + i));
            }
            assert!(!put(&queues, 0, 99));
            assert_eq!(take(&mut queues, 3).len(), 3);
            assert_eq!(take(&mut queues, 3), [(0, round * 4 + 3)]);
        }
    }

    #[test]
    fn only_what_was_given_before_is_taken() {
        let mut queues = queues(4, 1);
        assert!(put(&queues, 0, 1));
        let given = queues.given();
        assert!(put(&queues, 0, 2));
        assert_eq!(queues.take(&given, 100, vec![], |_| {}), 1);
        assert_eq!(take(&mut queues, 100), [(0, 2)]);
    }
}
