/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, as far as ringwatch reads them. Only names and types of fields matter here: CO-RE
 * finds their places in the running kernel. A flavour (___suffix) is another kernel's form of a type.
 */
#ifndef RINGWATCH_KERNEL_H
#define RINGWATCH_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFBLK 0060000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define ANON_INODE_FS_MAGIC 0x09041934
#define NSFS_MAGIC 0x6e736673
#define PIDFS_MAGIC 0x50494446
#define O_APPEND 02000
#if defined(__TARGET_ARCH_arm64)
#define O_DIRECT 0200000
#else
#define O_DIRECT 040000
#endif
#define RWF_APPEND 0x10
#define EBADF 9
#define ECANCELED 125
#define IORING_SETUP_IOPOLL (1U << 0)
#define IORING_SETUP_SQPOLL (1U << 1)
#define IORING_SETUP_SQ_REWIND (1U << 20)
#define IOSQE_FIXED_FILE (1U << 0)

#define IORING_CQE_F_NOTIF (1U << 3)
#define AT_FDCWD -100
#define FMODE_CREATED 0x100000
#define RESOLVE_IN_ROOT 0x10
#define SPLICE_F_FD_IN_FIXED (1U << 31)

enum {
	IORING_OP_NOP = 0,
	IORING_OP_WRITEV = 2,
	IORING_OP_FSYNC = 3,
	IORING_OP_WRITE_FIXED = 5,
	IORING_OP_FALLOCATE = 17,
	IORING_OP_OPENAT = 18,
	IORING_OP_WRITE = 23,
	IORING_OP_OPENAT2 = 28,
	IORING_OP_SPLICE = 30,
	IORING_OP_TEE = 33,
	IORING_OP_RENAMEAT = 35,
	IORING_OP_UNLINKAT = 36,
	IORING_OP_MKDIRAT = 37,
	IORING_OP_SYMLINKAT = 38,
	IORING_OP_LINKAT = 39,
	IORING_OP_FSETXATTR = 41,
	IORING_OP_SETXATTR = 42,
	IORING_OP_URING_CMD = 46,
	IORING_OP_FTRUNCATE = 55,
	IORING_OP_WRITEV_FIXED = 61,
	IORING_OP_URING_CMD128 = 64,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;

struct qstr {
	u64 hash_len;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	u16 i_mode;
	unsigned int i_nlink;
	unsigned long i_ino;
	struct super_block *i_sb;
	void *i_private;
};

/* Counts changes; odd during one. Before 5.10 without the outer structure. */
struct seqcount {
	unsigned int sequence;
};

struct seqcount_spinlock {
	struct seqcount seqcount;
};

struct dentry {
	/* Of its name and of its place. */
	struct seqcount_spinlock d_seq;
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mnt_namespace;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	int mnt_id;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct fs_struct {
	struct path root, pwd;
};

struct seqlock {
	struct seqcount_spinlock seqcount;
};

/* The changes of both. */
struct fs_struct___6_17 {
	struct seqlock seq;
};

/* Before 6.17. */
struct fs_struct___6_16 {
	struct seqcount_spinlock seq;
};

struct file_operations {
	void *write_iter;
};

struct file {
	const struct file_operations *f_op;
	unsigned int f_mode;
	unsigned int f_flags;
	struct inode *f_inode;
	struct path f_path;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct proc_ns_operations {
	const char *name;
};

struct ns_common {
	unsigned int inum;
	const struct proc_ns_operations *ops;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct signal_struct {
	atomic_t live;
};

struct cred {
	kuid_t uid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

struct io_uring_task;

struct task_struct {
	unsigned int flags;
	int exit_state;
	int pid;
	int tgid;
	u64 start_boottime;
	u64 self_exec_id;
	char comm[16];
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *cred;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct files_struct *files;
	struct fs_struct *fs;
	struct mm_struct *mm;
	struct pid *thread_pid;
	struct signal_struct *signal;
	struct io_uring_task *io_uring;
	void *worker_private;
};

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

/* What io_uring keeps of other operations, at the beginning of their requests. */
struct filename {
	const char *name;
};

struct open_how {
	u64 flags;
	u64 mode;
	u64 resolve;
};

struct io_open {
	int dfd;
	u32 file_slot;
	struct filename *filename;
	struct open_how how;
};

struct io_sync {
	s64 len;
	s64 off;
	int flags;
	int mode;
};

struct io_ftrunc {
	s64 len;
};

struct io_splice {
	s64 off_out;
	s64 off_in;
	u64 len;
	int splice_fd_in;
	unsigned int flags;
};

struct io_rename {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};

struct io_unlink {
	int dfd;
	int flags;
	struct filename *filename;
};

struct io_mkdir {
	int dfd;
	u16 mode;
	struct filename *filename;
};

struct io_link {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};

struct xattr_name {
	char name[256];
};

/* struct xattr_ctx before 6.13. */
struct kernel_xattr_ctx {
	unsigned long size;
	struct xattr_name *kname;
	unsigned int flags;
};

struct io_xattr {
	struct kernel_xattr_ctx ctx;
	struct filename *filename;
};

struct xattr_ctx {
	unsigned long size;
	struct xattr_name *kname;
	unsigned int flags;
};

struct io_xattr___6_12 {
	struct xattr_ctx ctx;
	struct filename *filename;
};

struct io_uring_cmd {
	u32 cmd_op;
	u32 flags;
};

/* From 7.0 on names are kept by one more structure. */
struct delayed_filename {
	struct filename *__incomplete_filename;
};

struct io_open___7_0 {
	struct delayed_filename filename;
};

struct io_rename___7_0 {
	struct delayed_filename oldpath;
	struct delayed_filename newpath;
};

struct io_unlink___7_0 {
	struct delayed_filename filename;
};

struct io_mkdir___7_0 {
	struct delayed_filename filename;
};

struct io_link___7_0 {
	struct delayed_filename oldpath;
	struct delayed_filename newpath;
};

struct io_xattr___7_0 {
	struct delayed_filename filename;
};

#pragma clang attribute pop

/* Registers of a probed function: the names that bpf_tracing.h asks for. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r8, ax;
} __attribute__((preserve_access_index));
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
} __attribute__((preserve_access_index));
#endif
#define __VMLINUX_H__

enum iter_type {
	ITER_UBUF,
	ITER_IOVEC,
};

#endif
