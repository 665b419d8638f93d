// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A request was accepted (submit_req; before 6.4 submit_sqe), refused (req_failed), or handed to io-wq. */

static __noinline u64 task_hash_cast(const struct who *who)
{
	return task_hash(TYPED, CAST(TYPED, who->task, struct task_struct), who);
}

/*
 * Whether the submission follows on one whose submitter is known, in the same system call: then it is the same, and all
 * that it could have changed of itself as well. The ring's SQE before this one was that submission, and the list of
 * completions, which is empty when the system call begins and ends, still has the head that it had then, or that
 * submission itself.
 */
static __always_inline bool same_batch(const bool typed, struct io_kiocb *req, struct io_ring_ctx *ctx,
				       struct batch *batch)
{
	u64 head = (u64)RD(typed, ctx, submit_state.compl_reqs.first);
	u32 sq = RD(typed, ctx, cached_sq_head);
	bool same = head && head == batch->head && sq == batch->sq + 1 && batch->ctx == (u64)ctx &&
		    batch->tctx == tctx_of(typed, req);

	batch->sq = sq;
	return same;
}

static __always_inline void batch_begin(const bool typed, struct io_kiocb *req, struct io_ring_ctx *ctx,
					struct batch *batch)
{
	/* Where the kernel counts SQEs anew with each system call, their numbers say nothing. */
	if (RD(typed, ctx, flags) & IORING_SETUP_SQ_REWIND)
		return;
	batch->ctx = (u64)ctx;
	batch->tctx = tctx_of(typed, req);
	batch->head = (u64)RD(typed, ctx, submit_state.compl_reqs.first) ?:
			      (u64)req + bpf_core_field_offset(struct io_kiocb, comp_list);
}

static __always_inline bool submitter(const bool typed, struct io_kiocb *req, struct io_ring_ctx *ctx,
				      struct work *w)
{
	struct task_struct *current;
	struct who *who = &w->who;

	if (same_batch(typed, req, ctx, &w->batch))
		return w->batch.followed;
	current = typed ? bpf_get_current_task_btf() : NULL;
	if (!submitter_is(typed, current, req, ctx, w))
		return false;
	batch_begin(typed, req, ctx, &w->batch);
	w->batch.followed = follow(who);
	if (!w->batch.followed)
		return false;
	if (typed && same_ptr((void *)who->task, current))
		who->task_id = task_hash(true, current, who);
	else
		who->task_id = typed ? task_hash_cast(who) : task_hash_raw(who);
	/* Not sent now: the end of the write tries again. */
	if (!task_known(w))
		who->task_id = 0;
	return true;
}

static __always_inline void set_submitter(struct rw_write *rec, const struct who *who)
{
	rec->task_id = who->task_id;
	rec->tid = who->tid;
}

static __always_inline void submitted(const bool typed, struct io_kiocb *req, struct io_ring_ctx *ctx,
				      u8 opcode, struct slot *slot, struct work *w)
{
	struct rw_write *rec = &w->rec;
	struct io_kiocb *head;
	u32 req_flags;

	if (!submitter(typed, req, ctx, w))
		return;
	req_flags = RD(typed, req, flags);
	set_request(typed, rec, req, opcode);
	rec->flags = RW_F_SUBMIT | w->who.flags;
	if (req_flags & cfg.req_fixed_file)
		rec->flags |= RW_F_FIXED_FILE;
	rec->asked_pos = RD_RW(typed, req, kiocb.ki_pos);
	rec->fd = fd_of(typed, req);
	rec->submit_ns = bpf_ktime_get_ns();
	if (is_vectored(opcode)) {
		rec->iov_count = rec->len;
		vector_of_request(w, req);
	}

	if (!cfg.wide && !(req_flags & cfg.req_cqe_skip) && !slot->req &&
	    !__sync_val_compare_and_swap(&slot->req, 0, (u64)req)) {
		slot->user_data = rec->user_data;
		slot->submit_ns = rec->submit_ns;
		slot->task_id = w->who.task_id;
		slot->pos = rec->asked_pos;
		slot->buf = rec->buf;
		slot->len = rec->len;
		slot->fd = rec->fd;
		slot->tid = w->who.tid;
		slot->flags = rec->flags | (u32)opcode << OPCODE_SHIFT;
		slot->rw_flags = rec->rw_flags;
		slot->iov_count = rec->iov_count;
		return;
	}

	clear_end(rec);
	clear_file(rec);
	set_submitter(rec, &w->who);
	if (cfg.wide)
		widen(typed, w, req);
	if (req_flags & cfg.req_cqe_skip) {
		/* No CQE, so no completion: what is known of the file must be known now. */
		rec->flags |= RW_F_CQE_SKIP;
		head = RD(typed, ctx, submit_state.link.head);
		if (head)
			rec->flags |= RW_F_FOLLOWER;
		/* What a link before it puts into the ring's slot is not there yet. */
		if (!head || !(rec->flags & RW_F_FIXED_FILE))
			take_file_by_number(w, task_of(false, req), ctx);
	}
	keep(req, w);
}

