/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, as far as ringwatch reads them. Only names and types of fields matter here: CO-RE
 * finds their places in the running kernel. A flavour (___suffix) is another kernel's form of a type.
 */
#ifndef RINGWATCH_KERNEL_H
#define RINGWATCH_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFBLK 0060000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define ANON_INODE_FS_MAGIC 0x09041934
#define NSFS_MAGIC 0x6e736673
#define PIDFS_MAGIC 0x50494446
#define O_APPEND 02000
#if defined(__TARGET_ARCH_arm64)
#define O_DIRECT 0200000
#else
#define O_DIRECT 040000
#endif
#define RWF_APPEND 0x10
#define EBADF 9
#define ECANCELED 125
#define IORING_SETUP_IOPOLL (1U << 0)
#define IORING_SETUP_SQPOLL (1U << 1)
#define IORING_SETUP_SQ_REWIND (1U << 20)
#define IOSQE_FIXED_FILE (1U << 0)

#define IORING_CQE_F_NOTIF (1U << 3)
#define AT_FDCWD -100
#define FMODE_CREATED 0x100000
#define RESOLVE_IN_ROOT 0x10
#define SPLICE_F_FD_IN_FIXED (1U << 31)

enum {
	IORING_OP_NOP = 0,
	IORING_OP_WRITEV = 2,
	IORING_OP_FSYNC = 3,
	IORING_OP_WRITE_FIXED = 5,
	IORING_OP_FALLOCATE = 17,
	IORING_OP_OPENAT = 18,
	IORING_OP_WRITE = 23,
	IORING_OP_OPENAT2 = 28,
	IORING_OP_SPLICE = 30,
	IORING_OP_TEE = 33,
	IORING_OP_RENAMEAT = 35,
	IORING_OP_UNLINKAT = 36,
	IORING_OP_MKDIRAT = 37,
	IORING_OP_SYMLINKAT = 38,
	IORING_OP_LINKAT = 39,
	IORING_OP_FSETXATTR = 41,
	IORING_OP_SETXATTR = 42,
	IORING_OP_URING_CMD = 46,
	IORING_OP_FTRUNCATE = 55,
	IORING_OP_WRITEV_FIXED = 61,
	IORING_OP_URING_CMD128 = 64,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#include "kernel/objects.h"
#include "kernel/io_uring.h"
#include "kernel/operations.h"

#pragma clang attribute pop

/* Registers of a probed function: the names that bpf_tracing.h asks for. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r8, ax;
} __attribute__((preserve_access_index));
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
} __attribute__((preserve_access_index));
#endif
#define __VMLINUX_H__

enum iter_type {
	ITER_UBUF,
	ITER_IOVEC,
};

#endif
