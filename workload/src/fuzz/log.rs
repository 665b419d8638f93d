//! What a program did, in memory that outlives it however it ends.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::program::FileKind;
use crate::os;

/// One thing that happened, in the order in which the program knew of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// It is about to be handed to the kernel.
    Asked(Box<Asked>),
    /// The kernel took these.
    Taken(Vec<u64>),
    /// The kernel took none of these, and will not.
    Refused(Vec<u64>),
    Cqe {
        ring: usize,
        user_data: u64,
        res: i32,
        flags: u32,
        /// It cannot have been held back.
        direct: bool,
    },
    Closed(usize),
    /// Not all ended that should have.
    Unsettled(usize),
    Skipped(String),
    Error(String),
    End,
}

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) seq: u64,
    pub(crate) ring: usize,
    pub(crate) user_data: u64,
    /// As the corpus has it, but for its end.
    pub(crate) truth: Value,
    /// Success may post no completion.
    pub(crate) skip: bool,
    /// It ends by itself.
    pub(crate) certain: bool,
    /// Nor may its failure, since that of an earlier link did not.
    pub(crate) behind: bool,
    /// Results that it can have, from and to.
    pub(crate) accept: Vec<(i32, i32)>,
    /// Where its data can be found.
    pub(crate) region: Option<Region>,
    /// What it posts elsewhere if it succeeds.
    pub(crate) message: Option<Message>,
}

impl Asked {
    pub(crate) fn allows(&self, result: i32) -> bool {
        self.accept.iter().any(|&(low, high)| (low..=high).contains(&result))
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) file: FileKind,
    pub(crate) pos: u64,
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) ring: usize,
    pub(crate) user_data: u64,
    pub(crate) result: i32,
}

const BYTES: usize = 4 << 20;
pub(crate) const RINGS: usize = 8;
pub(crate) const TAGS: usize = 4;
pub(crate) const REQUESTS: usize = 1024;

struct Shared {
    used: AtomicUsize,
    /// Completions that will come for certain and have not, of requests with their own `user_data`.
    open: [AtomicI32; RINGS],
    /// The same for each tag.
    tagged: [[AtomicI32; TAGS]; RINGS],
    /// Whether that is so of a request, and in which ring.
    certain: [AtomicI32; REQUESTS],
    bytes: [u8; BYTES],
}

/// Shared by all processes of a program.
#[derive(Clone, Copy)]
pub(crate) struct Log(&'static Shared);

impl Log {
    pub(crate) fn new() -> Result<Self> {
        let memory = os::map_anonymous(size_of::<Shared>(), true)?.cast::<Shared>();
        // SAFETY: the memory is zeroed, aligned to a page, large enough, and never unmapped; zeroes are valid.
        Ok(Self(unsafe { &*memory }))
    }

    pub(crate) fn add(&self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let start = self.0.used.fetch_add(line.len(), Ordering::Relaxed);
        ensure!(start + line.len() <= BYTES, "the log is full");
        let to = self.0.bytes.as_ptr().wrapping_add(start).cast_mut();
        // SAFETY: the range was just reserved for this line alone, and nobody reads it before the program has ended.
        unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), to, line.len()) };
        Ok(())
    }

    /// What was written down. A process that was killed leaves lines that it did not finish: zeroes, or half of them.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let used = self.0.used.load(Ordering::Acquire).min(BYTES);
        let lines = self.0.bytes[..used].split(|&b| b == b'\n');
        let ends = lines.filter_map(|line| line.rsplit(|&b| b == 0).next());
        ends.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    pub(crate) fn expect(&self, ring: usize, seq: u64, tag: Option<u8>) {
        match tag {
            Some(tag) => &self.0.tagged[ring][usize::from(tag) % TAGS],
            None => {
                self.0.certain[seq as usize % REQUESTS].store(1, Ordering::Relaxed);
                &self.0.open[ring]
            }
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// The request's completion is here, or will not come.
    pub(crate) fn settled(&self, ring: usize, seq: u64, tag: Option<u8>) {
        match tag {
            Some(tag) => {
                self.0.tagged[ring][usize::from(tag) % TAGS].fetch_sub(1, Ordering::Relaxed);
            }
            None => {
                if self.0.certain[seq as usize % REQUESTS].swap(0, Ordering::Relaxed) == 1 {
                    self.0.open[ring].fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub(crate) fn is_settled(&self, ring: usize) -> bool {
        self.0.open[ring].load(Ordering::Relaxed) <= 0
            && self.0.tagged[ring].iter().all(|tag| tag.load(Ordering::Relaxed) <= 0)
    }
}
