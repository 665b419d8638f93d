// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A request was accepted, or first seen on its way. */

/* The entry of the submission queue that the kernel took last. */
static __always_inline struct io_uring_sqe *last_sqe(struct io_ring_ctx *ctx)
{
	struct io_ring_ctx___early *ring = (void *)ctx;
	u32 at = (BPF_CORE_READ(ring, cached_sq_head) - 1) & (BPF_CORE_READ(ring, sq_entries) - 1), index = 0;

	bpf_probe_read_kernel(&index, sizeof(index), BPF_CORE_READ(ring, sq_array) + at);
	if (index >= BPF_CORE_READ(ring, sq_entries))
		return NULL;
	return (void *)BPF_CORE_READ(ring, sq_sqes) + index * bpf_core_type_size(struct io_uring_sqe);
}

static __always_inline bool is_sqe_of(struct io_uring_sqe *sqe, u8 opcode, u64 user_data)
{
	struct io_uring_sqe___whole *whole = (void *)sqe;

	return sqe && BPF_CORE_READ(whole, opcode) == opcode && BPF_CORE_READ(whole, user_data) == user_data;
}

/* Who submits: before 5.8, and where the kernel's own thread polls, the request does not tell. */
static __always_inline struct task_struct *submitter_of(struct io_kiocb *req, struct io_ring_ctx *ctx)
{
	struct io_kiocb___early *told = (void *)req;
	struct task_struct *task = NULL;

	if (bpf_core_field_exists(told->task))
		task = BPF_CORE_READ(told, task);
	return task_behind(task ?: (void *)bpf_get_current_task(), ctx);
}

/* False: not followed. */
static __always_inline bool submitter(CTX struct io_kiocb *req, struct io_ring_ctx *ctx, struct work *w)
{
	if (!is_followed(submitter_of(req, ctx), ctx, &w->who))
		return false;
	/* Not sent now: the end of the write tries again. */
	if (!task_identify(PASS_CTX w))
		w->who.task_id = 0;
	w->rec.task_id = w->who.task_id;
	w->rec.tid = w->who.tid;
	return true;
}

static __always_inline void set_sqe(struct rw_write *rec, const struct io_uring_sqe *sqe)
{
	rec->asked_pos = BPF_CORE_READ(sqe, off);
	rec->buf = BPF_CORE_READ(sqe, addr);
	rec->len = BPF_CORE_READ(sqe, len);
	rec->fd = BPF_CORE_READ(sqe, fd);
	rec->rw_flags = BPF_CORE_READ(sqe, rw_flags);
	if (BPF_CORE_READ(sqe, flags) & IOSQE_FIXED_FILE)
		rec->flags |= RW_F_FIXED_FILE;
}

/* What the request itself tells: the kernel's own copies, which no program can change. */
static __always_inline void set_request(struct rw_write *rec, struct io_kiocb *req)
{
	struct io_rw *rw = (void *)req;

	rec->asked_pos = BPF_CORE_READ(rw, kiocb.ki_pos);
	rec->buf = BPF_CORE_READ(rw, addr);
	rec->len = BPF_CORE_READ(rw, len);
	if (BPF_CORE_READ(req, flags) & cfg.req_fixed_file)
		rec->flags |= RW_F_FIXED_FILE;
}

static __always_inline void set_vector(struct work *w)
{
	struct rw_write *rec = &w->rec;

	rec->iov_count = 0;
	if (is_vectored(rec->opcode)) {
		rec->iov_count = rec->len;
		vector_of_user(w);
	}
}

/* At the end the segments are gone: what was written is the least that was asked for. */
static __always_inline void set_vector_late(struct rw_write *rec, s64 result)
{
	rec->iov_count = 0;
	if (is_vectored(rec->opcode)) {
		rec->iov_count = rec->len;
		rec->len = result > 0 ? result : 0;
		rec->buf = 0;
	}
}

enum seen_as {
	/* Accepted: the request holds what was asked for. */
	ACCEPTED,
	/* Refused in preparation: only its SQE tells. */
	REFUSED,
	/* Older than ringwatch. */
	OLDER,
};

static __always_inline void first_seen(CTX struct io_kiocb *req, u8 opcode, s64 result, struct work *w,
				       struct io_uring_sqe *sqe, enum seen_as as)
{
	struct io_ring_ctx *ctx = BPF_CORE_READ(req, ctx);
	struct rw_write *rec = &w->rec;
	struct file *file;

