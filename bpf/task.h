/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a task's own structures tell. */
#ifndef RINGWATCH_TASK_H
#define RINGWATCH_TASK_H

static __always_inline u32 uid_of(const bool typed, struct task_struct *task)
{
	const struct cred *cred = RD(typed, task, cred);

	return RD(typed, cred, uid.val);
}

static __always_inline u64 cgroup_of(const bool typed, struct task_struct *task)
{
	struct css_set *set = RD(typed, task, cgroups);
	struct cgroup *cgroup = RD(typed, set, dfl_cgrp);
	struct kernfs_node *node = RD(typed, cgroup, kn);

	return kernfs_id(typed, node);
}

static __always_inline u32 mnt_ns_of(const bool typed, struct task_struct *task)
{
	struct nsproxy *ns = RD(typed, task, nsproxy);
	struct mnt_namespace *mnt = RD(typed, ns, mnt_ns);

	return RD(typed, mnt, ns.inum);
}

/* The id at a level of pid namespaces: 0 is the host's. */
static __always_inline u32 pid_at(struct task_struct *task, u32 level, u32 *ns)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			  level * bpf_core_type_size(struct upid);

	*ns = BPF_CORE_READ(at, ns, ns.inum);
	return BPF_CORE_READ(at, nr);
}

static __always_inline u32 pid_in_ns(struct task_struct *task, u32 *ns)
{
	return pid_at(task, BPF_CORE_READ(task, thread_pid, level), ns);
}

#endif
