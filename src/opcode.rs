//! Names of what io_uring counts and of the flags that programs give: opcodes, request flags, flags of the operations.

use std::borrow::Cow;

/// IORING_OP_*, by number. A test holds them against the running kernel.
pub const OPCODES: [&str; 65] = [
    "NOP",
    "READV",
    "WRITEV",
    "FSYNC",
    "READ_FIXED",
    "WRITE_FIXED",
    "POLL_ADD",
    "POLL_REMOVE",
    "SYNC_FILE_RANGE",
    "SENDMSG",
    "RECVMSG",
    "TIMEOUT",
    "TIMEOUT_REMOVE",
    "ACCEPT",
    "ASYNC_CANCEL",
    "LINK_TIMEOUT",
    "CONNECT",
    "FALLOCATE",
    "OPENAT",
    "CLOSE",
    "FILES_UPDATE",
    "STATX",
    "READ",
    "WRITE",
    "FADVISE",
    "MADVISE",
    "SEND",
    "RECV",
    "OPENAT2",
    "EPOLL_CTL",
    "SPLICE",
    "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS",
    "TEE",
    "SHUTDOWN",
    "RENAMEAT",
    "UNLINKAT",
    "MKDIRAT",
    "SYMLINKAT",
    "LINKAT",
    "MSG_RING",
    "FSETXATTR",
    "SETXATTR",
    "FGETXATTR",
    "GETXATTR",
    "SOCKET",
    "URING_CMD",
    "SEND_ZC",
    "SENDMSG_ZC",
    "READ_MULTISHOT",
    "WAITID",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_WAITV",
    "FIXED_FD_INSTALL",
    "FTRUNCATE",
    "BIND",
    "LISTEN",
    "RECV_ZC",
    "EPOLL_WAIT",
    "READV_FIXED",
    "WRITEV_FIXED",
    "PIPE",
    "NOP128",
    "URING_CMD128",
];

/// IORING_OP_WRITEV.
pub const WRITEV: u8 = 2;
/// IORING_OP_WRITEV_FIXED.
pub const WRITEV_FIXED: u8 = 61;
/// IORING_OP_RENAMEAT.
pub const RENAMEAT: u8 = 35;
/// IORING_OP_UNLINKAT.
pub const UNLINKAT: u8 = 36;
/// IORING_OP_MKDIRAT.
pub const MKDIRAT: u8 = 37;
/// IORING_OP_SYMLINKAT.
pub const SYMLINKAT: u8 = 38;
/// IORING_OP_LINKAT.
pub const LINKAT: u8 = 39;
/// IORING_OP_FSETXATTR.
pub const FSETXATTR: u8 = 41;
/// IORING_OP_SETXATTR.
pub const SETXATTR: u8 = 42;

/// The name of an opcode; `None`: it is newer than this program.
#[must_use]
pub fn name(opcode: u8) -> Option<&'static str> {
    OPCODES.get(usize::from(opcode)).copied()
}

/// The number of an opcode.
#[must_use]
pub fn number(name: &str) -> Option<u8> {
    OPCODES.iter().position(|&n| n == name).and_then(|i| u8::try_from(i).ok())
}

/// Whether the result of this opcode is a number of bytes that were moved.
#[must_use]
pub fn transfers(name: &str) -> bool {
    const TRANSFERS: [&str; 18] = [
        "READ",
        "READV",
        "READ_FIXED",
        "READV_FIXED",
        "READ_MULTISHOT",
        "WRITE",
        "WRITEV",
        "WRITE_FIXED",
        "WRITEV_FIXED",
        "SEND",
        "SENDMSG",
        "SEND_ZC",
        "SENDMSG_ZC",
        "RECV",
        "RECVMSG",
        "RECV_ZC",
        "SPLICE",
        "TEE",
    ];
    TRANSFERS.contains(&name)
}

/// Whether the result of this opcode is a number of bytes.
#[must_use]
pub fn returns_bytes(name: &str) -> bool {
    transfers(name) || matches!(name, "GETXATTR" | "FGETXATTR")
}

/// Whether its buffer is a vector.
#[must_use]
pub fn is_vector(number: u8) -> bool {
    matches!(number, WRITEV | WRITEV_FIXED)
}

