/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sums instead of records. A write is added where it would be sent, so that both tell of the same writes. All sums are
 * added to atomically: a program can be preempted inside an addition, and another CPU can be in the same row.
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

/* What a write adds to its rows. */
struct outcome {
	u64 bytes;
	u64 latency_ns;
	u64 flags;
};

static __always_inline void plus(u64 *sum, u64 n)
{
	__sync_fetch_and_add(sum, n);
}

/* Log-linear; src/stat/buckets.rs has its inverse. Verified once: it takes numbers. */
__noinline u64 bucket_of(u64 value, u32 bits)
{
	u64 v = value, shift = 0;

	bits &= 7;
	if (value < 1ULL << bits)
		return value;
	if (v >> 32) {
		v >>= 32;
		shift += 32;
	}
	if (v >> 16) {
		v >>= 16;
		shift += 16;
	}
	if (v >> 8) {
		v >>= 8;
		shift += 8;
	}
	if (v >> 4) {
		v >>= 4;
		shift += 4;
	}
	if (v >> 2) {
		v >>= 2;
		shift += 2;
	}
	if (v >> 1)
		shift += 1;
	shift -= bits;
	return (shift << bits) + (value >> shift);
}

ONCE int row_add(struct rw_row *row, const struct outcome *out)
{
	u64 flags;

	if (!row || !out)
		return 0;
	flags = out->flags;
	plus(&row->writes, 1);
	if (out->bytes)
		plus(&row->bytes, out->bytes);
	if (flags & OUT_UNTIMED)
		plus(&row->untimed, 1);
	else
		plus(&row->latency_ns, out->latency_ns);
	if (flags & OUT_PUNTED) {
		plus(&row->punted, 1);
		if (flags & OUT_UNTIMED)
			plus(&row->punted_untimed, 1);
		else
			plus(&row->punted_ns, out->latency_ns);
	}
	if (flags & OUT_TINY)
		plus(&row->tiny, 1);
	if (!(flags & (OUT_FAILED | OUT_UNKNOWN | OUT_SHORT | OUT_OVERFLOW)))
		return 0;
	if (flags & OUT_FAILED)
		plus(&row->failed, 1);
	if (flags & OUT_UNKNOWN)
		plus(&row->unknown, 1);
	if (flags & OUT_SHORT)
		plus(&row->short_writes, 1);
	if (flags & OUT_OVERFLOW)
		plus(&row->overflows, 1);
	return 0;
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

static __always_inline void class_add(const struct rw_write *rec, const struct outcome *out)
{
	/* Indices of 64 bits: with those of 32 the verifiers before 6.2 do not see the bounds. */
	u64 end = rec->end, error = out->flags & OUT_FAILED ? -(s64)rec->result : 0, i;
	u32 key = rec->executor;
	struct rw_class *class = bpf_map_lookup_elem(&stat_classes, &key);

	if (!class)
		return;
	if (end < RW_ENDS)
		plus(&class->ends[end], 1);
	plus(&class->asked, rec->len);
	i = bucket_of(rec->len, RW_SIZE_BITS);
	if (i < RW_SIZE_BUCKETS)
		plus(&class->sizes[i], 1);
	if (!(out->flags & OUT_UNTIMED)) {
		plus(&class->latency_ns, out->latency_ns);
		i = bucket_of(out->latency_ns, RW_LATENCY_BITS);
		if (i < RW_LATENCY_BUCKETS)
			plus(&class->latency[i], 1);
	}
	if (out->bytes)
		plus(&class->bytes, out->bytes);
	if (out->flags & OUT_PUNTED)
		plus(&class->punted, 1);
	if (out->flags & OUT_SHORT)
		plus(&class->short_writes, 1);
	if (out->flags & OUT_FAILED)
		plus(&class->errors[error < RW_ERRNOS ? error : 0], 1);
}

static __always_inline void outcome_of(const struct rw_write *rec, struct outcome *out)
{
	bool told = rec->end != RW_END_UNSEEN && rec->end != RW_END_IN_FLIGHT;
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

ONCE int stat_add(const struct rw_write *rec)
{
	struct rw_file_key file = {};
	struct outcome out;
	u64 task;

	if (!rec)
		return 0;
	outcome_of(rec, &out);
	class_add(rec, &out);
	if (rec->flags & RW_F_FILE) {
		file.path_id = rec->path_id;
		file.kind = rec->mode & S_IFMT;
		file.direct = !!(rec->flags & RW_F_DIRECT);
	}
	row_add(row_of(&stat_files, &file, RW_OTHER_FILES), &out);
	task = rec->task_id;
	row_add(row_of(&stat_tasks, &task, RW_OTHER_TASKS), &out);
	if (out.flags & OUT_FAILED)
		failure_add(rec);
	return 0;
}

#endif
