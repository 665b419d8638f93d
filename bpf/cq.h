/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the kernel is in a ring's list of completions, for CQEs that find no room: their tracepoint does not name the
 * request. The kernel goes through the list in order, under the ring's lock, and once a CQE found no room, all that
 * follow find none. So a place in the list, kept by ring, tells which request comes next in constant time.
 */
#ifndef RINGWATCH_CQ_H
#define RINGWATCH_CQ_H

struct cursor {
	/* The list's first node when this was noted; 0: the CQ ring was filled from elsewhere. */
	u64 first;
	/* The last node of which an event was made. What follows it is read when it is needed: the list may grow until then. */
	u64 last;
	/* The last of the nodes right behind `last`, or of the first ones, that have no CQE to come; 0: none was passed. */
	u64 passed;
	/* The node that the kernel told last, where that is one before. */
	u64 at;
	/* What was made an event of before the kernel began again at the first; 0: nothing, or that is behind. */
	u64 until;
	/* SQEs that the ring had taken. */
	u32 sq;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct cursor);
} cursors SEC(".maps");

/*
 * Completions that have no CQE to come are passed over: as many as one list can hold, where the place behind them is kept,
 * so that no later CQE passes them again; or else so many.
 */
#define LIST_MAX 32768
#define SILENT_MAX 1024

#define CQE_SIZE 16

/* The low bits of a lock's owner are flags. */
#define OWNER_FLAGS 7UL

/* Whether the running thread holds the ring's lock, as whoever goes through its list of completions does. */
static __always_inline bool holds_ring(struct io_ring_ctx *ctx)
{
	u64 current = bpf_get_current_task(), owner;
	struct mutex___rt *rt = (void *)ctx + bpf_core_field_offset(ctx->uring_lock);

	if (bpf_core_field_exists(struct mutex, owner))
		owner = BPF_CORE_READ(ctx, uring_lock.owner.counter);
	else
		owner = (u64)BPF_CORE_READ(rt, rtmutex.owner);
	return (owner & ~OWNER_FLAGS) == current;
}

static __always_inline struct io_kiocb *request_of(u64 node)
{
	return node ? (void *)node - bpf_core_field_offset(struct io_kiocb, comp_list) : NULL;
}

/* The first completion of the list that is about to be told; 0: there is none. */
static __always_inline u64 first_completion(struct io_ring_ctx *ctx)
{
	u64 first = (u64)BPF_CORE_READ(ctx, submit_state.compl_reqs.first);

	/* Before 6.3 polled requests are told from the list that they wait in. */
	if (!first && bpf_core_field_exists(ctx->iopoll_list.first) &&
	    BPF_CORE_READ(ctx, flags) & IORING_SETUP_IOPOLL) {
		first = (u64)BPF_CORE_READ(ctx, iopoll_list.first);
		if (first && !BPF_CORE_READ(request_of(first), iopoll_completed))
			first = 0;
	}
	return first;
}

static __always_inline u64 node_of(struct io_kiocb *req)
{
	return (u64)req + bpf_core_field_offset(struct io_kiocb, comp_list);
}

static __always_inline u64 node_after(u64 node)
{
	return (u64)BPF_CORE_READ((struct io_wq_work_node *)node, next);
}

static __noinline void cq_filled(struct io_ring_ctx *ctx, struct io_kiocb *req)
{
	u64 key = (u64)ctx;
	struct cursor *held = bpf_map_lookup_elem(&cursors, &key);
	struct cursor now = {};

	if (req && holds_ring(ctx)) {
		now.first = first_completion(ctx);
		now.at = now.last = node_of(req);
		now.sq = BPF_CORE_READ(ctx, cached_sq_head);
	}
	if (held)
		*held = now;
	else
		bpf_map_update_elem(&cursors, &key, &now, BPF_ANY);
}