/// Whether an operation of this opcode that failed posts its CQE in spite of IOSQE_CQE_SKIP_SUCCESS, so that one without a
/// CQE is known to have succeeded. The kernel does not mark these as failed, and takes some links back in silence; of opcodes
/// that are not known nothing is said.
#[must_use]
pub fn fails_aloud(number: u8) -> bool {
    const SILENT: [&str; 18] = [
        "FSYNC",
        "SYNC_FILE_RANGE",
        "FALLOCATE",
        "FTRUNCATE",
        "STATX",
        "MADVISE",
        "SHUTDOWN",
        "RENAMEAT",
        "UNLINKAT",
        "MKDIRAT",
        "SYMLINKAT",
        "LINKAT",
        "FSETXATTR",
        "SETXATTR",
        "FGETXATTR",
        "GETXATTR",
        // Taken back with -ECANCELED where what they guard ends in time.
        "LINK_TIMEOUT",
        // Not tried.
        "EPOLL_WAIT",
    ];
    name(number).is_some_and(|name| !SILENT.contains(&name))
}

/// Names of flags; bits without one as numbers.
pub type Names = Vec<Cow<'static, str>>;

fn names(flags: u64, known: &[(u64, &'static str)]) -> Names {
    let mut left = flags;
    let mut found: Names = vec![];
    for &(mask, name) in known {
        if mask != 0 && left & mask == mask {
            left &= !mask;
            found.push(name.into());
        }
    }
    found.extend(bits(left).map(|bit| Cow::Owned(format!("{:#x}", 1u64 << bit))));
    found
}

fn bits(flags: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| flags >> bit & 1 == 1)
}

#[allow(clippy::cast_sign_loss, reason = "flags of the C library are positive")]
const fn bit(flag: i32) -> u64 {
    flag as u64
}

/// O_LARGEFILE, which the C library calls 0 where every file is one.
#[cfg(target_arch = "aarch64")]
const O_LARGEFILE: u64 = 0o400_000;
#[cfg(not(target_arch = "aarch64"))]
const O_LARGEFILE: u64 = 0o100_000;

/// `O_CREAT`.
pub const O_CREAT: u64 = bit(libc::O_CREAT);
/// `O_EXCL`.
pub const O_EXCL: u64 = bit(libc::O_EXCL);
/// `O_NOFOLLOW`.
pub const O_NOFOLLOW: u64 = bit(libc::O_NOFOLLOW);
/// `O_TRUNC`.
pub const O_TRUNC: u64 = bit(libc::O_TRUNC);

/// Whether an open with these flags makes a file without a name.
#[must_use]
pub fn makes_unnamed(flags: u64) -> bool {
    flags & bit(libc::O_TMPFILE) == bit(libc::O_TMPFILE)
}

/// Flags of an open, as open(2) has them.
#[must_use]
pub fn open_flags(flags: u64) -> Names {
    // Those that contain others come first.
    let known = [
        (bit(libc::O_TMPFILE), "O_TMPFILE"),
        (bit(libc::O_SYNC), "O_SYNC"),
        (O_CREAT, "O_CREAT"),
        (O_EXCL, "O_EXCL"),
        (bit(libc::O_NOCTTY), "O_NOCTTY"),
        (O_TRUNC, "O_TRUNC"),
        (bit(libc::O_APPEND), "O_APPEND"),
        (bit(libc::O_NONBLOCK), "O_NONBLOCK"),
        (bit(libc::O_DSYNC), "O_DSYNC"),
        (bit(libc::O_ASYNC), "O_ASYNC"),
        (bit(libc::O_DIRECT), "O_DIRECT"),
        (O_LARGEFILE, "O_LARGEFILE"),
        (bit(libc::O_DIRECTORY), "O_DIRECTORY"),
        (O_NOFOLLOW, "O_NOFOLLOW"),
        (bit(libc::O_NOATIME), "O_NOATIME"),
        (bit(libc::O_CLOEXEC), "O_CLOEXEC"),
        (bit(libc::O_PATH), "O_PATH"),
    ];
    let access = match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    };
    let mut all: Names = vec![access.into()];
    all.extend(names(flags & !3, &known));
    all
}

/// `RESOLVE_NO_SYMLINKS`.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// `RESOLVE_BENEATH`.
pub const RESOLVE_BENEATH: u64 = 0x08;
/// `RESOLVE_IN_ROOT`.
pub const RESOLVE_IN_ROOT: u64 = 0x10;

