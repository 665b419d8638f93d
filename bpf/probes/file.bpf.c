// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Files outside of io_uring: system calls that write, opens, and the first change of what a file holds. These programs run
 * in the thread that does it, and none of these functions is on the way of a write of io_uring but that of the change.
 */

static __always_inline struct work *file_begin(CTX struct task_struct *task, u8 kind)
{
	struct work *w = work_get(false);

	if (!w) {
		count(RW_LOST_RING_FULL);
		count(RW_LOST_SCRATCH);
		return NULL;
	}
	who_runs(false, task, &w->who);
	/* What was found out of a system call's submitter is gone. */
	w->batch.head = 0;
	list_end(w);
	if (is_ringwatch(&w->who) || !follow(&w->who)) {
		work_put(w);
		return NULL;
	}
	__builtin_memset(&w->rec, 0, sizeof(w->rec));
	clear_end(&w->rec);
	w->rec.type = RW_FILE;
	w->rec.opcode = kind;
	w->rec.tid = w->who.tid;
	w->rec.fd = -1;
	return w;
}

static __always_inline void file_end(CTX struct work *w, struct file *file)
{
	bool sent = task_identify(PASS_CTX w) && take_file(PASS_CTX false, w, file);

	w->id.file = 0;
	w->rec.task_id = w->who.task_id;
	w->rec.end_ns = bpf_ktime_get_ns();
	sent = sent && send(PASS_CTX & w->rec, sizeof(w->rec));
	count(sent ? RW_COUNT_WRITES : RW_LOST_RING_FULL);
	work_put(w);
}

/* What a call was given, for those probes that see no arguments at its return. */
struct call {
	u64 file;
	u64 buf;
	u64 count;
	u64 pos;
};

static __noinline int wrote(CTX const struct call *call, s64 result, u8 kind)
{
	struct file *file = (void *)call->file;
	struct work *w = file_begin(PASS_CTX(void *) bpf_get_current_task(), kind);
	s64 pos = -1;

	if (!w)
		return 0;
	/* The offset after the call. None where the file has no position. */
	if (call->pos)
		bpf_probe_read_kernel(&pos, sizeof(pos), (void *)call->pos);
	else
		w->rec.flags |= RW_F_NO_POS;
	w->rec.asked_pos = -1;
	w->rec.ki_pos = pos;
	w->rec.flags |= RW_F_KI_POS;
	w->rec.result = result;
	w->rec.buf = call->buf;
	if (kind == RW_FILE_WRITEV) {
		w->rec.iov_count = call->count;
		vector_of_user(w);
	} else {
		set_len(&w->rec, call->count);
	}
	file_end(PASS_CTX w, file);
	return 0;
}

static __noinline int opened(CTX struct file *file, int result)
{
	struct work *w = file_begin(PASS_CTX(void *) bpf_get_current_task(), RW_FILE_OPEN);

	if (!w)
		return 0;
	w->rec.result = result;
	w->rec.rw_flags = BPF_CORE_READ(file, f_flags);
	if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		w->rec.flags |= RW_F_CREATED;
	file_end(PASS_CTX w, file);
	return 0;
}

/* Files whose change was told, until they are closed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u8);
} changed SEC(".maps");

static __noinline int modified(CTX struct file *file)
{
	u64 key = (u64)file;
	u8 told = 1;
	struct work *w;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	if (bpf_map_lookup_elem(&changed, &key))
		return 0;
	w = file_begin(PASS_CTX(void *) bpf_get_current_task(), RW_FILE_MODIFIED);
	if (!w)
		return 0;
	/* Another thread may have been faster. */
	if (bpf_map_update_elem(&changed, &key, &told, BPF_NOEXIST))
		work_put(w);
	else
		file_end(PASS_CTX w, file);
	return 0;
}

static __always_inline int closed(struct file *file)
{
	u64 key = (u64)file;

	bpf_map_delete_elem(&changed, &key);
	return 0;
}

/* All are read from where the trampoline keeps them, see TRACED; the result is behind the last. */
SEC("fexit/vfs_write")
int vfs_write_exit(u64 *ctx)
{
	u64 given[5] = {};
	struct call call;

	bpf_probe_read_kernel(given, sizeof(given), ctx);
	call = (struct call){ given[0], given[1], given[2], given[3] };
	return wrote(OWN_CTX & call, given[4], RW_FILE_WRITE);
}

