/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests in flight. */
#ifndef RINGWATCH_HELD_H
#define RINGWATCH_HELD_H

enum {
	HELD_MAX = 16384,
	/* Requests of one ring with equal user_data that can be told apart without the kernel's own lists. */
	SAME_MAX = 8,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HELD_MAX);
	__type(key, u64);
	__type(value, struct rw_write);
} held SEC(".maps");

struct same_key {
	u64 ctx;
	u64 user_data;
};

struct same {
	u64 reqs[SAME_MAX];
};

/* Requests by what their completion names. Entries are emptied, not deleted: another CPU may be adding to them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HELD_MAX);
	__type(key, struct same_key);
	__type(value, struct same);
} same SEC(".maps");

/* Requests that are held now, for user space. */
u64 held_count = 0;

static __always_inline void same_add(const struct rw_write *rec, u64 req)
{
	struct same_key key = { .ctx = rec->ctx, .user_data = rec->user_data };
	struct same *s = bpf_map_lookup_elem(&same, &key);

	if (!s) {
		struct same first = { .reqs = { req } };

		bpf_map_update_elem(&same, &key, &first, BPF_ANY);
		return;
	}
	for (u32 i = 0; i < SAME_MAX; i++) {
		if (!s->reqs[i]) {
			s->reqs[i] = req;
			return;
		}
	}
}

static __always_inline void same_remove(const struct rw_write *rec, u64 req)
{
	struct same_key key = { .ctx = rec->ctx, .user_data = rec->user_data };
	struct same *s = bpf_map_lookup_elem(&same, &key);

	if (!s)
		return;
	for (u32 i = 0; i < SAME_MAX; i++)
		if (s->reqs[i] == req)
			s->reqs[i] = 0;
}

static __always_inline void hold(u64 req, const struct rw_write *rec)
{
	if (bpf_map_update_elem(&held, &req, rec, BPF_ANY)) {
		count(RW_LOST_TABLE_FULL);
		return;
	}
	__sync_fetch_and_add(&held_count, 1);
	same_add(rec, req);
}

/* False: another CPU was faster. */
static __always_inline bool release(u64 req, const struct rw_write *rec)
{
	if (bpf_map_delete_elem(&held, &req))
		return false;
	__sync_fetch_and_add(&held_count, -1);
	same_remove(rec, req);
	return true;
}

/* The memory serves a new request: the old one ended without being told. */
static __noinline int recycled(CTX u64 req)
{
	struct rw_write *old = bpf_map_lookup_elem(&held, &req);
	struct work *w;

	if (!old)
		return 0;
	w = work_get(false);
	if (!w)
		return 0;
	w->rec = *old;
	if (release(req, &w->rec)) {
		w->rec.end_ns = bpf_ktime_get_ns();
		w->rec.end = RW_END_UNSEEN;
		/* Nothing but success goes without a CQE. */
		if (w->rec.flags & RW_F_CQE_SKIP) {
			w->rec.end = RW_END_SKIPPED;
			w->rec.result = w->rec.len;
		}
		emit(PASS_CTX w);
	}
	work_put(w);
	return 0;
}

#endif
