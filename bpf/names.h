/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names that requests bring along, and the directories that they are relative to. */
#ifndef RINGWATCH_NAMES_H
#define RINGWATCH_NAMES_H

/* Strings of a request: addresses in kernel memory, or in the program's. */
struct strings {
	/* Files, and the descriptors of the directories that they are relative to. */
	u64 name[2];
	s32 dirfd[2];
	/* What is no file: the target of a symbolic link, the name of an attribute. */
	u64 other;
	/* A second file that is open. */
	u64 file;
	bool user;
	/* The directory stands for the root (RESOLVE_IN_ROOT). */
	bool in_root;
};

/* A directory that no file is open for, by `dentry` and `mnt`. 0: its path's string was needed and could not be sent. */
__noinline int identify_directory(struct file_id *id)
{
	struct dentry *d;

	if (!id)
		return 0;
	d = (void *)id->dentry;
	id->file = 0;
	id->inode = BPF_CORE_READ(d, d_inode, i_ino);
	id->dev = BPF_CORE_READ(d, d_inode, i_sb, s_dev);
	id->magic = BPF_CORE_READ(d, d_inode, i_sb, s_magic);
	id->mode = BPF_CORE_READ(d, d_inode, i_mode);
	id->flags = RW_F_FILE;
	id->blocks = 0;
	path_hash(id);
	return path_known(id);
}

static __always_inline void directory_is(struct work *w, const int i, struct dentry *d, struct vfsmount *m)
{
	w->id.dentry = (u64)d;
	w->id.mnt = (u64)m;
	if (!identify_directory(&w->id)) {
		w->rec.flags |= RW_F_NAMELESS;
		return;
	}
	w->from[i].path_id = w->id.path_id;
	w->from[i].inode = w->id.inode;
	w->from[i].mount = BPF_CORE_READ(mount_of(m), mnt_id);
}

/* The directory that a name is relative to. */
static __always_inline void directory_of(struct work *w, struct task_struct *task, const struct strings *s,
					 const int i)
{
	struct fs_struct *fs;
	struct file *file;
	char first = 0;

	__builtin_memset(&w->from[i], 0, sizeof(w->from[i]));
	if (!s->name[i])
		return;
	if (s->user)
		bpf_probe_read_user(&first, 1, (void *)s->name[i]);
	else
		bpf_probe_read_kernel(&first, 1, (void *)s->name[i]);
	if (s->in_root)
		first = 0;
	if (first == '/' || s->dirfd[i] == AT_FDCWD) {
		fs = BPF_CORE_READ(task, fs);
		if (!fs)
			return;
		if (first == '/')
			directory_is(w, i, BPF_CORE_READ(fs, root.dentry), BPF_CORE_READ(fs, root.mnt));
		else
			directory_is(w, i, BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
		return;
	}
	file = file_of_fd(task, s->dirfd[i]);
	if (file)
		directory_is(w, i, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
}

/* The directory that `..` does not lead out of. */
static __always_inline void root_of(struct work *w, struct task_struct *task, const struct strings *s)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	__builtin_memset(&w->from[2], 0, sizeof(w->from[2]));
	if (!fs || (!s->name[0] && !s->name[1]))
		return;
	directory_is(w, 2, BPF_CORE_READ(fs, root.dentry), BPF_CORE_READ(fs, root.mnt));
}

/* A number for the root and current directory of a thread, which is another one after any change of them. */
static __always_inline u32 standing_of(struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	return fs ? (u32)mix(mix(cfg.key, (u64)fs), moves_of(fs)) | 1 : 0;
}

/*
 * Whether the name of a request that has ended was looked up from the place where it was submitted. Only who carried it
 * out can tell: a thread may leave the place that its workers were made in (CLONE_FS).
 */
static __noinline bool is_same_place(struct work *w, struct task_struct *submitter)
{
	struct task_struct *task = (void *)w->runner.task;

	if (!w->request.names_id || !w->request.moves)
		return false;
	if (!(w->runner.flags & PF_IO_WORKER) && (w->rec.flags & RW_F_PUNTED || task != submitter))
		return false;
	return standing_of(task) == w->request.moves;
}

/* Appends a string; its length without NUL. */
static __always_inline u32 string_add(struct scratch *s, u32 at, u64 address, bool user)
{
	long n;

	if (!address)
		return 0;
	at &= RW_DATA_MAX / 2 - 1;
	n = user ? bpf_probe_read_user_str(&s->data[at], RW_NAME_SIZE, (void *)address) :
		   bpf_probe_read_kernel_str(&s->data[at], RW_NAME_SIZE, (void *)address);
	return n > 0 && n <= RW_NAME_SIZE ? n - 1 : 0;
}

/* Sends what the request brings along of strings. */
static __noinline void strings_send(struct work *w, struct task_struct *task, const struct strings *from)
{
	struct rw_request *r = &w->request;
	struct scratch *s;
	u32 index, at = 0;

	r->moves = standing_of(task);
	directory_of(w, task, from, 0);
	directory_of(w, task, from, 1);
	root_of(w, task, from);
	if (from->file) {
		if (file_identify(false, (void *)from->file, &w->id))
			w->from[1].path_id = w->id.path_id;
		else
			r->w.flags |= RW_F_NAMELESS;
	}
	w->id.file = 0;
	s = scratch_get(&index);
	if (!s) {
		r->w.flags |= RW_F_NAMELESS;
		return;
	}
	if (from->user)
		r->w.flags |= RW_F_USER_NAMES;
	r->names_id = mix(mix(mix(cfg.key, r->w.submit_ns), w->index), r->w.user_data) | 1;
	s->names.type = RW_NAMES;
	s->names.flags = 0;
	s->names.names_id = r->names_id;
	s->names.from[0] = w->from[0];
	s->names.from[1] = w->from[1];
	s->names.root = w->from[2];
	s->names.len[0] = string_add(s, at, from->name[0], from->user);
	at += s->names.len[0];
	s->names.len[1] = string_add(s, at, from->name[1], from->user);
	at += s->names.len[1];
	s->names.len[2] = string_add(s, at, from->other, from->user);
	at += s->names.len[2];
	if (at > RW_DATA_MAX / 2)
		at = RW_DATA_MAX / 2;
	s->names.size = at;
	if (!send(s, RW_DATA_OFFSET + at))
		r->w.flags |= RW_F_NAMELESS;
	scratch_put(s);
}

#endif