/* The same for any other opcode. */
static __always_inline void op_submitted(const bool typed, struct io_kiocb *req, struct io_ring_ctx *ctx,
					 u8 opcode, struct work *w)
{
	if (!submitter(typed, req, ctx, w))
		return;
	op_begin(w, opcode);
	w->rec.ctx = (u64)ctx;
	w->rec.user_data = user_data_of(typed, req);
	set_submitter(&w->rec, &w->who);
	op_of_request(w, req);
	keep(req, w);
}

/* No room to work: the end will be reported without what only this moment knows, if it has a CQE. */
static __noinline void unkept(struct io_kiocb *req)
{
	if (BPF_CORE_READ(req, flags) & cfg.req_cqe_skip)
		count_lost_scratch();
	else
		count(RW_LOST_TABLE_FULL);
}

static __always_inline int on_submit(const bool typed, struct io_kiocb *req)
{
	struct slot *slot = slot_of(req);
	u8 opcode = RD(typed, req, opcode);
	struct io_ring_ctx *ctx = RD(typed, req, ctx);
	struct work *w;

	if (!slot)
		return 0;
	recycled(slot, req, ctx);
	if (!is_watched(opcode))
		return 0;
	w = work_get(typed);
	if (!w) {
		unkept(req);
		return 0;
	}
	if (is_write(opcode))
		submitted(typed, req, ctx, opcode, slot, w);
	else if (cfg.others)
		op_submitted(typed, req, ctx, opcode, w);
	work_put(w);
	return 0;
}

static __always_inline void failed(const bool typed, const struct io_uring_sqe *sqe, struct io_kiocb *req,
				   struct io_ring_ctx *ctx, u8 opcode, struct work *w)
{
	struct rw_write *rec = &w->rec;

	if (!submitter(typed, req, ctx, w))
		return;
	/* The request holds what an earlier one left: only the SQE can tell. */
	clear_end(rec);
	rec->type = RW_WRITE;
	rec->flags = RW_F_SUBMIT | RW_F_PREP_FAILED | w->who.flags;
	if (RD(typed, sqe, flags) & IOSQE_FIXED_FILE)
		rec->flags |= RW_F_FIXED_FILE;
	rec->opcode = opcode;
	rec->submit_ns = bpf_ktime_get_ns();
	set_submitter(rec, &w->who);
	rec->ctx = (u64)ctx;
	rec->user_data = user_data_of(typed, req);
	rec->asked_pos = RD(typed, sqe, off);
	rec->buf = RD(typed, sqe, addr);
	rec->len = RD(typed, sqe, len);
	rec->fd = RD(typed, sqe, fd);
	rec->rw_flags = RD(typed, sqe, rw_flags);
	rec->iov_count = 0;
	if (is_vectored(opcode)) {
		rec->iov_count = rec->len;
		vector_of_user(w);
	}
	if (cfg.wide)
		widen(typed, w, req);
	clear_file(rec);
	take_file_by_number(w, task_of(false, req), ctx);
	keep(req, w);
}

