// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Called by user space: tells of writes whose end the kernel does not tell. */

/* Whether the memory of the request still is that request. */
static __always_inline bool still(struct io_kiocb *req, const struct rw_write *rec)
{
	return (u64)BPF_CORE_READ(req, ctx) == rec->ctx && user_data_of(false, req) == rec->user_data &&
	       BPF_CORE_READ(req, opcode) == rec->opcode;
}

/* A part of a sweep: user space goes on with the next one, and no part takes long. */
struct slice {
	/* The first place, and how many. */
	u32 from;
	u32 n;
	/* Steps that the part may take, however long each is. */
	u32 steps;
	/* Everything that is in flight is to be reported. */
	u32 stopping;
	/* Of this sweep. */
	u32 round;
	u32 pad;
};

/* Rings whose free requests were looked at in this round. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} looked_at SEC(".maps");

static __always_inline void spend(struct slice *slice, u32 steps)
{
	slice->steps = slice->steps > steps ? slice->steps - steps : 0;
}

static __always_inline u64 marks_of(struct rw_request *held, u64 claim)
{
	u64 marks = held->marks;

	return (marks & ~MARKS) == (claim & ~MARKS) ? marks & MARKS : 0;
}

static __always_inline void mark(struct rw_request *held, u64 claim, u64 as)
{
	held->marks = (claim & ~MARKS) | marks_of(held, claim) | as;
}

/* Whether the memory of a request that is still its own shows by itself that it ended, with no CQE to come. */
static __always_inline bool shows_its_end(struct io_kiocb *req, struct rw_request *held, u64 claim)
{
	/*
	 * Before the flags of the request: it may be handed over between the two looks. The kernel takes the credentials, then
	 * the tracepoint notes the hand-over.
	 */
	u32 punted = __sync_fetch_and_add(&held->w.flags, 0) & RW_F_PUNTED;
	u32 flags = BPF_CORE_READ(req, flags), marks = flags & (cfg.req_creds | cfg.req_polled);

	/* From 6.10 on a write holds async data from its preparation to its end. */
	if (is_write(held->w.opcode) && bpf_core_field_exists(struct io_async_rw, iter))
		return !(flags & cfg.req_async_data);
	/* Taken with the hand-over to io-wq, or while it waits for its file, and given back at the end. */
	if (punted)
		return !(flags & cfg.req_creds);
	if (marks)
		mark(held, claim, MARK_FLAGGED);
	return !marks && marks_of(held, claim) & MARK_FLAGGED;
}

static __always_inline bool is_silent_yet(struct io_kiocb *req)
{
	return BPF_CORE_READ(req, flags) & cfg.req_cqe_skip;
}

/* Whether the submitter is gone. Its workers end before it does. */
static __noinline bool is_orphan(const struct rw_request *held)
{
	struct task_struct *task = (void *)held->task;

	if (!is_done_by_thread(held->w.opcode) || held->w.flags & RW_F_FOLLOWER)
		return false;
	return BPF_CORE_READ(task, pid) != (int)held->task_tid || BPF_CORE_READ(task, exit_state);
}

/* False: the path could not be sent. */
static __always_inline bool late_file(struct work *w, struct io_kiocb *req, bool ended)
{
	struct rw_write *rec = &w->rec;
	struct file *file = BPF_CORE_READ(req, file);

	/* After the end the file may be gone: believe the request only while the ring's table agrees. */
	if (ended && (!(rec->flags & RW_F_FIXED_FILE) || file != file_of_index((void *)rec->ctx, rec->fd)))
		return true;
	return !file || take_file(false, w, file);
}

/* `claim`: of the entry that was looked at. */
static __noinline int end_pending(u64 key, u64 claim, bool ended)
{
	struct rw_request *held = bpf_map_lookup_elem(&pending, &key);
	struct io_kiocb *req = (void *)key;
	struct io_rw *rw = (void *)req;
	struct rw_write *rec;
	struct work *w;
	bool alive;

	if (!held)
		return 0;
	w = work_get(false);
	if (!w)
		return 0;
	rec = &w->rec;
	w->request = *held;
	alive = still(req, rec);
	if (!pending_take(key, held, claim))
		goto out;
	if (!(rec->flags & RW_F_FILE) && alive && is_write(rec->opcode) && !late_file(w, req, ended)) {
		count(RW_LOST_RING_FULL);
		goto out;
	}
	if (ended && alive && is_write(rec->opcode)) {
		rec->ki_pos = BPF_CORE_READ(rw, kiocb.ki_pos);
		/* Unless a new request has taken the memory meanwhile. */
		if (still(req, rec) && is_silent_yet(req) && !(BPF_CORE_READ(req, flags) & cfg.req_async_data))
			rec->flags |= RW_F_KI_POS;
	}
	emit_untold(w, ended ? RW_END_SKIPPED : RW_END_IN_FLIGHT);
out:
	work_put(w);
	return 0;
}

struct free_walk {
	struct io_wq_work_node *node;
	u32 steps;
	u32 round;
};

/*
 * A free request that is held ended; it is reported when its place is looked at. One that no earlier sweep has seen may
 * have been free when this look began, and in use again since.
 */
