/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where programs can be preempted (7.0 and later), a task may be preempted before its program could prevent that. Until
 * it goes on, the kernel skips this program on that CPU. So each hot program has a second one behind it, that does its
 * work where it did not run: that both are preempted at once is not to be expected.
 */
#ifndef RINGWATCH_AGAIN_H
#define RINGWATCH_AGAIN_H

enum hit {
	HIT_SUBMIT,
	HIT_FAILED,
	HIT_PUNTED,
	HIT_COMPLETE,
	HITS,
};

/* The request that each first program saw last. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HITS);
	__type(key, u32);
	__type(value, u64);
} hits SEC(".maps");

static __always_inline void hit(enum hit kind, const void *req)
{
	u32 key = kind;
	u64 *last;

	if (!cfg.preemptible)
		return;
	last = bpf_map_lookup_elem(&hits, &key);
	if (last)
		*last = (u64)req;
}

/* Whether the first program saw this. False also where another task came between the two. */
static __always_inline bool was_hit(enum hit kind, const void *req)
{
	u32 key = kind;
	u64 *last = bpf_map_lookup_elem(&hits, &key);

	if (!last || *last != (u64)req)
		return false;
	*last = 0;
	return true;
}

static __always_inline bool is_held(const bool typed, struct io_kiocb *req)
{
	struct slot *slot = slot_of(req);
	u64 user_data = user_data_of(typed, req), key = (u64)req;
	struct rw_request *held;

	if (slot && slot->req == key && slot->user_data == user_data)
		return true;
	if (!pending_count)
		return false;
	held = bpf_map_lookup_elem(&pending, &key);
	return held && held->w.user_data == user_data;
}

#endif
