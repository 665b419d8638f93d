//! Bytes of the ring buffer to records: pure, and never trusting what the bytes say of themselves.

use crate::kernel::{rw_class, rw_failure, rw_failure_key, rw_file_key, rw_row};
use crate::kernel::{rw_created, rw_directory, rw_names, rw_path, rw_request, rw_task, rw_write};

/// Where the variable part of path and task records starts; `RW_DATA_OFFSET`.
pub(crate) const DATA_OFFSET: usize = 112;

/// Flags of a record; `enum rw_flag`.
pub mod flag {
    /// `fd` is an index into the registered files.
    pub const FIXED_FILE: u32 = 1 << 0;
    /// Submitted by the SQPOLL thread.
    pub const SQPOLL: u32 = 1 << 1;
    /// The submission was seen.
    pub const SUBMIT: u32 = 1 << 2;
    /// The file is known.
    pub const FILE: u32 = 1 << 3;
    /// The file has no name any more.
    pub const DELETED: u32 = 1 << 4;
    /// Refused in preparation.
    pub const PREP_FAILED: u32 = 1 << 5;
    /// Handed to io-wq at least once.
    pub const PUNTED: u32 = 1 << 6;
    /// The file has no position.
    pub const NO_POS: u32 = 1 << 7;
    /// `ki_pos` is valid.
    pub const KI_POS: u32 = 1 << 8;
    /// `exec_tid` is valid.
    pub const EXEC_TID: u32 = 1 << 9;
    /// The path was cut.
    pub const TRUNCATED: u32 = 1 << 10;
    /// The dentry has no parent and no mount point.
    pub const PSEUDO: u32 = 1 << 13;
    /// The thread is what the name of a ring's poll thread says.
    pub const CREATOR_NAME: u32 = 1 << 14;
    /// The data was appended.
    pub const APPEND: u32 = 1 << 15;
    /// `end_ns` is the end itself, and not the moment at which it was found.
    pub const END_SEEN: u32 = 1 << 16;
    /// The file was opened with O_DIRECT; told only where sums are asked for.
    pub const DIRECT: u32 = 1 << 17;
    /// Names were read from the program's memory.
    pub const USER_NAMES: u32 = 1 << 18;
    /// The open made the file.
    pub const CREATED: u32 = 1 << 20;
    /// The name is gone, or never was one, and the file has others.
    pub const STALE: u32 = 1 << 22;
    /// A handler of its own takes the writes to the file: it may move the offset or not.
    pub const HANDLER: u32 = 1 << 23;
    /// `fd` and `rw_flags` are unknown.
    pub const NO_SQE: u32 = 1 << 28;
    /// The path begins at a directory that is not mounted in the way in which the file was reached.
    pub const UNREACHABLE: u32 = 1 << 21;
    /// Root and current directory at the end are those of the submission.
    pub const SAME_PLACE: u32 = 1 << 29;
}

/// In place of a path's id: why the path of an open file is not known; `enum rw_path_unknown`.
pub mod unknown {
    /// Renamed each time that it was read.
    pub const RENAMED: u64 = 1;
    /// Opened by a handle.
    pub const DISCONNECTED: u64 = 2;
    /// Too many deep paths at once.
    pub const DEEP: u64 = 3;
}

/// How a write's end became known; `enum rw_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its CQE was posted.
    Cqe,
    /// Its CQE found the CQ ring full.
    Overflow,
    /// It succeeded without a CQE.
    Skipped,
    /// It was cancelled with a link, without a CQE.
    Link,
    /// The kernel never told.
    Unseen,
    /// Tracing stopped before its end.
    InFlight,
    /// There was no room to follow it; it was reported at its submission.
    Untracked,
}

/// Who carried a write out; `enum rw_executor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// The submitting thread.
    Submitter,
    /// A worker of io-wq.
    IoWq,
    /// The SQPOLL thread.
    Sqpoll,
    /// A kernel thread, such as the one that ends the requests of a dead process.
    Kernel,
    /// Nobody told.
    Unknown,
}

/// A write that ended.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    raw: rw_write,
    /// How its end became known.
    pub end: End,
    /// Who carried it out.
    pub executor: Executor,
}

impl std::ops::Deref for Write {
    type Target = rw_write;

    fn deref(&self) -> &rw_write {
        &self.raw
    }
}

impl Write {
    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.raw.flags & flags == flags
    }
}

/// A request that ended, of any opcode.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    raw: rw_request,
    /// What it has in common with a write.
    pub write: Write,
}

impl std::ops::Deref for Request {
    type Target = rw_request;

    fn deref(&self) -> &rw_request {
        &self.raw
    }
}

