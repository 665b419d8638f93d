/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files and their paths. A walk from the leaf up makes two keyed hashes: the id of the path, of all that names it, and its
 * version, of where that stood in memory and how often it was changed. What is known of a version needs no second look. A
 * new one is walked again, and its names are copied meanwhile: where both walks agree, nothing was renamed from the end of
 * the first to the beginning of the second, so that the path existed as it was copied.
 */
#ifndef RINGWATCH_PATH_H
#define RINGWATCH_PATH_H

/*
 * In: the file's address, and the place of `walks` to work in. Out: what names it. Passed by address, so that the
 * functions below can be verified once and not at each call.
 */
struct file_id {
	u64 file;
	u64 dentry;
	u64 mnt;
	u64 path_id;
	u64 version;
	u64 inode;
	u32 dev;
	u32 flags;
	u32 magic;
	u32 work;
	/* What was read in vain, of what is free. */
	u32 blocks;
	/* The address of a long name. From 6.17 on the verifier takes it for a pointer, until it was kept here. */
	u64 name;
	u16 mode;
};

static __always_inline u64 mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ (h >> 32);
}

/*
 * Both halves of the product, put together. The instruction set multiplies 64 bits: the upper half is made of 32-bit
 * products, without the carry from below. Without the key neither factor is known.
 */
static __always_inline u64 fold(u64 a, u64 b)
{
	u64 a_low = (u32)a, a_high = a >> 32, b_low = (u32)b, b_high = b >> 32;

	return a * b ^ (a_high * b_high + (a_high * b_low >> 32) + (a_low * b_high >> 32));
}

static __always_inline struct seen_set *seen_set_of(u64 id)
{
	u32 i = id & ((1 << SEEN_BITS) - 1);

	return bpf_map_lookup_elem(&seen, &i);
}

static __always_inline bool already_seen(u64 id)
{
	struct seen_set *set = seen_set_of(id);
	u64 held = id + epoch;

	if (!set)
		return false;
#pragma unroll
	for (int i = 0; i < SEEN_WAYS; i++)
		if (set->id[i] == held)
			return true;
	return false;
}

