// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * 5.1 to 5.4, without io_uring tracepoints. A write is seen at its first attempt (__io_submit_sqe), where its SQE is
 * an argument, and ends in io_complete_rw; one that failed before its file was asked ends where its CQE is posted.
 */

/* Whether a kworker makes the attempt: one that is not the ring's poll thread. */
static __always_inline u32 in_worker(struct io_ring_ctx *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!(BPF_CORE_READ(task, flags) & PF_KTHREAD) || task == poll_task(ctx))
		return 0;
	return RW_F_PUNTED;
}

static __always_inline void legacy_seen(CTX struct io_ring_ctx *ctx, struct io_kiocb *req,
					const struct io_uring_sqe *sqe, u8 opcode, struct work *w)
{
	struct io_uring_sqe___whole *whole = (void *)sqe;
	struct rw_write *rec = &w->rec;
	struct file *file;

	if (!is_followed(task_behind((void *)bpf_get_current_task(), ctx), ctx, &w->who))
		return;
	if (!task_identify(PASS_CTX w))
		w->who.task_id = 0;
	rec->type = RW_WRITE;
	rec->opcode = opcode;
	rec->ctx = (u64)ctx;
	rec->user_data = BPF_CORE_READ(whole, user_data);
	rec->submit_ns = bpf_ktime_get_ns();
	rec->flags = w->who.flags | RW_F_SUBMIT | in_worker(ctx);
	rec->task_id = w->who.task_id;
	rec->tid = w->who.tid;
	set_sqe(rec, sqe);
	set_vector(w);
	clear_end(rec);
	clear_file(rec);
	file = BPF_CORE_READ(req, file);
	if (file)
		take_file(PASS_CTX false, w, file);
	hold((u64)req, rec);
}

static __noinline int legacy_attempt(CTX struct io_ring_ctx *ctx, struct io_kiocb *req,
				     const struct io_uring_sqe *sqe)
{
	struct io_uring_sqe___whole *whole = (void *)sqe;
	u64 key = (u64)req, user_data = BPF_CORE_READ(whole, user_data);
	struct rw_write *rec = bpf_map_lookup_elem(&held, &key);
	u8 opcode = BPF_CORE_READ(whole, opcode);
	struct work *w;

	note_submitter(ctx);
	if (rec && rec->ctx == (u64)ctx && rec->user_data == user_data) {
		/* The next attempt. */
		rec->flags |= in_worker(ctx);
		return 0;
	}
	if (rec)
		recycled(PASS_CTX key);
	if (!is_write(opcode))
		return 0;
	w = work_get(false);
	if (!w) {
		count(RW_LOST_TABLE_FULL);
		return 0;
	}
	legacy_seen(PASS_CTX ctx, req, sqe, opcode, w);
	work_put(w);
	return 0;
}

SEC("kprobe/__io_submit_sqe")
int BPF_KPROBE(legacy_submit, struct io_ring_ctx *ring, struct io_kiocb *req, struct sqe_submit *s)
{
	return legacy_attempt(ctx, ring, req, BPF_CORE_READ(s, sqe));
}

static __always_inline int legacy_end(CTX u64 req, s32 result)
{
	struct rw_write *rec = bpf_map_lookup_elem(&held, &req);
	struct same_key key;

	if (!rec)
		return 0;
	key.ctx = rec->ctx;
	key.user_data = rec->user_data;
	rec->ki_pos = BPF_CORE_READ((struct io_kiocb___5_4 *)req, rw.ki_pos);
	rec->flags |= RW_F_KI_POS;
	end(PASS_CTX req, &key, result);
	/* The CQE is posted next. */
	note_completing(told(&key));
	return 0;
}

SEC("kprobe/io_complete_rw")
int BPF_KPROBE(legacy_complete_rw, struct kiocb *kiocb, s64 result)
{
	return held_count ? legacy_end(ctx, (u64)kiocb, result) : 0;
}

/* A polled write that is to be tried again is no end. */
SEC("kprobe/io_complete_rw_iopoll")
int BPF_KPROBE(legacy_complete_rw_iopoll, struct kiocb *kiocb, s64 result)
{
	return held_count && result != -EAGAIN ? legacy_end(ctx, (u64)kiocb, result) : 0;
}

static __always_inline int legacy_posted(CTX u64 ring, u64 user_data, s64 result)
{
	struct same_key key = { .ctx = ring, .user_data = user_data };
	u64 noted = take_completing(), req;

	/* Success is always told by io_complete_rw. */
	if (noted == told(&key) || result >= 0 || !held_count)
		return 0;
	req = find_same(&key);
	return req ? end(PASS_CTX req, &key, result) : 0;
}

SEC("kprobe/io_cqring_fill_event")
int BPF_KPROBE(legacy_fill_event, void *ring, u64 user_data, s64 result)
{
	return legacy_posted(ctx, (u64)ring, user_data, result);
}

SEC("kprobe/io_cqring_add_event")
int BPF_KPROBE(legacy_add_event, void *ring, u64 user_data, s64 result)
{
	return legacy_posted(ctx, (u64)ring, user_data, result);
}

/* Who makes an SQPOLL ring: the return value is its descriptor. */
SEC("kretprobe/io_uring_setup")
int BPF_KRETPROBE(legacy_setup, s32 fd)
{
	struct file *file = fd >= 0 ? file_of_fd((void *)bpf_get_current_task(), fd) : NULL;
	struct file___private *ring = (void *)file;
	struct io_ring_ctx *made;

	if (!file)
		return 0;
	made = BPF_CORE_READ(ring, private_data);
	return on_create(OWN_CTX(u64) made, fd, BPF_CORE_READ(made, sq_entries),
			 BPF_CORE_READ(made, cq_entries), BPF_CORE_READ(made, flags));
}
