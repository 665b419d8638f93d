//! Flags of a record; `enum rw_flag`.

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