/// A directory that names are relative to; all zero: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directory {
    /// Id of its path.
    pub path_id: u64,
    /// Its inode number.
    pub inode: u64,
    /// Id of its mount.
    pub mount: u32,
}

impl From<rw_directory> for Directory {
    fn from(raw: rw_directory) -> Self {
        Self { path_id: raw.path_id, inode: raw.inode, mount: raw.mount }
    }
}

/// The strings of a request, sent at its submission.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The id that the request refers to.
    pub id: u64,
    /// What the first two are relative to.
    pub from: [Directory; 2],
    /// What `..` does not lead out of.
    pub root: Directory,
    /// Two names of files, and another string; empty where there is none.
    pub strings: [&'a [u8]; 3],
}

/// What was done to a file outside of io_uring; `enum rw_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAct {
    /// A system call wrote.
    Write,
    /// A system call wrote a vector.
    Writev,
    /// It was opened.
    Open,
    /// What it holds was changed, for the first time since it was opened.
    Modified,
}

/// A ring that was created.
#[derive(Debug, Clone, Copy)]
pub struct Created(rw_created);

impl std::ops::Deref for Created {
    type Target = rw_created;

    fn deref(&self) -> &rw_created {
        &self.0
    }
}

/// A path, sent once before the writes that refer to it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The id that writes refer to.
    pub id: u64,
    /// See [`flag`].
    pub flags: u32,
    /// Inode number of the file.
    pub inode: u64,
    /// Mode of the file.
    pub mode: u32,
    /// The mount namespace in which it begins; 0: in none.
    pub mnt_ns: u32,
    /// Of the file system.
    pub magic: u32,
    /// The components, leaf first, each ended by a NUL.
    pub names: &'a [u8],
}

/// A thread that submitted a write, sent once before the writes that refer to it.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    raw: rw_task,
    /// Arguments, each ended by a NUL; empty when they could not be read.
    pub command_line: &'a [u8],
}

impl std::ops::Deref for Task<'_> {
    type Target = rw_task;

    fn deref(&self) -> &rw_task {
        &self.raw
    }
}

/// A record of the ring buffer.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "one is made at a time, on the stack")]
pub enum Record<'a> {
    /// A write ended.
    Write(Write),
    /// A path.
    Path(Path<'a>),
    /// A thread.
    Task(Task<'a>),
    /// A request ended.
    Request(Request),
    /// Strings of a request.
    Names(Names<'a>),
    /// A ring was created.
    Created(Created),
    /// Something was done to a file outside of io_uring.
    File(FileAct, Write),
}

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the record needs.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// A type that is not known.
    #[error("unknown record type {0}")]
    Type(u32),
    /// A field holds a value that it cannot have.
    #[error("field {0} holds {1}")]
    Field(&'static str, u32),
}

/// `enum rw_type`.
mod kind {
    pub(super) const WRITE: u32 = 1;
    pub(super) const PATH: u32 = 2;
    pub(super) const TASK: u32 = 3;
    pub(super) const REQUEST: u32 = 4;
    pub(super) const NAMES: u32 = 5;
    pub(super) const CREATED: u32 = 6;
    pub(super) const FILE: u32 = 7;
}

/// `RW_END_IN_FLIGHT`.
const IN_FLIGHT: u8 = 5;

/// Types whose every bit pattern is a value, without padding.
///
/// # Safety
/// All fields must be integers or arrays of them.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: generated from bpf/record.h, which has only integers and arrays of integers.
unsafe impl Plain for rw_write {}
// SAFETY: as above.
unsafe impl Plain for rw_path {}
// SAFETY: as above.
unsafe impl Plain for rw_task {}
// SAFETY: as above.
unsafe impl Plain for rw_request {}
// SAFETY: as above.
unsafe impl Plain for rw_names {}
// SAFETY: as above.
unsafe impl Plain for rw_created {}
// SAFETY: generated from bpf/sums.h, which has only integers and arrays of integers.
unsafe impl Plain for rw_class {}
// SAFETY: as above.
unsafe impl Plain for rw_row {}
// SAFETY: as above.
unsafe impl Plain for rw_file_key {}
// SAFETY: as above.
unsafe impl Plain for rw_failure_key {}
// SAFETY: as above.
unsafe impl Plain for rw_failure {}

/// The value at the beginning of `bytes`.
pub(crate) fn head<T: Plain>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() < size_of::<T>() {
        return Err(Malformed::Short(bytes.len()));
    }
    // SAFETY: there are enough bytes, any of them make a T, and the read does not need alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn data(bytes: &[u8], size: u32) -> Result<&[u8], Malformed> {
    usize::try_from(size)
        .ok()
        .and_then(|size| bytes.get(DATA_OFFSET..)?.get(..size))
        .ok_or(Malformed::Short(bytes.len()))
}

impl Write {
    fn new(raw: rw_write) -> Result<Self, Malformed> {
        let end = match raw.end {
            0 => End::Cqe,
            1 => End::Overflow,
            2 => End::Skipped,
            3 => End::Link,
            4 => End::Unseen,
            IN_FLIGHT => End::InFlight,
            6 => End::Untracked,
            other => return Err(Malformed::Field("end", other.into())),
        };
        let executor = match raw.executor {
            0 => Executor::Submitter,
            1 => Executor::IoWq,
            2 => Executor::Sqpoll,
            3 => Executor::Kernel,
            4 => Executor::Unknown,
            other => return Err(Malformed::Field("executor", other.into())),
        };
        Ok(Self { raw, end, executor })
    }
}

fn names(bytes: &[u8]) -> Result<Names<'_>, Malformed> {
    let raw: rw_names = head(bytes)?;
    let mut rest = data(bytes, raw.size)?;
    let mut strings: [&[u8]; 3] = [&[]; 3];
    for (string, &len) in strings.iter_mut().zip(&raw.len) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        (*string, rest) = rest.split_at_checked(len).ok_or(Malformed::Short(bytes.len()))?;
    }
    Ok(Names { id: raw.names_id, from: raw.from.map(Directory::from), root: raw.root.into(), strings })
}

