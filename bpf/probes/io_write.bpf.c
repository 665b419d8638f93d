// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The return of io_write, for what the tracepoints do not tell: the end of a write that succeeds without a CQE,
 * and the file of a linked one. Other writes are not looked at.
 */

static __noinline int returned(struct io_kiocb *req, int ret)
{
	u64 key = (u64)req;
	struct rw_request *held = bpf_map_lookup_elem(&pending, &key);
	struct rw_write *rec;
	struct file *file = BPF_CORE_READ(req, file);
	struct io_rw *rw = (void *)req;
	struct work *w;
	u64 claim;

	if (!held || !(held->w.flags & RW_F_CQE_SKIP) || held->w.user_data != user_data_of(false, req))
		return 0;
	/* Without room to work or to send the path it is found later. */
	w = work_get(false);
	if (!w)
		return 0;
	if (!file || !file_identify(false, file, &w->id))
		goto out;
	set_file(&held->w, &w->id);
	/* Not the end, or a failure or short write, whose CQE will be posted. */
	if (ret || !(BPF_CORE_READ(req, flags) & cfg.req_cqe_skip))
		goto out;
	rec = &w->rec;
	claim = claim_of(number_of(key), held);
	w->request = *held;
	if (!pending_take(key, held, claim))
		goto out;
	rec->end = RW_END_SKIPPED;
	rec->result = result_of(false, req);
	rec->ki_pos = BPF_CORE_READ(rw, kiocb.ki_pos);
	rec->flags |= RW_F_KI_POS | RW_F_END_SEEN;
	list_end(w);
	set_executor_now(w, task_of(false, req));
	rec->end_ns = bpf_ktime_get_ns();
	emit(w);
out:
	work_put(w);
	return 0;
}

/* A silent write that is not held is older than ringwatch: this is the first that is seen of it. */
static __noinline void entered(struct io_kiocb *req)
{
	u64 key = (u64)req;

	if (pending_count && bpf_map_lookup_elem(&pending, &key))
		return;
	adopt_unless_told(req, 0);
}

static __always_inline bool is_silent(struct io_kiocb *req)
{
	return BPF_CORE_READ(req, flags) & cfg.req_cqe_skip && is_watched(BPF_CORE_READ(req, opcode));
}

SEC("fentry/io_write")
int BPF_PROG(io_write_enter, struct io_kiocb *req)
{
	if (is_silent(req))
		WHOLE((entered(req), 0));
	return 0;
}

SEC("fexit/io_write")
int BPF_PROG(io_write_exit, struct io_kiocb *req, unsigned int issue_flags, int ret)
{
	return pending_count ? WHOLE(returned(req, ret)) : 0;
}

/* A kretprobe does not see the arguments: they are kept by thread. */
SEC("kprobe/io_write")
int BPF_KPROBE(io_write_entry, struct io_kiocb *req)
{
	u64 thread = bpf_get_current_pid_tgid();

	if (is_silent(req))
		entered(req);
	if (pending_count)
		bpf_map_update_elem(&writing, &thread, &req, BPF_ANY);
	return 0;
}

SEC("kretprobe/io_write")
int BPF_KRETPROBE(io_write_return, int ret)
{
	u64 thread = bpf_get_current_pid_tgid(), *req;

	if (!pending_count)
		return 0;
	req = bpf_map_lookup_elem(&writing, &thread);
	if (!req)
		return 0;
	returned((void *)*req, ret);
	bpf_map_delete_elem(&writing, &thread);
	return 0;
}