static long free_step(u64 i, struct free_walk *w)
{
	struct io_wq_work_node *node = w->node;
	struct rw_request *held;
	u64 key, claim;

	if (!node)
		return 1;
	w->steps++;
	w->node = BPF_CORE_READ(node, next);
	key = (u64)request_of((u64)node);
	held = bpf_map_lookup_elem(&pending, &key);
	if (!held)
		return 0;
	claim = claim_of(number_of(key), held);
	if (claim && held->round && held->round != w->round && held->w.flags & RW_F_CQE_SKIP &&
	    still((void *)key, &held->w) && is_silent_yet((void *)key))
		mark(held, claim, MARK_FREE);
	return 0;
}

/* Free requests that are looked at of a ring in one round; those behind them are found when they are used again. */
#define FREE_WALK_MAX 2048

static __noinline int look_at_free(u64 ring, struct slice *slice)
{
	struct io_ring_ctx___6_9 *old = (void *)ring;
	struct io_ring_ctx *ctx = (void *)ring;
	struct free_walk w = { .round = slice->round };
	u32 round = slice->round, *last = bpf_map_lookup_elem(&looked_at, &ring);

	if (last && *last == round)
		return 0;
	bpf_map_update_elem(&looked_at, &ring, &round, BPF_ANY);
	w.node = BPF_CORE_READ(ctx, submit_state.free_list.next);
	bpf_loop(FREE_WALK_MAX, free_step, &w, 0);
	if (bpf_core_field_exists(struct io_ring_ctx___6_9, locked_free_list)) {
		w.node = BPF_CORE_READ(old, locked_free_list.first);
		bpf_loop(FREE_WALK_MAX, free_step, &w, 0);
	}
	spend(slice, w.steps);
	return 0;
}

static __always_inline int look_at(u64 key, struct slice *slice)
{
	struct rw_request *held = bpf_map_lookup_elem(&pending, &key);
	struct io_kiocb *req = (void *)key;
	u64 claim;

	/* It is being put there, or taken away. */
	if (!held)
		return 0;
	claim = claim_of(number_of(key), held);
	if (!claim)
		return 0;
	if (slice->stopping) {
		spend(slice, 16);
		return end_pending(key, claim, held->w.flags & RW_F_CQE_SKIP && !still(req, &held->w));
	}
	if (!(held->w.flags & RW_F_CQE_SKIP))
		return 0;
	spend(slice, 4);
	if (!held->round)
		held->round = slice->round;
	if (!still(req, &held->w) || is_orphan(held))
		return end_pending(key, claim, true);
	/* A failure takes the flag away, and posts a CQE. */
	if (!is_silent_yet(req))
		return 0;
	if (marks_of(held, claim) & MARK_FREE || shows_its_end(req, held, claim))
		return end_pending(key, claim, true);
	if (!is_write(held->w.opcode) || !bpf_core_field_exists(struct io_async_rw, iter))
		return look_at_free(held->w.ctx, slice);
	return 0;
}

static long place_step(u64 i, struct slice *slice)
{
	u32 key = slice->from;
	u64 *place;

	if (!slice->n || !slice->steps)
		return 1;
	slice->from++;
	slice->n--;
	place = bpf_map_lookup_elem(&places, &key);
	if (place && *place && !(*place & PLACE_TOLD))
		look_at(*place, slice);
	return 0;
}

/* Looks at requests in flight that end without a CQE. Returns the place to go on with. */
SEC("syscall")
int sweep(struct slice *given)
{
	struct slice slice = *given;

	bpf_loop(1 << PLACE_BITS, place_step, &slice, 0);
	return slice.from;
}

/* How many there are. */
SEC("syscall")
int silent(void *unused)
{
	return silent_count;
}

static long count_slot(u64 i, u32 *n)
{
	u32 key = i;
	struct slot *slot = bpf_map_lookup_elem(&slots, &key);

	if (slot && slot->req)
		*n += 1;
	return 0;
}

/* Returns how many requests are followed now. */
SEC("syscall")
int in_flight(void *unused)
{
	u32 n = pending_count;

	bpf_loop(1 << SLOT_BITS, count_slot, &n, 0);
	return n;
}

static long slot_step(u64 i, struct slice *slice)
{
	u32 key = slice->from;
	struct slot *slot;
	struct io_kiocb *req;
	struct work *w;

	if (!slice->n || !slice->steps)
		return 1;
	slice->from++;
	slice->n--;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot || !slot->req)
		return 0;
	spend(slice, 16);
	w = work_get(false);
	if (!w)
		return 0;
	req = (void *)slot->req;
	slot_to_record(&w->rec, slot);
	if (!slot_take(slot, (u64)req))
		goto out;
	w->rec.ctx = (u64)BPF_CORE_READ(req, ctx);
	if (still(req, &w->rec) && !late_file(w, req, false)) {
		count(RW_LOST_RING_FULL);
		goto out;
	}
	emit_untold(w, RW_END_IN_FLIGHT);
out:
	work_put(w);
	return 0;
}

static long end_run(void *map, const u32 *key, struct work *w, void *unused)
{
	run_end(&w->run);
	return 0;
}

/* After the probes are detached: reports the rest of what is in flight. Returns the slot to go on with. */
SEC("syscall")
int sweep_slots(struct slice *given)
{
	struct slice slice = *given;

	bpf_loop(1 << SLOT_BITS, slot_step, &slice, 0);
	/* Of lists of completions that went on on another CPU. */
	if (cfg.aggregate && slice.from >= 1 << SLOT_BITS)
		bpf_for_each_map_elem(&works, end_run, NULL, 0);
	return slice.from;
}