/// Decodes one record.
///
/// # Errors
/// The bytes are no record that this version knows.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let kind = bytes.first_chunk().map(|b| u32::from_ne_bytes(*b)).ok_or(Malformed::Short(bytes.len()))?;
    match kind {
        kind::WRITE => Ok(Record::Write(Write::new(head(bytes)?)?)),
        kind::REQUEST => {
            let raw: rw_request = head(bytes)?;
            Ok(Record::Request(Request { raw, write: Write::new(raw.w)? }))
        }
        kind::NAMES => Ok(Record::Names(names(bytes)?)),
        kind::CREATED => Ok(Record::Created(Created(head(bytes)?))),
        kind::FILE => {
            let write = Write::new(head(bytes)?)?;
            let act = match write.opcode {
                0 => FileAct::Write,
                1 => FileAct::Writev,
                2 => FileAct::Open,
                3 => FileAct::Modified,
                other => return Err(Malformed::Field("opcode", other.into())),
            };
            Ok(Record::File(act, write))
        }
        kind::PATH => {
            let raw: rw_path = head(bytes)?;
            Ok(Record::Path(Path {
                id: raw.path_id,
                flags: raw.flags,
                inode: raw.inode,
                mode: raw.mode,
                mnt_ns: raw.mnt_ns,
                magic: raw.magic,
                names: data(bytes, raw.size)?,
            }))
        }
        kind::TASK => {
            let raw: rw_task = head(bytes)?;
            Ok(Record::Task(Task { raw, command_line: data(bytes, raw.size)? }))
        }
        other => Err(Malformed::Type(other)),
    }
}

/// Whether a record holds strings, which others refer to.
pub(crate) fn is_string(bytes: &[u8]) -> bool {
    let kind = bytes.first_chunk().map(|b| u32::from_ne_bytes(*b));
    matches!(kind, Some(kind::PATH | kind::TASK | kind::NAMES))
}

/// What was kept of a request at its submission, as the record of one that is still in flight.
pub(crate) fn in_flight(bytes: &[u8], now: u64) -> Option<Vec<u8>> {
    let mut raw: rw_write = head(bytes).ok()?;
    raw.end = IN_FLIGHT;
    raw.end_ns = now;
    Some(bytes_of(&raw))
}

pub(crate) fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: a Plain type has no padding, so all of its bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// Records back to back, each behind its length: how the ring thread hands them on.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    len: usize,
}

impl Batch {
    /// Appends a copy of a record.
    pub fn push(&mut self, record: &[u8]) {
        let Ok(size) = u32::try_from(record.len()) else { return };
        self.bytes.extend_from_slice(&size.to_ne_bytes());
        self.bytes.extend_from_slice(record);
        self.len += 1;
    }

    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.len = 0;
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (size, tail) = rest.split_first_chunk()?;
            let (record, tail) = tail.split_at_checked(u32::from_ne_bytes(*size) as usize)?;
            rest = tail;
            Some(record)
        })
    }
}

/// Made-up records, for whoever measures what is done with them.
#[doc(hidden)]
pub mod sample {
    use super::{Batch, DATA_OFFSET, bytes_of, flag};
    use crate::kernel::{rw_path, rw_task, rw_write};

    const TASK: u64 = 1;
    const START_NS: u64 = 1_000_000_000_000;