SEC("fexit/vfs_writev")
int vfs_writev_exit(u64 *ctx)
{
	u64 given[6] = {};
	struct call call;

	bpf_probe_read_kernel(given, sizeof(given), ctx);
	call = (struct call){ given[0], given[1], given[2], given[3] };
	return wrote(OWN_CTX & call, given[5], RW_FILE_WRITEV);
}

SEC("fexit/security_file_open")
int file_open_exit(u64 *ctx)
{
	return opened(OWN_CTX TRACED(struct file *, 0), TRACED(int, 1));
}

SEC("fentry/file_modified")
int file_modified_fentry(u64 *ctx)
{
	return modified(OWN_CTX TRACED(struct file *, 0));
}

SEC("fentry/kiocb_modified")
int kiocb_modified_fentry(u64 *ctx)
{
	struct kiocb *kiocb = TRACED(struct kiocb *, 0);

	return modified(OWN_CTX BPF_CORE_READ(kiocb, ki_filp));
}

SEC("fentry/file_update_time")
int file_update_time_fentry(u64 *ctx)
{
	return modified(OWN_CTX TRACED(struct file *, 0));
}

SEC("fentry/security_file_free")
int file_free_fentry(u64 *ctx)
{
	return closed(TRACED(struct file *, 0));
}

/* The same by kprobes: what a call was given is kept by thread. */
struct call_key {
	u64 thread;
	u64 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline int called(u64 kind, u64 file, u64 buf, u64 n, u64 pos)
{
	struct call_key key = { bpf_get_current_pid_tgid(), kind };
	struct call call = { file, buf, n, pos };

	bpf_map_update_elem(&calls, &key, &call, BPF_ANY);
	return 0;
}

/* False: the call began before the probes were there. */
static __always_inline bool returned_from(u64 kind, struct call *call)
{
	struct call_key key = { bpf_get_current_pid_tgid(), kind };
	struct call *held = bpf_map_lookup_elem(&calls, &key);

	if (!held)
		return false;
	*call = *held;
	bpf_map_delete_elem(&calls, &key);
	return true;
}

SEC("kprobe/vfs_write")
int BPF_KPROBE(vfs_write_entry, u64 file, u64 buf, u64 n, u64 pos)
{
	return called(RW_FILE_WRITE, file, buf, n, pos);
}

SEC("kretprobe/vfs_write")
int BPF_KRETPROBE(vfs_write_return, s64 result)
{
	struct call call;

	return returned_from(RW_FILE_WRITE, &call) ? wrote(OWN_CTX & call, result, RW_FILE_WRITE) : 0;
}

SEC("kprobe/vfs_writev")
int BPF_KPROBE(vfs_writev_entry, u64 file, u64 vec, u64 n, u64 pos)
{
	return called(RW_FILE_WRITEV, file, vec, n, pos);
}

SEC("kretprobe/vfs_writev")
int BPF_KRETPROBE(vfs_writev_return, s64 result)
{
	struct call call;

	return returned_from(RW_FILE_WRITEV, &call) ? wrote(OWN_CTX & call, result, RW_FILE_WRITEV) : 0;
}

SEC("kprobe/security_file_open")
int BPF_KPROBE(file_open_entry, u64 file)
{
	return called(RW_FILE_OPEN, file, 0, 0, 0);
}

SEC("kretprobe/security_file_open")
int BPF_KRETPROBE(file_open_return, int result)
{
	struct call call;

	return returned_from(RW_FILE_OPEN, &call) ? opened(OWN_CTX(void *) call.file, result) : 0;
}

SEC("kprobe/file_modified")
int BPF_KPROBE(file_modified_kprobe, struct file *file)
{
	return modified(OWN_CTX file);
}

SEC("kprobe/kiocb_modified")
int BPF_KPROBE(kiocb_modified_kprobe, struct kiocb *kiocb)
{
	return modified(OWN_CTX BPF_CORE_READ(kiocb, ki_filp));
}

SEC("kprobe/file_update_time")
int BPF_KPROBE(file_update_time_kprobe, struct file *file)
{
	return modified(OWN_CTX file);
}

SEC("kprobe/security_file_free")
int BPF_KPROBE(file_free_kprobe, struct file *file)
{
	return closed(file);
}
