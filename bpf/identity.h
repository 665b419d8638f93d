/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who submitted a request: read from the kernel's structures, so that older rings are attributed too. */
#ifndef RINGWATCH_IDENTITY_H
#define RINGWATCH_IDENTITY_H

/* Kept in a map, where a typed pointer would become a number: the task is passed beside it. */
struct who {
	u64 task;
	u64 task_id;
	u64 comm[2];
	u32 tgid;
	u32 tid;
	u32 uid;
	u32 flags;
	/* Of the thread, where it is not `task`; else 0. */
	u64 start_boottime;
	u32 ns_tid;
	u32 pad;
};

/* Submissions of one system call; see same_batch(). */
struct batch {
	u64 ctx;
	u64 tctx;
	u64 head;
	u32 sq;
	u32 followed;
};

/* The thread that runs. */
struct runner {
	u64 task;
	u32 flags;
	u32 tid;
};

/* The sum of a vectored write in the making. */
struct vector {
	u64 iov;
	u64 first;
	u64 sum;
	u64 over;
	u32 n;
	/* The program has 32 bits. */
	u32 compat;
};

/*
 * What a program works on, in a map: the stack holds 512 bytes for a program and all that it calls. On cache lines of
 * its own.
 */
struct work {
	u32 busy;
	/* Its place in `works`, and among those of its CPU. */
	u32 index;
	u32 nest;
	/* The next of that list is followed, too; only where sums are asked for. */
	u32 more;
	/* The node of the completion that the kernel tells next, and when it began to tell of these; see same_flush(). */
	u64 next;
	u64 flush_ns;
	/* Who tells of them. */
	struct runner runner;
	struct batch batch;
	struct run run;
	struct outcome out;
	union {
		struct rw_write rec;
		struct rw_request request;
	};
	struct who who;
	struct file_id id;
	/* Directories that names are relative to, and the root. */
	struct rw_directory from[3];
	struct vector vector;
} __attribute__((aligned(64)));

/* NEST for each CPU; user space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEST);
	__type(key, u32);
	__type(value, struct work);
} works SEC(".maps");

static __always_inline struct work *work_get(const bool whole)
{
	u32 first = bpf_get_smp_processor_id() * NEST;

	for (u32 i = 0; i < NEST; i++) {
		u32 key = first + i;
		struct work *w = bpf_map_lookup_elem(&works, &key);

		if (w && claim(whole, &w->busy)) {
			w->index = key;
			w->id.work = key;
			w->nest = i;
			return w;
		}
	}
	return NULL;
}

/* What comes next is of no list of completions. */
static __always_inline void list_end(struct work *w)
{
	w->next = 0;
	w->more = 0;
}

static __always_inline void work_put(struct work *w)
{
	w->busy = 0;
}

/* Compared as numbers: the compiler must not take one pointer for the other, of which the verifier knows less. */
static __always_inline bool same_ptr(const void *a, const void *b)
{
	u64 number = (u64)a;

	barrier_var(number);
	return number == (u64)b;
}

/* The task that called io_uring_enter, or the poll thread of an SQPOLL ring. */
static __always_inline struct task_struct *task_of(const bool typed, struct io_kiocb *req)
{
	struct io_uring_task *tctx;

	if (bpf_core_field_exists(((struct io_kiocb___task *)0)->task))
		return RD(typed, (struct io_kiocb___task *)req, task);
	tctx = RD(typed, req, tctx);
	return RD(typed, tctx, task);
}

/* A number for the submitter. */
static __always_inline u64 tctx_of(const bool typed, struct io_kiocb *req)
{
	if (bpf_core_field_exists(((struct io_kiocb___task *)0)->task))
		return (u64)RD(typed, (struct io_kiocb___task *)req, task);
	return (u64)RD(typed, req, tctx);
}

/* Whether `task` submitted the request. */
static __always_inline bool is_submitter(struct task_struct *task, struct io_kiocb *req)
{
	if (bpf_core_field_exists(((struct io_kiocb___task *)0)->task))
		return same_ptr(((struct io_kiocb___task *)req)->task, task);
	return same_ptr(req->tctx, task->io_uring);
}

