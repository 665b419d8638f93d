/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire contract of the inventory: one record for each ring and each way in which a task holds it, all of the same
 * size. Every field is always written.
 */
#ifndef RINGWATCH_RINGS_RECORD_H
#define RINGWATCH_RINGS_RECORD_H

enum {
	RW_RING_COMM = 16,
	/* Personalities and threads that one record carries; the numbers beside them count all. */
	RW_RING_CREDS = 16,
	RW_RING_THREADS = 16,
};

/* How a task holds a ring. */
enum rw_hold {
	/* `fd` is a descriptor. */
	RW_HOLD_FD = 1,
	/* `fd` is an index of the rings that the thread registered. */
	RW_HOLD_REGISTERED = 2,
	/* Its memory is mapped. */
	RW_HOLD_MAPPED = 3,
};

/* What the kernel has: else the field is 0. */
enum rw_ring_known {
	RW_RING_CREATED = 1 << 0,
	RW_RING_QUEUES = 1 << 1,
	RW_RING_FILES = 1 << 2,
	RW_RING_BUFFERS = 1 << 3,
	RW_RING_PERSONALITIES = 1 << 4,
	RW_RING_TASKS = 1 << 5,
	RW_RING_SQ_THREAD = 1 << 6,
	RW_RING_SQ_CPU = 1 << 7,
};

struct rw_ring_creds {
	u64 cap_effective;
	u32 id;
	u32 uid;
	u32 euid;
	u32 fsuid;
	u32 gid;
	u32 egid;
	u32 fsgid;
	u32 pad;
};

struct rw_ring_thread {
	u32 tgid;
	u32 tid;
};

struct rw_ring {
	/* The ring's identity: an address, never to be shown. */
	u64 ctx;
	u64 inode;
	/* Time of day in ns: when the inode was made. */
	s64 created;
	/* Of the holder's process. */
	u64 start_boottime;
	u64 cgroup_id;
	/* Process and thread ids: of the pid namespace of the reader, those that end in _ns of the task's own. */
	u32 tgid;
	u32 tid;
	u32 tgid_ns;
	u32 uid;
	u8 comm[RW_RING_COMM];
	/* enum rw_hold */
	u32 hold;
	u32 fd;
	/* enum rw_ring_known */
	u32 known;
	u32 setup_flags;
	u32 sq_entries;
	u32 sq_head;
	u32 sq_tail;
	u32 cq_entries;
	u32 cq_head;
	u32 cq_tail;
	u32 cq_overflowed;
	u32 files;
	u32 buffers;
	u32 sq_tid;
	u32 sq_tgid;
	s32 sq_cpu;
	u32 personalities;
	u32 threads;
	struct rw_ring_thread thread[RW_RING_THREADS];
	struct rw_ring_creds creds[RW_RING_CREDS];
};

#endif
