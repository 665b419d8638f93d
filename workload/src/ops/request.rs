//! An operation as a request, with what is known of it beforehand.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::name::{Data, Name, Text, put, string};
use crate::cx::Cx;
use crate::sys::{self, OpenHow, Sqe};
use crate::target::Target;

/// An operation and the event that tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) opcode: u8,
    pub(super) name: &'static str,
    pub(super) event: &'static str,
}

const fn kind(opcode: u8, name: &'static str, event: &'static str) -> Kind {
    Kind { opcode, name, event }
}

pub(super) const KINDS: &[Kind] = &[
    kind(sys::OP_FSYNC, "FSYNC", "io_fsync"),
    kind(sys::OP_FALLOCATE, "FALLOCATE", "io_fallocate"),
    kind(sys::OP_OPENAT, "OPENAT", "io_openat"),
    kind(sys::OP_WRITE, "WRITE", "io_write"),
    kind(sys::OP_OPENAT2, "OPENAT2", "io_openat"),
    kind(sys::OP_SPLICE, "SPLICE", "io_splice"),
    kind(sys::OP_TEE, "TEE", "io_tee"),
    kind(sys::OP_RENAMEAT, "RENAMEAT", "io_renameat"),
    kind(sys::OP_UNLINKAT, "UNLINKAT", "io_unlinkat"),
    kind(sys::OP_MKDIRAT, "MKDIRAT", "io_mkdirat"),
    kind(sys::OP_SYMLINKAT, "SYMLINKAT", "io_symlinkat"),
    kind(sys::OP_LINKAT, "LINKAT", "io_linkat"),
    kind(sys::OP_FSETXATTR, "FSETXATTR", "io_setxattr"),
    kind(sys::OP_SETXATTR, "SETXATTR", "io_setxattr"),
    kind(sys::OP_URING_CMD, "URING_CMD", "io_uring_cmd"),
    kind(sys::OP_FTRUNCATE, "FTRUNCATE", "io_ftruncate"),
];

/// Where an open puts the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// In the table of descriptors.
    None,
    /// In this slot of the ring's table.
    Index(u32),
    /// In a slot that the kernel picks.
    Any,
}

/// What an open should come to.
#[derive(Clone, Debug)]
pub(super) struct Opens {
    /// The file's own path.
    pub(super) path: Text,
    pub(super) name: Name,
    pub(super) created: bool,
    pub(super) truncated: bool,
    pub(super) slot: Slot,
}

#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) sqe: Sqe,
    /// None: a helper that no event tells.
    pub(super) kind: Option<Kind>,
    pub(super) data: Data,
    pub(super) opens: Option<Opens>,
    /// `IOSQE_CQE_SKIP_SUCCESS` on a request that succeeds.
    pub(super) skips: bool,
    results: RangeInclusive<i32>,
    errors: Vec<i32>,
}

impl Op {
    fn helper(cx: &Cx, opcode: u8) -> Self {
        // The top bit keeps the helpers apart from what is told.
        let user_data = cx.next_user_data() | 1 << 63;
        Self {
            sqe: Sqe { opcode, fd: -1, user_data, ..Sqe::default() },
            kind: None,
            data: Data::new(),
            opens: None,
            skips: false,
            results: 0..=0,
            errors: Vec::new(),
        }
    }

    fn new(cx: &Cx, opcode: u8) -> Self {
        let mut op = Self::helper(cx, opcode);
        op.sqe.user_data &= !(1 << 63);
        op.kind = KINDS.iter().find(|kind| kind.opcode == opcode).copied();
        op
    }

    /// An operation on an open file.
    fn on(cx: &Cx, opcode: u8, target: &Target) -> Self {
        let mut op = Self::new(cx, opcode).raw(|sqe| sqe.fd = target.fd).put("fd", target.fd);
        if target.fixed {
            op.sqe.flags |= sys::SQE_FIXED_FILE;
        }
        tell_file(&mut op.data, target);
        op
    }

    /// An operation on what one name leads to.
    fn by(cx: &Cx, opcode: u8, name: &Name) -> Self {
        let mut op = Self::new(cx, opcode).raw(|sqe| sqe.fd = name.dirfd);
        name.tell(&mut op.data, "");
        op
    }