/* Before 5.17 what an earlier name left stays behind the end of a shorter one. */
static __always_inline void name_end(u64 *comm)
{
#ifdef RW_EARLY
	for (int i = 0; i < 2; i++) {
		/* The highest bit of each byte that is 0, and perhaps of bytes behind it. */
		u64 end = (comm[i] - 0x0101010101010101ULL) & ~comm[i] & 0x8080808080808080ULL;

		if (!end)
			continue;
		comm[i] &= ((end & -end) >> 7) - 1;
		if (!i)
			comm[1] = 0;
	}
#endif
}

/* The poll thread is named "iou-sqp-<tid of the creator>". */
static __always_inline u32 creator_from_name(const char *comm)
{
	u32 tid = 0;

	for (int i = 8; i < RW_COMM_LEN; i++) {
		u32 digit = (u8)comm[i] - '0';

		if (digit > 9)
			break;
		tid = tid * 10 + digit;
	}
	return tid;
}

/* Puts the ring's creator in the place of the poll thread. */
static __noinline void sqpoll_creator(struct who *who, struct io_ring_ctx *ctx)
{
	u64 key = (u64)ctx;
	struct creator *c = bpf_map_lookup_elem(&creators, &key);
	struct task_struct *task = (void *)who->task, *leader = BPF_CORE_READ(task, group_leader);
	u32 tid;

	who->flags |= RW_F_SQPOLL;
	if (c && c->tgid == who->tgid) {
		who->task = (u64)leader;
		who->tid = c->tid;
		who->ns_tid = c->ns_tid;
		who->start_boottime = c->start_boottime;
		who->comm[0] = c->comm[0];
		who->comm[1] = c->comm[1];
		return;
	}
	/* Before 5.12 the poll thread is the kernel's, and `task` a thread of the process that made the ring. */
	if (!(BPF_CORE_READ(task, flags) & PF_IO_WORKER))
		return;
	who->task = (u64)leader;
	who->flags |= RW_F_CREATOR_NAME;
	tid = creator_from_name((const char *)who->comm);
	who->tid = tid ?: who->tgid;
	bpf_probe_read_kernel(who->comm, RW_COMM_LEN, &leader->comm);
	name_end(who->comm);
}

static __always_inline void who_runs(const bool typed, struct task_struct *task, struct who *who)
{
	who->task = (u64)task;
	who->flags = 0;
	who->ns_tid = 0;
	who->start_boottime = 0;
	who->tgid = RD(typed, task, tgid);
	who->tid = RD(typed, task, pid);
	who->uid = uid_of(typed, task);
	if (typed) {
		who->comm[0] = *(u64 *)&task->comm[0];
		who->comm[1] = *(u64 *)&task->comm[8];
	} else {
		bpf_probe_read_kernel(who->comm, RW_COMM_LEN, &task->comm);
		name_end(who->comm);
	}
}

static __always_inline bool who_is_body(const bool typed, struct task_struct *task, struct io_ring_ctx *ctx,
					struct who *who)
{
	if (!task)
		return false;
	who_runs(typed, task, who);
	/* Poll threads are made as the workers are (5.12 and later, as typed programs). */
	if ((!typed || RD(typed, task, flags) & PF_IO_WORKER) && RD(typed, ctx, flags) & IORING_SETUP_SQPOLL)
		sqpoll_creator(who, ctx);
	return true;
}

/* A function of its own, for the sake of the stack. */
static __noinline bool who_is(struct task_struct *task, struct io_ring_ctx *ctx, struct who *who)
{
	return who_is_body(false, task, ctx, who);
}

#ifndef RW_EARLY

/*
 * The submitter, which mostly is the thread that runs. Of that one the verifier knows that it exists, so that it is read
 * by plain loads; and it is asked for once, since the return from a call is what costs most where returns are guarded.
 */
static __always_inline bool submitter_is(const bool typed, struct task_struct *current, struct io_kiocb *req,
					 struct io_ring_ctx *ctx, struct work *w)
{
	w->batch.head = 0;
	if (typed && is_submitter(current, req))
		return who_is_body(true, current, ctx, &w->who);
	return who_is(task_of(false, req), ctx, &w->who);
}

#endif

