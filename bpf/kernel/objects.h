/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files, tasks and what belongs to them. Included by kernel.h. */
#ifndef RINGWATCH_KERNEL_OBJECTS_H
#define RINGWATCH_KERNEL_OBJECTS_H

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

#endif
