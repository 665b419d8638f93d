/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which submitters are followed: one of the given values of each kind, of every kind that is given. */
#ifndef RINGWATCH_FILTER_H
#define RINGWATCH_FILTER_H

enum {
	/* Namespaces in one another that the kernel permits. */
	PID_NS_DEPTH = 33,
	/* Times in /proc are cut to these. */
	NS_PER_TICK = 10 * 1000 * 1000,
};

/* The id in ringwatch's pid namespace of the process of a task; 0: it has none there. */
static __noinline u32 process_here(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	u32 depth = BPF_CORE_READ(leader, thread_pid, level), ns, pid;

	for (u32 level = 1; level < PID_NS_DEPTH && level <= depth; level++) {
		pid = pid_at(leader, level, &ns);
		if (ns == cfg.pid_ns)
			return pid;
	}
	return 0;
}

/* The same; in the host's pid namespace that is `tgid`. */
static __always_inline u32 process_id(struct task_struct *task, u32 tgid)
{
	return cfg.pid_ns ? process_here(task) : tgid;
}

static __always_inline bool one_of(const volatile u32 *values, u32 n, u32 value)
{
	for (u32 i = 0; i < RW_FILTER_MAX && i < n; i++)
		if (values[i] == value)
			return true;
	return false;
}

/* A later process that got the same id is another one. */
static __always_inline bool asked_for(const struct who *who, u32 process)
{
	for (u32 i = 0; i < RW_FILTER_MAX && i < cfg.nr_pids; i++) {
		struct task_struct *task = (void *)who->task, *leader;

		if (cfg.pids[i] != process)
			continue;
		if (!cfg.pid_starts[i])
			return true;
		leader = BPF_CORE_READ(task, group_leader);
		return (start_of(false, leader) + cfg.boottime_offset) / NS_PER_TICK == cfg.pid_starts[i];
	}
	return false;
}

static __always_inline bool is_ringwatch(const struct who *who)
{
	return process_id((void *)who->task, who->tgid) == cfg.own;
}

static __always_inline bool follow(const struct who *who)
{
	u32 process = 0;

	if (cfg.nr_pids || cfg.tree)
		process = process_id((void *)who->task, who->tgid);
	if (cfg.nr_pids && !asked_for(who, process))
		return false;
	if (cfg.nr_uids && !one_of(cfg.uids, cfg.nr_uids, who->uid))
		return false;
	if (cfg.nr_comms) {
		bool found = false;

		for (u32 i = 0; i < RW_FILTER_MAX && i < cfg.nr_comms; i++)
			found |= cfg.comms[i][0] == who->comm[0] && cfg.comms[i][1] == who->comm[1];
		if (!found)
			return false;
	}
	return !cfg.tree || bpf_map_lookup_elem(&tree, &process);
}

#endif
