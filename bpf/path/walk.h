/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the leaf up, mount by mount. */
#ifndef RINGWATCH_PATH_WALK_H
#define RINGWATCH_PATH_WALK_H

/* In place of a scratch buffer: names are hashed alone. */
#define NO_COPY (~0U)

/* Back as a number, see struct file_id. */
static __always_inline u64 as_number(struct path_walk *w, const void *pointer)
{
	*(volatile u64 *)&w->name = (u64)pointer;
	return *(volatile u64 *)&w->name;
}

static __always_inline void walk_name(struct path_walk *w, struct dentry *d, u32 scratch)
{
	u64 len = RD(TYPED, d, d_name.hash_len) >> 32;
	u64 name = as_number(w, RD(TYPED, d, d_name.name));
	u32 at = w->size;

	if (len > RW_NAME_MAX)
		len = RW_NAME_MAX;
	w->blocks += 1 + len / BLOCK;
	if (scratch != NO_COPY && at > RW_DATA_MAX - RW_NAME_MAX - 1)
		w->flags |= RW_F_TRUNCATED;
	if (scratch == NO_COPY || w->flags & RW_F_TRUNCATED) {
		w->hash = name_hash(name, len, w->hash);
		return;
	}
	w->size = at + len + 1;
#ifdef RW_TYPED
	w->hash = name_copy(name, len, w->hash, scratch, at);
#else
	struct scratch *s = bpf_map_lookup_elem(&scratches, &scratch);

	if (!s)
		return;
	bpf_probe_read_kernel(&s->data[MASK(at, RW_DATA_MAX - 1)], MASK(len, RW_NAME_MAX), (void *)name);
	s->data[MASK(at, RW_DATA_MAX - 1) + MASK(len, RW_NAME_MAX)] = 0;
	/* What is hashed is what was copied. */
	w->hash = name_hash(as_number(w, &s->data[MASK(at, RW_DATA_MAX - 1)]), len, w->hash);
#endif
}

/* The state is in a map, where the verifier does not follow it: each step looks like the one before. */
STEP(path_step, u32 index, u32 scratch)
{
	struct path_walk *w = bpf_map_lookup_elem(&walks, &index);
	struct dentry *d, *parent, *root;
	struct mount *mount, *on;
	struct vfsmount *m;
	u32 seq;

	USED(i);
	if (!w)
		return 1;
	d = CAST(TYPED, w->d, struct dentry);
	m = CAST(TYPED, w->m, struct vfsmount);
	seq = seq_of(TYPED, d);
	parent = RD(TYPED, d, d_parent);
	root = RD(TYPED, m, mnt_root);
	if ((u64)d != (u64)root && (u64)d != (u64)parent) {
		if (w->blocks >= w->limit && !allow_more(w)) {
			w->unknown = RW_PATH_DEEP;
			return 1;
		}
		w->seq |= seq;
		w->version = version_add(w->version, seq);
		w->d = (u64)parent;
		walk_name(w, d, scratch);
		return 0;
	}
	if ((u64)d != (u64)root) {
		w->hash = unreachable_add(w->hash);
		w->flags |= RW_F_UNREACHABLE;
		w->ended = 1;
		return 1;
	}
	mount = CAST(TYPED, mount_of((void *)w->m), struct mount);
	on = RD(TYPED, mount, mnt_parent);
	w->hash = mount_add(w->hash, RD(TYPED, mount, mnt_id));
	if ((u64)on == (u64)mount) {
		w->mnt_ns = mnt_ns_of_mount(TYPED, mount);
		w->hash = top_add(w->hash, w->mnt_ns);
		w->ended = 1;
		return 1;
	}
	w->d = (u64)RD(TYPED, mount, mnt_mountpoint);
	w->m = (u64)on + bpf_core_field_offset(struct mount, mnt);
	return 0;
}

/* The name of a namespace is not in its dentry. */
static __noinline void walk_namespace(struct path_walk *w, u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct dentry *d = (void *)w->d;
	struct ns_common *ns = BPF_CORE_READ(d, d_inode, i_private);
	long n;

	if (!s)
		return;
	n = bpf_probe_read_kernel_str(s->data, RW_NAME_MAX, BPF_CORE_READ(ns, ops, name));
	w->size = n > 0 && n <= RW_NAME_MAX ? n : 0;
}

/* Whether the kernel knows no name: this one no file can have. Namespaces and processes have none in their dentries. */
static __noinline bool is_nameless(const struct path_walk *w)
{
	struct dentry *d = (void *)w->d;
	char first = 0;

	if (w->magic == NSFS_MAGIC || w->magic == PIDFS_MAGIC)
		return false;
	bpf_probe_read_kernel(&first, 1, BPF_CORE_READ(d, d_name.name));
	return first == '/';
}

/* A file without a path: its name and its mount, and all anonymous inodes are one. */
static __noinline void walk_pseudo(struct path_walk *w, u32 index)
{
	struct mount *mount = mount_of((void *)w->m);

	w->flags |= RW_F_PSEUDO;
	w->ended = 1;
	w->hash = mount_add(w->hash, BPF_CORE_READ(mount, mnt_id));
	walk_name(w, CAST(TYPED, w->d, struct dentry), index);
}

/* From `d` and `m` of the walk, which say in the end what it met. With a scratch buffer its names are copied. */
LOOPS int path_walk(u32 index, u32 scratch)
{
	struct path_walk *w = bpf_map_lookup_elem(&walks, &index);
	struct vfsmount *m;
	struct dentry *d;

	if (!w)
		return 0;
	d = (void *)w->d;
	m = (void *)w->m;
	w->hash = cfg.key;
	w->version = version_add(w->d, w->m);
	w->size = 0;
	w->flags = 0;
	w->blocks = 0;
	w->granted = 0;
	w->mnt_ns = 0;
	w->seq = 0;
	w->ended = 0;
	w->unknown = 0;
	if (d == BPF_CORE_READ(d, d_parent) && d != BPF_CORE_READ(m, mnt_root)) {
		if (is_nameless(w)) {
			w->unknown = RW_PATH_DISCONNECTED;
			return 0;
		}
		walk_pseudo(w, scratch);
		if (scratch != NO_COPY && w->magic == NSFS_MAGIC)
			walk_namespace(w, scratch);
		return 0;
	}
	REPEAT(WALK_DEPTH, path_step, index, scratch);
	if (!w->ended)
		w->flags |= RW_F_TRUNCATED;
	if (w->granted)
		give_back(w);
	return 0;
}

/* Walks, and says so in `id`. */
static __always_inline struct path_walk *path_look(struct file_id *id, u32 scratch)
{
	u32 index = id->work;
	struct path_walk *w = bpf_map_lookup_elem(&walks, &index);

	if (!w)
		return NULL;
	w->d = id->dentry;
	w->m = id->mnt;
	w->magic = id->magic;
	w->limit = scratch == NO_COPY ? FREE_BLOCKS - id->blocks : FREE_COPIED;
	path_walk(index, scratch);
	if (w->unknown) {
		id->path_id = w->unknown;
		id->version = 0;
	} else {
		path_ids(id, w->hash, w->version);
	}
	return w;
}

ONCE_INLINE int path_hash(struct file_id *id)
{
	if (id)
		path_look(id, NO_COPY);
	return 0;
}

#endif
