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
	u64 dentry;
	u64 mnt;
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
		if (s && claim(false, &s->busy))
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
#ifdef RW_EARLY
#define HASH_DEPTH 32
#else
#define HASH_DEPTH 64
#endif

/* The lowest bit tells whether the hash covers the whole path: where not, equal hashes do not mean equal paths. */
#define HASH_WHOLE 1ULL

/* A file without a path is its name and its mount: all anonymous inodes are one. */
static __noinline u64 pseudo_hash(struct dentry *d)
{
	u64 name[2] = {}, h = cfg.key;
	u32 len = BPF_CORE_READ(d, d_name.hash_len) >> 32;

	/* Short names are within the dentry, in more bytes than these: those behind the name are not looked at. */
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(d, d_name.name));
	if (len < 8) {
		name[0] &= (1ULL << (len & 7) * 8) - 1;
		name[1] = 0;
	} else if (len < 16) {
		name[1] &= (1ULL << (len & 7) * 8) - 1;
	}
	h = mix(h, name[0]);
	return mix(h, name[1]);
}

static __always_inline u64 path_hash_body(const bool typed, struct dentry *d, struct vfsmount *m)
{
	u64 h = cfg.key;

	if (d == RD(typed, d, d_parent) && d != RD(typed, m, mnt_root))
		h = pseudo_hash(d);
	for (int i = 0; i < HASH_DEPTH; i++) {
		struct dentry *parent = RD(typed, d, d_parent);

		if (d == RD(typed, m, mnt_root) || d == parent) {
			struct mount *mount = CAST(typed, mount_of(m), struct mount);
			struct mount *on = RD(typed, mount, mnt_parent);

			h = mix(h, RD(typed, mount, mnt_id));
			if (on == mount || !d)
				return h | HASH_WHOLE;
			d = RD(typed, mount, mnt_mountpoint);
			m = &on->mnt;
			continue;
		}
		h = mix(h, RD(typed, d, d_name.hash_len));
		d = parent;
	}
	return h & ~HASH_WHOLE;
}

__noinline u64 path_hash_raw(u64 dentry, u64 mnt)
{
	return path_hash_body(false, (void *)dentry, (void *)mnt);
}

static __always_inline u64 path_hash(const bool typed, struct dentry *d, struct vfsmount *m)
{
	return typed ? path_hash_body(true, d, m) : path_hash_raw((u64)d, (u64)m);
}

/* Before bpf_loop the verifier goes through every step. */
#ifdef RW_EARLY
#define WALK_DEPTH 256
#else
#define WALK_DEPTH RW_PATH_DEPTH
#endif

/* Adds a name. False: there is no room for it. */
static __always_inline bool path_name(struct scratch *s, struct dentry *d)
{
	u32 len = BPF_CORE_READ(d, d_name.hash_len) >> 32, at = s->walk.size;
	const unsigned char *name;

	if (len > RW_NAME_MAX || at > RW_DATA_MAX - RW_NAME_MAX - 1) {
		s->walk.flags |= RW_F_TRUNCATED;
		s->walk.ended = 1;
		return false;
	}
	name = BPF_CORE_READ(d, d_name.name);
	bpf_probe_read_kernel(&s->data[MASK(at, RW_DATA_MAX - 1)], MASK(len, RW_NAME_MAX), name);
	s->data[MASK(at, RW_DATA_MAX - 1) + MASK(len, RW_NAME_MAX)] = 0;
	s->walk.size = at + len + 1;
	return true;
}

/* The state is in the scratch buffer, where the verifier does not follow it: each step looks like the one before. */
STEP long path_step(u64 i, const u32 *scratch)
{
	u32 key = *scratch;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &key);
	struct mount *mount, *on;
	struct dentry *d, *parent;
	struct vfsmount *m;

	if (!s)
		return 1;
	d = (void *)s->walk.d;
	m = (void *)s->walk.m;
	parent = BPF_CORE_READ(d, d_parent);
	if (d != BPF_CORE_READ(m, mnt_root) && d != parent) {
		s->walk.d = (u64)parent;
		return path_name(s, d) ? 0 : 1;
	}
	mount = mount_of(m);
	on = BPF_CORE_READ(mount, mnt_parent);
	if (on == mount || !d) {
		s->walk.ended = 1;
		return 1;
	}
	s->walk.d = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
	s->walk.m = (u64)&on->mnt;
	return 0;
}

