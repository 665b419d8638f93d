//! A ring, the thread that made it, and the truth of what goes through it.

use std::mem::MaybeUninit;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::errno;
use super::name::{Data, Text, put};
use super::request::{Kind, Op, Opens, Slot, outcome, tell_opened};
use crate::cx::{Cx, Ids};
use crate::ring::{Ring, Setup};
use crate::sys;

#[derive(Debug, Serialize)]
struct Line {
    event: &'static str,
    user_data: u64,
    host_pid: u32,
    host_tid: u32,
    data: Data,
}

/// Used by the thread that made it only, which therefore is the submitter.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pub(super) ring: Ring,
    cx: &'a Cx,
    ids: Ids,
    /// Room for the answer of `STATX`.
    stat: u64,
}

impl<'a> Lane<'a> {
    pub(super) fn new(cx: &'a Cx, setup: Setup) -> Result<Self> {
        let ring = Ring::new(setup).context("io_uring_setup")?;
        let stat = cx.memory(size_of::<libc::statx>() as u32, 16).addr;
        Ok(Self { ring, cx, ids: cx.ids()?, stat })
    }

    /// A ring without any flags.
    pub(super) fn plain(cx: &'a Cx) -> Result<Self> {
        Self::new(cx, Setup::new(64, 0))
    }

    /// The same with a table of files.
    pub(super) fn with_files(cx: &'a Cx, files: &[i32]) -> Result<Self> {
        let lane = Self::plain(cx)?;
        lane.ring.register_files(files).context("register files")?;
        Ok(lane)
    }

    /// One after the other.
    pub(super) fn each(&mut self, ops: impl IntoIterator<Item = Op>) -> Result<()> {
        ops.into_iter().try_for_each(|op| self.one(op).map(drop))
    }

    pub(super) fn one(&mut self, op: Op) -> Result<i32> {
        Ok(self.run(vec![op])?[0])
    }

    /// Submits all at once, waits for all, and writes down what came of them. The results come in the order of the
    /// requests.
    pub(super) fn run(&mut self, ops: Vec<Op>) -> Result<Vec<i32>> {
        let results = self.carry_out(&ops)?;
        for (op, &result) in ops.into_iter().zip(&results) {
            self.record(op, result)?;
        }
        Ok(results)
    }

    fn carry_out(&mut self, ops: &[Op]) -> Result<Vec<i32>> {
        ops.iter().try_for_each(|op| self.ring.push(&op.sqe))?;
        self.ring.submit_all().context("io_uring_enter to submit")?;
        // Nothing tells of those that skip: they must be followed by one that waits for them.
        let mut results: Vec<_> = ops.iter().map(|op| op.skips.then_some(0)).collect();
        while results.contains(&None) {
            let cqe = self.ring.wait()?;
            let Some(index) = ops.iter().position(|op| op.sqe.user_data == cqe.user_data) else {
                bail!("a completion that nobody waits for: {cqe:?}");
            };
            let op = &ops[index];
            ensure!(
                op.allows(cqe.res) && results[index].is_none(),
                "{} gives {} where {} was foreseen: {}",
                op.kind.map_or("a helper", |kind| kind.name),
                cqe.res,
                op.foreseen(),
                describe(op),
            );
            results[index] = Some(cqe.res);
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn record(&mut self, op: Op, result: i32) -> Result<()> {
        let Some(Kind { opcode, name, event }) = op.kind else {
            return Ok(());
        };
        let mut data = op.data;
        if let Some(opens) = &op.opens {
            let file = if result < 0 { None } else { Some(self.identify(opens, result)?) };
            tell_opened(&mut data, opens, result, file);
        }
        let error = match result {
            0.. => None,
            _ => Some(errno::name(result).with_context(|| format!("no name for the error {result}"))?),
        };
        let user_data = op.sqe.user_data;
        outcome(&mut data, result, error);
        if op.skips {
            // These fail without a CQE as well, so nobody can tell.
            put(&mut data, "result", serde_json::Value::Null);
            put(&mut data, "outcome", "unknown");
        }
        put(&mut data, "opcode", name);
        put(&mut data, "opcode_number", opcode);
        put(&mut data, "user_data", user_data);
        put(&mut data, "completion", if op.skips { "skipped" } else { "cqe" });
        put(&mut data, "submitter", if self.ring.is_sqpoll() { "sqpoll" } else { "thread" });
        put(&mut data, "worker_host_tid", self.ids.tid);
        if data.contains_key("fd") {
            put(&mut data, "fixed_file", op.sqe.flags & sys::SQE_FIXED_FILE != 0);
        }
        self.cx.record(&Line { event, user_data, host_pid: self.ids.pid, host_tid: self.ids.tid, data })
    }

    /// Device and inode of what was opened, which must be what the path leads to.
    fn identify(&mut self, opens: &Opens, result: i32) -> Result<(u32, u64)> {
        let by_path = match &opens.path {
            Text::Known(path) => Some(self.stat(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW)?),
            Text::Null | Text::Untold => None,
        };
        let by_file = match opens.slot {
            Slot::None => Some(self.stat(result, b"", libc::AT_EMPTY_PATH)?),
            Slot::Index(_) | Slot::Any => None,
        };
        match (by_path, by_file) {
            (Some(path), Some(file)) if path != file => {
                bail!("the open led to {file:?} and its path to {path:?}: {opens:?}")
            }
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => bail!("nothing tells what was opened: {opens:?}"),
        }
    }

    /// Device and inode, asked for through the ring like everything else.
    pub(super) fn stat(&mut self, dirfd: i32, path: &[u8], flags: i32) -> Result<(u32, u64)> {
        let op = self.cx.statx(dirfd, path, flags, self.stat);
        self.carry_out(&[op]).with_context(|| format!("statx of {dirfd} {}", String::from_utf8_lossy(path)))?;
        // SAFETY: the memory is large enough, aligned, zeroed or filled by the kernel, and lives as long as the
        // process; zeroes are valid.
        let stat = unsafe { (self.stat as *const MaybeUninit<libc::statx>).read().assume_init() };
        Ok((stat.stx_dev_major << 20 | stat.stx_dev_minor, stat.stx_ino))
    }
}

/// The request, for a message.
fn describe(op: &Op) -> String {
    let opens = op.opens.as_ref().map(|opens| &opens.name);
    format!("{} {opens:?} {:?}", serde_json::Value::Object(op.data.clone()), op.sqe)
}
