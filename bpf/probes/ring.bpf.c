// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A ring was created: remember who made an SQPOLL ring, since its requests come from the kernel's own thread. */

static __always_inline int on_create(u64 ring, u32 flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct creator c = {};
	u32 ns;
	u64 id;

	if (!(flags & IORING_SETUP_SQPOLL))
		return 0;
	id = bpf_get_current_pid_tgid();
	c.tgid = id >> 32;
	c.tid = (u32)id;
	c.ns_tid = pid_in_ns(task, &ns);
	c.start_boottime = start_of(false, task);
	bpf_get_current_comm(c.comm, sizeof(c.comm));
	bpf_map_update_elem(&creators, &ring, &c, BPF_ANY);
	return 0;
}

SEC("raw_tp/io_uring_create")
int BPF_PROG(create, int fd, void *ring, u32 sq_entries, u32 cq_entries, u32 flags)
{
	return on_create((u64)ring, flags);
}
