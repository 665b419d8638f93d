// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A request ended: with a CQE, with a CQE that found no room, or together with a failed link. */

/* Takes what was kept at submission. False: nothing was. */
static __always_inline bool take(const bool typed, struct work *w, struct io_kiocb *req, u8 opcode)
{
	struct slot *slot = slot_of(req);
	u64 user_data = user_data_of(typed, req), key = (u64)req;
	struct rw_write *rec = &w->rec;
	struct rw_request *held;
	u64 claim;

	if (slot && slot->req == (u64)req && slot->user_data == user_data) {
		rec->type = RW_WRITE;
		rec->flags = slot->flags & ((1U << OPCODE_SHIFT) - 1);
		rec->opcode = opcode;
		rec->submit_ns = slot->submit_ns;
		rec->task_id = slot->task_id;
		rec->ctx = (u64)RD(typed, req, ctx);
		rec->user_data = user_data;
		rec->asked_pos = slot->pos;
		rec->buf = slot->buf;
		rec->len = slot->len;
		rec->fd = slot->fd;
		rec->tid = slot->tid;
		rec->rw_flags = slot->rw_flags;
		rec->iov_count = slot->iov_count;
		slot->req = 0;
		return true;
	}
	if (!pending_count)
		return false;
	held = bpf_map_lookup_elem(&pending, &key);
	if (!held || held->w.user_data != user_data)
		return false;
	claim = claim_of(number_of(key), held);
	if (cfg.others || cfg.wide)
		w->request = *held;
	else
		*rec = held->w;
	return pending_take(key, held, claim);
}

/* A request that was submitted before the programs were attached, or while the table of requests was full. */
static __always_inline bool take_unseen(const bool typed, struct work *w, struct io_kiocb *req, u8 opcode,
					s32 result)
{
	struct rw_write *rec = &w->rec;

	if (!follow(&w->who) || (told_count && was_told(number_of((u64)req), false)))
		return false;
	if (!is_write(opcode)) {
		/* Notifications of SEND_ZC have requests of their own, which nobody submitted. */
		if (opcode == IORING_OP_NOP && fd_of(false, req) & IORING_CQE_F_NOTIF)
			return false;
		op_begin(w, opcode);
		rec->flags = w->who.flags;
		rec->submit_ns = 0;
		rec->ctx = (u64)RD(typed, req, ctx);
		rec->user_data = user_data_of(typed, req);
		rec->tid = w->who.tid;
		return true;
	}
	set_request(typed, rec, req, opcode);
	if (cfg.wide)
		widen(typed, w, req);
	rec->flags = w->who.flags;
	if (RD(typed, req, flags) & cfg.req_fixed_file)
		rec->flags |= RW_F_FIXED_FILE;
	rec->submit_ns = 0;
	rec->task_id = 0;
	rec->asked_pos = -1;
	rec->fd = -1;
	rec->tid = w->who.tid;
	if (is_vectored(opcode)) {
		/* The segments are gone: what was written is the least that was asked for. */
		rec->iov_count = rec->len;
		rec->len = result > 0 ? result : 0;
		rec->buf = 0;
	}
	return true;
}

/*
 * The kernel tells of a list of completions one after the other, and shows their CQEs together at its end; until then
 * each request holds its file. So one look at the clock and at the thread is good for all of them, and one look at each
 * file. A request that was submitted after that look belongs to another list, whatever its memory says.
 */
static __always_inline void same_flush(const bool typed, struct work *w, struct io_kiocb *req)
{
	u64 node = (u64)req + bpf_core_field_offset(struct io_kiocb, comp_list);
	struct io_ring_ctx *ctx = CAST(typed, w->rec.ctx, struct io_ring_ctx);

	if (w->next != node || !(w->rec.flags & RW_F_SUBMIT) || w->rec.submit_ns > w->flush_ns) {
		w->flush_ns = bpf_ktime_get_ns();
		w->id.file = 0;
		set_runner(typed, &w->runner);
		if ((u64)RD(typed, ctx, submit_state.compl_reqs.first) != node) {
			list_end(w);
			return;
		}
	}
	w->next = (u64)RD(typed, req, comp_list.next);
	if (cfg.aggregate)
		w->more = w->next && is_in_slot(w->next - bpf_core_field_offset(struct io_kiocb, comp_list));
}

/* The file at the end of the request. False: its path could not be sent. */
static __always_inline bool end_file(const bool typed, struct work *w, struct io_kiocb *req,
				     struct task_struct *task, s32 result)
{
	struct rw_write *rec = &w->rec;
	struct file *file;

	if (rec->flags & RW_F_PREP_FAILED) {
		/* The file, if any, was found at the failure; the request holds what an earlier one left. */
		rec->ki_pos = rec->asked_pos;
		return true;
	}
	rec->ki_pos = RD_RW(typed, req, kiocb.ki_pos);
	rec->flags |= RW_F_KI_POS;
	file = RD(typed, req, file);
	if (file && w->id.file == (u64)file) {
		set_file(rec, &w->id);
		return true;
	}
	if (file)
		return take_file(typed, w, file);
	clear_file(rec);
	/* Never issued: cancelled, or the descriptor was bad. */
	if (!(rec->flags & RW_F_SUBMIT) || result == -EBADF)
		return true;
	return take_file_by_number(w, task, (void *)rec->ctx);
}

static __always_inline void finish(const bool typed, struct io_kiocb *req, u8 opcode, u8 end, s32 result,
				   struct work *w)
{
	struct task_struct *task = task_of(typed, req);
	bool held = take(typed, w, req, opcode);
	struct rw_write *rec = &w->rec;