    /// An operation on two names.
    fn between(cx: &Cx, opcode: u8, old: &Name, new: &Name, flags: u32) -> Self {
        let mut op = Self::new(cx, opcode)
            .raw(|sqe| {
                sqe.fd = old.dirfd;
                sqe.addr = old.addr;
                sqe.off = new.addr;
                sqe.len = new.dirfd as u32;
                sqe.rw_flags = flags;
            })
            .put("flags", flags);
        // Where one of them is not taken, whether the other was looked at is the kernel's business.
        let [first, second] = [(old, new), (new, old)]
            .map(|(name, other)| if other.taken { name.clone() } else { name.clone().unread() });
        first.tell(&mut op.data, "old_");
        second.tell(&mut op.data, "new_");
        op
    }

    pub(super) fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        put(&mut self.data, key, value);
        self
    }

    fn text(mut self, key: &str, text: &Text) -> Self {
        text.tell(&mut self.data, key);
        self
    }

    /// Changes the raw entry in a way that leaves the truth alone.
    pub(super) fn raw(mut self, change: impl FnOnce(&mut Sqe)) -> Self {
        change(&mut self.sqe);
        self
    }

    /// Adds `IOSQE_` flags.
    pub(super) fn flags(self, flags: u8) -> Self {
        self.raw(|sqe| sqe.flags |= flags)
    }

    pub(super) fn linked(self) -> Self {
        self.flags(sys::SQE_IO_LINK)
    }

    pub(super) fn by_worker(self) -> Self {
        self.flags(sys::SQE_ASYNC)
    }

    pub(super) fn skips(mut self) -> Self {
        self.skips = true;
        self.flags(sys::SQE_CQE_SKIP_SUCCESS)
    }

    /// The result that is foreseen.
    pub(super) fn gives(mut self, result: i32) -> Self {
        self.results = result..=result;
        self.errors.clear();
        self
    }

    pub(super) fn fails(self, errno: i32) -> Self {
        self.gives(-errno)
    }

    pub(super) fn cancelled(self) -> Self {
        self.fails(libc::ECANCELED)
    }

    /// An error that a file system or an older kernel may answer with.
    pub(super) fn or_fails(mut self, errno: i32) -> Self {
        self.errors.push(-errno);
        self
    }

    /// Ends before the kernel has learned what it is about: nothing of its own is to be compared.
    pub(super) fn refused(mut self, errno: i32) -> Self {
        self.data.clear();
        self.opens = None;
        self.fails(errno)
    }

    pub(super) fn allows(&self, result: i32) -> bool {
        self.results.contains(&result) || self.errors.contains(&result)
    }

    /// What was foreseen, for a message.
    pub(super) fn foreseen(&self) -> String {
        format!("{:?} or {:?}", self.results, self.errors)
    }

    fn opening(mut self, change: impl FnOnce(&mut Opens)) -> Self {
        if let Some(opens) = &mut self.opens {
            change(opens);
        }
        self
    }

    /// An open that makes the file.
    pub(super) fn creates(self) -> Self {
        self.opening(|opens| opens.created = true)
    }

    /// An open that empties the file.
    pub(super) fn truncates(self) -> Self {
        self.opening(|opens| opens.truncated = true)
    }

    /// An open that ends elsewhere than its name says.
    pub(super) fn leads_to(self, path: &[u8]) -> Self {
        self.opening(|opens| opens.path = Text::Known(path.to_vec()))
    }

    /// An open whose file has no name.
    pub(super) fn nameless(self) -> Self {
        self.opening(|opens| opens.path = Text::Untold)
    }

    /// An open into a slot of the ring's table of files.
    pub(super) fn into_slot(self, slot: u32) -> Self {
        self.opening(|opens| opens.slot = Slot::Index(slot)).raw(|sqe| sqe.file_index = slot + 1).gives(0)
    }

    /// An open into a free slot of the ring's table of files.
    pub(super) fn into_any_slot(self) -> Self {
        self.opening(|opens| opens.slot = Slot::Any).raw(|sqe| sqe.file_index = sys::FILE_INDEX_ALLOC)
    }
}

fn tell_file(data: &mut Data, target: &Target) {
    let path = target.path.clone().map_or(Text::Null, Text::Known);
    path.tell(data, "path");
    put(data, "deleted", target.deleted);
    put(data, "device", target.device);
    put(data, "inode", target.inode);
}

