/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rings, requests, and reads and writes. Included by kernel.h. */
#ifndef RINGWATCH_KERNEL_IO_URING_H
#define RINGWATCH_KERNEL_IO_URING_H

struct io_cqe {
	u64 user_data;
	s32 res;
	int fd;
};

struct io_wq_work_node {
	struct io_wq_work_node *next;
};

struct io_wq_work_list {
	struct io_wq_work_node *first;
};

struct io_submit_link {
	struct io_kiocb *head;
};

struct io_submit_state {
	struct io_wq_work_node free_list;
	struct io_wq_work_list compl_reqs;
	struct io_submit_link link;
};

struct io_rsrc_node {
	unsigned long file_ptr;
};

struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
};

struct io_file_table {
	struct io_rsrc_data data;
};

struct io_sq_data {
	struct task_struct *thread;
};

typedef struct {
	s64 counter;
} atomic_long_t;

/* The task that holds it, with flags in the low bits. */
struct mutex {
	atomic_long_t owner;
};

/* PREEMPT_RT. */
struct rt_mutex_base {
	struct task_struct *owner;
};

struct mutex___rt {
	struct rt_mutex_base rtmutex;
};

struct io_wq_work {
	struct io_wq_work_node list;
};

struct io_worker {
	struct io_wq_work *cur_work;
};

/* Requests freed by workers, before 6.10. */
struct io_ring_ctx___6_9 {
	struct io_wq_work_list locked_free_list;
};

struct io_ring_ctx {
	unsigned int flags;
	/* Made by a program of 32 bits; a bool at first. */
	unsigned int compat : 1;
	unsigned int sq_entries;
	unsigned int cq_entries;
	unsigned int cached_sq_head;
	struct io_file_table file_table;
	struct io_submit_state submit_state;
	struct io_sq_data *sq_data;
	struct mutex uring_lock;
	/* The free part of the CQ ring that completions go to. */
	void *cqe_cached, *cqe_sentinel;
	struct io_wq_work_list iopoll_list;
};

struct io_uring_task {
	struct task_struct *task;
};

struct io_kiocb {
	struct file *file;
	u8 opcode;
	/* 64 bits from 6.9 on; every flag that is read here is in the low 32. */
	u32 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	struct io_uring_task *tctx;
	struct io_wq_work_node comp_list;
	struct io_wq_work work;
	void *async_data;
	u8 iopoll_completed;
};

/* Before 6.13. */
struct io_kiocb___task {
	struct task_struct *task;
};

/* Registered files before 6.13. */
struct io_fixed_file___6_0 {
	unsigned long file_ptr;
};

struct io_file_table___6_0 {
	struct io_fixed_file___6_0 *files;
};

struct io_ring_ctx___6_0 {
	struct io_file_table___6_0 file_table;
	unsigned int nr_user_files;
};

struct kiocb {
	struct file *ki_filp;
	s64 ki_pos;
};

struct io_rw {
	struct kiocb kiocb;
	u64 addr;
	u32 len;
	u32 flags;
};

struct iovec {
	void *iov_base;
	unsigned long iov_len;
};

struct iov_iter {
	u8 iter_type;
	unsigned long iov_offset;
	const struct iovec *__iov;
	void *ubuf;
	unsigned long count;
};

struct iou_vec {
	struct iovec *iovec;
	unsigned int nr;
};

struct io_async_rw {
	struct iou_vec vec;
	struct iov_iter iter;
};

struct io_uring_sqe {
	u8 opcode;
	u8 flags;
	u16 ioprio;
	s32 fd;
	u64 off;
	u64 addr;
	u32 len;
	u32 rw_flags;
	s32 splice_fd_in;
	u64 addr3;
};

#endif