	/* User space may have forgotten who it was. */
	if (!held || !rec->task_id || !already_seen(rec->task_id)) {
		struct task_struct *current = typed ? bpf_get_current_task_btf() : NULL;

		if (!submitter_is(typed, current, req, RD(typed, req, ctx), w))
			return;
		if (!held && !take_unseen(typed, w, req, opcode, result))
			return;
		if (!task_identify(w))
			goto lost;
		rec->task_id = w->who.task_id;
	}
	rec->result = result;
	rec->end = end;
	__builtin_memset(rec->pad, 0, sizeof(rec->pad));
	same_flush(typed, w, req);
	set_executor(rec, &w->runner, task);
	rec->end_ns = w->flush_ns;
	if (cfg.others && !is_write(opcode)) {
		if (!op_file(w, req, task))
			goto lost;
		if (is_same_place(w, task))
			rec->flags |= RW_F_SAME_PLACE;
	} else if (!end_file(typed, w, req, task, result)) {
		goto lost;
	}
	if ((cfg.others || cfg.wide) && rec->type == RW_REQUEST && !(rec->flags & RW_F_PREP_FAILED))
		w->request.req_flags = req_flags_of(req);
	rec->flags |= RW_F_END_SEEN;
	emit(w);
	return;
lost:
	count(RW_LOST_RING_FULL);
}

/* No room to work: the write is lost, and what was kept of it must not be joined to another. */
static __noinline void drop(struct slot *slot, u64 req)
{
	bool taken = slot && slot->req == req && slot_take(slot, req);
	struct rw_request *held;

	if (!taken && pending_count) {
		held = bpf_map_lookup_elem(&pending, &req);
		taken = held && pending_take(req, held, claim_of(number_of(req), held));
	}
	if (taken)
		count_lost_scratch();
}

static __always_inline int end(const bool typed, struct io_kiocb *req, u8 how, s32 result)
{
	u8 opcode = RD(typed, req, opcode);
	struct work *w;

	if (!is_watched(opcode))
		return 0;
	w = work_get(typed);
	if (!w) {
		drop(slot_of(req), (u64)req);
		return 0;
	}
	finish(typed, req, opcode, how, result, w);
	work_put(w);
	return 0;
}

static __noinline int end_raw(struct io_kiocb *req, u8 how, s32 result)
{
	return end(false, req, how, result);
}

/* A CQE found no room. */
static __always_inline int on_overflow(struct io_ring_ctx *ctx, u64 user_data, s32 result)
{
	struct io_kiocb *req = overflowed(ctx, user_data, result);

	return req ? end(TYPED, CAST(TYPED, req, struct io_kiocb), RW_END_OVERFLOW, result) : 0;
}

/* Links that fail with a request whose CQEs are suppressed get no CQE of their own. */
static __always_inline int on_fail_link(struct io_kiocb *req, struct io_kiocb *link)
{
	if (!(BPF_CORE_READ(req, flags) & cfg.req_skip_link_cqes))
		return 0;
	return end_raw(link, RW_END_LINK,
		       BPF_CORE_READ(link, flags) & cfg.req_fail ? result_of(false, link) : -ECANCELED);
}

static __always_inline int on_complete(const bool typed, void *ring, void *request)
{
	struct io_kiocb *req = CAST(typed, request, struct io_kiocb);

	cq_posted(typed, ring, request);
	/* Auxiliary CQEs carry no request. */
	if (!request)
		return 0;
	if (typed)
		return end(typed, req, RW_END_CQE, result_of(typed, req));
	return end_raw(req,
		       cfg.complete_first && cq_full(BPF_CORE_READ(req, ctx)) ? RW_END_OVERFLOW : RW_END_CQE,
		       result_of(false, req));
}

SEC(HOT("io_uring_complete"))
int BPF_PROG(complete, void *ring, void *req)
{
	return WHOLE((hit(HIT_COMPLETE, req), on_complete(TYPED, ring, req)));
}

SEC("raw_tp/io_uring_cqe_overflow")
int BPF_PROG(cqe_overflow, struct io_ring_ctx *ring, u64 user_data, s32 res)
{
	return WHOLE(on_overflow(ring, user_data, res));
}

SEC("fentry/io_req_complete_post")
int post_fentry(u64 *ctx)
{
	return WHOLE(on_post(TRACED(struct io_kiocb *, 0)));
}

SEC("kprobe/io_req_complete_post")
int BPF_KPROBE(post_kprobe, struct io_kiocb *req)
{
	return WHOLE(on_post(req));
}

SEC("raw_tp/io_uring_fail_link")
int BPF_PROG(fail_link, struct io_kiocb *req, struct io_kiocb *link)
{
	return WHOLE(on_fail_link(req, link));
}

#ifdef RW_TYPED

static __always_inline int completed_again(void *ring, void *request)
{
	struct io_kiocb *req = CAST(true, request, struct io_kiocb);

	if (!request || was_hit(HIT_COMPLETE, req))
		return 0;
	/* A request that is not held was told by the first program, before another task came between. */
	if (is_watched(req->opcode) && !is_held(true, req))
		return 0;
	count(RW_COUNT_AGAIN);
	return on_complete(true, ring, req);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(complete_again, void *ring, void *req)
{
	return WHOLE(completed_again(ring, req));
}

/* The end of a link that is held no more was told. */
SEC("raw_tp/io_uring_fail_link")
int BPF_PROG(fail_link_again, struct io_kiocb *req, struct io_kiocb *link)
{
	return is_held(false, link) ? WHOLE(on_fail_link(req, link)) : 0;
}

#else

/* 5.18 and 5.19. */
SEC("raw_tp/io_uring_fail_link")
int BPF_PROG(fail_link_5_18, void *ring, struct io_kiocb *req, u64 user_data, u32 opcode, struct io_kiocb *link)
{
	return WHOLE(on_fail_link(req, link));
}

#endif
