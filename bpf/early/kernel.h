/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types as kernels before 5.18 have them. */
#ifndef RINGWATCH_EARLY_KERNEL_H
#define RINGWATCH_EARLY_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_kiocb___early {
	/* 5.8 and later. */
	struct task_struct *task;
};

struct io_kiocb___5_4 {
	/* 5.1 to 5.4: no struct io_rw. */
	struct kiocb rw;
};

/* The requests whose completions the kernel is about to post: an array from 5.14 to 5.15. */
struct io_submit_state___5_15 {
	struct io_kiocb *compl_reqs[32];
	u32 compl_nr;
};

/* In a struct of its own before. */
struct io_comp_state___5_13 {
	u32 nr;
	struct io_kiocb *reqs[32];
};

struct io_submit_state___5_13 {
	struct io_comp_state___5_13 comp;
};

struct io_ring_ctx___5_15 {
	struct io_submit_state___5_15 submit_state;
};

struct io_ring_ctx___5_13 {
	struct io_submit_state___5_13 submit_state;
};

/* With CONFIG_MEMCG. */
struct mm_struct___owner {
	struct task_struct *owner;
};

struct io_ring_ctx___early {
	u32 *sq_array;
	struct io_uring_sqe *sq_sqes;
	u32 cached_sq_head;
	u32 sq_entries;
	/* The process of an SQPOLL ring, where the poll thread is the kernel's own: 5.10 and 5.11. */
	struct task_struct *sqo_task;
	/* Its memory: before 5.10. */
	struct mm_struct___owner *sqo_mm;
};

/* Registered files: in tables from 5.5 to 5.14, one array before. A descriptor's file may carry flags from 5.12 on. */
struct io_ring_ctx___5_4 {
	u64 *user_files;
};

struct fixed_file_table {
	u64 *files;
};

struct io_ring_ctx___5_5 {
	struct fixed_file_table *file_table;
};

struct fixed_file_data {
	struct fixed_file_table *table;
};

/* Its name in 5.12. */
struct fixed_rsrc_data {
	struct fixed_file_table *table;
};

struct io_ring_ctx___5_6 {
	struct fixed_file_data *file_data;
};

struct io_ring_ctx___5_12 {
	struct fixed_rsrc_data *file_data;
};

struct io_file_table___5_13 {
	u64 **files;
};

/* One array again from 5.15 on, when the cache of a submission's last file went. */
struct io_submit_state___5_14 {
	u32 file_refs;
};

struct io_ring_ctx___5_14 {
	struct io_file_table___5_13 file_table;
	struct io_submit_state___5_14 submit_state;
};

struct sqe_submit {
	const struct io_uring_sqe *sqe;
};

struct file___private {
	void *private_data;
};

struct io_uring_sqe___whole {
	u8 opcode;
	u64 user_data;
};

#pragma clang attribute pop

/* PF_IO_WORKER before 5.10. */
#define PF_IO_WORKER_5_9 0x20000000

#define EAGAIN 11
#define EIOCBQUEUED 529

#endif
