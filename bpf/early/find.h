/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which request a completion belongs to, that names only its ring and user_data. */
#ifndef RINGWATCH_FIND_H
#define RINGWATCH_FIND_H

/* The request that a thread is about to complete, as a function just before the completion told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u64);
} completing SEC(".maps");

/* Instead of a request: its end was told already. Of that request alone: its posting may be missed in an interrupt. */
static __always_inline u64 told(const struct same_key *key)
{
	return mix(mix(cfg.key, key->ctx), key->user_data) | 1;
}

static __always_inline void note_completing(u64 req)
{
	u64 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&completing, &thread, &req, BPF_ANY);
}

static __always_inline u64 take_completing(void)
{
	u64 thread = bpf_get_current_pid_tgid(), *noted = bpf_map_lookup_elem(&completing, &thread), req;

	if (!noted)
		return 0;
	req = *noted;
	bpf_map_delete_elem(&completing, &thread);
	return req;
}

static __always_inline bool is_of(u64 req, const struct same_key *key)
{
	struct rw_write *rec = bpf_map_lookup_elem(&held, &req);

	return rec && rec->ctx == key->ctx && rec->user_data == key->user_data;
}

/* The ring's list of completions holds at most this many. */
#define BATCH_MAX 32

/* The first in the list that is about to be posted which has not ended yet. */
static __noinline u64 find_in_batch(const struct same_key *key, s32 result)
{
	struct io_ring_ctx___5_15 *now = (void *)key->ctx;
	struct io_ring_ctx___5_13 *old = (void *)key->ctx;
	struct io_kiocb **reqs, *req = NULL;
	u32 n;

	if (bpf_core_field_exists(now->submit_state.compl_nr)) {
		n = BPF_CORE_READ(now, submit_state.compl_nr);
		reqs = (void *)now + bpf_core_field_offset(now->submit_state.compl_reqs);
	} else if (bpf_core_field_exists(old->submit_state.comp)) {
		n = BPF_CORE_READ(old, submit_state.comp.nr);
		reqs = (void *)old + bpf_core_field_offset(old->submit_state.comp.reqs);
	} else {
		return 0;
	}
	for (u32 i = 0; i < BATCH_MAX; i++) {
		if (i >= n)
			break;
		bpf_probe_read_kernel(&req, sizeof(req), reqs + i);
		if (is_of((u64)req, key) && result_of(false, req) == result)
			return (u64)req;
	}
	return 0;
}

static __noinline u64 find_same(const struct same_key *key)
{
	struct same *s = bpf_map_lookup_elem(&same, key);

	if (!s)
		return 0;
	for (u32 i = 0; i < SAME_MAX; i++) {
		u64 req = s->reqs[i];

		if (req && is_of(req, key))
			return req;
	}
	return 0;
}

/* 0: no write that is followed. */
static __always_inline u64 find(const struct same_key *key, s32 result)
{
	return find_in_batch(key, result) ?: find_same(key);
}

#endif
