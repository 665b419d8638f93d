/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef RINGWATCH_MAPS_H
#define RINGWATCH_MAPS_H

enum {
	SEEN_BITS = 15,
	SEEN_WAYS = 8,
	/* Tasks of one CPU that may be inside a program at the same time: newer kernels can preempt them there. */
	NEST = 4,
};

/* A walk along a path, from the leaf up. */
struct path_walk {
	u64 d;
	u64 m;
	/* Keyed hashes: of what names the path, and of where that stood and how often it was changed. */
	u64 hash;
	u64 version;
	u64 name;
	/* Bytes of names that were copied. */
	u32 size;
	/* enum rw_flag. */
	u32 flags;
	/* Blocks of names that were read, and how many may be. */
	u32 blocks;
	u32 limit;
	u32 mnt_ns;
	/* The lowest bit is set when a name was being changed. */
	u32 seq;
	u32 ended;
	/* enum rw_path_unknown, or 0. */
	u32 unknown;
	/* Of the limit, what was taken from the CPU's allowance. */
	u32 granted;
	u32 magic;
};

struct scratch {
	union {
		struct rw_path path;
		struct rw_task task;
		struct rw_names names;
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
	/* In its own pid namespace. */
	u32 ns_tid;
	u32 pad;
	u64 start_boottime;
	u64 comm[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} events SEC(".maps");

#ifndef RW_EARLY
/*
 * A queue of writes for each CPU: a struct rw_queue, then cfg.queue_len writes. User space maps them. Each has one
 * writer, the owner of the CPU's first work buffer, so it needs no lock.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct rw_write);
} queues SEC(".maps");
#endif

/* Some ids whose strings user space holds, each with the epoch added. */
struct seen_set {
	u64 id[SEEN_WAYS];
};

/* All of them: an id has its place in one set. What is pushed out is only sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SEEN_BITS);
	__type(key, u32);
	__type(value, struct seen_set);
} seen SEC(".maps");

/* Creators of SQPOLL rings, by ring. No later ring drives one out; user space removes those of rings that are gone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, struct creator);
} creators SEC(".maps");

/* Processes of the followed tree, by their ids in ringwatch's pid namespace. */
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

/* One for each of `works`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEST);
	__type(key, u32);
	__type(value, struct path_walk);
} walks SEC(".maps");

/* What a CPU may spend on deep paths. */
struct allowance {
	u64 since_ns;
	u64 blocks;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct allowance);
} allowances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RW_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/*
 * Raised by user space when it forgets strings: what was seen before counts as unseen. A map of its own, since before
 * 5.5 user space can only write it whole.
 */
u32 epoch SEC(".data.epoch") = 0;

static __always_inline void count(u32 counter)
{
	u64 *n = bpf_map_lookup_elem(&counters, &counter);

	if (n)
		*n += 1;
}

/* False: there was no room. */
static __always_inline bool send(CTX const void *record, u64 size)
{
#ifdef RW_EARLY
	/* Before 5.8 user space makes `events` a perf buffer. */
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_output))
		return !bpf_perf_event_output(context, &events, BPF_F_CURRENT_CPU, (void *)record, size);
#endif
	return !bpf_ringbuf_output(&events, (void *)record, size, BPF_RB_NO_WAKEUP);
}

#endif
