/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sums instead of records. A write is added where it would be sent, so that both tell of the same writes. What belongs
 * to the CPU's first work buffer is added to as it is, all else atomically.
 */
#ifndef RINGWATCH_STAT_H
#define RINGWATCH_STAT_H

static const struct rw_row no_row = {};

enum outcome_flag {
	OUT_UNTIMED = 1 << 0,
	OUT_FAILED = 1 << 1,
	OUT_UNKNOWN = 1 << 2,
	OUT_SHORT = 1 << 3,
	OUT_TINY = 1 << 4,
	OUT_OVERFLOW = 1 << 5,
	OUT_PUNTED = 1 << 6,
};

static __always_inline void plus(u64 *sum, u64 n)
{
	__sync_fetch_and_add(sum, n);
}

/* `alone`: nobody else adds to it now. */
static __always_inline void plus_if(bool alone, u64 *sum, u64 n)
{
	if (alone)
		*sum += n;
	else
		plus(sum, n);
}

/* 1 if `v` has more than `bits` bits, without a branch: which way it goes is as random as the value. */
static __always_inline u64 exceeds(u64 v, const u32 bits)
{
	return ((1ULL << bits) - 1 - v) >> 63;
}

/* The place of the highest bit. */
static __always_inline u64 log2_of(u64 v)
{
	u64 shift = 0;

	/* Seconds; the rest takes numbers below 2^63. */
	if (v >> 32) {
		v >>= 32;
		shift = 32;
	}
	for (u32 bits = 16; bits > 1; bits /= 2) {
		u64 step = exceeds(v, bits) * bits;

		v >>= step;
		shift += step;
	}
	return shift + (v >> 1);
}

/* Log-linear; src/stat/buckets.rs has its inverse. */
static __always_inline u64 bucket_of(u64 value, const u32 bits)
{
	u64 shift;

	if (value < 1ULL << bits)
		return value;
	shift = log2_of(value) - bits;
	return (shift << bits) + (value >> shift);
}

/* Without a branch, too. */
static __always_inline void row_add(struct rw_row *row, const struct outcome *out)
{
	u64 flags = out->flags, punted = flags / OUT_PUNTED & 1, untimed = flags / OUT_UNTIMED & 1;

	row->writes += 1;
	row->bytes += out->bytes;
	row->latency_ns += out->latency_ns;
	row->untimed += untimed;
	row->failed += flags / OUT_FAILED & 1;
	row->unknown += flags / OUT_UNKNOWN & 1;
	row->short_writes += flags / OUT_SHORT & 1;
	row->tiny += flags / OUT_TINY & 1;
	row->overflows += flags / OUT_OVERFLOW & 1;
	row->punted += punted;
	row->punted_ns += out->latency_ns & -punted;
	row->punted_untimed += punted & untimed;
}

static __always_inline void row_merge(struct rw_row *row, const struct rw_row *from)
{
	const u64 *n = (const u64 *)from;
	u64 *sum = (u64 *)row;

	for (u32 i = 0; i < sizeof(*row) / sizeof(u64); i++)
		plus(&sum[i], n[i]);
}

/* The row of `key`, or where the table is full that of all others. */
static __always_inline struct rw_row *row_of(void *table, const void *key, u32 other)
{
	struct rw_row *row = bpf_map_lookup_elem(table, key);

	if (row)
		return row;
	bpf_map_update_elem(table, key, &no_row, BPF_NOEXIST);
	row = bpf_map_lookup_elem(table, key);
	return row ?: bpf_map_lookup_elem(&stat_other, &other);
}

/* Failures of one kind, so that it can be told whether the program goes on in spite of them. */
static __noinline int failure_add(const struct rw_write *rec)
{
	struct rw_failure_key key = { .task_id = rec->task_id, .error = -rec->result };
	struct rw_failure first = { .first_ns = rec->end_ns }, *held;

	held = bpf_map_lookup_elem(&stat_failures, &key);
	if (!held) {
		bpf_map_update_elem(&stat_failures, &key, &first, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&stat_failures, &key);
		if (!held)
			return 0;
	}
	plus(&held->count, 1);
	if (rec->submit_ns > held->first_ns)
		plus(&held->later, 1);
	return 0;
}

