/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire contract: what the kernel side puts into its buffers, and the shared constants.
 * The Rust types are generated from this file. Every field of a record is always written, so that
 * no stale memory reaches user space.
 */
#ifndef RINGWATCH_RECORD_H
#define RINGWATCH_RECORD_H

enum {
	RW_COMM_LEN = 16,
	/* Bytes of one name: NAME_MAX. */
	RW_NAME_MAX = 255,
	/* Variable part of a path or task record. */
	RW_DATA_MAX = 32768,
	/* Components and mount points of a path that one record carries. */
	RW_PATH_DEPTH = 1024,
	/* Bytes of a command line that a task record carries. */
	RW_CMDLINE_MAX = 4096,
};

enum rw_type {
	RW_WRITE = 1,
	RW_PATH = 2,
	RW_TASK = 3,
	/* A request of any other opcode, or one of which more is asked for than a struct rw_write holds. */
	RW_REQUEST = 4,
	/* The strings that a request brought along. */
	RW_NAMES = 5,
	/* A ring was created. */
	RW_CREATED = 6,
	/* A struct rw_write of what was done to a file without io_uring; `opcode` is an enum rw_file. */
	RW_FILE = 7,
};

enum rw_file {
	RW_FILE_WRITE = 0,
	RW_FILE_WRITEV = 1,
	RW_FILE_OPEN = 2,
	RW_FILE_MODIFIED = 3,
};

/* How a write's end became known. */
enum rw_end {
	/* io_uring_complete: the CQE was posted. */
	RW_END_CQE = 0,
	/* The CQ ring was full: the CQE went to the overflow list. */
	RW_END_OVERFLOW = 1,
	/* IOSQE_CQE_SKIP_SUCCESS: no CQE; the success was found afterwards. */
	RW_END_SKIPPED = 2,
	/* Cancelled with a failed link whose CQEs are suppressed. */
	RW_END_LINK = 3,
	/* The kernel never told how it ended. */
	RW_END_UNSEEN = 4,
	/* Still in flight when tracing stopped. */
	RW_END_IN_FLIGHT = 5,
	/* Reported at its submission: there was no room to follow it, and it would have had no CQE. */
	RW_END_UNTRACKED = 6,
};

enum rw_executor {
	RW_EXEC_SUBMITTER = 0,
	RW_EXEC_IOWQ = 1,
	RW_EXEC_SQPOLL = 2,
	RW_EXEC_KERNEL = 3,
	RW_EXEC_UNKNOWN = 4,
	RW_EXECUTORS = 5,
};

enum rw_flag {
	/* `fd` is an index into the ring's registered files. */
	RW_F_FIXED_FILE = 1 << 0,
	/* Submitted by the ring's SQPOLL thread. */
	RW_F_SQPOLL = 1 << 1,
	/* The submission was seen: submit_ns, fd and asked_pos are valid. */
	RW_F_SUBMIT = 1 << 2,
	/* path_id, dev, inode and mode are valid. */
	RW_F_FILE = 1 << 3,
	/* The file has no name any more. */
	RW_F_DELETED = 1 << 4,
	/* Refused in preparation: io_uring_req_failed. */
	RW_F_PREP_FAILED = 1 << 5,
	/* Handed to io-wq at least once. */
	RW_F_PUNTED = 1 << 6,
	/* The file has no position: pipe, socket, anonymous inode. */
	RW_F_NO_POS = 1 << 7,
	/* ki_pos is what the kernel held at the end of the request. */
	RW_F_KI_POS = 1 << 8,
	/* exec_tid is valid. */
	RW_F_EXEC_TID = 1 << 9,
	/* A path record was cut: too many components or bytes. Of a task record: its command line. */
	RW_F_TRUNCATED = 1 << 10,
	/* IOSQE_CQE_SKIP_SUCCESS was set on the request. */
	RW_F_CQE_SKIP = 1 << 11,
	/* A member of a link that is not its head: the file was not yet known at submission. */
	RW_F_FOLLOWER = 1 << 12,
	/* The dentry has no parent and no mount point: pipe, socket, memfd, anonymous inode. */
	RW_F_PSEUDO = 1 << 13,
	/* The SQPOLL ring's creator was read from the poll thread's name, not seen at creation. */
	RW_F_CREATOR_NAME = 1 << 14,
	/* O_APPEND or RWF_APPEND: the offset asked for is not where the data went. */
	RW_F_APPEND = 1 << 15,
	/* end_ns is the end itself, and not the moment at which it was found. */
	RW_F_END_SEEN = 1 << 16,
	/* O_DIRECT; only where sums are asked for. */
	RW_F_DIRECT = 1 << 17,
	/* Names were read from the program's memory, which it can change meanwhile, and not from the kernel's copy. */
	RW_F_USER_NAMES = 1 << 18,
	/* The strings of the request could not be sent, so it counts as lost. */
	RW_F_NAMELESS = 1 << 19,
	/* The open made the file. */
	RW_F_CREATED = 1 << 20,
	/* The name is gone, or never was one, and the file has others. */
	RW_F_STALE = 1 << 22,
	/* A handler of its own takes the writes to the file (no write_iter): it may move the offset or not. */
	RW_F_HANDLER = 1 << 23,
	/* The entry of the submission queue was not seen: fd and rw_flags are unknown. */
	RW_F_NO_SQE = 1 << 28,
	/* Of a path record: it begins at a directory that is not mounted in the way in which the file was reached. */
	RW_F_UNREACHABLE = 1 << 21,
	/* Of a request with names: root and current directory are those of its submission, as seen by who carried it out. */
	RW_F_SAME_PLACE = 1 << 29,
};