static __always_inline void mark_seen(u64 id, u32 at_epoch)
{
	struct seen_set *set = seen_set_of(id);
	u32 at = id >> 32 & (SEEN_WAYS - 1);

	if (!set)
		return;
		/* A free place, else one that the id says. */
#pragma unroll
	for (int i = 0; i < SEEN_WAYS; i++) {
		if (!set->id[i]) {
			at = i;
			break;
		}
	}
	set->id[at & (SEEN_WAYS - 1)] = id + at_epoch;
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

enum {
	/* Bytes of a name that are hashed at a time. */
	BLOCK = 16,
	/* Blocks that each walk may read, and each that copies. */
	FREE_BLOCKS = 64,
	FREE_COPIED = 16,
	/* Beyond those, what a CPU may read in so many ns: some 0.3 ms. Completions are told with a lock held. */
	ALLOWED_NS = 2000000,
#ifdef RW_TYPED
	ALLOWED_BLOCKS = 16384,
#else
	ALLOWED_BLOCKS = 4096,
#endif
};

/* Before bpf_loop the verifier goes through every step. */
#ifdef RW_EARLY
#define WALK_DEPTH 256
#else
#define WALK_DEPTH RW_PATH_DEPTH
#endif

/* Other ids stand for a reason. */
#define PATH_KNOWN (1ULL << 63)

/* The first `n` bytes of a word, which is all of it from 8 on. */
static __always_inline u64 first_bytes(u64 word, u64 n)
{
	return n < 8 ? word & ((1ULL << n * 8) - 1) : word;
}

/* Names hold no NUL, so that zeros behind one say where it ends; and `key`, that this is its end. */
static __always_inline u64 block_hash(u64 first, u64 second, u64 key, u64 h)
{
	return fold(first ^ key, second ^ h);
}

/*
 * Two words of a name that has `left` bytes there. Memory of names is handed out in words, so that those which hold a
 * byte of it can be read.
 */
static __always_inline void name_read(const bool typed, u64 at, u64 left, u64 *first, u64 *second)
{
	if (typed) {
		*first = CAST(true, at, struct qstr)->hash_len;
		*second = left > 8 ? CAST(true, at + 8, struct qstr)->hash_len : 0;
		return;
	}
	*second = 0;
	bpf_probe_read_kernel(first, sizeof(*first), (void *)at);
	if (left > 8)
		bpf_probe_read_kernel(second, sizeof(*second), (void *)(at + 8));
}

__noinline u64 name_hash(u64 name, u64 len, u64 h)
{
	if (len > RW_NAME_MAX)
		len = RW_NAME_MAX;
	for (u32 at = 0; at <= RW_NAME_MAX; at += BLOCK) {
		u64 left = len - at, first, second;

		name_read(TYPED, name + at, left, &first, &second);
		if (left <= BLOCK) {
			first = first_bytes(first, left);
			second = left > 8 ? first_bytes(second, left - 8) : 0;
			return block_hash(first, second, cfg.name_key, h);
		}
		h = block_hash(first, second, cfg.part_key, h);
	}
	return h;
}

#ifdef RW_TYPED
/* The same, and the name goes to a scratch buffer: what is hashed is what was copied. */
__noinline u64 name_copy(u64 name, u64 len, u64 h, u32 scratch, u32 to)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &scratch);

	if (!s)
		return 0;
	if (len > RW_NAME_MAX)
		len = RW_NAME_MAX;
	for (u32 at = 0; at <= RW_NAME_MAX; at += BLOCK) {
		u64 *copy = (u64 *)&s->data[(to & (RW_DATA_MAX - 1)) + at];
		u64 left = len - at, first, second;

		name_read(true, name + at, left, &first, &second);
		if (left <= BLOCK) {
			first = first_bytes(first, left);
			second = left > 8 ? first_bytes(second, left - 8) : 0;
			copy[0] = first;
			copy[1] = second;
			s->data[(to & (RW_DATA_MAX - 1)) + (len & RW_NAME_MAX)] = 0;
			return block_hash(first, second, cfg.name_key, h);
		}
		copy[0] = first;
		copy[1] = second;
		h = block_hash(first, second, cfg.part_key, h);
	}
	return h;
}
#endif

static __always_inline u32 seq_of(const bool typed, struct dentry *d)
{
	const u32 *seq = (void *)d + bpf_core_field_offset(struct dentry, d_seq);
	u32 n = 0;

	if (typed)
		n = *seq;
	else
		bpf_probe_read_kernel(&n, sizeof(n), seq);
	/* What it counts is read after it. */
	barrier();
	return n;
}

static __always_inline u64 version_add(u64 version, u64 of)
{
	return (version + of) * (cfg.path_key | 1);
}

static __always_inline u64 mount_add(u64 h, u32 mnt_id)
{
	return fold(mnt_id ^ cfg.mount_key, h);
}

static __always_inline u64 top_add(u64 h, u32 mnt_ns)
{
	return fold((u64)mnt_ns << 32 ^ cfg.mount_key, h);
}

static __always_inline u64 unreachable_add(u64 h)
{
	return fold(~cfg.mount_key, h);
}

/* Of a mount without a parent. 0: it is attached nowhere. */
static __always_inline u32 mnt_ns_of_mount(const bool typed, struct mount *mount)
{
	struct mnt_namespace *ns = RD(typed, mount, mnt_ns);

	/* An error in place of an address: a mount of the kernel's own. */
	return (u64)ns >= -4095ULL ? 0 : RD(typed, ns, ns.inum);
}

