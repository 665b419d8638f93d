/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything that user space decides before the programs are loaded. The verifier sees constants. */
#ifndef RINGWATCH_CONFIG_H
#define RINGWATCH_CONFIG_H

enum {
	RW_FILTER_MAX = 64,
};

struct rw_config {
	/* Keys the ids of tasks and requests, so that no program can forge one. */
	u64 key;
	/* Key the ids of paths: for the last words of a name, for those before, for mounts, and for the whole. */
	u64 name_key, part_key, mount_key, path_key;
	/* REQ_F_* masks of the running kernel. */
	u32 req_fixed_file;
	u32 req_cqe_skip;
	u32 req_fail;
	u32 req_async_data;
	u32 req_skip_link_cqes;
	u32 req_reissue;
	u32 req_creds;
	u32 req_polled;
	/* The completion is told before the CQE has a place: before 6.0. */
	u32 complete_first;
	/* The submission does not name its request: before 5.14. */
	u32 submit_unseen;
	/* A task can be preempted inside a program: 7.0 and later. */
	u32 preemptible;
	/* Opcodes that are followed beside those of writes; and what is asked for: */
	u64 opcodes[4];
	/* writes, */
	u32 writes;
	/* other opcodes, */
	u32 others;
	/* of writes, too, what only a struct rw_request holds, */
	u32 wide;
	/* when each request was handed on, */
	u32 life;
	/* new rings. */
	u32 created;
	/* Add writes to sums, and send only strings. */
	u32 aggregate;
	/* Writes that a CPU's queue holds: a power of two. */
	u32 queue_len;
	/* ringwatch itself: what it writes must not make events that it writes. */
	u32 own;
	/* The pid namespace whose ids `own`, `pids` and the map `tree` have, by its inode. 0: the host's. */
	u32 pid_ns;
	/* What /proc adds to the start of a process where ringwatch runs. */
	s64 boottime_offset;
	/* Follow only the processes in the map `tree`. */
	u32 tree;
	u32 nr_pids;
	u32 nr_uids;
	u32 nr_comms;
	u32 pids[RW_FILTER_MAX];
	/* When each of them started, in ticks, as /proc shows it; 0: not known. */
	u64 pid_starts[RW_FILTER_MAX];
	u32 uids[RW_FILTER_MAX];
	u64 comms[RW_FILTER_MAX][2];
};

const volatile struct rw_config cfg = {};

#endif