/// RESOLVE_* of openat2.
#[must_use]
pub fn resolve_flags(flags: u64) -> Names {
    let known = [
        (0x01, "RESOLVE_NO_XDEV"),
        (0x02, "RESOLVE_NO_MAGICLINKS"),
        (RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"),
        (RESOLVE_BENEATH, "RESOLVE_BENEATH"),
        (RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"),
        (0x20, "RESOLVE_CACHED"),
    ];
    names(flags, &known)
}

/// FALLOC_FL_* of fallocate(2).
#[must_use]
pub fn fallocate_mode(mode: u64) -> Names {
    let known = [
        (0x01, "FALLOC_FL_KEEP_SIZE"),
        (0x02, "FALLOC_FL_PUNCH_HOLE"),
        (0x08, "FALLOC_FL_COLLAPSE_RANGE"),
        (0x10, "FALLOC_FL_ZERO_RANGE"),
        (0x20, "FALLOC_FL_INSERT_RANGE"),
        (0x40, "FALLOC_FL_UNSHARE_RANGE"),
        (0x80, "FALLOC_FL_WRITE_ZEROES"),
    ];
    names(mode, &known)
}

/// SPLICE_F_* of splice(2).
#[must_use]
pub fn splice_flags(flags: u64) -> Names {
    let known = [
        (0x01, "SPLICE_F_MOVE"),
        (0x02, "SPLICE_F_NONBLOCK"),
        (0x04, "SPLICE_F_MORE"),
        (0x08, "SPLICE_F_GIFT"),
        (SPLICE_F_FD_IN_FIXED, "SPLICE_F_FD_IN_FIXED"),
    ];
    names(flags, &known)
}

/// `fd_in` is an index of the ring's registered files.
pub const SPLICE_F_FD_IN_FIXED: u64 = 1 << 31;

/// RENAME_* of renameat2(2).
#[must_use]
pub fn rename_flags(flags: u64) -> Names {
    names(flags, &[(0x01, "RENAME_NOREPLACE"), (0x02, "RENAME_EXCHANGE"), (0x04, "RENAME_WHITEOUT")])
}

/// `AT_SYMLINK_FOLLOW`.
pub const AT_SYMLINK_FOLLOW: u64 = 0x400;
/// `AT_REMOVEDIR`.
pub const AT_REMOVEDIR: u64 = 0x200;

/// AT_* of unlinkat(2) and linkat(2).
#[must_use]
pub fn at_flags(flags: u64) -> Names {
    names(flags, &[(AT_REMOVEDIR, "AT_REMOVEDIR"), (AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"), (0x1000, "AT_EMPTY_PATH")])
}

/// XATTR_* of setxattr(2).
#[must_use]
pub fn xattr_flags(flags: u64) -> Names {
    names(flags, &[(0x01, "XATTR_CREATE"), (0x02, "XATTR_REPLACE")])
}

/// IORING_FSYNC_*.
#[must_use]
pub fn fsync_flags(flags: u64) -> Names {
    names(flags, &[(IORING_FSYNC_DATASYNC, "IORING_FSYNC_DATASYNC")])
}

/// As fdatasync(2).
pub const IORING_FSYNC_DATASYNC: u64 = 1;

/// REQ_F_* of a request, by the bits of the running kernel.
#[must_use]
pub fn request_flags(flags: u64, known: &[(u32, String)]) -> Names {
    bits(flags)
        .map(|bit| match known.iter().find(|(b, _)| *b == bit) {
            Some((_, name)) => Cow::Owned(name.clone()),
            None => Cow::Owned(format!("{:#x}", 1u64 << bit)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_have_their_numbers() {
        assert_eq!((name(0), name(23), name(64), name(65)), (Some("NOP"), Some("WRITE"), Some("URING_CMD128"), None));
        assert_eq!((number("MKDIRAT"), number("FTRUNCATE"), number("X")), (Some(37), Some(55), None));
        let known = [WRITEV, WRITEV_FIXED, RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT, FSETXATTR, SETXATTR];
        let known = known.map(name).map(Option::unwrap);
        assert_eq!(
            known,
            [
                "WRITEV",
                "WRITEV_FIXED",
                "RENAMEAT",
                "UNLINKAT",
                "MKDIRAT",
                "SYMLINKAT",
                "LINKAT",
                "FSETXATTR",
                "SETXATTR"
            ]
        );
    }

    #[test]
    fn flags_have_names_and_the_rest_stays_a_number() {
        let flags = |f: i32| open_flags(bit(f) | 1 << 40).join("|");
        assert_eq!(flags(libc::O_CREAT | libc::O_WRONLY), "O_WRONLY|O_CREAT|0x10000000000");
        assert_eq!(flags(libc::O_TMPFILE | libc::O_RDWR), "O_RDWR|O_TMPFILE|0x10000000000");
        assert_eq!(flags(libc::O_DIRECTORY), "O_RDONLY|O_DIRECTORY|0x10000000000");
        assert_eq!(request_flags(0b101, &[(2, "REQ_F_LINK".to_owned())]).join("|"), "0x1|REQ_F_LINK");
        assert!(rename_flags(0).is_empty());
    }
}
