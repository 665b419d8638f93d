/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests in flight: what is kept from submission to the end, and the one way in which a write ends.
 *
 * Request memory is recycled at once, so an entry lives exactly as long as its request: it is taken away at the
 * end, and where the kernel told of no end, at the next submission that uses the same memory.
 */
#ifndef RINGWATCH_REQUEST_H
#define RINGWATCH_REQUEST_H

#define OPCODE_SHIFT 24

static __always_inline bool is_write(u8 opcode)
{
	return opcode == IORING_OP_WRITE || opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITE_FIXED ||
	       opcode == IORING_OP_WRITEV_FIXED;
}

static __always_inline bool is_vectored(u8 opcode)
{
	return opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITEV_FIXED;
}

static __always_inline struct slot *slot_of(const void *req)
{
	u32 i = (u32)(unsigned long)req;

	i = (i >> 6) * 0x9e3779b1u >> (32 - SLOT_BITS);
	return bpf_map_lookup_elem(&slots, &i);
}

static __always_inline bool slot_take(struct slot *slot, u64 req)
{
	return __sync_val_compare_and_swap(&slot->req, req, 0) == req;
}

/* False: the table is full, or another CPU was faster. */
static __always_inline bool pending_put(u64 req, const struct rw_write *rec)
{
	if (bpf_map_update_elem(&pending, &req, rec, BPF_ANY)) {
		count(RW_LOST_TABLE_FULL);
		return false;
	}
	__sync_fetch_and_add(&pending_count, 1);
	return true;
}

static __always_inline bool pending_take(u64 req)
{
	if (bpf_map_delete_elem(&pending, &req))
		return false;
	__sync_fetch_and_add(&pending_count, -1);
	return true;
}

/* The file that a descriptor names for the task; NULL if none. */
static __always_inline struct file *file_of_fd(struct task_struct *task, s32 fd)
{
	struct files_struct *files = BPF_CORE_READ(task, files);
	struct fdtable *fdt = BPF_CORE_READ(files, fdt);
	struct file **fds = BPF_CORE_READ(fdt, fd), *file = NULL;

	if (!files || fd < 0 || (u32)fd >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), fds + fd);
	return file;
}

/* Registered files carry flags in the two low bits. */
#define FILE_PTR_FLAGS 3UL

static __always_inline struct file *file_of_index(struct io_ring_ctx *ctx, s32 index)
{
	unsigned long ptr = 0;

	if (bpf_core_field_exists(struct io_file_table, data)) {
		struct io_rsrc_node **nodes = BPF_CORE_READ(ctx, file_table.data.nodes), *node = NULL;

		if (index < 0 || (u32)index >= BPF_CORE_READ(ctx, file_table.data.nr))
			return NULL;
		bpf_probe_read_kernel(&node, sizeof(node), nodes + index);
		if (node)
			ptr = BPF_CORE_READ(node, file_ptr);
	} else {
		struct io_ring_ctx___6_0 *old = (void *)ctx;
		struct io_fixed_file___6_0 *files = BPF_CORE_READ(old, file_table.files);

		if (index < 0 || (u32)index >= BPF_CORE_READ(old, nr_user_files))
			return NULL;
		ptr = BPF_CORE_READ(files + index, file_ptr);
	}
	return (struct file *)(ptr & ~FILE_PTR_FLAGS);
}

static __always_inline void set_file(struct rw_write *rec, const struct file_id *id)
{
	rec->flags = (rec->flags & ~(RW_F_FILE | RW_F_DELETED | RW_F_NO_POS | RW_F_APPEND)) | id->flags;
	if (rec->rw_flags & RWF_APPEND)
		rec->flags |= RW_F_APPEND;
	rec->path_id = id->path_id;
	rec->inode = id->inode;
	rec->dev = id->dev;
	rec->mode = id->mode;
}

/* The record's file is unknown until set_file(). */
static __always_inline void clear_file(struct rw_write *rec)
{
	const struct file_id none = {};

	set_file(rec, &none);
}

/* False: its path could not be sent, and the write counts as lost. */
static __always_inline bool take_file(const bool typed, struct work *w, struct file *file)
{
	if (!file_identify(typed, file, &w->id))
		return false;
	set_file(&w->rec, &w->id);
	return true;
}

/* By the number in the request, where the request itself does not hold its file; no such file is no failure. */
static __noinline bool take_file_by_number(struct work *w, struct task_struct *task, struct io_ring_ctx *ctx)
{
	s32 fd = w->rec.fd;
	struct file *file = w->rec.flags & RW_F_FIXED_FILE ? file_of_index(ctx, fd) : file_of_fd(task, fd);

	return !file || take_file(false, w, file);
}