static __always_inline void op_failed(const bool typed, const struct io_uring_sqe *sqe, struct io_kiocb *req,
				      struct io_ring_ctx *ctx, u8 opcode, struct work *w)
{
	if (!submitter(typed, req, ctx, w))
		return;
	op_begin(w, opcode);
	w->rec.flags |= RW_F_PREP_FAILED;
	w->rec.ctx = (u64)ctx;
	w->rec.user_data = user_data_of(typed, req);
	set_submitter(&w->rec, &w->who);
	op_of_sqe(w, sqe, req);
	keep(req, w);
}

static __always_inline int on_failed(const bool typed, const struct io_uring_sqe *sqe, struct io_kiocb *req)
{
	struct slot *slot = slot_of(req);
	/* An opcode that the kernel does not know is 0 in the request, by which its end is found. */
	u8 opcode = RD(typed, sqe, opcode), held = RD(typed, req, opcode);
	struct io_ring_ctx *ctx = RD(typed, req, ctx);
	struct work *w;

	if (!slot)
		return 0;
	recycled(slot, req, ctx);
	if (!is_watched(opcode) || !is_watched(held))
		return 0;
	w = work_get(typed);
	if (!w) {
		unkept(req);
		return 0;
	}
	if (is_write(opcode))
		failed(typed, sqe, req, ctx, opcode, w);
	else if (cfg.others)
		op_failed(typed, sqe, req, ctx, opcode, w);
	work_put(w);
	return 0;
}

/* False: it is not held. */
static __noinline bool punted_pending(u64 req, struct file *file)
{
	struct rw_request *held = bpf_map_lookup_elem(&pending, &req);
	struct rw_write *rec;
	struct work *w;

	if (!held)
		return false;
	rec = &held->w;
	rec->flags |= RW_F_PUNTED;
	if (cfg.life)
		held->punted_ns = bpf_ktime_get_ns();
	if (!is_write(rec->opcode))
		return true;
	w = work_get(false);
	if (!w)
		return true;
	if (file && file_identify(false, file, &w->id))
		set_file(rec, &w->id);
	work_put(w);
	return true;
}

/*
 * A request without a CQE that is older than ringwatch: nothing else may be seen of it, so that it is followed from
 * here on.
 */
static __always_inline void adopt(struct io_kiocb *req, u8 opcode, u32 flags)
{
	struct io_ring_ctx *ctx = BPF_CORE_READ(req, ctx);
	struct work *w = work_get(false);
	struct rw_write *rec;
	struct file *file;

	if (!w) {
		count_lost_scratch();
		return;
	}
	rec = &w->rec;
	if (!submitter_is(false, NULL, req, ctx, w) || !follow(&w->who))
		goto out;
	if (!task_identify(w))
		w->who.task_id = 0;
	if (is_write(opcode)) {
		clear_end(rec);
		set_request(false, rec, req, opcode);
		rec->asked_pos = RD_RW(false, req, kiocb.ki_pos);
		rec->submit_ns = 0;
		rec->fd = fd_of(false, req);
		rec->flags = w->who.flags | RW_F_CQE_SKIP;
		if (is_vectored(opcode)) {
			rec->iov_count = rec->len;
			vector_of_request(w, req);
		}
		if (cfg.wide)
			widen(false, w, req);
	} else {
		op_begin(w, opcode);
		rec->submit_ns = 0;
		rec->ctx = (u64)ctx;
		rec->user_data = user_data_of(false, req);
		op_of_request(w, req);
		rec->flags &= ~RW_F_SUBMIT;
	}
	set_submitter(rec, &w->who);
	clear_file(rec);
	file = BPF_CORE_READ(req, file);
	if (file)
		take_file(false, w, file);
	if (BPF_CORE_READ(req, flags) & cfg.req_fixed_file)
		rec->flags |= RW_F_FIXED_FILE;
	rec->flags |= flags;
	keep(req, w);
out:
	work_put(w);
}

static __always_inline void adopt_unless_told(struct io_kiocb *req, u32 seen)
{
	u8 opcode = BPF_CORE_READ(req, opcode);

	if (!(BPF_CORE_READ(req, flags) & cfg.req_cqe_skip) ||
	    (told_count && was_told(number_of((u64)req), false)))
		return;
	adopt(req, opcode, seen);
}