/* A CQE was posted. Where it took the last room that the kernel knows of, the next may overflow. */
static __always_inline void cq_posted(const bool typed, void *ring, struct io_kiocb *req)
{
	struct io_ring_ctx *ctx = CAST(typed, ring, struct io_ring_ctx);

	/* Before 6.0 the completion shows itself that its CQE found no room. */
	if (cfg.complete_first || !bpf_core_field_exists(ctx->cqe_sentinel))
		return;
	if ((u64)RD(typed, ctx, cqe_cached) + CQE_SIZE >= (u64)RD(typed, ctx, cqe_sentinel))
		cq_filled(ring, req);
}

/* The ring is new, whatever was at its address. */
static __always_inline void cq_created(u64 ring)
{
	bpf_map_delete_elem(&cursors, &ring);
}

struct posted_walk {
	u64 node;
	/* The last node that was passed over. */
	u64 passed;
	u64 user_data;
	s32 result;
	/* Look for the first that is held and has this user_data and result. */
	bool search;
	bool found;
};

/* Whether the kernel passes over it: it has no CQE to come, or will be tried again. */
static __always_inline bool is_passed_over(struct io_kiocb *req)
{
	u32 flags = BPF_CORE_READ(req, flags);

	return flags & (cfg.req_cqe_skip | cfg.req_reissue);
}

static __always_inline bool is_completion(struct io_kiocb *req, u64 user_data, s32 result)
{
	return user_data_of(false, req) == user_data && result_of(false, req) == result;
}

static __always_inline bool is_held_now(struct io_kiocb *req)
{
	u64 key = (u64)req;

	return is_in_slot(key) || (pending_count && bpf_map_lookup_elem(&pending, &key));
}

static long posted_step(u64 i, struct posted_walk *w)
{
	struct io_kiocb *req = request_of(w->node);

	if (!req)
		return 1;
	if (!is_passed_over(req) &&
	    (!w->search || (is_completion(req, w->user_data, w->result) && is_held_now(req)))) {
		w->found = true;
		return 1;
	}
	w->passed = w->node;
	w->node = (u64)BPF_CORE_READ(req, comp_list.next);
	return 0;
}

/*
 * The request that the kernel tells next from `node` on, if it has this user_data and result. `passed`: gets the last node
 * that was passed over.
 */
static __noinline struct io_kiocb *completion_at(u64 node, u64 user_data, s32 result, u32 most, u64 *passed)
{
	struct posted_walk w = { .node = node };
	struct io_kiocb *req = request_of(node);

	if (!req)
		return NULL;
	if (is_passed_over(req)) {
		bpf_loop(most, posted_step, &w, 0);
		if (passed && w.passed)
			*passed = w.passed;
		if (!w.found)
			return NULL;
		req = request_of(w.node);
	}
	return req && is_completion(req, user_data, result) ? req : NULL;
}

/* Without a place to begin at: the first that is held. */
static __noinline struct io_kiocb *completion_held(u64 node, u64 user_data, s32 result)
{
	struct posted_walk w = { .node = node, .user_data = user_data, .result = result, .search = true };

	bpf_loop(SILENT_MAX, posted_step, &w, 0);
	return w.found ? request_of(w.node) : NULL;
}

/* On many kernels, 6.12 among them, a worker posts the CQE of its request itself, past the list. */
static __always_inline struct io_kiocb *completion_of_worker(struct io_ring_ctx *ctx, u64 user_data, s32 result)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct io_worker *worker;
	struct io_wq_work *work;
	struct io_kiocb *req;

	if (!bpf_core_field_exists(struct io_worker, cur_work) ||
	    !(BPF_CORE_READ(current, flags) & PF_IO_WORKER) || !bpf_core_field_exists(current->worker_private))
		return NULL;
	worker = BPF_CORE_READ(current, worker_private);
	work = BPF_CORE_READ(worker, cur_work);
	if (!work)
		return NULL;
	req = (void *)work - bpf_core_field_offset(struct io_kiocb, work);
	return BPF_CORE_READ(req, ctx) == ctx && is_completion(req, user_data, result) ? req : NULL;
}

/* What a thread posts past its ring's list of completions. */
struct posting {
	u64 req;
	/* SQEs that the ring had taken: with the next one the request may be another. */
	u32 sq;
	u32 pad;
};

