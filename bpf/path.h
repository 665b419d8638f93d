/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files and their paths. The hash of the dentry chain is cheap, so it goes with every write; it changes with
 * every rename along the path. The string goes to user space only when its hash is new there.
 */
#ifndef RINGWATCH_PATH_H
#define RINGWATCH_PATH_H

/*
 * In: the file's address. Out: what names it. Passed by address, so that the functions below can be verified once
 * and not at each call.
 */
struct file_id {
	u64 file;
	u64 hash;
	u64 path_id;
	u64 inode;
	u32 dev;
	u32 flags;
	u16 mode;
};

static __always_inline u64 mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ (h >> 32);
}

static __always_inline bool already_seen(u64 id)
{
	u32 i = id & ((1 << SEEN_BITS) - 1);
	u64 *held = bpf_map_lookup_elem(&seen, &i);

	return held && *held == id + epoch;
}

static __always_inline void mark_seen(u64 id, u32 at_epoch)
{
	u32 i = id & ((1 << SEEN_BITS) - 1);
	u64 held = id + at_epoch;

	bpf_map_update_elem(&seen, &i, &held, BPF_ANY);
}

static __always_inline struct scratch *scratch_get(u32 *index)
{
	u32 first = bpf_get_smp_processor_id() * NEST;

	for (u32 i = 0; i < NEST; i++) {
		struct scratch *s;

		*index = first + i;
		s = bpf_map_lookup_elem(&scratches, index);
		if (s && !__sync_val_compare_and_swap(&s->busy, 0, 1))
			return s;
	}
	count(RW_LOST_SCRATCH);
	return NULL;
}

static __always_inline void scratch_put(struct scratch *s)
{
	s->busy = 0;
}

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* The hash covers this many components and mount points from the leaf up. */
#define HASH_DEPTH 64

/* False: the path is deeper, so equal hashes do not mean equal paths. */
static __always_inline bool path_hash(const bool typed, struct dentry *d, struct vfsmount *m, u64 *hash)
{
	u64 h = cfg.key;
	bool whole = false;

	for (int i = 0; i < HASH_DEPTH; i++) {
		struct dentry *parent = RD(typed, d, d_parent);

		if (d == RD(typed, m, mnt_root) || d == parent) {
			struct mount *mount = CAST(typed, mount_of(m), struct mount);
			struct mount *on = RD(typed, mount, mnt_parent);

			h = mix(h, RD(typed, mount, mnt_id));
			if (on == mount || !d) {
				whole = true;
				break;
			}
			d = RD(typed, mount, mnt_mountpoint);
			m = &on->mnt;
			continue;
		}
		h = mix(h, RD(typed, d, d_name.hash_len));
		d = parent;
	}
	*hash = h;
	return whole;
}

struct path_walk {
	struct dentry *d;
	struct vfsmount *m;
	u32 scratch;
	u32 size;
	u32 depth;
	u32 flags;
};

static long path_step(u64 i, struct path_walk *w)
{
	struct dentry *d = w->d, *parent = BPF_CORE_READ(d, d_parent);
	struct vfsmount *m = w->m;
	struct dentry *root = BPF_CORE_READ(m, mnt_root);
	u32 key = w->scratch, len, at;
	struct scratch *s;
	bool pseudo = d == parent && d != root;

	if (d == root || (pseudo && w->depth)) {
		struct mount *mount = mount_of(m);
		struct mount *on = BPF_CORE_READ(mount, mnt_parent);

		if (on == mount || !d)
			return 1;
		w->d = BPF_CORE_READ(mount, mnt_mountpoint);
		w->m = &on->mnt;
		return 0;
	}
	if (pseudo)
		w->flags |= RW_F_PSEUDO;
	len = BPF_CORE_READ(d, d_name.hash_len) >> 32;
	if (len > RW_NAME_MAX || w->size + len + 1 > RW_DATA_MAX) {
		w->flags |= RW_F_TRUNCATED;
		return 1;
	}
	s = bpf_map_lookup_elem(&scratches, &key);
	if (!s)
		return 1;
	at = w->size & (RW_DATA_MAX - 1);
	len &= RW_NAME_MAX;
	bpf_probe_read_kernel(&s->data[at], len, BPF_CORE_READ(d, d_name.name));
	s->data[at + len] = 0;
	w->size += len + 1;
	w->depth++;
	w->d = parent;
	return pseudo ? 1 : 0;
}

/* Sends the path as a string. 0: it could not be sent, so no write may refer to it. */
__noinline int path_send(const struct file_id *id)
{
	u32 at_epoch = epoch, size;
	struct path_walk w = {};
	struct vfsmount *m;
	struct scratch *s;
	struct file *file;
	struct dentry *d;
	u64 again;
	long sent;

	if (!id)
		return 0;
	s = scratch_get(&w.scratch);
	if (!s)
		return 0;
	file = (void *)id->file;
	w.d = d = BPF_CORE_READ(file, f_path.dentry);
	w.m = m = BPF_CORE_READ(file, f_path.mnt);
	if (bpf_loop(RW_PATH_DEPTH, path_step, &w, 0) == RW_PATH_DEPTH)
		w.flags |= RW_F_TRUNCATED;
	size = w.size;
	if (size > RW_DATA_MAX)
		size = RW_DATA_MAX;
	s->path.type = RW_PATH;
	s->path.flags = w.flags;
	s->path.path_id = id->path_id;
	s->path.size = size;
	s->path.inode = id->inode;
	s->path.mode = id->mode;
	sent = bpf_ringbuf_output(&events, s, RW_DATA_OFFSET + size, BPF_RB_NO_WAKEUP);
	scratch_put(s);
	if (sent)
		return 0;
	/* After a rename during the walk the string may be of either name: the next write sends it again. */
	if (path_hash(false, d, m, &again) && again == id->hash)
		mark_seen(id->path_id, at_epoch);
	return 1;
}

static __always_inline int identify(const bool typed, struct file_id *id)
{
	struct file *file = CAST(typed, id->file, struct file);
	struct inode *inode = RD(typed, file, f_inode);
	struct super_block *sb = RD(typed, inode, i_sb);
	struct dentry *d = RD(typed, file, f_path.dentry);
	struct vfsmount *m = RD(typed, file, f_path.mnt);

	id->inode = RD(typed, inode, i_ino);
	id->mode = RD(typed, inode, i_mode);
	id->dev = RD(typed, sb, s_dev);
	id->flags = RW_F_FILE;
	if ((id->mode & S_IFMT) == S_IFIFO || (id->mode & S_IFMT) == S_IFSOCK ||
	    RD(typed, sb, s_magic) == ANON_INODE_FS_MAGIC)
		id->flags |= RW_F_NO_POS;
	if (RD(typed, file, f_flags) & O_APPEND)
		id->flags |= RW_F_APPEND;
	if (!RD(typed, d, d_hash.pprev) && RD(typed, d, d_parent) != d)
		id->flags |= RW_F_DELETED;
	path_hash(typed, d, m, &id->hash);
	id->path_id = mix(mix(id->hash, id->inode), id->dev);
	if (already_seen(id->path_id))
		return 1;
	return path_send(id);
}

__noinline int identify_typed(struct file_id *id)
{
	return id ? identify(true, id) : 0;
}

__noinline int identify_raw(struct file_id *id)
{
	return id ? identify(false, id) : 0;
}

/* False: the path's string was needed and could not be sent. */
static __always_inline bool file_identify(const bool typed, struct file *file, struct file_id *id)
{
	id->file = (u64)file;
	return typed ? identify_typed(id) : identify_raw(id);
}

#endif