/* What the request itself tells, at submission and at the end alike. */
static __always_inline void set_request(const bool typed, struct rw_write *rec, struct io_kiocb *req, u8 opcode)
{
	struct io_rw *rw = CAST(typed, req, struct io_rw);

	rec->type = RW_WRITE;
	rec->opcode = opcode;
	rec->ctx = (u64)RD(typed, req, ctx);
	rec->user_data = RD(typed, req, cqe.user_data);
	rec->buf = RD(typed, rw, addr);
	rec->len = RD(typed, rw, len);
	rec->rw_flags = RD(typed, rw, flags);
	rec->iov_count = 0;
}

static __always_inline void clear_end(struct rw_write *rec)
{
	rec->end_ns = 0;
	rec->ki_pos = 0;
	rec->exec_tid = 0;
	rec->result = 0;
	rec->end = RW_END_UNSEEN;
	rec->executor = RW_EXEC_UNKNOWN;
	__builtin_memset(rec->pad, 0, sizeof(rec->pad));
}

static __always_inline void emit(const struct rw_write *rec)
{
	if (bpf_ringbuf_output(&events, (void *)rec, sizeof(*rec), BPF_RB_NO_WAKEUP))
		count(RW_LOST_RING_FULL);
	else
		count(RW_COUNT_WRITES);
}

/* The end of an entry of which the kernel did not tell. */
static __always_inline void emit_untold(struct rw_write *rec, u8 end)
{
	rec->end_ns = bpf_ktime_get_ns();
	rec->end = end;
	/* A write that does not succeed in full loses IOSQE_CQE_SKIP_SUCCESS and posts its CQE. */
	if (end == RW_END_SKIPPED) {
		rec->result = rec->len;
		if (rec->flags & RW_F_PUNTED) {
			rec->executor = RW_EXEC_IOWQ;
		} else if (rec->flags & RW_F_SQPOLL) {
			rec->executor = RW_EXEC_SQPOLL;
		} else {
			rec->executor = RW_EXEC_SUBMITTER;
			rec->exec_tid = rec->tid;
			rec->flags |= RW_F_EXEC_TID;
		}
	}
	emit(rec);
}

static __always_inline void slot_to_record(struct rw_write *rec, const struct slot *slot)
{
	__builtin_memset(rec, 0, sizeof(*rec));
	clear_end(rec);
	rec->type = RW_WRITE;
	rec->flags = slot->flags & ((1U << OPCODE_SHIFT) - 1);
	rec->opcode = slot->flags >> OPCODE_SHIFT;
	rec->submit_ns = slot->submit_ns;
	rec->task_id = slot->task_id;
	rec->user_data = slot->user_data;
	rec->asked_pos = slot->pos;
	rec->buf = slot->buf;
	rec->len = slot->len;
	rec->fd = slot->fd;
	rec->tid = slot->tid;
}

/* `req`'s memory serves a new request: whatever is still held of an old one ended without being told. */
static __noinline void recycled_slot(struct slot *slot, u64 req)
{
	struct work *w = work_get();

	if (!w)
		return;
	slot_to_record(&w->rec, slot);
	if (slot_take(slot, req))
		emit_untold(&w->rec, RW_END_UNSEEN);
	work_put(w);
}

static __noinline void recycled_pending(u64 req, struct io_ring_ctx *ctx)
{
	struct rw_write *held = bpf_map_lookup_elem(&pending, &req), *rec;
	struct work *w;
	bool sent = true;

	if (!held)
		return;
	w = work_get();
	if (!w)
		return;
	rec = &w->rec;
	*rec = *held;
	if (pending_take(req)) {
		/* A link before it may have filled the ring's slot after the submission. */
		if (!(rec->flags & RW_F_FILE) && rec->flags & RW_F_FIXED_FILE && rec->ctx == (u64)ctx)
			sent = take_file_by_number(w, NULL, ctx);
		if (sent)
			emit_untold(rec, rec->flags & RW_F_CQE_SKIP ? RW_END_SKIPPED : RW_END_UNSEEN);
		else
			count(RW_LOST_RING_FULL);
	}
	work_put(w);
}

static __always_inline void recycled(struct slot *slot, struct io_kiocb *req, struct io_ring_ctx *ctx)
{
	if (slot->req == (u64)req)
		recycled_slot(slot, (u64)req);
	if (pending_count)
		recycled_pending((u64)req, ctx);
}

#endif
