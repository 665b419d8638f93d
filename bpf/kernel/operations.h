/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other operations. Included by kernel.h. */
#ifndef RINGWATCH_KERNEL_OPERATIONS_H
#define RINGWATCH_KERNEL_OPERATIONS_H

/* What io_uring keeps of other operations, at the beginning of their requests. */
struct filename {
	const char *name;
};

struct open_how {
	u64 flags;
	u64 mode;
	u64 resolve;
};

struct io_open {
	int dfd;
	u32 file_slot;
	struct filename *filename;
	struct open_how how;
};

struct io_sync {
	s64 len;
	s64 off;
	int flags;
	int mode;
};

struct io_ftrunc {
	s64 len;
};

struct io_splice {
	s64 off_out;
	s64 off_in;
	u64 len;
	int splice_fd_in;
	unsigned int flags;
};

struct io_rename {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};

struct io_unlink {
	int dfd;
	int flags;
	struct filename *filename;
};

struct io_mkdir {
	int dfd;
	u16 mode;
	struct filename *filename;
};

struct io_link {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};

struct xattr_name {
	char name[256];
};

/* struct xattr_ctx before 6.13. */
struct kernel_xattr_ctx {
	unsigned long size;
	struct xattr_name *kname;
	unsigned int flags;
};

struct io_xattr {
	struct kernel_xattr_ctx ctx;
	struct filename *filename;
};

struct xattr_ctx {
	unsigned long size;
	struct xattr_name *kname;
	unsigned int flags;
};

struct io_xattr___6_12 {
	struct xattr_ctx ctx;
	struct filename *filename;
};

struct io_uring_cmd {
	u32 cmd_op;
	u32 flags;
};

/* From 7.0 on names are kept by one more structure. */
struct delayed_filename {
	struct filename *__incomplete_filename;
};

struct io_open___7_0 {
	struct delayed_filename filename;
};

struct io_rename___7_0 {
	struct delayed_filename oldpath;
	struct delayed_filename newpath;
};

struct io_unlink___7_0 {
	struct delayed_filename filename;
};

struct io_mkdir___7_0 {
	struct delayed_filename filename;
};

struct io_link___7_0 {
	struct delayed_filename oldpath;
	struct delayed_filename newpath;
};

struct io_xattr___7_0 {
	struct delayed_filename filename;
};

#endif
