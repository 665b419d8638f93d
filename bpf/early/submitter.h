/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who submitted, and who carries out, where the kernel's own threads do the work: io-wq's workers before 5.12, kworkers
 * before 5.5, poll threads before 5.12.
 */
#ifndef RINGWATCH_SUBMITTER_H
#define RINGWATCH_SUBMITTER_H

/* A thread. Its address alone may belong to another one by now. */
struct submitter {
	u64 task;
	u64 start;
};

/* The thread that last submitted to a ring: some requests are first seen in a worker. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct submitter);
} submitters SEC(".maps");

/* The thread that runs, unless it is the kernel's own. */
static __always_inline void note_submitter(struct io_ring_ctx *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 key = (u64)ctx;
	struct submitter now = {}, *last;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return;
	now.task = (u64)task;
	now.start = start_of(false, task);
	last = bpf_map_lookup_elem(&submitters, &key);
	if (!last || last->task != now.task || last->start != now.start)
		bpf_map_update_elem(&submitters, &key, &now, BPF_ANY);
}

static __always_inline struct task_struct *noted_submitter(struct io_ring_ctx *ctx)
{
	u64 key = (u64)ctx;
	struct submitter *last = bpf_map_lookup_elem(&submitters, &key);
	struct task_struct *task;

	if (!last)
		return NULL;
	task = (void *)last->task;
	return start_of(false, task) == last->start ? task : NULL;
}

/*
 * The thread on whose behalf `task` works: itself, unless it is the kernel's own. Of a poll thread it is the ring's maker.
 * Where not even that is known, it stays the kernel's thread.
 */
static __always_inline struct task_struct *task_behind(struct task_struct *task, struct io_ring_ctx *ctx)
{
	struct io_ring_ctx___early *ring = (void *)ctx;
	struct mm_struct___owner *mm = NULL;
	struct task_struct *behind = NULL;

	if (!(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return task;
	if (bpf_core_field_exists(ring->sqo_task))
		return BPF_CORE_READ(ring, sqo_task) ?: task;
	if (!(BPF_CORE_READ(ctx, flags) & IORING_SETUP_SQPOLL))
		behind = noted_submitter(ctx);
	if (!behind && bpf_core_field_exists(ring->sqo_mm) && bpf_core_field_exists(mm->owner))
		behind = BPF_CORE_READ(ring, sqo_mm, owner);
	/* Who made the ring: for a kernel that does not tell whose memory it is. */
	return behind ?: noted_submitter(ctx) ?: task;
}

/* Who it is, and whether it is followed. Who is not known is not left out. */
static __always_inline bool is_followed(struct task_struct *task, struct io_ring_ctx *ctx, struct who *who)
{
	return who_is(task, ctx, who) && (BPF_CORE_READ(task, flags) & PF_KTHREAD || follow(who));
}

/* Which bit marks a worker of io-wq. */
static __always_inline u32 worker_flag(void)
{
	struct io_ring_ctx___early *ring = NULL;

	return bpf_core_field_exists(ring->sqo_mm) ? PF_IO_WORKER_5_9 : PF_IO_WORKER;
}

/* The thread that runs ended the write. Its submitter may be gone, and before 5.8 is known by its number alone. */
static __noinline void set_executor_early(struct work *w)
{
	struct rw_write *rec = &w->rec;
	struct runner *runner = &w->runner;
	bool polled = rec->flags & RW_F_SQPOLL;
	struct task_struct *poll = polled ? poll_task((void *)rec->ctx) : NULL;
	u32 tid = polled ? BPF_CORE_READ(poll, pid) : rec->tid;

	set_runner(false, runner);
	rec->exec_tid = runner->tid;
	rec->flags |= RW_F_EXEC_TID;
	/* From 5.12 on the poll thread is of the same kind as the workers. */
	if (runner->flags & worker_flag() && runner->tid != tid) {
		rec->executor = RW_EXEC_IOWQ;
	} else if (rec->flags & RW_F_PUNTED) {
		/* A worker did the work, and another thread posts the completion: which worker, nobody tells. */
		rec->executor = RW_EXEC_IOWQ;
		rec->exec_tid = 0;
		rec->flags &= ~RW_F_EXEC_TID;
	} else if (runner->flags & PF_KTHREAD && runner->task != (u64)poll) {
		rec->executor = RW_EXEC_KERNEL;
	} else {
		rec->executor = polled ? RW_EXEC_SQPOLL : RW_EXEC_SUBMITTER;
		rec->exec_tid = tid;
		/* The poll thread is gone. */
		if (!tid)
			rec->flags &= ~RW_F_EXEC_TID;
	}
}

#endif