/// `O_LARGEFILE` as the kernel has it: the C library of a 64-bit machine may say 0.
pub(super) const O_LARGEFILE: u64 = if cfg!(any(target_arch = "arm", target_arch = "aarch64")) {
    0o400_000
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    0o200_000
} else {
    0o100_000
};

/// The flags of an open as the kernel keeps them: on a 64-bit machine every file may be large.
fn kept(flags: u64) -> u64 {
    let path_only = flags & libc::O_PATH as u64 != 0;
    if path_only || cfg!(target_pointer_width = "32") { flags } else { flags | O_LARGEFILE }
}

/// Whether an open with these flags may make a file, and so has use for a mode.
fn may_create(flags: i32) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// An extended attribute.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    name: Text,
    name_addr: u64,
    value_addr: u64,
    size: u32,
    flags: u32,
}

impl Attribute {
    pub(super) fn new(cx: &Cx, name: &[u8], size: u32) -> Self {
        Self {
            name: Text::Known(name.to_vec()),
            name_addr: string(cx, name),
            value_addr: cx.buf(size).addr,
            size,
            flags: 0,
        }
    }

    pub(super) fn flags(mut self, flags: i32) -> Self {
        self.flags = flags as u32;
        self
    }

    pub(super) fn name_at(mut self, addr: u64) -> Self {
        self.name_addr = addr;
        self
    }

    pub(super) fn value_at(mut self, addr: u64) -> Self {
        self.value_addr = addr;
        self
    }

    fn apply(&self, op: Op) -> Op {
        op.raw(|sqe| {
            sqe.addr = self.name_addr;
            sqe.off = self.value_addr;
            sqe.len = self.size;
            sqe.rw_flags = self.flags;
        })
        .text("name", &self.name)
        .put("size", self.size)
        .put("flags", self.flags)
    }
}

/// Where a splice takes its bytes from, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct From<'a> {
    pub(super) target: &'a Target,
    /// -1: where the file stands.
    pub(super) pos: i64,
    pub(super) len: u32,
}

fn position(pos: i64) -> Option<i64> {
    (pos != -1).then_some(pos)
}

/// The operations, at the hand of a part.
impl Cx {
    pub(super) fn mkdirat(&self, name: &Name, mode: u32) -> Op {
        Op::by(self, sys::OP_MKDIRAT, name)
            .raw(|sqe| {
                sqe.addr = name.addr;
                sqe.len = mode;
            })
            .put("mode", mode)
    }

    pub(super) fn unlinkat(&self, name: &Name, flags: i32) -> Op {
        Op::by(self, sys::OP_UNLINKAT, name)
            .raw(|sqe| {
                sqe.addr = name.addr;
                sqe.rw_flags = flags as u32;
            })
            .put("flags", flags)
            .put("directory", flags & libc::AT_REMOVEDIR != 0)
    }

    pub(super) fn symlinkat(&self, target: &[u8], name: &Name) -> Op {
        let told = if name.taken { Text::Known(target.to_vec()) } else { Text::Untold };
        Op::by(self, sys::OP_SYMLINKAT, name)
            .raw(|sqe| {
                sqe.addr = string(self, target);
                sqe.off = name.addr;
            })
            .text("target", &told)
    }

    pub(super) fn renameat(&self, old: &Name, new: &Name, flags: u32) -> Op {
        Op::between(self, sys::OP_RENAMEAT, old, new, flags)
    }

    pub(super) fn linkat(&self, old: &Name, new: &Name, flags: i32) -> Op {
        Op::between(self, sys::OP_LINKAT, old, new, flags as u32)
    }

    fn open(&self, opcode: u8, name: &Name, how: OpenHow) -> Op {
        let mut op = Op::new(self, opcode)
            .raw(|sqe| {
                sqe.fd = name.dirfd;
                sqe.addr = name.addr;
            })
            .put("mode", how.mode)
            .put("resolve", how.resolve);
        // What is refused keeps the flags that were given.
        if name.taken {
            op = op.put("flags", kept(how.flags));
        }
        op.results = 0..=i32::MAX;
        op.opens = Some(Opens {
            path: name.path.clone(),
            name: name.clone(),
            created: false,
            truncated: false,
            slot: Slot::None,
        });
        op
    }