/* What names a file: ids of paths have the highest bit. */
static __always_inline void path_ids(struct file_id *id, u64 hash, u64 version)
{
	id->path_id = fold(hash ^ id->inode, cfg.path_key ^ id->dev) | PATH_KNOWN;
	id->version = fold(version ^ cfg.path_key, id->path_id) | PATH_KNOWN;
}

/* More than is free to each: from what the CPU may spend. False: that is spent. */
static __noinline bool allow_more(struct path_walk *w)
{
	u32 key = 0;
	struct allowance *a = bpf_map_lookup_elem(&allowances, &key);
	u64 now = bpf_ktime_get_ns();

	if (!a)
		return false;
	if (now - a->since_ns > ALLOWED_NS) {
		a->since_ns = now;
		a->blocks = ALLOWED_BLOCKS;
	}
	if (w->granted || !a->blocks)
		return false;
	w->granted = a->blocks;
	w->limit += a->blocks;
	return true;
}

static __always_inline void give_back(struct path_walk *w)
{
	u32 key = 0, spent = w->blocks - (w->limit - w->granted);
	struct allowance *a = bpf_map_lookup_elem(&allowances, &key);

	if (a)
		a->blocks = spent < w->granted ? w->granted - spent : 0;
}

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

#ifdef RW_TYPED
/* What is of the name in the words of one of that length: by a table, since each branch is one more way for the verifier. */
#define BYTES(n) ((n) < 8 ? (1ULL << (u32)(n) % 8 * 8) - 1 : ~0ULL)
#define SHORT(n)                                     \
	{                                            \
		BYTES(n), (n) < 8 ? 0 : BYTES((n)-8) \
	}
static const struct {
	u64 first, second;
} short_names[BLOCK] = {
	SHORT(0), SHORT(1), SHORT(2),  SHORT(3),  SHORT(4),  SHORT(5),	SHORT(6),  SHORT(7),
	SHORT(8), SHORT(9), SHORT(10), SHORT(11), SHORT(12), SHORT(13), SHORT(14), SHORT(15),
};
#undef SHORT
#undef BYTES

/* The same for what mostly is: a path of not many names. False: this is none. */
static __always_inline bool path_hash_short(struct file_id *id, struct dentry *d, struct vfsmount *m)
{
	/* As numbers again. */
	u64 hash = cfg.key, version = version_add(*(volatile u64 *)&id->dentry, *(volatile u64 *)&id->mnt);
	struct dentry *root = m->mnt_root;
	u32 blocks;

	/* Of this number the verifier is to know nothing, or it would follow each. */
	blocks = *(volatile u32 *)&id->blocks;
	if ((u64)d == (u64)d->d_parent && (u64)d != (u64)root)
		return false;
	for (int i = 0; i < FREE_BLOCKS; i++) {
		u32 seq = seq_of(true, d);
		struct dentry *parent = d->d_parent;
		const unsigned char *name;
		u64 len, first, second;
		struct mount *mount, *on;

		if ((u64)d == (u64)root) {
			mount = CAST(true, mount_of(m), struct mount);
			on = mount->mnt_parent;
			hash = mount_add(hash, mount->mnt_id);
			if ((u64)on == (u64)mount) {
				path_ids(id, top_add(hash, mnt_ns_of_mount(true, mount)), version);
				return true;
			}
			d = mount->mnt_mountpoint;
			m = &on->mnt;
			root = m->mnt_root;
			continue;
		}
		if ((u64)d == (u64)parent)
			return false;
		version = version_add(version, seq);
		len = d->d_name.hash_len >> 32;
		name = d->d_name.name;
		if (len >= BLOCK) {
			blocks += len / BLOCK;
			if (blocks >= FREE_BLOCKS)
				break;
			*(volatile u64 *)&id->name = (u64)name;
			hash = name_hash(*(volatile u64 *)&id->name, len, hash);
		} else {
			/* Within the dentry, where both words can be read. The verifier wants to see the bound here. */
			barrier_var(len);
			len &= BLOCK - 1;
			first = CAST(true, name, struct qstr)->hash_len & short_names[len].first;
			second = CAST(true, name + 8, struct qstr)->hash_len & short_names[len].second;
			hash = block_hash(first, second, cfg.name_key, hash);
		}
		d = parent;
	}
	id->blocks = FREE_BLOCKS;
	return false;
}
#endif

