// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Names of files as the kernel has them when it acts: the directory and the entry that it found, whatever links, renames and
 * other threads did to the name that was given. All operations by name are carried out by a worker of io-wq, which knows its
 * request; of other threads nothing is looked at.
 *
 * security_path_*() is called by each of them behind the look-up and before the act, with the mount, and is the same on all
 * kernels. Of extended attributes there is no such function: there the mount is that of mnt_want_write().
 */

static __always_inline struct rw_request *acting(u8 opcode)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct rw_request *held;
	struct io_worker *worker;
	struct io_wq_work *work;
	u64 req;

	if (!pending_count || !(BPF_CORE_READ(task, flags) & PF_IO_WORKER))
		return NULL;
	/* The poll thread of a ring has none. */
	worker = BPF_CORE_READ(task, worker_private);
	if (!worker)
		return NULL;
	work = BPF_CORE_READ(worker, cur_work);
	if (!work)
		return NULL;
	req = (u64)work - bpf_core_field_offset(struct io_kiocb, work);
	held = bpf_map_lookup_elem(&pending, &req);
	if (!held || held->w.opcode != opcode || held->w.user_data != user_data_of(false, (void *)req))
		return NULL;
	return held;
}

/* Where there is no room, or the path cannot be sent, the name is looked up as without this. */
static __noinline int acted_on(u64 *id, struct dentry *dentry, struct vfsmount *mnt)
{
	struct work *w = work_get(false);

	if (!w)
		return 0;
	w->id.dentry = (u64)dentry;
	w->id.mnt = (u64)mnt;
	*id = identify_directory(&w->id) ? w->id.path_id : 0;
	work_put(w);
	return 0;
}

static __always_inline int act_on(u8 opcode, const int i, const struct path *directory, struct dentry *dentry)
{
	struct rw_request *held = acting(opcode);

	return held ? WHOLE(acted_on(&held->acted[i], dentry, BPF_CORE_READ(directory, mnt))) : 0;
}

static __always_inline int on_link(struct dentry *old, const struct path *directory, struct dentry *dentry)
{
	struct rw_request *held = acting(IORING_OP_LINKAT);

	if (!held)
		return 0;
	/* Both are on one mount. */
	WHOLE(acted_on(&held->acted[0], old, BPF_CORE_READ(directory, mnt)));
	return WHOLE(acted_on(&held->acted[1], dentry, BPF_CORE_READ(directory, mnt)));
}

static __always_inline int on_rename(const struct path *from, struct dentry *old, const struct path *to,
				     struct dentry *dentry)
{
	struct rw_request *held = acting(IORING_OP_RENAMEAT);

	if (!held)
		return 0;
	WHOLE(acted_on(&held->acted[0], old, BPF_CORE_READ(from, mnt)));
	return WHOLE(acted_on(&held->acted[1], dentry, BPF_CORE_READ(to, mnt)));
}

/* A file system may set attributes of another one's files on the way: the first is what was asked for. */
static __always_inline int on_want_write(struct vfsmount *mnt)
{
	struct rw_request *held = acting(IORING_OP_SETXATTR);

	if (held && !held->acted[0])
		held->mnt = (u64)mnt;
	return 0;
}

static __always_inline int on_setxattr(struct dentry *dentry)
{
	struct rw_request *held = acting(IORING_OP_SETXATTR);

	if (!held || held->acted[0] || !held->mnt)
		return 0;
	return WHOLE(acted_on(&held->acted[0], dentry, (void *)held->mnt));
}

SEC("fentry/security_path_unlink")
int BPF_PROG(path_unlink_fentry, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_UNLINKAT, 0, directory, dentry);
}

SEC("fentry/security_path_rmdir")
int BPF_PROG(path_rmdir_fentry, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_UNLINKAT, 0, directory, dentry);
}

SEC("fentry/security_path_mkdir")
int BPF_PROG(path_mkdir_fentry, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_MKDIRAT, 0, directory, dentry);
}

SEC("fentry/security_path_symlink")
int BPF_PROG(path_symlink_fentry, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_SYMLINKAT, 1, directory, dentry);
}

SEC("fentry/security_path_link")
int BPF_PROG(path_link_fentry, struct dentry *old, const struct path *directory, struct dentry *dentry)
{
	return on_link(old, directory, dentry);
}

SEC("fentry/security_path_rename")
int BPF_PROG(path_rename_fentry, const struct path *from, struct dentry *old, const struct path *to,
	     struct dentry *dentry)
{
	return on_rename(from, old, to, dentry);
}

SEC("fentry/mnt_want_write")
int BPF_PROG(want_write_fentry, struct vfsmount *mnt)
{
	return on_want_write(mnt);
}

SEC("fentry/vfs_setxattr")
int BPF_PROG(setxattr_fentry, void *map, struct dentry *dentry)
{
	return on_setxattr(dentry);
}

SEC("kprobe/security_path_unlink")
int BPF_KPROBE(path_unlink_kprobe, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_UNLINKAT, 0, directory, dentry);
}

SEC("kprobe/security_path_rmdir")
int BPF_KPROBE(path_rmdir_kprobe, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_UNLINKAT, 0, directory, dentry);
}

SEC("kprobe/security_path_mkdir")
int BPF_KPROBE(path_mkdir_kprobe, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_MKDIRAT, 0, directory, dentry);
}

SEC("kprobe/security_path_symlink")
int BPF_KPROBE(path_symlink_kprobe, const struct path *directory, struct dentry *dentry)
{
	return act_on(IORING_OP_SYMLINKAT, 1, directory, dentry);
}

SEC("kprobe/security_path_link")
int BPF_KPROBE(path_link_kprobe, struct dentry *old, const struct path *directory, struct dentry *dentry)
{
	return on_link(old, directory, dentry);
}

SEC("kprobe/security_path_rename")
int BPF_KPROBE(path_rename_kprobe, const struct path *from, struct dentry *old, const struct path *to,
	       struct dentry *dentry)
{
	return on_rename(from, old, to, dentry);
}

SEC("kprobe/mnt_want_write")
int BPF_KPROBE(want_write_kprobe, struct vfsmount *mnt)
{
	return on_want_write(mnt);
}

SEC("kprobe/vfs_setxattr")
int BPF_KPROBE(setxattr_kprobe, void *map, struct dentry *dentry)
{
	return on_setxattr(dentry);
}
