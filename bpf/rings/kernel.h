/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types that only the inventory of rings reads. */
#ifndef RINGWATCH_RINGS_KERNEL_H
#define RINGWATCH_RINGS_KERNEL_H

/* Rings that a thread can register: IO_RINGFD_REG_MAX. */
#define REGISTERED_MAX 16
/* Slots of a node: XA_CHUNK_SIZE, 16 in small kernels. */
#define NODE_SLOTS 64

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct vm_area_struct {
	struct file *vm_file;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

struct list_head {
	struct list_head *next;
};

struct xarray {
	void *xa_head;
};

struct xa_node {
	u8 shift;
	void *slots[NODE_SLOTS];
};

struct io_uring {
	u32 head;
	u32 tail;
};

struct io_rings {
	struct io_uring sq;
	struct io_uring cq;
};

struct file___ring {
	void *private_data;
};

struct io_ring_ctx___ring {
	struct io_rings *rings;
	unsigned int sq_entries;
	unsigned int cq_entries;
	struct io_rsrc_data buf_table;
	struct list_head cq_overflow_list;
	/* 5.11 and later. */
	struct list_head tctx_list;
	struct xarray personalities;
	struct io_sq_data *sq_data;
};

/* Registered files and buffers before 6.13. */
struct io_ring_ctx___6_12 {
	unsigned int nr_user_files;
	unsigned int nr_user_bufs;
};

/* A radix tree's root is an xarray. */
struct idr {
	struct xarray idr_rt;
};

struct io_ring_ctx___5_11 {
	struct idr personality_idr;
};

/* What the tree holds in 5.10 and 5.11. */
struct io_identity {
	const struct cred *creds;
};

/* The poll thread before 5.10. */
struct io_ring_ctx___5_9 {
	struct task_struct *sqo_thread;
};

struct io_sq_data___ring {
	int sq_cpu;
};

struct io_tctx_node {
	struct list_head ctx_node;
	struct task_struct *task;
};

struct io_uring_task___ring {
	struct file *registered_rings[REGISTERED_MAX];
};

struct task_struct___ring {
	struct io_uring_task___ring *io_uring;
};

typedef struct {
	u32 val;
} kgid_t;

/* Two words of 32 bits before 6.3. */
typedef struct {
	u64 val;
} kernel_cap_t;

struct cred___ring {
	kuid_t uid, euid, fsuid;
	kgid_t gid, egid, fsgid;
	kernel_cap_t cap_effective;
};

struct inode___ring {
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

/* Before 6.11. */
struct inode___6_10 {
	struct timespec64 __i_ctime;
};

/* Before 6.6. */
struct inode___6_5 {
	struct timespec64 i_ctime;
};

#pragma clang attribute pop

#endif
