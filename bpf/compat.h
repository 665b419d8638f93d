/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One reader for each thing that kernels keep in different places. */
#ifndef RINGWATCH_COMPAT_H
#define RINGWATCH_COMPAT_H

/* Before 5.19 a request has no struct io_cqe. `fd` came with 5.18; `result` was called `error` before 5.3. */
struct io_kiocb___5_18 {
	u64 user_data;
	s32 result;
	s32 fd;
} __attribute__((preserve_access_index));

static __always_inline u64 user_data_of(const bool typed, struct io_kiocb *req)
{
	struct io_kiocb___5_18 *old = (void *)req;

	return bpf_core_field_exists(struct io_kiocb, cqe) ? RD(typed, req, cqe.user_data) :
							     BPF_CORE_READ(old, user_data);
}

static __always_inline s32 result_of(const bool typed, struct io_kiocb *req)
{
	struct io_kiocb___5_18 *old = (void *)req;

	return bpf_core_field_exists(struct io_kiocb, cqe) ? RD(typed, req, cqe.res) :
							     BPF_CORE_READ(old, result);
}

static __always_inline s32 fd_of(const bool typed, struct io_kiocb *req)
{
	struct io_kiocb___5_18 *old = (void *)req;

	return bpf_core_field_exists(struct io_kiocb, cqe) ? RD(typed, req, cqe.fd) : BPF_CORE_READ(old, fd);
}

/* 64 bits from 6.9 on. */
struct io_kiocb___6_9 {
	u64 flags;
} __attribute__((preserve_access_index));

static __always_inline u64 req_flags_of(struct io_kiocb *req)
{
	struct io_kiocb___6_9 *wide = (void *)req;

	return bpf_core_field_size(req->flags) == 8 ? BPF_CORE_READ(wide, flags) : BPF_CORE_READ(req, flags);
}

/* Boot time in ns at which the task was started; renamed in 5.5. */
struct task_struct___5_4 {
	u64 real_start_time;
} __attribute__((preserve_access_index));

static __always_inline u64 start_of(const bool typed, struct task_struct *task)
{
	struct task_struct___5_4 *old = (void *)task;

	return bpf_core_field_exists(struct task_struct, start_boottime) ? RD(typed, task, start_boottime) :
									   BPF_CORE_READ(old, real_start_time);
}

/* Before 5.5 the id is a union of itself and its halves. */
union kernfs_node_id {
	u64 id;
} __attribute__((preserve_access_index));

struct kernfs_node___5_4 {
	union kernfs_node_id id;
} __attribute__((preserve_access_index));

static __always_inline u64 kernfs_id(const bool typed, struct kernfs_node *node)
{
	struct kernfs_node___5_4 *old = (void *)node;

	return bpf_core_field_exists(struct kernfs_node, id) ? RD(typed, node, id) : BPF_CORE_READ(old, id.id);
}

/* How often the task called exec: 32 bits before 5.7. */
static __always_inline u64 execs_of(const bool typed, struct task_struct *task)
{
	u64 n = RD(typed, task, self_exec_id);

	return bpf_core_field_size(((struct task_struct *)0)->self_exec_id) == 8 ? n : (u32)n;
}

/* Before 5.10 a ring had its poll thread to itself. */
struct io_ring_ctx___sqo_thread {
	struct task_struct *sqo_thread;
} __attribute__((preserve_access_index));

static __always_inline struct task_struct *poll_task(struct io_ring_ctx *ctx)
{
	struct io_ring_ctx___sqo_thread *old = (void *)ctx;

	if (bpf_core_field_exists(old->sqo_thread))
		return BPF_CORE_READ(old, sqo_thread);
	return bpf_core_field_exists(ctx->sq_data) ? BPF_CORE_READ(ctx, sq_data, thread) : NULL;
}

/*
 * Before 6.0 io_uring_complete fires before the CQE has a place. Then a full CQ ring tells that it goes to the
 * overflow list.
 */
struct io_rings___5_19 {
	struct {
		u32 head;
	} cq;
} __attribute__((preserve_access_index));

struct io_ring_ctx___5_19 {
	struct io_rings___5_19 *rings;
	u32 cached_cq_tail;
	u32 cq_entries;
} __attribute__((preserve_access_index));

static __always_inline bool cq_full(struct io_ring_ctx *ctx)
{
	struct io_ring_ctx___5_19 *ring = (void *)ctx;

	/* Before 5.4. */
	if (!bpf_core_field_exists(ring->rings))
		return false;
	return BPF_CORE_READ(ring, cached_cq_tail) - BPF_CORE_READ(ring, rings, cq.head) ==
	       BPF_CORE_READ(ring, cq_entries);
}

/* How often a thread's root or current directory was changed; odd while that is done. */
static __always_inline u32 moves_of(struct fs_struct *fs)
{
	struct fs_struct___6_17 *locked = (void *)fs;
	struct fs_struct___6_16 *old = (void *)fs;

	return bpf_core_field_exists(locked->seq.seqcount.seqcount.sequence) ?
		       BPF_CORE_READ(locked, seq.seqcount.seqcount.sequence) :
		       BPF_CORE_READ(old, seq.seqcount.sequence);
}

#endif