struct rw_write {
	__u32 type;
	__u32 flags;
	__u64 submit_ns;
	__u64 end_ns;
	__u64 task_id;
	__u64 path_id;
	__u64 ctx;
	__u64 user_data;
	/* Offset of the SQE; -1: the file's current position. */
	__s64 asked_pos;
	/* kiocb.ki_pos at the end, see RW_F_KI_POS. */
	__s64 ki_pos;
	__u64 buf;
	__u64 inode;
	__u32 dev;
	__u32 tid;
	__u32 exec_tid;
	__s32 result;
	__u32 len;
	__u32 iov_count;
	__s32 fd;
	__u32 rw_flags;
	__u16 mode;
	__u8 opcode;
	__u8 end;
	__u8 executor;
	__u8 pad[3];
};
_Static_assert(sizeof(struct rw_write) == 128, "two cache lines");

/* Names and numbers that an opcode has beside those of a write; what each means is in ops.h. */
enum {
	RW_ARGS = 4,
	RW_NAMES_MAX = 3,
	/* Bytes of a name, with its NUL: PATH_MAX. */
	RW_NAME_SIZE = 4096,
};

struct rw_request {
	struct rw_write w;
	/* REQ_F_* as they stand at the end. */
	__u64 req_flags;
	/* When it was handed to io-wq, and when it began to wait for its file the last time; 0: never. */
	__u64 punted_ns;
	__u64 armed_ns;
	/* Of the struct rw_names that was sent at its submission; 0: none. */
	__u64 names_id;
	__s64 arg[RW_ARGS];
	/* Ids of the paths that were acted upon by name, as the kernel had them then; 0: not known. */
	__u64 acted[2];
	/* The mount that was about to be written to, for the kernel side alone. */
	__u64 mnt;
	/* For the kernel side alone: the submitter with its thread id, and where the request stands in `places`. */
	__u64 task;
	__u32 task_tid;
	__u32 place;
	/* How often it began to wait for its file. */
	__u32 arms;
	/* The SQPOLL thread that submitted it; 0: none did. */
	__u32 sq_tid;
	/* Of the submitter's root and current directory, for the kernel side alone; 0: not looked at. */
	__u32 moves;
	/* The first sweep that looked at it, for the kernel side alone; 0: none has. */
	__u32 round;
	/* For the kernel side alone; see bpf/request.h. */
	__u64 claim;
	__u64 marks;
};

/* A directory: the id of its path, and what tells it from another one in its place. */
struct rw_directory {
	__u64 path_id;
	__u64 inode;
	/* Id of its mount. */
	__u32 mount;
	__u32 pad;
};

