// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The inventory: iterators over open files, over what threads registered, and over mapped memory, which write a record
 * for each ring that they meet. Nothing is attached to anything that runs.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "read.h"
#include "compat.h"
#include "task.h"
#include "rings/record.h"
#include "rings/kernel.h"
#include "rings/ring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* By name and superblock, which no program can choose: the address of the file operations is not always to be had. */
static __always_inline bool is_ring(struct file *file)
{
	static const char name[] = "[io_uring]";
	char found[sizeof(name)] = {};

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return false;
	bpf_probe_read_kernel(found, sizeof(found), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	for (u32 i = 0; i < sizeof(name); i++)
		if (found[i] != name[i])
			return false;
	return true;
}

static __always_inline void tell_holder(struct task_struct *task, u32 level)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	u32 ns;

	rec.tgid = pid_at(leader, level, &ns);
	rec.tid = pid_at(task, level, &ns);
	rec.tgid_ns = pid_in_ns(leader, &ns);
	rec.start_boottime = start_of(false, leader);
	rec.cgroup_id = cgroup_of(false, task);
	rec.uid = uid_of(false, task);
	bpf_probe_read_kernel(rec.comm, sizeof(rec.comm), &leader->comm);
}

static __noinline int tell(struct seq_file *seq, struct task_struct *task, struct file *file, u32 hold, u32 fd)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	struct file___ring *opened = (void *)file;
	u32 level = BPF_CORE_READ(reader, thread_pid, level);
	struct io_ring_ctx *ctx = BPF_CORE_READ(opened, private_data);
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	__builtin_memset(&rec, 0, sizeof(rec));
	rec.ctx = (u64)ctx;
	rec.hold = hold;
	rec.fd = fd;
	rec.inode = BPF_CORE_READ(inode, i_ino);
	rec.created = created_of(inode);
	known(RW_RING_CREATED);
	rec.setup_flags = BPF_CORE_READ(ctx, flags);
	tell_holder(task, level);
	tell_queues((void *)ctx);
	tell_registered(ctx);
	tell_sq_thread(ctx, level);
	tell_threads((void *)ctx, level);
	tell_personalities((void *)ctx);
	/* A full buffer makes the kernel come here again for the same file. */
	bpf_seq_write(seq, &rec, sizeof(rec));
	return 0;
}

SEC("iter/task_file")
int files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (task && file && is_ring(file))
		tell(ctx->meta->seq, task, file, RW_HOLD_FD, ctx->fd);
	return 0;
}

SEC("iter/task_vma")
int mappings(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct file *file;

	if (!task || !vma)
		return 0;
	file = BPF_CORE_READ(vma, vm_file);
	if (file && is_ring(file))
		tell(ctx->meta->seq, task, file, RW_HOLD_MAPPED, 0);
	return 0;
}

SEC("iter/task")
int registered(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct___ring *user = (void *)task;
	struct io_uring_task___ring *mine = NULL;

	if (!task || !bpf_core_field_exists(mine->registered_rings))
		return 0;
	mine = BPF_CORE_READ(user, io_uring);
	if (!mine)
		return 0;
	for (u32 i = 0; i < REGISTERED_MAX; i++) {
		struct file *file;

		bpf_probe_read_kernel(&file, sizeof(file), &mine->registered_rings[i]);
		if (file && is_ring(file))
			tell(ctx->meta->seq, task, file, RW_HOLD_REGISTERED, i);
	}
	return 0;
}
