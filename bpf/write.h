/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A write's record in the making. */
#ifndef RINGWATCH_WRITE_H
#define RINGWATCH_WRITE_H

static __always_inline bool is_write(u8 opcode)
{
	return opcode == IORING_OP_WRITE || opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITE_FIXED ||
	       opcode == IORING_OP_WRITEV_FIXED;
}

/* Whether requests of this opcode are told. */
static __always_inline bool is_watched(u8 opcode)
{
	if (is_write(opcode))
		return cfg.writes;
	return cfg.others && cfg.opcodes[opcode >> 6] >> (opcode & 63) & 1;
}

/* Whether a struct rw_write tells all that is asked for of it. */
static __always_inline bool is_plain(u8 opcode)
{
	return !cfg.wide && is_write(opcode);
}

static __always_inline bool is_vectored(u8 opcode)
{
	return opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITEV_FIXED;
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

/* Registered files carry flags in the low bits: two or three of them, by version. */
#define FILE_PTR_FLAGS 7UL

static __always_inline struct file *file_of_index(struct io_ring_ctx *ctx, s32 index)
{
	unsigned long ptr = 0;

#ifdef RW_EARLY
	if (in_tables(ctx)) {
		if (index < 0 || (u32)index >= BPF_CORE_READ((struct io_ring_ctx___6_0 *)ctx, nr_user_files))
			return NULL;
		return (struct file *)(file_in_tables(ctx, index) & ~FILE_PTR_FLAGS);
	}
#endif
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

#define FILE_FLAGS \
	(RW_F_FILE | RW_F_DELETED | RW_F_STALE | RW_F_HANDLER | RW_F_NO_POS | RW_F_APPEND | RW_F_DIRECT)

static __always_inline void set_file(struct rw_write *rec, const struct file_id *id)
{
	rec->flags = (rec->flags & ~FILE_FLAGS) | id->flags;
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
static __always_inline bool take_file(CTX const bool typed, struct work *w, struct file *file)
{
	if (!file_identify(PASS_CTX typed, file, &w->id))
		return false;
	set_file(&w->rec, &w->id);
	return true;
}

static __always_inline struct file *file_by_number(const struct rw_write *rec, struct task_struct *task,
						   struct io_ring_ctx *ctx)
{
	return rec->flags & RW_F_FIXED_FILE ? file_of_index(ctx, rec->fd) : file_of_fd(task, rec->fd);
}

/* By the number in the request, where the request itself does not hold its file; no such file is no failure. */
static __noinline bool take_file_by_number(CTX struct work *w, struct task_struct *task,
					   struct io_ring_ctx *ctx)
{
	struct file *file = file_by_number(&w->rec, task, ctx);

	return !file || take_file(PASS_CTX false, w, file);
}

static __always_inline void set_runner(const bool typed, struct runner *runner)
{
	struct task_struct *current = typed ? bpf_get_current_task_btf() : (void *)bpf_get_current_task();

	runner->task = (u64)current;
	runner->flags = RD(typed, current, flags);
	runner->tid = RD(typed, current, pid);
}

static __always_inline void set_executor(struct rw_write *rec, const struct runner *runner,
					 struct task_struct *submitter)
{
	u32 tid = runner->task == (u64)submitter ? runner->tid : BPF_CORE_READ(submitter, pid);

	rec->exec_tid = runner->tid;
	/* The SQPOLL thread is of the same kind as the workers, and the submitter of its ring's requests. */
	if (runner->flags & PF_IO_WORKER && rec->exec_tid != tid) {
		rec->executor = RW_EXEC_IOWQ;
		rec->flags |= RW_F_EXEC_TID;
	} else if (rec->flags & RW_F_PUNTED) {
		/* A worker did the work, and another thread posts the completion: which worker, nobody tells. */
		rec->executor = RW_EXEC_IOWQ;
		rec->exec_tid = 0;
	} else if (runner->flags & PF_KTHREAD) {
		rec->executor = RW_EXEC_KERNEL;
		rec->flags |= RW_F_EXEC_TID;
	} else {
		rec->executor = rec->flags & RW_F_SQPOLL ? RW_EXEC_SQPOLL : RW_EXEC_SUBMITTER;
		rec->exec_tid = tid;
		rec->flags |= RW_F_EXEC_TID;
	}
}

#ifndef RW_EARLY

/* The thread that runs ended the write. */
static __noinline void set_executor_now(struct work *w, struct task_struct *submitter)
{
	set_runner(false, &w->runner);
	set_executor(&w->rec, &w->runner, submitter);
}

#endif

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

#ifdef RW_EARLY

#define put_write(w) send(PASS_CTX &(w)->rec, sizeof((w)->rec))

#else

/* What was written before is seen by whoever sees the new value. */
static __always_inline void publish(u64 *at, u64 value)
{
#if defined(__TARGET_ARCH_x86)
	barrier();
	*(volatile u64 *)at = value;
#else
	__sync_lock_test_and_set(at, value);
#endif
}

/* False: there was no room. */
static __always_inline bool put_write(const struct work *w)
{
	u32 first = bpf_get_smp_processor_id() * (cfg.queue_len + 1), i;
	struct rw_queue *queue;
	struct rw_write *at;
	u64 head;

	/* A program that interrupted another one on this CPU: the queue may be in use. */
	if (w->nest)
		return send(&w->rec, sizeof(w->rec));
	queue = bpf_map_lookup_elem(&queues, &first);
	if (!queue)
		return false;
	head = queue->head;
	if (head - *(volatile u64 *)&queue->tail >= cfg.queue_len)
		return false;
	i = first + 1 + (head & (cfg.queue_len - 1));
	at = bpf_map_lookup_elem(&queues, &i);
	if (!at)
		return false;
	*at = w->rec;
	publish(&queue->head, head + 1);
	return true;
}

#endif

static __always_inline void emit(CTX struct work *w)
{
#ifndef RW_EARLY
	if ((cfg.others || cfg.wide) && w->rec.type == RW_REQUEST) {
		bool whole = !(w->rec.flags & RW_F_NAMELESS);

		count(whole && send(&w->request, sizeof(w->request)) ? RW_COUNT_WRITES : RW_LOST_RING_FULL);
		return;
	}
#endif
	if (cfg.aggregate) {
		stat_add(w);
		count(RW_COUNT_WRITES);
		return;
	}
	count(put_write(w) ? RW_COUNT_WRITES : RW_LOST_RING_FULL);
}

#endif
