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

#include "path/seen.h"
#include "path/names.h"
#include "path/walk.h"
#include "path/short.h"

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