/* Puts the path's components into a scratch buffer. Returns RW_F_* flags, and above them the number of bytes. */
__noinline u64 path_build(u64 dentry, u64 mnt, u32 scratch)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &scratch);
	struct vfsmount *m = (void *)mnt;
	struct dentry *d = (void *)dentry;

	if (!s)
		return 0;
	s->walk.d = (u64)d;
	s->walk.m = (u64)m;
	s->walk.size = 0;
	s->walk.flags = 0;
	s->walk.ended = 0;
	if (d == BPF_CORE_READ(d, d_parent) && d != BPF_CORE_READ(m, mnt_root)) {
		path_name(s, d);
		return (u64)s->walk.size << 32 | s->walk.flags | RW_F_PSEUDO;
	}
	REPEAT(WALK_DEPTH, path_step, &scratch);
	if (!s->walk.ended)
		s->walk.flags |= RW_F_TRUNCATED;
	return (u64)s->walk.size << 32 | s->walk.flags;
}

/* Sends the path as a string. 0: it could not be sent, so no write may refer to it. */
ONCE int path_send(CTX const struct file_id *id)
{
	u32 at_epoch = epoch, size, index;
	struct scratch *s;
	u64 built;
	bool sent;

	if (!id)
		return 0;
	s = scratch_get(&index);
	if (!s)
		return 0;
	built = path_build(id->dentry, id->mnt, index);
	size = built >> 32;
	if (size > RW_DATA_MAX)
		size = RW_DATA_MAX;
	s->path.type = RW_PATH;
	s->path.flags = built;
	s->path.path_id = id->path_id;
	s->path.size = size;
	s->path.inode = id->inode;
	s->path.mode = id->mode;
	sent = send(PASS_CTX s, RW_DATA_OFFSET + AT_MOST(size, RW_DATA_MAX));
	scratch_put(s);
	if (!sent)
		return 0;
	/* After a rename during the walk the string may be of either name: the next write sends it again. */
	if (id->hash & HASH_WHOLE && path_hash_raw(id->dentry, id->mnt) == id->hash)
		mark_seen(id->path_id, at_epoch);
	return 1;
}

static __always_inline int path_known(CTX struct file_id *id, u64 hash)
{
	id->hash = hash;
	id->path_id = mix(mix(hash, id->inode), id->dev);
	return already_seen(id->path_id) || path_send(PASS_CTX id);
}

static __always_inline int identify(CTX const bool typed, struct file_id *id)
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
	if (cfg.aggregate && RD(typed, file, f_flags) & O_DIRECT)
		id->flags |= RW_F_DIRECT;
	if (!RD(typed, d, d_hash.pprev) && RD(typed, d, d_parent) != d)
		id->flags |= RW_F_DELETED;
	id->dentry = (u64)d;
	id->mnt = (u64)m;
	return path_known(PASS_CTX id, path_hash(typed, d, m));
}

ONCE int identify_raw(CTX struct file_id *id)
{
	return id ? identify(PASS_CTX false, id) : 0;
}

#ifndef RW_TYPED
#define identify_typed identify_raw
#else
ONCE int identify_typed(struct file_id *id)
{
	return id ? identify(true, id) : 0;
}
#endif

/* False: the path's string was needed and could not be sent, and `id` names no file. */
static __always_inline bool file_identify(CTX const bool typed, struct file *file, struct file_id *id)
{
	id->file = (u64)file;
	if (typed ? identify_typed(PASS_CTX id) : identify_raw(PASS_CTX id))
		return true;
	id->file = 0;
	return false;
}

#endif