/* Changes with exec, a new name, setuid, a new mount namespace and a move to another cgroup. */
static __always_inline u64 task_hash(const bool typed, struct task_struct *task, const struct who *who)
{
	u64 h = cfg.key;

	/* One after the other: a sum would let a program choose two names that differ by nothing. */
	h = fold(h ^ ((u64)who->tid << 32 | who->tgid), cfg.name_key);
	h = fold(h ^ start_of(typed, task), cfg.name_key);
	h = fold(h ^ execs_of(typed, task), cfg.name_key);
	h = fold(h ^ who->comm[0], cfg.name_key);
	h = fold(h ^ who->comm[1], cfg.name_key);
	h = fold(h ^ cgroup_of(typed, task), cfg.name_key);
	return fold(h ^ ((u64)who->uid << 32 | mnt_ns_of(typed, task)), cfg.part_key);
}

static __noinline u64 task_hash_raw(const struct who *who)
{
	return task_hash(false, (void *)who->task, who);
}

ONCE int task_send(CTX struct work *w)
{
	struct task_struct *current = (void *)bpf_get_current_task(), *task, *leader;
	u32 at_epoch = epoch, index, size = 0, ns;
	struct mm_struct *mm;
	struct scratch *s;
	struct who *who;
	struct file *exe;
	u64 start, end;
	bool sent;

	if (!w)
		return 0;
	who = &w->who;
	task = (void *)who->task;
	leader = BPF_CORE_READ(task, group_leader);
	mm = BPF_CORE_READ(task, mm);
	exe = BPF_CORE_READ(mm, exe_file);
	w->id.flags = 0;
	w->id.path_id = 0;
	if (exe && !file_identify(PASS_CTX false, exe, &w->id))
		return 0;
	s = scratch_get(&index);
	if (!s)
		return 0;
	s->task.type = RW_TASK;
	s->task.flags = who->flags | (w->id.flags & (RW_F_FILE | RW_F_DELETED));
	s->task.task_id = who->task_id;
	s->task.start_boottime = who->start_boottime ?: start_of(false, task);
	s->task.cgroup_id = cgroup_of(false, task);
	s->task.exe_path_id = w->id.path_id;
	s->task.tgid = who->tgid;
	s->task.tid = who->tid;
	s->task.ns_tgid = pid_in_ns(leader, &ns);
	s->task.ns_tid = pid_in_ns(task, &s->task.pid_ns);
	if (who->ns_tid)
		s->task.ns_tid = who->ns_tid;
	s->task.ppid = BPF_CORE_READ(task, real_parent, tgid);
	s->task.uid = who->uid;
	s->task.mnt_ns = mnt_ns_of(false, task);
	__builtin_memcpy(s->task.comm, who->comm, RW_COMM_LEN);
	start = BPF_CORE_READ(mm, arg_start);
	end = BPF_CORE_READ(mm, arg_end);
	s->task.arg_start = start;
	s->task.arg_len = 0;
	if (end > start) {
		s->task.arg_len = end - start;
		if (end - start > RW_CMDLINE_MAX)
			s->task.flags |= RW_F_TRUNCATED;
	}
	/* User memory can be read only while its owner runs. */
	if (s->task.arg_len && BPF_CORE_READ(current, mm) == mm) {
		size = end - start > RW_CMDLINE_MAX ? RW_CMDLINE_MAX : end - start;
		if (bpf_probe_read_user(s->data, AT_MOST(size, RW_CMDLINE_MAX), (void *)start))
			size = 0;
	}
	s->task.size = size;
	sent = send(PASS_CTX s, RW_DATA_OFFSET + AT_MOST(size, RW_CMDLINE_MAX));
	scratch_put(s);
	if (!sent)
		return 0;
	mark_seen(who->task_id, at_epoch);
	return 1;
}

/* False: the task's record was needed and could not be sent. */
static __always_inline bool task_known(CTX struct work *w)
{
	return already_seen(w->who.task_id) || task_send(PASS_CTX w);
}

static __always_inline bool task_identify(CTX struct work *w)
{
	w->who.task_id = task_hash_raw(&w->who);
	return task_known(PASS_CTX w);
}

#endif
