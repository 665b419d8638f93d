/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names, one at a time: read, hashed and copied, within what a walk may spend. */
#ifndef RINGWATCH_PATH_NAMES_H
#define RINGWATCH_PATH_NAMES_H

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
	ALLOWED_BLOCKS = 8192,
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

#endif
