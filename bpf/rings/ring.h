/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a ring tells of itself: one reader for each thing that kernels keep in different places. */
#ifndef RINGWATCH_RINGS_RING_H
#define RINGWATCH_RINGS_RING_H

/* The record in the making. One reader at a time: reading an iterator holds a lock, and each run of ringwatch has maps of its own. */
struct rw_ring rec = {};

static __always_inline bool known(u32 what)
{
	rec.known |= what;
	return true;
}

static __always_inline s64 created_of(struct inode *inode)
{
	struct inode___ring *now = (void *)inode;
	struct inode___6_10 *mid = (void *)inode;
	struct inode___6_5 *old = (void *)inode;
	s64 second = 1000000000;

	if (bpf_core_field_exists(now->i_ctime_sec))
		return BPF_CORE_READ(now, i_ctime_sec) * second + BPF_CORE_READ(now, i_ctime_nsec);
	if (bpf_core_field_exists(mid->__i_ctime))
		return BPF_CORE_READ(mid, __i_ctime.tv_sec) * second + BPF_CORE_READ(mid, __i_ctime.tv_nsec);
	return BPF_CORE_READ(old, i_ctime.tv_sec) * second + BPF_CORE_READ(old, i_ctime.tv_nsec);
}

static __always_inline void tell_queues(struct io_ring_ctx___ring *ring)
{
	struct io_rings *rings = BPF_CORE_READ(ring, rings);
	struct list_head *head =
		(void *)ring + bpf_core_field_offset(struct io_ring_ctx___ring, cq_overflow_list);

	rec.sq_entries = BPF_CORE_READ(ring, sq_entries);
	rec.cq_entries = BPF_CORE_READ(ring, cq_entries);
	rec.sq_head = BPF_CORE_READ(rings, sq.head);
	rec.sq_tail = BPF_CORE_READ(rings, sq.tail);
	rec.cq_head = BPF_CORE_READ(rings, cq.head);
	rec.cq_tail = BPF_CORE_READ(rings, cq.tail);
	rec.cq_overflowed = BPF_CORE_READ(head, next) != head;
	known(RW_RING_QUEUES);
}

static __always_inline void tell_registered(struct io_ring_ctx *ctx)
{
	struct io_ring_ctx___ring *ring = (void *)ctx;
	struct io_ring_ctx___6_12 *old = (void *)ctx;

	if (bpf_core_field_exists(ctx->file_table.data.nr))
		rec.files = known(RW_RING_FILES) ? BPF_CORE_READ(ctx, file_table.data.nr) : 0;
	else if (bpf_core_field_exists(old->nr_user_files))
		rec.files = known(RW_RING_FILES) ? BPF_CORE_READ(old, nr_user_files) : 0;
	if (bpf_core_field_exists(ring->buf_table.nr))
		rec.buffers = known(RW_RING_BUFFERS) ? BPF_CORE_READ(ring, buf_table.nr) : 0;
	else if (bpf_core_field_exists(old->nr_user_bufs))
		rec.buffers = known(RW_RING_BUFFERS) ? BPF_CORE_READ(old, nr_user_bufs) : 0;
}

static __always_inline void tell_sq_thread(struct io_ring_ctx *ctx, u32 level)
{
	struct io_ring_ctx___5_9 *old = (void *)ctx;
	struct io_sq_data___ring *data;
	struct task_struct *thread;
	u32 ns;

	if (bpf_core_field_exists(ctx->sq_data)) {
		data = (void *)BPF_CORE_READ(ctx, sq_data);
		if (!data)
			return;
		if (bpf_core_field_exists(data->sq_cpu)) {
			rec.sq_cpu = BPF_CORE_READ(data, sq_cpu);
			known(RW_RING_SQ_CPU);
		}
		thread = BPF_CORE_READ(ctx, sq_data, thread);
	} else if (bpf_core_field_exists(old->sqo_thread)) {
		thread = BPF_CORE_READ(old, sqo_thread);
	} else {
		return;
	}
	if (!thread)
		return;
	rec.sq_tid = pid_at(thread, level, &ns);
	rec.sq_tgid = pid_at(BPF_CORE_READ(thread, group_leader), level, &ns);
	known(RW_RING_SQ_THREAD);
}

