// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The types of 5.6.4 as far as the plans fentry and kprobe read them, compiled to BTF: what a kernel of that age gives.
 * Names and types of fields are the kernel's; their places are not.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long loff_t;
typedef _Bool bool;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;

struct qstr {
	union {
		struct {
			u32 hash;
			u32 len;
		};
		u64 hash_len;
	};
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node *next, **pprev;
};

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	void *i_private;
	union {
		const unsigned int i_nlink;
		unsigned int __i_nlink;
	};
};

typedef struct seqcount {
	unsigned sequence;
} seqcount_t;

struct dentry {
	seqcount_t d_seq;
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

struct file_operations {
	long (*write_iter)(void *, void *);
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	const struct file_operations *f_op;
	unsigned int f_mode, f_flags;
	void *private_data;
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
	const struct proc_ns_operations *ops;
	unsigned int inum;
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

struct task_struct;

struct mm_struct {
	unsigned long arg_start, arg_end;
#ifndef WITHOUT_MEMCG
	struct task_struct *owner;
#endif
	struct file *exe_file;
};

struct task_struct {
	unsigned int flags;
	int pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	u64 start_time, start_boottime;
	const struct cred *cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	u32 parent_exec_id, self_exec_id;
	struct css_set *cgroups;
	struct mm_struct *mm;
};

struct io_uring_sqe {
	u8 opcode, flags;
	u16 ioprio;
	int fd;
	u64 off, addr;
	u32 len;
	union {
		int rw_flags;
		u32 fsync_flags;
	};
	u64 user_data;
};

struct kiocb {
	struct file *ki_filp;
	loff_t ki_pos;
};

struct io_uring {
	u32 head, tail;
};

struct io_rings {
	struct io_uring sq, cq;
};

struct fixed_file_table {
	struct file **files;
};

struct fixed_file_data {
	struct fixed_file_table *table;
};

/* What kernels around it have in the place of this. */
#ifdef FILES_5_5
#define FILES struct fixed_file_table *file_table
#elif defined(FILES_5_12)
struct fixed_rsrc_data {
	struct fixed_file_table *table;
};

#define FILES struct fixed_rsrc_data *file_data
#elif defined(FILES_5_13)
struct io_fixed_file {
	unsigned long file_ptr;
};

struct io_file_table {
	struct io_fixed_file **files;
};

struct io_submit_state {
	unsigned int file_refs;
};

#define FILES                            \
	struct io_file_table file_table; \
	struct io_submit_state submit_state
#else
#define FILES struct fixed_file_data *file_data
#endif

struct io_ring_ctx {
	struct {
		unsigned int flags;
		unsigned int compat : 1;
		u32 *sq_array;
		unsigned cached_sq_head, sq_entries, sq_mask;
		struct io_uring_sqe *sq_sqes;
	};
	struct io_rings *rings;
	struct task_struct *sqo_thread;
	struct mm_struct *sqo_mm;
	FILES;
	unsigned nr_user_files;
	struct {
		unsigned cached_cq_tail, cq_entries, cq_mask;
	};
};

struct io_rw {
	struct kiocb kiocb;
	u64 addr, len;
};

struct io_kiocb {
	union {
		struct file *file;
		struct io_rw rw;
	};
	u8 opcode;
	struct io_ring_ctx *ctx;
	unsigned int flags;
	u64 user_data;
	u32 result, sequence;
};

struct pt_regs {
	unsigned long bx, cx, dx, si, di, ax, ip, sp;
};

enum bpf_func_id {
	BPF_FUNC_unspec,
	BPF_FUNC_perf_event_output = 25,
	BPF_FUNC_probe_read_kernel = 113,
};

/* One of each: what is only pointed to would not be described. */
struct {
	struct super_block super_block;
	struct inode inode;
	struct dentry dentry;
	struct proc_ns_operations proc_ns_operations;
	struct mount mount;
	struct file_operations file_operations;
	struct file file;
	struct fdtable fdtable;
	struct files_struct files;
	struct mnt_namespace mnt_namespace;
	struct pid_namespace pid_namespace;
	struct nsproxy nsproxy;
	struct pid pid;
	struct signal_struct signal;
	struct cred cred;
	struct kernfs_node node;
	struct cgroup cgroup;
	struct css_set set;
	struct mm_struct mm;
	struct task_struct task;
	struct io_uring_sqe sqe;
	struct io_ring_ctx ctx;
	struct io_kiocb req;
	struct io_rings rings;
	struct fixed_file_table table;
	struct fixed_file_data data;
#ifdef FILES_5_12
	struct fixed_rsrc_data rsrc_data;
#endif
	struct pt_regs regs;
	enum bpf_func_id helper;
} all;
