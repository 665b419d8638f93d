// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A request moved its position, is about to be completed, or is completed. */

static __always_inline void finish(CTX struct io_kiocb *req, const struct same_key *key, s32 result,
				   struct work *w)
{
	struct rw_write *rec = &w->rec, *entry;
	struct io_ring_ctx *ctx = (void *)key->ctx;
	struct file *file = BPF_CORE_READ(req, file);
	u64 at = (u64)req;

	entry = bpf_map_lookup_elem(&held, &at);
	if (!entry)
		return;
	*rec = *entry;
	if (!release(at, rec))
		return;
	if (!rec->task_id) {
		/* Before 5.8 the request does not tell: it may be another one by now. */
		if (!who_is(submitter_of(req, ctx), ctx, &w->who) || w->who.tid != rec->tid ||
		    !task_identify(PASS_CTX w))
			goto lost;
		rec->task_id = w->who.task_id;
	}
	rec->result = result;
	rec->end = cq_full(ctx) ? RW_END_OVERFLOW : RW_END_CQE;
	set_executor_early(w);
	if (rec->flags & RW_F_PREP_FAILED) {
		rec->ki_pos = rec->asked_pos;
	} else if (file && !take_file(PASS_CTX false, w, file)) {
		goto lost;
	} else if (result < 0 && !(rec->flags & RW_F_KI_POS)) {
		/* It failed before it reached its file. */
		rec->ki_pos = rec->asked_pos;
		rec->flags |= RW_F_KI_POS;
	}
	rec->end_ns = bpf_ktime_get_ns();
	rec->flags |= RW_F_END_SEEN;
	emit(PASS_CTX w);
	return;
lost:
	count(RW_LOST_RING_FULL);
}

static __noinline int end(CTX u64 req, const struct same_key *key, s32 result)
{
	struct work *w = work_get(false);

	if (w) {
		finish(PASS_CTX(void *) req, key, result, w);
		work_put(w);
		return 0;
	}
	/* No room to work: the write is lost, and what was kept of it must not be joined to another. */
	if (!bpf_map_delete_elem(&held, &req)) {
		__sync_fetch_and_add(&held_count, -1);
		count(RW_LOST_RING_FULL);
		count(RW_LOST_SCRATCH);
	}
	return 0;
}

/* A request that is not held was refused in preparation, or is older than ringwatch. */
static __noinline int unheld(CTX struct io_kiocb *req, s64 result, bool completing)
{
	struct io_uring_sqe *sqe = last_sqe(BPF_CORE_READ(req, ctx));
	u8 opcode = BPF_CORE_READ(req, opcode);
	struct work *w;
	bool refused;

	refused = completing && result < 0 && is_sqe_of(sqe, opcode, user_data_of(false, req));
	w = work_get(false);
	if (!w) {
		/* Unless it is seen again, nobody tells of it. */
		if (completing) {
			count(RW_LOST_RING_FULL);
			count(RW_LOST_SCRATCH);
		}
		return 0;
	}
	first_seen(PASS_CTX req, opcode, result, w, refused ? sqe : NULL, refused ? REFUSED : OLDER);
	work_put(w);
	return 0;
}

/* The request that this thread said it is about to complete, if it is the one. */
static __always_inline u64 noted(CTX const struct same_key *key, s32 result, u64 completing)
{
	struct io_kiocb *req = (void *)completing;
	u8 opcode = BPF_CORE_READ(req, opcode);

	if ((u64)BPF_CORE_READ(req, ctx) != key->ctx || user_data_of(false, req) != key->user_data ||
	    !is_write(opcode))
		return 0;
	if (!is_of(completing, key)) {
		recycled(PASS_CTX completing);
		unheld(PASS_CTX req, result, true);
	}
	return completing;
}