    pub(super) fn openat(&self, name: &Name, flags: i32, mode: u32) -> Op {
        // The kernel drops a mode that it has no use for.
        let told = if may_create(flags) { mode } else { 0 };
        let how = OpenHow { flags: flags as u64, mode: u64::from(told), resolve: 0 };
        self.open(sys::OP_OPENAT, name, how).raw(|sqe| {
            sqe.len = mode;
            sqe.rw_flags = flags as u32;
        })
    }

    pub(super) fn openat2(&self, name: &Name, flags: i32, mode: u32, resolve: u64) -> Op {
        let how = OpenHow { flags: flags as u64, mode: u64::from(mode), resolve };
        let at = self.keep(&[how]);
        self.open(sys::OP_OPENAT2, name, how).raw(|sqe| {
            sqe.off = at.addr;
            sqe.len = at.len;
        })
    }

    pub(super) fn fallocate(&self, target: &Target, mode: i32, pos: i64, len: i64) -> Op {
        Op::on(self, sys::OP_FALLOCATE, target)
            .raw(|sqe| {
                sqe.off = pos as u64;
                sqe.addr = len as u64;
                sqe.len = mode as u32;
            })
            .put("mode", mode)
            .put("pos", pos)
            .put("len", len)
    }

    pub(super) fn ftruncate(&self, target: &Target, len: i64) -> Op {
        Op::on(self, sys::OP_FTRUNCATE, target).raw(|sqe| sqe.off = len as u64).put("len", len)
    }

    pub(super) fn fsync(&self, target: &Target, pos: i64, len: u32, flags: u32) -> Op {
        Op::on(self, sys::OP_FSYNC, target)
            .raw(|sqe| {
                sqe.off = pos as u64;
                sqe.len = len;
                sqe.rw_flags = flags;
            })
            .put("pos", pos)
            .put("len", len)
            .put("flags", flags)
            .put("datasync", flags & sys::FSYNC_DATASYNC != 0)
    }

    fn move_bytes(&self, opcode: u8, from: From<'_>, target: &Target, flags: u32) -> Op {
        let flags = if from.target.fixed { flags | sys::SPLICE_FD_IN_FIXED } else { flags };
        let path = from.target.path.clone().map_or(Text::Null, Text::Known);
        Op::on(self, opcode, target)
            .raw(|sqe| {
                sqe.len = from.len;
                sqe.rw_flags = flags;
                sqe.file_index = from.target.fd as u32;
            })
            .put("len", from.len)
            .put("flags", flags)
            .put("fd_in", from.target.fd)
            .put("fixed_file_in", from.target.fixed)
            .text("path_in", &path)
            .gives(from.len as i32)
    }

    pub(super) fn splice(&self, from: From<'_>, target: &Target, pos: i64, flags: u32) -> Op {
        self.move_bytes(sys::OP_SPLICE, from, target, flags)
            .raw(|sqe| {
                sqe.off = pos as u64;
                sqe.addr = from.pos as u64;
            })
            .put("pos", position(pos))
            .put("pos_in", position(from.pos))
    }

    pub(super) fn tee(&self, from: From<'_>, target: &Target, flags: u32) -> Op {
        self.move_bytes(sys::OP_TEE, from, target, flags).put("pos", Value::Null).put("pos_in", Value::Null)
    }

    pub(super) fn fsetxattr(&self, target: &Target, attribute: &Attribute) -> Op {
        attribute
            .apply(Op::on(self, sys::OP_FSETXATTR, target))
            .put("path_source", "file")
            .put("path_certain", true)
            .put("path_given", Value::Null)
    }

    pub(super) fn setxattr(&self, name: &Name, attribute: &Attribute) -> Op {
        let mut op = attribute.apply(Op::by(self, sys::OP_SETXATTR, name)).raw(|sqe| {
            sqe.fd = 0;
            sqe.addr3 = name.addr;
        });
        // There is none: such a name is looked up from where the thread is.
        op.data.remove("dirfd");
        op
    }

    pub(super) fn command(&self, target: &Target, command: u32) -> Op {
        Op::on(self, sys::OP_URING_CMD, target).raw(|sqe| sqe.off = u64::from(command)).put("command", command)
    }