/*
 * The strings of one request, sent at its submission: `len` bytes each at RW_DATA_OFFSET, without NUL. Names of files are
 * relative to the directories `from`, and `root` is the one that `..` does not lead out of.
 */
struct rw_names {
	__u32 type;
	__u32 flags;
	__u64 names_id;
	struct rw_directory from[2];
	struct rw_directory root;
	__u32 size;
	__u32 len[RW_NAMES_MAX];
};

struct rw_created {
	__u32 type;
	__u32 flags;
	__u64 ctx;
	/* At the place of a write's `end_ns`. */
	__u64 time_ns;
	__u64 task_id;
	__s32 fd;
	__u32 sq_entries;
	__u32 cq_entries;
	__u32 setup;
	__u32 sq_tid;
	__u32 tid;
};
_Static_assert(__builtin_offsetof(struct rw_created, time_ns) == __builtin_offsetof(struct rw_write, end_ns),
	       "records are put in order by one place");

/* What stands before the writes of a CPU's queue. The numbers grow without end. */
struct rw_queue {
	/* Writes that the CPU put in, and on a line of its own, those that user space took out. */
	__u64 head;
	__u64 pad_head[7];
	__u64 tail;
	__u64 pad_tail[7];
};
_Static_assert(sizeof(struct rw_queue) == sizeof(struct rw_write), "both are elements of one array");

/* `size` bytes at RW_DATA_OFFSET: the components, leaf first, each ended by a NUL. */
struct rw_path {
	__u32 type;
	__u32 flags;
	__u64 path_id;
	__u64 inode;
	__u32 size;
	__u32 mode;
	/* Of the mount namespace in which it begins; 0: in none. */
	__u32 mnt_ns;
	/* Of the file system. */
	__u32 magic;
};

/* In place of a path's id: why the path of an open file is not known. Other ids have their highest bit set. */
enum rw_path_unknown {
	/* It was renamed each time that it was read. */
	RW_PATH_RENAMED = 1,
	/* It was opened by a handle, and the kernel knows no name of it. */
	RW_PATH_DISCONNECTED = 2,
	/* Too many deep paths at once. */
	RW_PATH_DEEP = 3,
};

/* `size` bytes at RW_DATA_OFFSET: the command line as the process holds it, arguments ended by NUL. */
struct rw_task {
	__u32 type;
	__u32 flags;
	__u64 task_id;
	__u64 start_boottime;
	__u64 cgroup_id;
	__u64 exe_path_id;
	__u32 tgid;
	__u32 tid;
	__u32 ns_tgid;
	__u32 ns_tid;
	__u32 ppid;
	__u32 uid;
	__u32 mnt_ns;
	__u32 pid_ns;
	__u8 comm[RW_COMM_LEN];
	__u32 size;
	/* Where the arguments are in the process's memory, and their length: they tell one exec from the next. */
	__u32 arg_len;
	__u64 arg_start;
};

enum {
	/* Where the variable part of both records starts. */
	RW_DATA_OFFSET = 112,
};
_Static_assert(sizeof(struct rw_task) <= RW_DATA_OFFSET && sizeof(struct rw_path) <= RW_DATA_OFFSET &&
		       sizeof(struct rw_names) <= RW_DATA_OFFSET,
	       "headers fit before the data");

/* Indices of the per-CPU counters. */
enum rw_counter {
	/* Writes that ended and were put into the ring buffer. */
	RW_COUNT_WRITES = 0,
	/* Writes that ended while the ring buffer was full. */
	RW_LOST_RING_FULL = 1,
	/* Requests not followed because there was no room: their event lacks what only the submission tells. */
	RW_LOST_TABLE_FULL = 2,
	/* Path or task strings dropped because all scratch buffers of the CPU were in use; the write counts as lost. */
	RW_LOST_SCRATCH = 3,
	/* Processes not followed because the table of the process tree was full. */
	RW_LOST_TREE_FULL = 4,
	/* What a second program did, since the first one was skipped. */
	RW_COUNT_AGAIN = 5,
	RW_COUNTERS = 6,
};

#endif