	if (!submitter(PASS_CTX req, ctx, w))
		return;
	rec->type = RW_WRITE;
	rec->opcode = opcode;
	rec->ctx = (u64)ctx;
	rec->user_data = user_data_of(false, req);
	rec->submit_ns = 0;
	rec->fd = -1;
	rec->rw_flags = 0;
	rec->asked_pos = -1;
	rec->buf = 0;
	rec->len = 0;
	rec->flags = w->who.flags | (sqe ? 0 : RW_F_NO_SQE);
	if (as != OLDER) {
		rec->flags |= RW_F_SUBMIT;
		rec->submit_ns = bpf_ktime_get_ns();
	}
	if (sqe)
		set_sqe(rec, sqe);
	if (as != REFUSED)
		set_request(rec, req);
	else
		rec->flags |= RW_F_PREP_FAILED;
	if (BPF_CORE_READ(req, flags) & cfg.req_cqe_skip)
		rec->flags |= RW_F_CQE_SKIP;
	if (as == OLDER) {
		rec->asked_pos = -1;
		set_vector_late(rec, result);
	} else {
		set_vector(w);
	}
	clear_end(rec);
	clear_file(rec);
	file = BPF_CORE_READ(req, file);
	/* With equal opcode and user_data it may be another one's. */
	if (cfg.submit_unseen && sqe && file && as == ACCEPTED &&
	    file != file_by_number(rec, submitter_of(req, ctx), ctx)) {
		rec->flags |= RW_F_NO_SQE;
		rec->fd = -1;
		rec->rw_flags = 0;
	}
	if (file && as != REFUSED)
		take_file(PASS_CTX false, w, file);
	else if (sqe)
		take_file_by_number(PASS_CTX w, submitter_of(req, ctx), ctx);
	hold((u64)req, rec);
}

static __noinline int accept(CTX struct io_kiocb *req, u8 opcode)
{
	struct io_uring_sqe *sqe = last_sqe(BPF_CORE_READ(req, ctx));
	struct work *w = work_get(false);

	if (!w) {
		/* Its end will be told without what only this moment knows. */
		count(RW_LOST_TABLE_FULL);
		return 0;
	}
	if (!is_sqe_of(sqe, opcode, user_data_of(false, req)))
		sqe = NULL;
	/* A member of a link that was refused fails later, with its chain. */
	first_seen(PASS_CTX req, opcode, 0, w, sqe,
		   BPF_CORE_READ(req, flags) & cfg.req_fail ? REFUSED : ACCEPTED);
	work_put(w);
	return 0;
}

static __always_inline int on_submit(CTX struct io_kiocb *req)
{
	u8 opcode = BPF_CORE_READ(req, opcode);

	if (held_count)
		recycled(PASS_CTX(u64) req);
	return is_write(opcode) ? accept(PASS_CTX req, opcode) : 0;
}

/* 5.14 to 5.17. */
SEC("raw_tp/io_uring_submit_sqe")
int BPF_PROG(submit_sqe, void *ring, struct io_kiocb *req)
{
	return on_submit(ctx, req);
}

/* Before 5.14 the submission does not name its request: it is seen at its first attempt. */
static __always_inline int on_attempt(CTX struct io_kiocb *req)
{
	u64 key = (u64)req;
	struct rw_write *rec = bpf_map_lookup_elem(&held, &key);
	u8 opcode = BPF_CORE_READ(req, opcode);

	if (!is_write(opcode))
		return 0;
	if (rec && rec->ctx == (u64)BPF_CORE_READ(req, ctx) && rec->user_data == user_data_of(false, req))
		return 0;
	return on_submit(PASS_CTX req);
}

SEC("fentry/io_write")
int io_write_attempt_fentry(u64 *ctx)
{
	return on_attempt(ctx, TRACED(struct io_kiocb *, 0));
}

SEC("kprobe/io_write")
int BPF_KPROBE(io_write_attempt_kprobe, struct io_kiocb *req)
{
	return on_attempt(ctx, req);
}

/* Before 5.14 only its ring: a request may be seen first in a worker. */
SEC("raw_tp/io_uring_submit_sqe")
int BPF_PROG(submit_unnamed, struct io_ring_ctx *ring)
{
	note_submitter(ring);
	return 0;
}

/* A request that goes to a worker at once (IOSQE_ASYNC) is seen here first; it was prepared before. */
SEC("raw_tp/io_uring_queue_async_work")
int BPF_PROG(queue_async_work, void *ring, int rw, struct io_kiocb *req)
{
	u64 key = (u64)req;
	struct rw_write *rec;

	if (cfg.submit_unseen)
		on_attempt(ctx, req);
	rec = bpf_map_lookup_elem(&held, &key);
	if (rec)
		rec->flags |= RW_F_PUNTED;
	return 0;
}