    /// One thread that writes to `files` files in turn, 512 bytes at a time: their strings, then `writes` writes.
    #[must_use]
    pub fn batch(writes: u64, files: u64) -> Batch {
        let mut batch = Batch::default();
        let mut strings = |header: Vec<u8>, data: &[u8]| {
            let mut record = header;
            record.resize(DATA_OFFSET, 0);
            record.extend_from_slice(data);
            batch.push(&record);
        };
        let command = b"/usr/bin/database\0--data\0/var/lib/database\0";
        let task = rw_task {
            r#type: 3,
            task_id: TASK,
            tgid: 4711,
            tid: 4711,
            comm: *b"database\0\0\0\0\0\0\0\0",
            size: u32::try_from(command.len()).unwrap_or(0),
            ..rw_task::default()
        };
        strings(bytes_of(&task), command);
        for id in 0..files {
            let names = format!("segment-{id}.log\0database\0lib\0var\0");
            let size = u32::try_from(names.len()).unwrap_or(0);
            let path = rw_path { r#type: 2, path_id: id, inode: id, size, mode: 0o100_644, ..rw_path::default() };
            strings(bytes_of(&path), names.as_bytes());
        }
        for i in 0..writes {
            batch.push(&bytes_of(&rw_write {
                r#type: 1,
                flags: flag::SUBMIT | flag::FILE | flag::KI_POS | flag::EXEC_TID | flag::END_SEEN,
                submit_ns: START_NS + i * 1000,
                end_ns: START_NS + i * 1000 + 700 + i % 300,
                task_id: TASK,
                path_id: i % files.max(1),
                user_data: i,
                asked_pos: (i * 512).cast_signed(),
                ki_pos: (i * 512 + 512).cast_signed(),
                buf: 0x7fff_1234_5000,
                inode: i % files.max(1),
                dev: 0x80_0001,
                tid: 4711,
                exec_tid: 4711,
                result: 512,
                len: 512,
                fd: 3,
                mode: 0o100_644,
                opcode: 23,
                ..rw_write::default()
            }));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_write_survives_the_way() {
        let raw = rw_write { r#type: 1, result: -28, len: 7, end: 1, executor: 2, ..rw_write::default() };
        let Ok(Record::Write(w)) = decode(&bytes_of(&raw)) else { panic!("not a write") };
        assert_eq!((w.result, w.len, w.end, w.executor), (-28, 7, End::Overflow, Executor::Sqpoll));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let raw = rw_write { r#type: 1, end: 9, ..rw_write::default() };
        assert_eq!(decode(&bytes_of(&raw)).err(), Some(Malformed::Field("end", 9)));
        let raw = rw_write { r#type: 1, executor: 77, ..rw_write::default() };
        assert_eq!(decode(&bytes_of(&raw)).err(), Some(Malformed::Field("executor", 77)));
        assert_eq!(decode(&9u32.to_ne_bytes()).err(), Some(Malformed::Type(9)));
        assert_eq!(decode(&[1, 0]).err(), Some(Malformed::Short(2)));
    }

    #[test]
    fn names_cannot_claim_more_than_was_sent() {
        let raw = rw_names { r#type: 5, size: 3, len: [1, 2, 0], ..rw_names::default() };
        let mut bytes = bytes_of(&raw);
        bytes.resize(DATA_OFFSET, 0);
        bytes.extend_from_slice(b"abc");
        let Ok(Record::Names(names)) = decode(&bytes) else { panic!("no names") };
        assert_eq!(names.strings, [&b"a"[..], b"bc", b""]);
        let raw = rw_names { len: [1, 2, 1], ..raw };
        bytes[..size_of::<rw_names>()].copy_from_slice(&bytes_of(&raw));
        assert_eq!(decode(&bytes).err(), Some(Malformed::Short(bytes.len())));
    }

    #[test]
    fn a_path_cannot_claim_more_than_was_sent() {
        let raw = rw_path { r#type: 2, size: 5, ..rw_path::default() };
        let mut bytes = bytes_of(&raw);
        bytes.resize(DATA_OFFSET, 0);
        bytes.extend_from_slice(b"a\0bc");
        assert_eq!(decode(&bytes).err(), Some(Malformed::Short(bytes.len())));
        bytes.push(0);
        let Ok(Record::Path(path)) = decode(&bytes) else { panic!("not a path") };
        assert_eq!(path.names, b"a\0bc\0");
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u32..9) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_chunk_mut() {
                *first = kind.to_ne_bytes();
            }
            let _ = decode(&bytes);
        }

        #[test]
        fn a_batch_returns_what_was_pushed(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut batch = Batch::default();
            for record in &records {
                batch.push(record);
            }
            prop_assert_eq!(batch.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), records);
        }
    }
}
