//! The reading end of the buffer between kernel and user space.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{AsRawLibbpf as _, MapCore, PerfBuffer, PerfBufferBuilder, RingBuffer, RingBufferBuilder};
use libbpf_sys::{ring__consumer_pos, ring__producer_pos, ring_buffer__ring};

use super::queues::Queues;
use super::{Error, step};

/// Records that are read before anything else gets its turn.
const AT_ONCE: usize = 65_536;
/// Looks at a record that is being written, before the next ones are further apart.
const LOOKS: u32 = 100;
const NAP: Duration = Duration::from_micros(100);
/// The least that a page has: the kernel rounds up.
const PAGE: usize = 4096;

/// A ring buffer, with queues of writes beside it where the kernel side has them; or a perf buffer for each CPU where
/// the kernel has no ring buffer (before 5.8).
#[derive(Debug)]
pub struct Reader<'cb>(Kind<'cb>);

type Receive<'cb> = Rc<RefCell<dyn FnMut(&[u8]) + 'cb>>;
/// Records that wait for their turn among the writes of the queues.
type Aside = Rc<RefCell<Vec<Vec<u8>>>>;

enum Kind<'cb> {
    Ring { ring: RingBuffer<'cb>, queues: Option<RefCell<Queues>>, aside: Aside, receive: Receive<'cb> },
    Perf { buffer: PerfBuffer<'cb>, order: Rc<RefCell<Order>>, receive: Receive<'cb> },
}

/// Records of several CPUs, read one CPU after the other. A string may be read after the write that needs it, but at
/// the latest in the next pass: so writes wait for that.
#[derive(Debug, Default)]
struct Order {
    strings: Vec<Vec<u8>>,
    writes: Vec<Vec<u8>>,
    waiting: Vec<Vec<u8>>,
}

impl Order {
    fn push(&mut self, record: &[u8]) {
        let list = if crate::kernel::wire::is_string(record) { &mut self.strings } else { &mut self.writes };
        list.push(record.to_owned());
    }

    /// After a pass over all CPUs; the number of records that moved.
    fn pass(&mut self, mut receive: impl FnMut(&[u8])) -> usize {
        let moved = self.strings.len() + self.writes.len() + self.waiting.len();
        self.strings.drain(..).chain(self.waiting.drain(..)).for_each(|record| receive(&record));
        std::mem::swap(&mut self.waiting, &mut self.writes);
        moved
    }
}

impl std::fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring { .. } => "Ring",
            Self::Perf { .. } => "Perf",
        })
    }
}

impl<'cb> Reader<'cb> {
    pub(super) fn ring(
        map: &dyn MapCore,
        queues: Option<Queues>,
        receive: impl FnMut(&[u8]) + 'cb,
    ) -> Result<Self, Error> {
        let mut builder = RingBufferBuilder::new();
        let receive: Receive<'cb> = Rc::new(RefCell::new(receive));
        let aside = Aside::default();
        let (each, wait, queued) = (Rc::clone(&receive), Rc::clone(&aside), queues.is_some());
        builder
            .add(map, move |record| {
                if queued && !crate::kernel::wire::is_string(record) {
                    wait.borrow_mut().push(record.to_owned());
                } else {
                    each.borrow_mut()(record);
                }
                0
            })
            .map_err(step("add the ring buffer"))?;
        let ring = builder.build().map_err(step("map the ring buffer"))?;
        Ok(Self(Kind::Ring { ring, queues: queues.map(RefCell::new), aside, receive }))
    }

    /// `size` bytes in all.
    pub(super) fn perf<M: MapCore>(map: &M, size: u32, receive: impl FnMut(&[u8]) + 'cb) -> Result<Self, Error> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(step("count the CPUs"))?;
        let pages = (size as usize / PAGE / cpus.max(1)).max(1);
        let pages = if pages.is_power_of_two() { pages } else { pages.next_power_of_two() / 2 };
        let order = Rc::new(RefCell::new(Order::default()));
        let fill = Rc::clone(&order);
        // What finds no room is counted by the kernel side.
        let buffer = PerfBufferBuilder::new(map)
            .pages(pages)
            .sample_cb(move |_, record: &[u8]| fill.borrow_mut().push(record))
            .build()
            .map_err(step("map the perf buffer"))?;
        Ok(Self(Kind::Perf { buffer, order, receive: Rc::new(RefCell::new(receive)) }))
    }

    /// Takes what is there, but not for ever from a program that writes faster; the number of records.
    ///
    /// # Errors
    /// libbpf could not read the buffer.
    pub fn consume(&self) -> Result<usize, Error> {
        match &self.0 {
            Kind::Ring { ring, queues: None, .. } => consume(ring),
            Kind::Ring { ring, queues: Some(queues), aside, receive } => {
                let given = queues.borrow().given();
                // The strings that these writes need were sent before them.
                let sent = positions(ring).1;
                let mut n = consume(ring)?;
                let mut looks = 0;
                while positions(ring).0 < sent {
                    // A record that is still being written holds up those behind it: for a moment, or for as long as its CPU
                    // does something else (in a VM, or with a preemptible program).
                    if looks < LOOKS {
                        looks += 1;
                        std::thread::yield_now();
                    } else {
                        std::thread::sleep(NAP);
                    }
                    n += consume(ring)?;
                }
                let aside = std::mem::take(&mut *aside.borrow_mut());
                Ok(n + queues.borrow_mut().take(&given, AT_ONCE, aside, &mut *receive.borrow_mut()))
            }
            Kind::Perf { buffer, order, receive } => {
                buffer.consume().map_err(step("read the perf buffer"))?;
                Ok(order.borrow_mut().pass(&mut *receive.borrow_mut()))
            }
        }
    }
}

fn consume(ring: &RingBuffer<'_>) -> Result<usize, Error> {
    let n = ring.consume_raw_n(AT_ONCE);
    usize::try_from(n).map_err(|_| step("read the ring buffer")(libbpf_rs::Error::from_raw_os_error(-n)))
}

/// How far it was read, and how far written. Both grow without end.
fn positions(ring: &RingBuffer<'_>) -> (u64, u64) {
    // SAFETY: the buffer lives as long as `ring`, and has the one ring that the builder was given.
    unsafe {
        let ring = ring_buffer__ring(ring.as_libbpf_object().as_ptr(), 0);
        (ring__consumer_pos(ring), ring__producer_pos(ring))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_waits_for_strings_of_other_cpus() {
        let record = |kind: u32, id: u8| [&kind.to_ne_bytes()[..], &[id]].concat();
        let mut order = Order::default();
        let mut seen = vec![];
        order.push(&record(1, 1));
        assert_eq!(order.pass(|r| seen.push(r[4])), 1);
        // The string was sent before the write, and read after it.
        order.push(&record(2, 2));
        order.push(&record(1, 3));
        assert_eq!(order.pass(|r| seen.push(r[4])), 3);
        assert_eq!(order.pass(|r| seen.push(r[4])), 1);
        assert_eq!(order.pass(|r| seen.push(r[4])), 0);
        assert_eq!(seen, [2, 1, 3]);
    }
}
