/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Operations that are no writes. What each keeps of its SQE says which file, names and numbers it has: from the request
 * where it was accepted, from the SQE where it was refused.
 */
#ifndef RINGWATCH_OPS_H
#define RINGWATCH_OPS_H

/* Those whose `fd` names the file that they work on, among those that are told with more than their opcode. */
static __always_inline bool has_file(u8 opcode)
{
	switch (opcode) {
	case IORING_OP_FSYNC:
	case IORING_OP_FALLOCATE:
	case IORING_OP_FTRUNCATE:
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
	case IORING_OP_FSETXATTR:
	case IORING_OP_URING_CMD:
	case IORING_OP_URING_CMD128:
		return true;
	}
	return false;
}

/* Those that never wait for their file: the submitter carries them out, or a worker of its own. */
static __always_inline bool is_done_by_thread(u8 opcode)
{
	switch (opcode) {
	case IORING_OP_FSYNC:
	case IORING_OP_FALLOCATE:
	case IORING_OP_FTRUNCATE:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
	case IORING_OP_RENAMEAT:
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_SYMLINKAT:
	case IORING_OP_LINKAT:
	case IORING_OP_FSETXATTR:
	case IORING_OP_SETXATTR:
		return true;
	}
	return false;
}

static __always_inline bool is_open(u8 opcode)
{
	return opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2;
}

/* The record of a request of which only the opcode is known. */
static __always_inline void op_begin(struct work *w, u8 opcode)
{
	struct rw_request *r = &w->request;

	__builtin_memset(r, 0, sizeof(*r));
	clear_end(&r->w);
	r->w.type = RW_REQUEST;
	r->w.opcode = opcode;
	r->w.flags = RW_F_SUBMIT | w->who.flags;
	r->w.submit_ns = bpf_ktime_get_ns();
	r->w.fd = -1;
	r->w.asked_pos = -1;
}

