/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which submitters are followed: one of the given values of each kind, of every kind that is given. */
#ifndef RINGWATCH_FILTER_H
#define RINGWATCH_FILTER_H

static __always_inline bool one_of(const volatile u32 *values, u32 n, u32 value)
{
	for (u32 i = 0; i < RW_FILTER_MAX && i < n; i++)
		if (values[i] == value)
			return true;
	return false;
}

static __always_inline bool follow(const struct who *who)
{
	if (cfg.nr_pids && !one_of(cfg.pids, cfg.nr_pids, who->tgid))
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
	return !cfg.tree || bpf_map_lookup_elem(&tree, &who->tgid);
}

#endif
