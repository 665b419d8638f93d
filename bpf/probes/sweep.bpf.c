// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Called by user space: tells of writes whose end the kernel does not tell. */

/* Whether the memory of the request still is that request. */
static __always_inline bool still(struct io_kiocb *req, const struct rw_write *rec)
{
	return (u64)BPF_CORE_READ(req, ctx) == rec->ctx && user_data_of(false, req) == rec->user_data;
}

struct free_walk {
	struct io_wq_work_node *node;
	struct io_wq_work_node *wanted;
	bool found;
};

static long free_step(u64 i, struct free_walk *w)
{
	struct io_wq_work_node *node = w->node;

	if (!node)
		return 1;
	if (node == w->wanted) {
		w->found = true;
		return 1;
	}
	w->node = BPF_CORE_READ(node, next);
	return 0;
}

/* A ring keeps a few hundred free requests; one that is not found is looked for again in the next sweep. */
#define FREE_WALK_MAX 4096

static __always_inline bool in_list(struct io_wq_work_node *first, struct io_kiocb *req)
{
	struct free_walk w = { .node = first };

	w.wanted = (void *)req + bpf_core_field_offset(struct io_kiocb, comp_list);
	bpf_loop(FREE_WALK_MAX, free_step, &w, 0);
	return w.found;
}

/* Whether a request whose memory is still its own has ended, with no CQE to come. */
static __noinline bool has_ended(struct io_kiocb *req, u8 opcode)
{
	struct io_ring_ctx___6_9 *old = (void *)BPF_CORE_READ(req, ctx);
	struct io_ring_ctx *ctx = BPF_CORE_READ(req, ctx);
	u32 flags = BPF_CORE_READ(req, flags);

	if (!(flags & cfg.req_cqe_skip))
		return false;
	/* From 6.10 on a write holds async data from its preparation to its end. */
	if (is_write(opcode) && bpf_core_field_exists(struct io_async_rw, iter))
		return !(flags & cfg.req_async_data);
	if (in_list(BPF_CORE_READ(ctx, submit_state.free_list.next), req))
		return true;
	return bpf_core_field_exists(struct io_ring_ctx___6_9, locked_free_list) &&
	       in_list(BPF_CORE_READ(old, locked_free_list.first), req);
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

static __noinline void end_pending(u64 key, const struct rw_request *held, bool stopping)
{
	struct io_kiocb *req = (void *)key;
	bool alive = still(req, &held->w);
	bool ended =
		held->w.flags & RW_F_CQE_SKIP && (!alive || has_ended(req, held->w.opcode) || is_orphan(held));
	struct io_rw *rw = (void *)req;
	struct rw_write *rec;
	struct work *w;

	if (!ended && !stopping)
		return;
	w = work_get(false);
	if (!w)
		return;
	rec = &w->rec;
	w->request = *held;
	if (!pending_take(key))
		goto out;
	if (!(rec->flags & RW_F_FILE) && alive && is_write(rec->opcode) && !late_file(w, req, ended)) {
		count(RW_LOST_RING_FULL);
		goto out;
	}
	if (ended && alive && is_write(rec->opcode)) {
		rec->ki_pos = BPF_CORE_READ(rw, kiocb.ki_pos);
		/* Unless a new request has taken the memory meanwhile. */
		if (still(req, rec) && has_ended(req, rec->opcode))
			rec->flags |= RW_F_KI_POS;
	}
	emit_untold(w, ended ? RW_END_SKIPPED : RW_END_IN_FLIGHT);
out:
	work_put(w);
}

static long sweep_pending(void *map, const u64 *key, const struct rw_request *held, bool *stopping)
{
	end_pending(*key, held, *stopping);
	return 0;
}

static long sweep_slot(u64 i, void *unused)
{
	u32 key = i;
	struct slot *slot = bpf_map_lookup_elem(&slots, &key);
	struct io_kiocb *req;
	struct work *w;

	if (!slot || !slot->req)
		return 0;
	w = work_get(false);
	if (!w)
		return 0;
	req = (void *)slot->req;
	slot_to_record(&w->rec, slot);
	if (!slot_take(slot, (u64)req))
		goto out;
	w->rec.ctx = (u64)BPF_CORE_READ(req, ctx);
	if (user_data_of(false, req) == w->rec.user_data && !late_file(w, req, false)) {
		count(RW_LOST_RING_FULL);
		goto out;
	}
	emit_untold(w, RW_END_IN_FLIGHT);
out:
	work_put(w);
	return 0;
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

SEC("syscall")
int sweep(void *unused)
{
	bool stopping = false;

	bpf_for_each_map_elem(&pending, sweep_pending, &stopping, 0);
	return 0;
}

static long end_run(void *map, const u32 *key, struct work *w, void *unused)
{
	run_end(&w->run);
	return 0;
}

/* After the probes are detached: everything that is still in flight. */
SEC("syscall")
int sweep_all(void *unused)
{
	bool stopping = true;

	bpf_for_each_map_elem(&pending, sweep_pending, &stopping, 0);
	bpf_loop(1 << SLOT_BITS, sweep_slot, NULL, 0);
	/* Of lists of completions that went on on another CPU. */
	if (cfg.aggregate)
		bpf_for_each_map_elem(&works, end_run, NULL, 0);
	return 0;
}