SEC("raw_tp/io_uring_complete")
int BPF_PROG(complete, struct io_ring_ctx *ring, u64 user_data, s64 result)
{
	struct same_key key = { .ctx = (u64)ring, .user_data = user_data };
	u64 completing = take_completing(), req = 0;

	if (completing)
		req = noted(ctx, &key, result, completing);
	/* Polled writes have ended before, one by one. */
	if (!req && held_count && !(BPF_CORE_READ(ring, flags) & IORING_SETUP_IOPOLL))
		req = find(&key, result);
	return req ? end(ctx, req, &key, result) : 0;
}

/* What completes next in this thread. */
static __always_inline int on_completing(struct io_kiocb *req)
{
	if (is_write(BPF_CORE_READ(req, opcode)))
		note_completing((u64)req);
	return 0;
}

SEC("fentry/io_req_complete_post")
int completing_fentry(u64 *ctx)
{
	return on_completing(TRACED(struct io_kiocb *, 0));
}

SEC("kprobe/io_req_complete_post")
int BPF_KPROBE(completing_kprobe, struct io_kiocb *req)
{
	return on_completing(req);
}

/* A link is cancelled: its completion comes next. */
SEC("raw_tp/io_uring_fail_link")
int BPF_PROG(fail_link, struct io_kiocb *req, struct io_kiocb *link)
{
	if (is_write(BPF_CORE_READ(link, opcode)))
		note_completing((u64)link);
	return 0;
}

/*
 * The position is at its end here. When the completion is told, the kernel may have put the CQE's flags in its
 * place.
 */
static __always_inline int on_moved(CTX struct kiocb *kiocb, s64 result)
{
	struct io_kiocb *req = (void *)kiocb;
	u64 key = (u64)kiocb;
	struct rw_write *rec;

	if (result == -EIOCBQUEUED || !is_write(BPF_CORE_READ(req, opcode)))
		return 0;
	rec = bpf_map_lookup_elem(&held, &key);
	if (!rec) {
		unheld(PASS_CTX req, result, false);
		rec = bpf_map_lookup_elem(&held, &key);
		/* Not followed. */
		if (!rec)
			return 0;
	}
	rec->ki_pos = BPF_CORE_READ(kiocb, ki_pos);
	rec->flags |= RW_F_KI_POS;
	return 0;
}

SEC("fentry/kiocb_done")
int kiocb_done_fentry(u64 *ctx)
{
	return on_moved(ctx, TRACED(struct kiocb *, 0), TRACED(s64, 1));
}

SEC("kprobe/kiocb_done")
int BPF_KPROBE(kiocb_done_kprobe, struct kiocb *kiocb, s64 result)
{
	return on_moved(ctx, kiocb, result);
}

SEC("fentry/io_complete_rw")
int complete_rw_fentry(u64 *ctx)
{
	return on_moved(ctx, TRACED(struct kiocb *, 0), TRACED(s64, 1));
}

SEC("kprobe/io_complete_rw")
int BPF_KPROBE(complete_rw_kprobe, struct kiocb *kiocb, s64 result)
{
	return on_moved(ctx, kiocb, result);
}

/* The end of a polled write: its completion may be told or not. One that is to be tried again is no end. */
static __always_inline int on_polled(CTX struct kiocb *kiocb, s64 result)
{
	u64 req = (u64)kiocb;
	struct same_key key;
	struct rw_write *rec;

	if (result == -EAGAIN)
		return 0;
	on_moved(PASS_CTX kiocb, result);
	rec = bpf_map_lookup_elem(&held, &req);
	if (!rec)
		return 0;
	key.ctx = rec->ctx;
	key.user_data = rec->user_data;
	return end(PASS_CTX req, &key, result);
}

SEC("fentry/io_complete_rw_iopoll")
int complete_rw_iopoll_fentry(u64 *ctx)
{
	return on_polled(ctx, TRACED(struct kiocb *, 0), TRACED(s64, 1));
}

SEC("kprobe/io_complete_rw_iopoll")
int BPF_KPROBE(complete_rw_iopoll_kprobe, struct kiocb *kiocb, s64 result)
{
	return on_polled(ctx, kiocb, result);
}