/* Of a request's names the kernel has a copy. */
#define NAME_OF(req, type, field)                                                                         \
	({                                                                                                \
		struct filename *name_;                                                                   \
                                                                                                          \
		if (bpf_core_type_exists(struct delayed_filename))                                        \
			name_ = BPF_CORE_READ((struct type##___7_0 *)(req), field.__incomplete_filename); \
		else                                                                                      \
			name_ = BPF_CORE_READ((struct type *)(req), field);                               \
		name_ ? (u64)BPF_CORE_READ(name_, name) : 0;                                              \
	})

/* Names that the ring's request has, and its numbers. */
static __noinline void op_of_request(struct work *w, struct io_kiocb *req)
{
	struct task_struct *task = task_of(false, req);
	struct rw_request *r = &w->request;
	struct io_ring_ctx *ctx = (void *)r->w.ctx;
	u64 flags = req_flags_of(req);
	struct strings s = {};
	bool named = true;

	r->req_flags = flags;
	if (flags & cfg.req_fixed_file)
		r->w.flags |= RW_F_FIXED_FILE;
	if (flags & cfg.req_cqe_skip)
		r->w.flags |= RW_F_CQE_SKIP;
	if (BPF_CORE_READ(ctx, submit_state.link.head))
		r->w.flags |= RW_F_FOLLOWER;
	if (w->who.flags & RW_F_SQPOLL)
		r->sq_tid = BPF_CORE_READ(task, pid);
	if (has_file(r->w.opcode)) {
		r->w.fd = fd_of(false, req);
		/* No CQE, so no completion. What a link before it puts into the ring's slot is not there yet. */
		if (flags & cfg.req_cqe_skip &&
		    (r->w.flags & (RW_F_FOLLOWER | RW_F_FIXED_FILE)) != (RW_F_FOLLOWER | RW_F_FIXED_FILE) &&
		    !take_file_by_number(w, task, ctx))
			r->w.flags |= RW_F_NAMELESS;
	}
	switch (r->w.opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2: {
		struct io_open *op = (void *)req;

		r->w.fd = s.dirfd[0] = BPF_CORE_READ(op, dfd);
		r->arg[0] = BPF_CORE_READ(op, how.flags);
		r->arg[1] = BPF_CORE_READ(op, how.mode);
		r->arg[2] = BPF_CORE_READ(op, how.resolve);
		s.in_root = r->arg[2] & RESOLVE_IN_ROOT;
		r->arg[3] = BPF_CORE_READ(op, file_slot);
		s.name[0] = NAME_OF(req, io_open, filename);
		break;
	}
	case IORING_OP_UNLINKAT: {
		struct io_unlink *op = (void *)req;

		r->w.fd = s.dirfd[0] = BPF_CORE_READ(op, dfd);
		r->arg[0] = BPF_CORE_READ(op, flags);
		s.name[0] = NAME_OF(req, io_unlink, filename);
		break;
	}
	case IORING_OP_MKDIRAT: {
		struct io_mkdir *op = (void *)req;

		r->w.fd = s.dirfd[0] = BPF_CORE_READ(op, dfd);
		r->arg[0] = BPF_CORE_READ(op, mode);
		s.name[0] = NAME_OF(req, io_mkdir, filename);
		break;
	}
	case IORING_OP_RENAMEAT: {
		struct io_rename *op = (void *)req;

		r->w.fd = s.dirfd[0] = BPF_CORE_READ(op, old_dfd);
		r->arg[0] = s.dirfd[1] = BPF_CORE_READ(op, new_dfd);
		r->arg[1] = (u32)BPF_CORE_READ(op, flags);
		s.name[0] = NAME_OF(req, io_rename, oldpath);
		s.name[1] = NAME_OF(req, io_rename, newpath);
		break;
	}
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT: {
		struct io_link *op = (void *)req;

		r->arg[0] = s.dirfd[1] = BPF_CORE_READ(op, new_dfd);
		s.name[1] = NAME_OF(req, io_link, newpath);
		if (r->w.opcode == IORING_OP_SYMLINKAT) {
			s.other = NAME_OF(req, io_link, oldpath);
			break;
		}
		r->w.fd = s.dirfd[0] = BPF_CORE_READ(op, old_dfd);
		r->arg[1] = (u32)BPF_CORE_READ(op, flags);
		s.name[0] = NAME_OF(req, io_link, oldpath);
		break;
	}
	case IORING_OP_SETXATTR:
	case IORING_OP_FSETXATTR: {
		struct io_xattr___6_12 *old = (void *)req;
		struct io_xattr *op = (void *)req;

		if (bpf_core_type_exists(struct kernel_xattr_ctx)) {
			r->arg[0] = BPF_CORE_READ(op, ctx.size);
			r->arg[1] = BPF_CORE_READ(op, ctx.flags);
			s.other = (u64)BPF_CORE_READ(op, ctx.kname);
		} else {
			r->arg[0] = BPF_CORE_READ(old, ctx.size);
			r->arg[1] = BPF_CORE_READ(old, ctx.flags);
			s.other = (u64)BPF_CORE_READ(old, ctx.kname);
		}
		if (r->w.opcode == IORING_OP_SETXATTR) {
			s.dirfd[0] = AT_FDCWD;
			s.name[0] = NAME_OF(req, io_xattr, filename);
		}
		break;
	}
	case IORING_OP_FSYNC:
	case IORING_OP_FALLOCATE: {
		struct io_sync *op = (void *)req;

		r->w.asked_pos = BPF_CORE_READ(op, off);
		r->arg[0] = BPF_CORE_READ(op, len);
		r->arg[1] = (u32)(r->w.opcode == IORING_OP_FSYNC ? BPF_CORE_READ(op, flags) :
								   BPF_CORE_READ(op, mode));
		named = false;
		break;
	}
	case IORING_OP_FTRUNCATE: {
		struct io_ftrunc *op = (void *)req;

		/* 6.9 and later. */
		if (bpf_core_type_exists(struct io_ftrunc))
			r->arg[0] = BPF_CORE_READ(op, len);
		named = false;
		break;
	}
	case IORING_OP_SPLICE:
	case IORING_OP_TEE: {
		struct io_splice *op = (void *)req;
		u32 splice_flags = BPF_CORE_READ(op, flags);
		s32 fd = BPF_CORE_READ(op, splice_fd_in);

		r->w.asked_pos = r->w.opcode == IORING_OP_TEE ? -1 : BPF_CORE_READ(op, off_out);
		r->arg[0] = r->w.opcode == IORING_OP_TEE ? -1 : BPF_CORE_READ(op, off_in);
		r->arg[1] = BPF_CORE_READ(op, len);
		r->arg[2] = splice_flags;
		r->arg[3] = fd;
		s.file = (u64)(splice_flags & SPLICE_F_FD_IN_FIXED ? file_of_index((void *)r->w.ctx, fd) :
								     file_of_fd(task, fd));
		break;
	}
	case IORING_OP_URING_CMD:
	case IORING_OP_URING_CMD128: {
		struct io_uring_cmd *op = (void *)req;

		r->arg[0] = BPF_CORE_READ(op, cmd_op);
		r->arg[1] = BPF_CORE_READ(op, flags);
		named = false;
		break;
	}
	default:
		named = false;
	}
	if (named)
		strings_send(w, task, &s);
}

/* The same of a request that was refused: it holds what an earlier one left, so only the SQE can tell. */
static __noinline void op_of_sqe(struct work *w, const struct io_uring_sqe *sqe, struct io_kiocb *req)
{
	struct task_struct *task = task_of(false, req);
	struct rw_request *r = &w->request;
	struct strings s = { .user = true };
	u64 off = BPF_CORE_READ(sqe, off), addr = BPF_CORE_READ(sqe, addr);
	u32 len = BPF_CORE_READ(sqe, len), flags = BPF_CORE_READ(sqe, rw_flags);
	s32 fd = BPF_CORE_READ(sqe, fd), other_fd = BPF_CORE_READ(sqe, splice_fd_in);
	bool named = true;

	if (BPF_CORE_READ(sqe, flags) & IOSQE_FIXED_FILE)
		r->w.flags |= RW_F_FIXED_FILE;
	if (w->who.flags & RW_F_SQPOLL)
		r->sq_tid = BPF_CORE_READ(task, pid);
	switch (r->w.opcode) {
	case IORING_OP_OPENAT:
		r->arg[0] = flags;
		r->arg[1] = len;
		break;
	case IORING_OP_OPENAT2: {
		struct open_how how = {};

		bpf_probe_read_user(&how, sizeof(how), (void *)off);
		r->arg[0] = how.flags;
		r->arg[1] = how.mode;
		r->arg[2] = how.resolve;
		s.in_root = how.resolve & RESOLVE_IN_ROOT;
		break;
	}
	case IORING_OP_UNLINKAT:
		r->arg[0] = flags;
		break;
	case IORING_OP_MKDIRAT:
		r->arg[0] = len;
		break;
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
		r->arg[0] = s.dirfd[1] = (s32)len;
		r->arg[1] = flags;
		s.name[1] = off;
		break;
	case IORING_OP_SYMLINKAT:
		r->arg[0] = s.dirfd[1] = fd;
		s.name[1] = off;
		s.other = addr;
		break;
	case IORING_OP_SETXATTR:
	case IORING_OP_FSETXATTR:
		r->arg[0] = len;
		r->arg[1] = flags;
		s.other = addr;
		break;
	case IORING_OP_FSYNC:
		r->w.asked_pos = off;
		r->arg[0] = len;
		r->arg[1] = flags;
		named = false;
		break;
	case IORING_OP_FALLOCATE:
		r->w.asked_pos = off;
		r->arg[0] = addr;
		r->arg[1] = len;
		named = false;
		break;
	case IORING_OP_FTRUNCATE:
		r->arg[0] = off;
		named = false;
		break;
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
		r->w.asked_pos = r->w.opcode == IORING_OP_TEE ? -1 : (s64)off;
		r->arg[0] = r->w.opcode == IORING_OP_TEE ? -1 : (s64)addr;
		r->arg[1] = len;
		r->arg[2] = flags;
		r->arg[3] = other_fd;
		s.file = (u64)(flags & SPLICE_F_FD_IN_FIXED ? file_of_index((void *)r->w.ctx, other_fd) :
							      file_of_fd(task, other_fd));
		break;
	case IORING_OP_URING_CMD:
	case IORING_OP_URING_CMD128:
		r->arg[0] = (u32)off;
		r->arg[1] = flags;
		named = false;
		break;
	default:
		named = false;
	}
	switch (r->w.opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		r->arg[3] = (u32)other_fd;
		/* fallthrough */
	case IORING_OP_UNLINKAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
		r->w.fd = s.dirfd[0] = fd;
		s.name[0] = addr;
		break;
	case IORING_OP_SETXATTR:
		s.dirfd[0] = AT_FDCWD;
		s.name[0] = BPF_CORE_READ(sqe, addr3);
		break;
	}
	if (has_file(r->w.opcode)) {
		r->w.fd = fd;
		if (!take_file_by_number(w, task, (void *)r->w.ctx))
			r->w.flags |= RW_F_NAMELESS;
	}
	if (named)
		strings_send(w, task, &s);
}

/* The file at the end of the request. False: its path could not be sent. */
static __noinline bool op_file(struct work *w, struct io_kiocb *req, struct task_struct *task)
{
	struct rw_write *rec = &w->rec;
	struct file *file;

	if (rec->flags & RW_F_PREP_FAILED)
		return true;
	clear_file(rec);
	if (is_open(rec->opcode)) {
		u32 slot = w->request.arg[3];

		if (rec->result < 0 || !(rec->flags & RW_F_SUBMIT))
			return true;
		/* Counted from 1; without a number of its own the kernel chose it. */
		if (!slot)
			file = file_of_fd(task, rec->result);
		else
			file = file_of_index((void *)rec->ctx, slot == (u32)-1 ? (u32)rec->result : slot - 1);
		if (!file)
			return true;
		if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
			rec->flags |= RW_F_CREATED;
		return take_file(false, w, file);
	}
	file = BPF_CORE_READ(req, file);
	if (file)
		return take_file(false, w, file);
	if (!has_file(rec->opcode) || !(rec->flags & RW_F_SUBMIT) || rec->result == -EBADF)
		return true;
	return take_file_by_number(w, task, (void *)rec->ctx);
}

#endif