/* How often a path is read before it is unknown. */
#define TRIES 3

/*
 * The path's version is new: walks until two walks agree, and sends the string if its id is new, too. 0: it could not be
 * sent, so no write may refer to it.
 */
ONCE_INLINE int path_send(CTX struct file_id *id)
{
	u32 at_epoch = epoch, size, index;
	struct path_walk *w = NULL;
	bool settled = false;
	struct scratch *s;
	int sent = 1;

	if (!id)
		return 0;
	s = scratch_get(&index);
	if (!s)
		return 0;
	for (int i = 0; i < TRIES && !settled; i++) {
		u64 version = id->version;

		w = path_look(id, index);
		if (!w || w->unknown)
			goto out;
		settled = id->version == version && !(w->seq & 1);
	}
	if (!settled) {
		id->path_id = RW_PATH_RENAMED;
		goto out;
	}
	if (!already_seen(id->path_id)) {
		size = w->size;
		if (size > RW_DATA_MAX)
			size = RW_DATA_MAX;
		s->path.type = RW_PATH;
		s->path.flags = w->flags;
		s->path.path_id = id->path_id;
		s->path.size = size;
		s->path.inode = id->inode;
		s->path.mode = id->mode;
		s->path.mnt_ns = w->mnt_ns;
		s->path.magic = id->magic;
		sent = send(PASS_CTX s, RW_DATA_OFFSET + AT_MOST(size, RW_DATA_MAX));
		if (sent)
			mark_seen(id->path_id, at_epoch);
	}
	if (sent)
		mark_seen(id->version, at_epoch);
out:
	scratch_put(s);
	return sent;
}

/* By `dentry` and `mnt`. 0: its string was needed and could not be sent. */
static __always_inline int path_known(CTX struct file_id *id)
{
	return id->path_id < PATH_KNOWN || already_seen(id->version) || path_send(PASS_CTX id);
}

static __always_inline int identify(CTX const bool typed, struct file_id *id)
{
	struct file *file = CAST(typed, id->file, struct file);
	struct inode *inode = RD(typed, file, f_inode);
	struct super_block *sb = RD(typed, inode, i_sb);
	const struct file_operations *operations = RD(typed, file, f_op);
	struct dentry *d = RD(typed, file, f_path.dentry);
	struct vfsmount *m = RD(typed, file, f_path.mnt);

	id->inode = RD(typed, inode, i_ino);
	id->mode = RD(typed, inode, i_mode);
	id->dev = RD(typed, sb, s_dev);
	id->magic = RD(typed, sb, s_magic);
	id->flags = RW_F_FILE;
	if ((id->mode & S_IFMT) == S_IFIFO || (id->mode & S_IFMT) == S_IFSOCK ||
	    id->magic == ANON_INODE_FS_MAGIC)
		id->flags |= RW_F_NO_POS;
	if (RD(typed, file, f_flags) & O_APPEND)
		id->flags |= RW_F_APPEND;
	if (cfg.aggregate && RD(typed, file, f_flags) & O_DIRECT)
		id->flags |= RW_F_DIRECT;
	if (!RD(typed, d, d_hash.pprev) && RD(typed, d, d_parent) != d)
		id->flags |= RD(typed, inode, i_nlink) ? RW_F_STALE : RW_F_DELETED;
	if (!RD(typed, operations, write_iter))
		id->flags |= RW_F_HANDLER;
	id->dentry = (u64)d;
	id->mnt = (u64)m;
	id->blocks = 0;
#ifdef RW_TYPED
	if (!typed || !path_hash_short(id, d, m))
#endif
		path_hash(id);
	return path_known(PASS_CTX id);
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