static __always_inline void class_add(const struct work *w, const struct outcome *out)
{
	const struct rw_write *rec = &w->rec;
	/* Indices of 64 bits: with those of 32 the verifiers before 6.2 do not see the bounds. */
	u64 error = out->flags & OUT_FAILED ? -(s64)rec->result : 0;
	bool alone = !w->nest;
	u32 key = rec->executor + (alone ? 0 : RW_EXECUTORS);
	struct rw_class *class = bpf_map_lookup_elem(&stat_classes, &key);

	if (!class)
		return;
	plus_if(alone, &class->ends[AT_MOST(rec->end, RW_ENDS - 1)], 1);
	plus_if(alone, &class->asked, rec->len);
	plus_if(alone, &class->sizes[AT_MOST(bucket_of(rec->len, RW_SIZE_BITS), RW_SIZE_BUCKETS - 1)], 1);
	if (!(out->flags & OUT_UNTIMED)) {
		plus_if(alone, &class->latency_ns, out->latency_ns);
		plus_if(alone,
			&class->latency[AT_MOST(bucket_of(out->latency_ns, RW_LATENCY_BITS),
						RW_LATENCY_BUCKETS - 1)],
			1);
	}
	if (out->bytes)
		plus_if(alone, &class->bytes, out->bytes);
	if (out->flags & OUT_PUNTED)
		plus_if(alone, &class->punted, 1);
	if (out->flags & OUT_SHORT)
		plus_if(alone, &class->short_writes, 1);
	if (out->flags & OUT_FAILED)
		plus_if(alone, &class->errors[AT_MOST(error < RW_ERRNOS ? error : 0, RW_ERRNOS - 1)], 1);
}

static __always_inline void outcome_of(const struct rw_write *rec, struct outcome *out)
{
	bool told = rec->end != RW_END_UNSEEN && rec->end != RW_END_IN_FLIGHT && rec->end != RW_END_UNTRACKED;
	u64 flags = 0;

	out->bytes = 0;
	out->latency_ns = 0;
	if (!told)
		flags |= OUT_UNKNOWN;
	else if (rec->result < 0)
		flags |= OUT_FAILED;
	else
		out->bytes = rec->result;
	if (told && rec->result >= 0 && (u32)rec->result < rec->len)
		flags |= OUT_SHORT;
	if (!(rec->flags & RW_F_SUBMIT) || !(rec->flags & RW_F_END_SEEN))
		flags |= OUT_UNTIMED;
	else if (rec->end_ns > rec->submit_ns)
		out->latency_ns = rec->end_ns - rec->submit_ns;
	if (rec->len < RW_TINY)
		flags |= OUT_TINY;
	if (rec->end == RW_END_OVERFLOW)
		flags |= OUT_OVERFLOW;
	if (rec->flags & RW_F_PUNTED)
		flags |= OUT_PUNTED;
	out->flags = flags;
}

/* Adds the run to its rows, and ends it. */
ONCE int run_end(struct run *run)
{
	struct rw_file_key file;
	struct rw_row *row;
	u64 task;

	if (!run || !run->sums.writes)
		return 0;
	file = run->file;
	row = row_of(&stat_files, &file, RW_OTHER_FILES);
	if (row)
		row_merge(row, &run->sums);
	task = run->task_id;
	row = row_of(&stat_tasks, &task, RW_OTHER_TASKS);
	if (row)
		row_merge(row, &run->sums);
	__builtin_memset(&run->sums, 0, sizeof(run->sums));
	return 0;
}

static __always_inline bool run_is_of(const struct run *run, const struct rw_file_key *file, u64 task_id)
{
	return run->file.path_id == file->path_id && run->file.kind == file->kind &&
	       run->file.direct == file->direct && run->task_id == task_id;
}

static __always_inline void stat_add(struct work *w)
{
	struct rw_file_key file = {};
	struct outcome *out;
	struct run *run;

	/* Kept in a map, so that the verifier does not follow each of its values. */
	out = &w->out;
	outcome_of(&w->rec, out);
	class_add(w, out);
	if (w->rec.flags & RW_F_FILE) {
		file.path_id = w->rec.path_id;
		file.kind = w->rec.mode & S_IFMT;
		file.direct = !!(w->rec.flags & RW_F_DIRECT);
	}
	run = &w->run;
	if (!run_is_of(run, &file, w->rec.task_id)) {
		run_end(run);
		run->file = file;
		run->task_id = w->rec.task_id;
	}
	row_add(&run->sums, out);
	/* Unless the kernel is about to tell of another one. */
	if (!w->more)
		run_end(run);
	if (out->flags & OUT_FAILED)
		failure_add(&w->rec);
}

#endif
