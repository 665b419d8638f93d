/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef RINGWATCH_MAPS_H
#define RINGWATCH_MAPS_H

enum {
	SLOT_BITS = 14,
	SEEN_BITS = 14,
	PENDING_MAX = 65536,
	/* Tasks of one CPU that may be inside a program at the same time: newer kernels can preempt them there. */
	NEST = 4,
};

/* What only the submission tells of a request; completion reads the rest from the request itself. */
struct slot {
	u64 req;
	u64 user_data;
	u64 submit_ns;
	u64 task_id;
	s64 pos;
	u64 buf;
	u32 len;
	s32 fd;
	u32 tid;
	/* enum rw_flag, and the opcode in the highest byte. */
	u32 flags;
};

struct scratch {
	union {
		struct rw_path path;
		struct rw_task task;
		u8 header[RW_DATA_OFFSET];
	};
	/* A name or command line may start at the last byte of RW_DATA_MAX. */
	u8 data[RW_DATA_MAX + RW_CMDLINE_MAX];
	u32 busy;
};

_Static_assert(__builtin_offsetof(struct scratch, data) == RW_DATA_OFFSET, "the wire contract");

struct creator {
	u32 tgid;
	u32 tid;
	u64 comm[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} events SEC(".maps");

/* Requests in flight, by the hash of their address: one load tells whether a request is followed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SLOT_BITS);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* Requests in flight whose slot is taken, or of which completion cannot tell all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PENDING_MAX);
	__type(key, u64);
	__type(value, struct rw_write);
} pending SEC(".maps");

/* Ids whose strings user space holds; a collision only sends a string again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SEEN_BITS);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

/* Creators of SQPOLL rings, by ring. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct creator);
} creators SEC(".maps");

/* Process ids (tgid) of the followed process tree. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, u8);
} tree SEC(".maps");

/* NEST buffers for each CPU; user space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEST);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Requests inside io_write, by the thread that executes it; see probes/io_write.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u64);
} writing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RW_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/* Raised by user space when it forgets strings: what was seen before counts as unseen. */
u32 epoch = 0;
/* Entries in `pending`; while it is 0, nobody looks there. */
u64 pending_count = 0;

static __always_inline void count(u32 counter)
{
	u64 *n = bpf_map_lookup_elem(&counters, &counter);

	if (n)
		*n += 1;
}

#endif