    /// A write at a position, or to a stream.
    pub(super) fn put_bytes(&self, target: &Target, pos: i64, len: u32) -> Op {
        Op::on(self, sys::OP_WRITE, target)
            .raw(|sqe| {
                sqe.off = pos as u64;
                sqe.addr = self.buf(len).addr;
                sqe.len = len;
            })
            .put("pos", position(pos))
            .put("len", len)
            .gives(len as i32)
    }

    pub(super) fn close(&self, fd: i32) -> Op {
        Op::helper(self, sys::OP_CLOSE).raw(|sqe| sqe.fd = fd)
    }

    pub(super) fn close_slot(&self, slot: u32) -> Op {
        self.close(0).raw(|sqe| sqe.file_index = slot + 1)
    }

    /// A request that is only waited for.
    pub(super) fn nothing(&self) -> Op {
        Op::helper(self, sys::OP_NOP)
    }

    /// Asks for device and inode; `into` has room for the answer.
    pub(super) fn statx(&self, dirfd: i32, path: &[u8], flags: i32, into: u64) -> Op {
        Op::helper(self, sys::OP_STATX).raw(|sqe| {
            sqe.fd = dirfd;
            sqe.addr = string(self, path);
            sqe.off = into;
            sqe.len = libc::STATX_INO;
            sqe.rw_flags = flags as u32;
        })
    }
}

/// The results that the truth tells, from that of the completion.
pub(super) fn outcome(data: &mut Data, result: i32, error: Option<&'static str>) {
    put(data, "result", result);
    put(data, "error", error);
    put(data, "outcome", if result < 0 { "failure" } else { "success" });
}

/// The fields of an open that depend on what came of it.
pub(super) fn tell_opened(data: &mut Data, opens: &Opens, result: i32, file: Option<(u32, u64)>) {
    let success = result >= 0;
    opens.name.tell(data, "");
    if success {
        data.remove("path");
        data.remove("path_bytes");
        opens.path.tell(data, "path");
        put(data, "path_source", "file");
        put(data, "path_certain", true);
    }
    let slot = match opens.slot {
        Slot::None => None,
        Slot::Index(index) => Some(index),
        Slot::Any => u32::try_from(result).ok(),
    };
    put(data, "fixed_slot", slot);
    put(data, "created", success.then_some(opens.created));
    put(data, "truncated", success.then_some(opens.truncated));
    put(data, "device", file.map(|(device, _)| device));
    put(data, "inode", file.map(|(_, inode)| inode));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn opcodes_are_told_once() {
        for (i, one) in KINDS.iter().enumerate() {
            assert!(KINDS[..i].iter().all(|other| other.opcode != one.opcode && other.name != one.name));
        }
    }

    #[test]
    fn the_kernel_adds_large_file_unless_only_the_path_is_opened() {
        assert_eq!(kept(0), if cfg!(target_pointer_width = "32") { 0 } else { O_LARGEFILE });
        assert_eq!(kept(libc::O_PATH as u64), libc::O_PATH as u64);
    }

    #[test]
    fn a_directory_is_not_a_nameless_file() {
        assert!(may_create(libc::O_CREAT | libc::O_WRONLY));
        assert!(may_create(libc::O_TMPFILE | libc::O_RDWR));
        assert!(!may_create(libc::O_DIRECTORY));
    }

    #[test]
    fn a_failure_knows_its_name_only() {
        let name = Name {
            addr: 0,
            dirfd: 3,
            given: Text::Known(b"x".to_vec()),
            path: Text::Known(b"/d/x".to_vec()),
            taken: true,
        };
        let opens =
            Opens { path: Text::Known(b"/other".to_vec()), name, created: true, truncated: false, slot: Slot::None };
        let mut data = Data::new();
        tell_opened(&mut data, &opens, -libc::ENOENT, None);
        let expected = json!({
            "path": "/d/x", "path_given": "x", "dirfd": 3, "fixed_slot": null,
            "created": null, "truncated": null, "device": null, "inode": null,
        });
        assert_eq!(Value::Object(data.clone()), expected);
        tell_opened(&mut data, &opens, 5, Some((1, 2)));
        let expected = json!({
            "path": "/other", "path_source": "file", "path_certain": true, "path_given": "x", "dirfd": 3, "fixed_slot": null,
            "created": true, "truncated": false, "device": 1, "inode": 2,
        });
        assert_eq!(Value::Object(data), expected);
    }
}
