// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A ring was created. Who made an SQPOLL ring is kept, since its requests come from the kernel's own thread. */

static __always_inline void remember_creator(struct task_struct *task, u64 ring)
{
	u64 id = bpf_get_current_pid_tgid();
	struct creator c = {};
	u32 ns;

	c.tgid = id >> 32;
	c.tid = (u32)id;
	c.ns_tid = pid_in_ns(task, &ns);
	c.start_boottime = start_of(false, task);
	bpf_get_current_comm(c.comm, sizeof(c.comm));
	bpf_map_update_elem(&creators, &ring, &c, BPF_ANY);
}

static __always_inline u32 poll_thread(struct io_ring_ctx *ctx)
{
	struct task_struct *task = poll_task(ctx);

	return task ? BPF_CORE_READ(task, pid) : 0;
}

/* `made` holds what the tracepoint tells. */
static __noinline int tell_of_ring(CTX struct work *w, u64 ring, struct rw_created *made)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct who *who = &w->who;

	who_runs(false, task, who);
	/* What was found out of a system call's submitter is gone. */
	w->batch.head = 0;
	if (!follow(who))
		return 0;
	if (!task_identify(PASS_CTX w)) {
		count(RW_LOST_RING_FULL);
		return 0;
	}
	made->type = RW_CREATED;
	made->ctx = ring;
	made->time_ns = bpf_ktime_get_ns();
	made->task_id = who->task_id;
	made->tid = who->tid;
	if (made->setup & IORING_SETUP_SQPOLL)
		made->sq_tid = poll_thread((void *)ring);
	count(send(PASS_CTX made, sizeof(*made)) ? RW_COUNT_WRITES : RW_LOST_RING_FULL);
	return 0;
}

static __always_inline int on_create(CTX u64 ring, int fd, u32 sq_entries, u32 cq_entries, u32 flags)
{
	struct rw_created made = {
		.fd = fd,
		.sq_entries = sq_entries,
		.cq_entries = cq_entries,
		.setup = flags,
	};
	struct work *w;

#ifndef RW_EARLY
	cq_created(ring);
#endif
	if (flags & IORING_SETUP_SQPOLL) {
		remember_creator((void *)bpf_get_current_task(), ring);
#ifdef RW_EARLY
		note_submitter((void *)ring);
#endif
	}
	if (!cfg.created)
		return 0;
	w = work_get(false);
	if (!w) {
		count(RW_LOST_RING_FULL);
		count(RW_LOST_SCRATCH);
		return 0;
	}
	tell_of_ring(PASS_CTX w, ring, &made);
	work_put(w);
	return 0;
}

SEC("raw_tp/io_uring_create")
int BPF_PROG(create, int fd, void *ring, u32 sq_entries, u32 cq_entries, u32 flags)
{
	return on_create(OWN_CTX(u64) ring, fd, sq_entries, cq_entries, flags);
}
