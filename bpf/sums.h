/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What writes are added to instead of being sent: the wire contract, and the maps, which are as small as can be unless
 * cfg.aggregate is set; then user space sizes them.
 */
#ifndef RINGWATCH_SUMS_H
#define RINGWATCH_SUMS_H

enum {
	/*
	 * Buckets for each power of two, as a power of two, and for all values of 64 and 32 bits. The middle of a
	 * latency's bucket and the least of a size's, which mostly is the size itself, are at most 1.6 % off.
	 */
	RW_LATENCY_BITS = 5,
	RW_LATENCY_BUCKETS = 1920,
	RW_SIZE_BITS = 6,
	RW_SIZE_BUCKETS = 1728,
	/* The errnos that have names; 0 counts all others. */
	RW_ERRNOS = 134,
	RW_ENDS = RW_END_UNTRACKED + 1,
	/* Writes that are shorter are tiny. */
	RW_TINY = 512,
};

/* Writes of one executor, on one CPU. At most 32 KiB, as all values of a map for each CPU. */
struct rw_class {
	u64 bytes;
	/* Sum of the lengths asked for. */
	u64 asked;
	u64 latency_ns;
	u64 short_writes;
	u64 punted;
	/* By enum rw_end: their sum is the number of writes. */
	u64 ends[RW_ENDS];
	u64 errors[RW_ERRNOS];
	u64 latency[RW_LATENCY_BUCKETS];
	u64 sizes[RW_SIZE_BUCKETS];
};

/* Writes to one file, or of one thread. */
struct rw_row {
	u64 writes;
	u64 bytes;
	u64 latency_ns;
	/* Writes whose latency is not known. */
	u64 untimed;
	u64 failed;
	/* The kernel never told what came of them. */
	u64 unknown;
	u64 short_writes;
	u64 tiny;
	u64 overflows;
	u64 punted;
	/* Of these alone. */
	u64 punted_ns;
	u64 punted_untimed;
};

struct rw_file_key {
	/* 0: no file. */
	u64 path_id;
	/* The file's type, S_IFMT. */
	u32 kind;
	/* O_DIRECT. */
	u32 direct;
};

/* What a write adds to its rows. */
struct outcome {
	u64 bytes;
	u64 latency_ns;
	u64 flags;
};

/* Writes in a row to one file, by one thread: their sums go to the tables together. */
struct run {
	struct rw_file_key file;
	u64 task_id;
	struct rw_row sums;
};

struct rw_failure_key {
	u64 task_id;
	u32 error;
	u32 pad;
};

struct rw_failure {
	u64 count;
	/* The end of the first one. */
	u64 first_ns;
	/* How many were submitted after that. */
	u64 later;
};

/* Indices of `stat_other`. */
enum {
	RW_OTHER_FILES = 0,
	RW_OTHER_TASKS = 1,
	RW_OTHERS = 2,
};

/* By executor; then again, of programs that interrupted another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct rw_class);
} stat_classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct rw_file_key);
	__type(value, struct rw_row);
} stat_files SEC(".maps");

/* By task id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct rw_row);
} stat_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct rw_failure_key);
	__type(value, struct rw_failure);
} stat_failures SEC(".maps");

/* What found no room in a table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RW_OTHERS);
	__type(key, u32);
	__type(value, struct rw_row);
} stat_other SEC(".maps");

#endif