/* The threads that made the ring or entered it: the list may change under the reader, so it is followed for a while. */
static __always_inline void tell_threads(struct io_ring_ctx___ring *ring, u32 level)
{
	struct list_head *head, *at;
	struct io_tctx_node *node;
	struct task_struct *task;
	u32 n = 0, ns;

	if (!bpf_core_field_exists(ring->tctx_list))
		return;
	head = (void *)ring + bpf_core_field_offset(struct io_ring_ctx___ring, tctx_list);
	at = BPF_CORE_READ(head, next);
	for (int i = 0; i < RW_RING_THREADS; i++) {
		if (!at || at == head)
			break;
		node = (void *)at - bpf_core_field_offset(struct io_tctx_node, ctx_node);
		task = BPF_CORE_READ(node, task);
		rec.thread[i].tid = pid_at(task, level, &ns);
		rec.thread[i].tgid = pid_at(BPF_CORE_READ(task, group_leader), level, &ns);
		n++;
		at = BPF_CORE_READ(at, next);
	}
	rec.threads = at && at != head ? n + 1 : n;
	known(RW_RING_TASKS);
}

static __always_inline void tell_credentials(u32 id, u64 entry)
{
	struct io_ring_ctx___5_11 *ring = NULL;
	struct cred___ring *cred = (void *)entry;
	struct io_identity *identity = (void *)entry;
	struct rw_ring_creds *to;
	u32 n = rec.personalities++;

	if (n >= RW_RING_CREDS)
		return;
	if (bpf_core_field_exists(ring->personality_idr) && bpf_core_field_exists(identity->creds))
		cred = (void *)BPF_CORE_READ(identity, creds);
	to = &rec.creds[n];
	to->id = id;
	to->uid = BPF_CORE_READ(cred, uid.val);
	to->euid = BPF_CORE_READ(cred, euid.val);
	to->fsuid = BPF_CORE_READ(cred, fsuid.val);
	to->gid = BPF_CORE_READ(cred, gid.val);
	to->egid = BPF_CORE_READ(cred, egid.val);
	to->fsgid = BPF_CORE_READ(cred, fsgid.val);
	bpf_probe_read_kernel(&to->cap_effective, sizeof(to->cap_effective), &cred->cap_effective);
}

/* An entry that is another node, or 0. */
static __always_inline u64 node_of(u64 entry)
{
	return (entry & 3) == 2 && entry > 4096 ? entry - 2 : 0;
}

static __always_inline u64 slot_of(u64 node, u32 i)
{
	u64 at = node + bpf_core_field_offset(struct xa_node, slots) + i * sizeof(void *), entry = 0;

	bpf_probe_read_kernel(&entry, sizeof(entry), (void *)at);
	return entry;
}

#define SLOTS (bpf_core_field_size(((struct xa_node *)0)->slots) / sizeof(void *))

/* Each level is verified once, and takes numbers, as 5.8 wants it. */
__noinline int tell_leaf(u64 node, u32 base)
{
	for (u32 i = 0; i < NODE_SLOTS && i < SLOTS; i++) {
		u64 entry = slot_of(node, i);

		if (entry && !(entry & 3))
			tell_credentials(base + i, entry);
	}
	return 0;
}

__noinline int tell_branch(u64 node, u32 base)
{
	for (u32 i = 0; i < NODE_SLOTS && i < SLOTS; i++) {
		u64 child = node_of(slot_of(node, i));

		if (child)
			tell_leaf(child, (base + i) * SLOTS);
	}
	return 0;
}

__noinline int tell_root(u64 node)
{
	for (u32 i = 0; i < NODE_SLOTS && i < SLOTS; i++) {
		u64 child = node_of(slot_of(node, i));

		if (child)
			tell_branch(child, i * SLOTS);
	}
	return 0;
}

/* Ids are below 65536: three levels of 64. Of the four levels of a small kernel the last two are not followed. */
static __always_inline void tell_personalities(struct io_ring_ctx___ring *ring)
{
	struct io_ring_ctx___5_11 *old = (void *)ring;
	u64 node;
	u8 shift;

	if (bpf_core_field_exists(ring->personalities))
		node = node_of((u64)BPF_CORE_READ(ring, personalities.xa_head));
	else if (bpf_core_field_exists(old->personality_idr))
		node = node_of((u64)BPF_CORE_READ(old, personality_idr.idr_rt.xa_head));
	else
		return;
	known(RW_RING_PERSONALITIES);
	if (!node)
		return;
	shift = BPF_CORE_READ((struct xa_node *)node, shift);
	if (shift == 0)
		tell_leaf(node, 0);
	else if ((1U << shift) == SLOTS)
		tell_branch(node, 0);
	else
		tell_root(node);
}

#endif