/* By thread; empty where the kernel has no such function to watch. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct posting);
} postings SEC(".maps");

/* On 6.0 to 6.9: whoever does not have the ring's lock, on 6.0 and 6.1 also what fails at its submission. */
static __always_inline int on_post(struct io_kiocb *req)
{
	struct io_ring_ctx *ctx = BPF_CORE_READ(req, ctx);
	struct posting posting = { .req = (u64)req };
	u64 thread = bpf_get_current_pid_tgid();

	/* Only what may find no room is ever asked for. */
	if (bpf_core_field_exists(ctx->cqe_sentinel) &&
	    (u64)BPF_CORE_READ(ctx, cqe_cached) < (u64)BPF_CORE_READ(ctx, cqe_sentinel))
		return 0;
	posting.sq = BPF_CORE_READ(ctx, cached_sq_head);
	bpf_map_update_elem(&postings, &thread, &posting, BPF_ANY);
	return 0;
}

static __noinline struct io_kiocb *posted_past(struct io_ring_ctx *ctx, u64 user_data, s32 result)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct posting *posting = bpf_map_lookup_elem(&postings, &thread);
	struct io_kiocb *req;

	if (!posting || posting->sq != BPF_CORE_READ(ctx, cached_sq_head))
		return NULL;
	req = (void *)posting->req;
	if (BPF_CORE_READ(req, ctx) != ctx || !is_completion(req, user_data, result) || !is_held_now(req))
		return NULL;
	return req;
}

/*
 * The request whose CQE found no room; NULL: it is of no request (MSG_RING and the like), was told before, or cannot be
 * told. Whoever posts a CQE of no request may choose user_data and result, so they only confirm what the place in the
 * list says. One that is like that of the request whose turn it is stands for it, which is complete in the list: from
 * there on the kernel is behind, and what it tells again makes no event.
 */
static __noinline struct io_kiocb *overflowed_in_list(struct io_ring_ctx *ctx, u64 user_data, s32 result)
{
	u64 key = (u64)ctx, first, node;
	struct cursor *held, now = {};
	struct io_kiocb *req;
	bool behind = false, told;
	u64 passed = 0;

	if (!holds_ring(ctx))
		return completion_of_worker(ctx, user_data, result);
	first = first_completion(ctx);
	if (!first)
		return NULL;
	held = bpf_map_lookup_elem(&cursors, &key);
	now.sq = BPF_CORE_READ(ctx, cached_sq_head);
	if (held && held->first == first) {
		/* Where submissions came between, what was noted may be of another list with the same first. */
		if (held->sq == now.sq)
			now = *held;
		else
			now.until = held->last;
	}
	now.first = first;
	node = now.passed ?: now.last;
	req = completion_at(node ? node_after(node) : first, user_data, result, held ? LIST_MAX : SILENT_MAX,
			    &passed);
	if (passed)
		now.passed = passed;
	if (!req && now.at && now.at != now.last) {
		behind = true;
		req = completion_at(node_after(now.at), user_data, result, SILENT_MAX, NULL);
	}
	/* So may another list where the kernel counts SQEs anew with each call. */
	if (!req && now.last) {
		behind = true;
		req = completion_at(first, user_data, result, SILENT_MAX, NULL);
	}
	/* Without a note completions of this list may have been posted before. */
	if (!req && !held)
		req = completion_held(first, user_data, result);
	if (!req) {
		if (held && passed)
			*held = now;
		return NULL;
	}
	now.at = node_of(req);
	told = (behind || now.until) && !is_held_now(req);
	if (!behind || !told) {
		now.last = now.at;
		now.passed = 0;
	}
	if (now.at == now.until)
		now.until = 0;
	if (held)
		*held = now;
	else
		bpf_map_update_elem(&cursors, &key, &now, BPF_ANY);
	return told ? NULL : req;
}

static __always_inline struct io_kiocb *overflowed(struct io_ring_ctx *ctx, u64 user_data, s32 result)
{
	struct io_kiocb *req = posted_past(ctx, user_data, result);

	return req ?: overflowed_in_list(ctx, user_data, result);
}

#endif
