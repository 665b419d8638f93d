/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The same for what mostly is, without a loop that calls back. */
#ifndef RINGWATCH_PATH_SHORT_H
#define RINGWATCH_PATH_SHORT_H

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

#endif
