//! A ring, down to its shared memory: nothing between the corpus and the kernel.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use anyhow::{Context, Result, bail};

use crate::sys::{self, Cqe, Params, Sqe};

/// What to ask `io_uring_setup` for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) entries: u32,
    pub(crate) flags: u32,
    /// With `SETUP_CQSIZE`.
    pub(crate) cq_entries: u32,
    /// How long the poll thread of `SETUP_SQPOLL` spins before it sleeps.
    pub(crate) idle_ms: u32,
    /// With `SETUP_ATTACH_WQ`.
    pub(crate) wq_fd: RawFd,
}

impl Setup {
    pub(crate) fn new(entries: u32, flags: u32) -> Self {
        Self { entries, flags, ..Self::default() }
    }
}

/// A shared mapping of a ring, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    base: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(fd: RawFd, len: usize, offset: i64) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is replaced.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), len })
    }

    fn at<T>(&self, offset: u32) -> *mut T {
        self.base.wrapping_add(offset as usize).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of a mapping that this value alone owns.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

#[derive(Debug)]
pub(crate) struct Ring {
    sq: Mapping,
    cq: Option<Mapping>,
    sqes: Mapping,
    params: Params,
    sqe_stride: usize,
    cqe_stride: usize,
    /// Entries written since the tail was last published.
    pending: u32,
    /// The index of the ring's descriptor, once registered.
    registered: Option<u32>,
    // Last, so that the mappings go first.
    fd: OwnedFd,
}

// SAFETY: the pointers lead to memory shared with the kernel that is bound to no thread; all access
// goes through `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    pub(crate) fn new(setup: Setup) -> io::Result<Self> {
        let mut params = Params {
            flags: setup.flags,
            cq_entries: setup.cq_entries,
            sq_thread_idle: setup.idle_ms,
            wq_fd: setup.wq_fd as u32,
            ..Params::default()
        };
        let fd = sys::setup(setup.entries, &mut params)?;
        // SAFETY: the descriptor was just created and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Self::map(fd, params)
    }

    /// Maps a ring that exists, such as one taken from another process.
    pub(crate) fn map(fd: OwnedFd, params: Params) -> io::Result<Self> {
        let sqe_stride = if params.flags & sys::SETUP_SQE128 != 0 { 128 } else { 64 };
        let cqe_stride = if params.flags & sys::SETUP_CQE32 != 0 { 32 } else { 16 };
        let has_array = params.flags & sys::SETUP_NO_SQARRAY == 0;
        let array_end = params.sq_off.array as usize + params.sq_entries as usize * 4;
        let cqes_end = params.cq_off.cqes as usize + params.cq_entries as usize * cqe_stride;
        let single = params.features & sys::FEAT_SINGLE_MMAP != 0;
        let sq_len = if single { cqes_end.max(if has_array { array_end } else { 0 }) } else { array_end };
        let raw = fd.as_raw_fd();
        let ring = Self {
            sq: Mapping::new(raw, sq_len, sys::OFF_SQ_RING)?,
            cq: if single { None } else { Some(Mapping::new(raw, cqes_end, sys::OFF_CQ_RING)?) },
            sqes: Mapping::new(raw, params.sq_entries as usize * sqe_stride, sys::OFF_SQES)?,
            params,
            sqe_stride,
            cqe_stride,
            pending: 0,
            registered: None,
            fd,
        };
        if has_array {
            let array: *mut u32 = ring.sq.at(params.sq_off.array);
            for i in 0..params.sq_entries {
                // SAFETY: the array has `sq_entries` elements inside the mapping.
                unsafe { array.add(i as usize).write_volatile(i) };
            }
        }
        Ok(ring)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the kernel has an `IORING_FEAT_`.
    pub(crate) fn has(&self, feature: u32) -> bool {
        self.params.features & feature != 0
    }

    pub(crate) fn is_sqpoll(&self) -> bool {
        self.params.flags & sys::SETUP_SQPOLL != 0
    }

    fn word(mapping: &Mapping, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel's offsets lead to aligned 32-bit words inside the mapping, which lives
        // as long as the borrow; both sides use atomic access.
        unsafe { &*mapping.at::<AtomicU32>(offset) }
    }

    fn sq_word(&self, offset: u32) -> &AtomicU32 {
        Self::word(&self.sq, offset)
    }

    fn cq_map(&self) -> &Mapping {
        self.cq.as_ref().unwrap_or(&self.sq)
    }

    /// Writes an entry; the kernel sees it with the next `publish`.
    pub(crate) fn push(&mut self, sqe: &Sqe) -> Result<()> {
        let off = self.params.sq_off;
        // With SQ_REWIND the kernel always begins with the first entry, and looks at neither number.
        let (tail, head) = match self.rewinds() {
            true => (self.pending, 0),
            false => (
                self.sq_word(off.tail).load(Ordering::Relaxed).wrapping_add(self.pending),
                self.sq_word(off.head).load(Ordering::Acquire),
            ),
        };
        if tail.wrapping_sub(head) >= self.params.sq_entries {
            bail!("the submission queue is full ({} entries)", self.params.sq_entries);
        }
        let index = (tail & (self.params.sq_entries - 1)) as usize;
        let slot = self.sqes.base.wrapping_add(index * self.sqe_stride);
        // SAFETY: `index` is below `sq_entries`, so the slot lies inside the mapping; the kernel does
        // not read it before the tail is published.
        unsafe {
            ptr::write_bytes(slot, 0, self.sqe_stride);
            slot.cast::<Sqe>().write(*sqe);
        }
        self.pending += 1;
        Ok(())
    }

    /// Writes the same entry into every slot, for `advance` to submit again and again.
    pub(crate) fn fill(&mut self, sqe: &Sqe) {
        for index in 0..self.params.sq_entries as usize {
            let slot = self.sqes.base.wrapping_add(index * self.sqe_stride);
            // SAFETY: `index` is below `sq_entries`; nothing is submitted at this time.
            unsafe { slot.cast::<Sqe>().write(*sqe) };
        }
    }

    /// Gives another descriptor to the filled entry that is the `ahead`th to be submitted; the queue must be empty.
    #[inline]
    pub(crate) fn aim(&self, ahead: u32, fd: i32) {
        let tail = self.sq_word(self.params.sq_off.tail).load(Ordering::Relaxed);
        let index = (tail.wrapping_add(ahead) & (self.params.sq_entries - 1)) as usize;
        let slot = self.sqes.base.wrapping_add(index * self.sqe_stride + std::mem::offset_of!(Sqe, fd));
        // SAFETY: `index` is below `sq_entries`; nothing is submitted at this time.
        unsafe { slot.cast::<i32>().write(fd) };
    }

    /// Shows `count` more of the filled entries to the kernel; the queue must be empty.
    #[inline]
    pub(crate) fn advance(&self, count: u32) {
        let tail = self.sq_word(self.params.sq_off.tail);
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(count), Ordering::Release);
    }

    /// Hands over all completions that are there, and returns their number.
    #[inline]
    pub(crate) fn reap(&self, mut each: impl FnMut(i32)) -> u32 {
        let off = self.params.cq_off;
        let cq = self.cq_map();
        let head_word = Self::word(cq, off.head);
        let head = head_word.load(Ordering::Relaxed);
        let count = Self::word(cq, off.tail).load(Ordering::Acquire).wrapping_sub(head);
        let entries: *mut u8 = cq.at(off.cqes);
        for i in 0..count {
            let index = (head.wrapping_add(i) & (self.params.cq_entries - 1)) as usize;
            // SAFETY: `index` is below `cq_entries` and the tail says that the kernel has filled it.
            each(unsafe { (*entries.add(index * self.cqe_stride).cast::<Cqe>()).res });
        }
        head_word.store(head.wrapping_add(count), Ordering::Release);
        count
    }

    /// Whether the poll thread has gone to sleep.
    pub(crate) fn poller_sleeps(&self) -> bool {
        let flags = self.sq_word(self.params.sq_off.flags).load(Ordering::Acquire);
        flags & sys::SQ_NEED_WAKEUP != 0
    }

    /// Waits until the poll thread has taken all entries.
    pub(crate) fn wait_consumed(&self) {
        let off = self.params.sq_off;
        let tail = self.sq_word(off.tail).load(Ordering::Relaxed);
        while self.sq_word(off.head).load(Ordering::Acquire) != tail {
            std::thread::yield_now();
        }
    }

    /// Wakes the poll thread if it sleeps.
    pub(crate) fn wake(&self) -> io::Result<()> {
        // The tail must be visible before the flag is read, or the thread falls asleep between.
        fence(Ordering::SeqCst);
        let flags = self.sq_word(self.params.sq_off.flags).load(Ordering::Relaxed);
        if flags & sys::SQ_NEED_WAKEUP != 0 {
            self.enter(0, 0, sys::ENTER_SQ_WAKEUP)?;
        }
        Ok(())
    }

    /// Shows the pushed entries to the kernel and returns how many wait to be consumed.
    pub(crate) fn publish(&mut self) -> u32 {
        if self.rewinds() {
            return std::mem::take(&mut self.pending);
        }
        let off = self.params.sq_off;
        let tail = self.sq_word(off.tail);
        let new = tail.load(Ordering::Relaxed).wrapping_add(self.pending);
        tail.store(new, Ordering::Release);
        self.pending = 0;
        new.wrapping_sub(self.sq_word(off.head).load(Ordering::Acquire))
    }

    /// `io_uring_enter`, again when a signal interrupts it.
    pub(crate) fn enter(&self, submit: u32, wait: u32, mut flags: u32) -> io::Result<u32> {
        let fd = match self.registered {
            Some(index) => {
                flags |= sys::ENTER_REGISTERED_RING;
                index as i32
            }
            None => self.fd(),
        };
        loop {
            match sys::enter(fd, submit, wait, flags) {
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Submits what was pushed, without waiting. Returns how many entries the kernel consumed.
    pub(crate) fn submit(&mut self) -> io::Result<u32> {
        let waiting = self.publish();
        if !self.is_sqpoll() {
            return self.enter(waiting, 0, 0);
        }
        self.wake()?;
        Ok(waiting)
    }

    /// Submits everything, in as many calls as it takes: a request that fails its preparation ends
    /// a call early unless the ring was made with `SETUP_SUBMIT_ALL`.
    pub(crate) fn submit_all(&mut self) -> io::Result<()> {
        loop {
            let waiting = self.publish();
            if waiting == 0 {
                return Ok(());
            }
            if self.is_sqpoll() {
                self.submit()?;
                return Ok(());
            }
            if self.enter(waiting, 0, 0)? == 0 {
                return Err(io::Error::other("io_uring_enter consumed nothing"));
            }
        }
    }

    fn rewinds(&self) -> bool {
        self.params.flags & sys::SETUP_SQ_REWIND != 0
    }

    /// Takes back what the kernel has not consumed.
    pub(crate) fn take_back(&self) {
        if !self.rewinds() {
            let off = self.params.sq_off;
            self.sq_word(off.tail).store(self.sq_word(off.head).load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Whether the kernel has consumed everything.
    pub(crate) fn consumed(&self) -> bool {
        let off = self.params.sq_off;
        self.sq_word(off.head).load(Ordering::Acquire) == self.sq_word(off.tail).load(Ordering::Relaxed)
    }

    /// The place of the next completion to be taken, and the one after the last that is there.
    pub(crate) fn completions(&self) -> (u32, u32) {
        let (off, cq) = (self.params.cq_off, self.cq_map());
        (Self::word(cq, off.head).load(Ordering::Relaxed), Self::word(cq, off.tail).load(Ordering::Acquire))
    }

    /// Takes a completion, if one is in the queue.
    pub(crate) fn pop(&mut self) -> Option<Cqe> {
        loop {
            let (head, tail) = self.completions();
            if head == tail {
                return None;
            }
            let (off, cq) = (self.params.cq_off, self.cq_map());
            let index = (head & (self.params.cq_entries - 1)) as usize;
            let slot: *mut u8 = cq.at(off.cqes);
            // SAFETY: `index` is below `cq_entries`, so the entry lies inside the mapping, and the tail
            // says that the kernel has filled it.
            let cqe = unsafe { slot.add(index * self.cqe_stride).cast::<Cqe>().read() };
            let mixed = self.params.flags & sys::SETUP_CQE_MIXED != 0;
            let places = if mixed && cqe.flags & sys::CQE_32 != 0 { 2 } else { 1 };
            Self::word(cq, off.head).store(head.wrapping_add(places), Ordering::Release);
            if !(mixed && cqe.flags & sys::CQE_SKIP != 0) {
                return Some(cqe);
            }
        }
    }

    /// Completions that the kernel holds back because the queue was full.
    pub(crate) fn overflowed(&self) -> bool {
        self.sq_word(self.params.sq_off.flags).load(Ordering::Acquire) & sys::SQ_CQ_OVERFLOW != 0
    }

    /// Takes a completion, and waits for one when there is none.
    pub(crate) fn wait(&mut self) -> Result<Cqe> {
        loop {
            if let Some(cqe) = self.pop() {
                return Ok(cqe);
            }
            self.enter(0, 1, sys::ENTER_GETEVENTS).context("io_uring_enter to wait")?;
        }
    }

    pub(crate) fn register_files(&self, fds: &[RawFd]) -> io::Result<()> {
        let arg = fds.as_ptr().cast_mut().cast();
        // SAFETY: the kernel reads `fds.len()` descriptors from the slice.
        unsafe { sys::register(self.fd(), sys::REGISTER_FILES, arg, fds.len() as u32) }.map(drop)
    }

    /// # Safety
    /// The buffers must stay mapped while the ring lives.
    pub(crate) unsafe fn register_buffers(&self, buffers: &[libc::iovec]) -> io::Result<()> {
        let arg = buffers.as_ptr().cast_mut().cast();
        // SAFETY: the kernel reads `buffers.len()` elements; the caller keeps the buffers mapped.
        unsafe { sys::register(self.fd(), sys::REGISTER_BUFFERS, arg, buffers.len() as u32) }.map(drop)
    }

    /// Has the kernel count completions in an eventfd.
    pub(crate) fn register_eventfd(&self, event: &impl AsRawFd) -> io::Result<()> {
        let mut fd = event.as_raw_fd();
        // SAFETY: the kernel reads one live descriptor.
        unsafe { sys::register(self.fd(), sys::REGISTER_EVENTFD, ptr::from_mut(&mut fd).cast(), 1) }.map(drop)
    }

    pub(crate) fn enable(&self) -> io::Result<()> {
        // SAFETY: this operation takes no argument.
        unsafe { sys::register(self.fd(), sys::REGISTER_ENABLE_RINGS, ptr::null_mut(), 0) }.map(drop)
    }

    /// Registers the ring's own descriptor with the calling thread and uses it from then on.
    pub(crate) fn register_ring_fd(&mut self) -> io::Result<()> {
        let mut update = sys::RsrcUpdate { offset: u32::MAX, resv: 0, data: self.fd() as u64 };
        let arg = ptr::from_mut(&mut update).cast();
        // SAFETY: one live `struct io_uring_rsrc_update`, which the kernel reads and fills.
        unsafe { sys::register(self.fd(), sys::REGISTER_RING_FDS, arg, 1) }?;
        self.registered = Some(update.offset);
        Ok(())
    }

    /// Cancels all requests without a request: one would wait behind those that drain the ring. Since 6.0.
    pub(crate) fn cancel_all(&self) {
        let mut cancel = sys::SyncCancel { fd: -1, flags: sys::CANCEL_ALL | sys::CANCEL_ANY, ..Default::default() };
        // SAFETY: one live `struct io_uring_sync_cancel_reg`, whose timeout of zero means not to wait.
        let _ = unsafe { sys::register(self.fd(), sys::REGISTER_SYNC_CANCEL, ptr::from_mut(&mut cancel).cast(), 1) };
    }

    /// Whether the kernel knows the opcode; kernels before 5.6 cannot be asked and answer no.
    pub(crate) fn supports(&self, opcode: u8) -> bool {
        const HEADER: usize = 16;
        const ENTRY: usize = 8;
        const ENTRIES: usize = 256;
        let mut probe = [0u64; (HEADER + ENTRY * ENTRIES) / 8];
        let arg = probe.as_mut_ptr().cast();
        // SAFETY: the buffer has room for the header and 256 entries of `struct io_uring_probe`.
        if unsafe { sys::register(self.fd(), sys::REGISTER_PROBE, arg, ENTRIES as u32) }.is_err() {
            return false;
        }
        let last = probe[0].to_le_bytes()[0];
        let entry = probe[HEADER / 8 + opcode as usize].to_le_bytes();
        opcode <= last && entry[2] & 1 != 0
    }
}