static __always_inline int on_punted(const bool typed, struct io_kiocb *req)
{
	u8 opcode = RD(typed, req, opcode);
	struct slot *slot;

	if (!is_watched(opcode))
		return 0;
	slot = slot_of(req);
	if (slot && slot->req == (u64)req)
		slot->flags |= RW_F_PUNTED;
	else if (!pending_count || !punted_pending((u64)req, RD(typed, req, file)))
		adopt_unless_told(req, RW_F_PUNTED);
	return 0;
}

static __always_inline int on_armed(struct io_kiocb *req)
{
	struct rw_request *held;
	u64 key = (u64)req;

	if (!pending_count)
		return 0;
	held = bpf_map_lookup_elem(&pending, &key);
	if (!held)
		return 0;
	held->armed_ns = bpf_ktime_get_ns();
	held->arms++;
	return 0;
}

/* Its file was not ready, and it waits for that. */
SEC("raw_tp/io_uring_poll_arm")
int BPF_PROG(poll_arm, struct io_kiocb *req)
{
	return WHOLE(on_armed(req));
}

SEC(HOT("io_uring_submit_req"))
int BPF_PROG(submit_req, struct io_kiocb *req)
{
	return WHOLE((hit(HIT_SUBMIT, req), on_submit(TYPED, req)));
}

SEC(HOT("io_uring_submit_sqe"))
int BPF_PROG(submit_sqe, struct io_kiocb *req)
{
	return WHOLE(on_submit(TYPED, req));
}

SEC(HOT("io_uring_req_failed"))
int BPF_PROG(req_failed, const struct io_uring_sqe *sqe, struct io_kiocb *req)
{
	return WHOLE((hit(HIT_FAILED, req), on_failed(TYPED, sqe, req)));
}

SEC(HOT("io_uring_queue_async_work"))
int BPF_PROG(queue_async_work, struct io_kiocb *req)
{
	return WHOLE((hit(HIT_PUNTED, req), on_punted(TYPED, req)));
}

#ifdef RW_TYPED

static __always_inline int submitted_again(struct io_kiocb *req)
{
	if (was_hit(HIT_SUBMIT, req) || is_held(true, req))
		return 0;
	count(RW_COUNT_AGAIN);
	return on_submit(true, req);
}

static __always_inline int failed_again(const struct io_uring_sqe *sqe, struct io_kiocb *req)
{
	if (was_hit(HIT_FAILED, req) || is_held(true, req))
		return 0;
	count(RW_COUNT_AGAIN);
	return on_failed(true, sqe, req);
}

static __always_inline int punted_again(struct io_kiocb *req)
{
	if (was_hit(HIT_PUNTED, req))
		return 0;
	count(RW_COUNT_AGAIN);
	return on_punted(true, req);
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(submit_req_again, struct io_kiocb *req)
{
	return WHOLE(submitted_again(req));
}

SEC("tp_btf/io_uring_req_failed")
int BPF_PROG(req_failed_again, const struct io_uring_sqe *sqe, struct io_kiocb *req)
{
	return WHOLE(failed_again(sqe, req));
}

SEC("tp_btf/io_uring_queue_async_work")
int BPF_PROG(queue_async_work_again, struct io_kiocb *req)
{
	return WHOLE(punted_again(req));
}

#else

/* The forms of 5.18 and 5.19. */
SEC("raw_tp/io_uring_submit_sqe")
int BPF_PROG(submit_sqe_5_18, void *ring, struct io_kiocb *req)
{
	/* A member of a link that was refused was told by io_uring_req_failed. */
	return BPF_CORE_READ(req, flags) & cfg.req_fail ? 0 : on_submit(false, req);
}

SEC("raw_tp/io_uring_req_failed")
int BPF_PROG(req_failed_5_18, const struct io_uring_sqe *sqe, void *ring, struct io_kiocb *req)
{
	return on_failed(false, sqe, req);
}

SEC("raw_tp/io_uring_queue_async_work")
int BPF_PROG(queue_async_work_5_18, void *ring, struct io_kiocb *req)
{
	return on_punted(false, req);
}

SEC("raw_tp/io_uring_poll_arm")
int BPF_PROG(poll_arm_5_18, void *ring, struct io_kiocb *req)
{
	return on_armed(req);
}

#endif
