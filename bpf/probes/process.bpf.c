// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The followed process tree grows with each fork and shrinks with each process that ended. */

SEC("raw_tp/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 from = process_id(parent, BPF_CORE_READ(parent, tgid)),
	    to = process_id(child, BPF_CORE_READ(child, tgid));
	u8 one = 1;

	if (from != to && bpf_map_lookup_elem(&tree, &from) && bpf_map_update_elem(&tree, &to, &one, BPF_ANY))
		count(RW_LOST_TREE_FULL);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	u32 process = process_id(task, BPF_CORE_READ(task, tgid));

	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		bpf_map_delete_elem(&tree, &process);
	return 0;
}
