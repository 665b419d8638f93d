/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The bytes of a vectored write: the sum of its segments and the address of the first. */
#ifndef RINGWATCH_VECTOR_H
#define RINGWATCH_VECTOR_H

/* The kernel takes UIO_MAXIOV (1,024) segments; a write with more is refused, and summed up to here. */
#define SEGMENTS_MAX 4096

struct vector {
	const struct iovec *iov;
	u64 first;
	u64 sum;
	u32 n;
	bool user;
	/* One segment alone is longer than any sum that is told. */
	bool over;
};

struct segment {
	u64 base;
	u64 len;
};

static long vector_step(u64 i, struct vector *v)
{
	struct segment segment;
	long err;

	if (i >= v->n)
		return 1;
	err = v->user ? bpf_probe_read_user(&segment, sizeof(segment), (void *)v->iov + i * sizeof(segment)) :
			bpf_probe_read_kernel(&segment, sizeof(segment), (void *)v->iov + i * sizeof(segment));
	if (err)
		return 1;
	if (!i)
		v->first = segment.base;
	v->sum += segment.len;
	if (segment.len > 0xffffffff)
		v->over = true;
	return 0;
}

static __always_inline void set_len(struct rw_write *rec, u64 len)
{
	rec->len = len > 0xffffffff ? 0xffffffff : len;
}

static __always_inline void vector_sum(struct vector *v, struct rw_write *rec)
{
	bpf_loop(SEGMENTS_MAX, vector_step, v, 0);
	rec->buf = v->first;
	set_len(rec, v->over ? ~0ULL : v->sum);
}

/*
 * All of these replace what the SQE says, the address of the array and the number of segments, by the address
 * of the first segment and the sum of all.
 */

/* Before the kernel has copied the array: as the program's memory holds it now. */
static __noinline void vector_of_user(struct rw_write *rec)
{
	struct vector v = { .iov = (void *)rec->buf, .n = rec->iov_count, .user = true };

	vector_sum(&v, rec);
}

struct iov_iter___6_3 {
	const struct iovec *iov;
} __attribute__((preserve_access_index));

/* From the kernel's own copy, where the preparation made one. */
static __noinline void vector_of_request(struct rw_write *rec, struct io_kiocb *req)
{
	struct io_async_rw *rw = BPF_CORE_READ(req, async_data);
	struct vector v = { .n = rec->iov_count };

	/* Before 6.10 the array is copied when the request is issued. */
	if (!bpf_core_field_exists(struct io_async_rw, iter) ||
	    !(BPF_CORE_READ(req, flags) & cfg.req_async_data)) {
		vector_of_user(rec);
		return;
	}
	if (bpf_core_field_exists(struct io_async_rw, vec) && rec->opcode == IORING_OP_WRITEV_FIXED) {
		/* The copied segments end where the array ends. */
		u32 room = BPF_CORE_READ(rw, vec.nr);

		v.iov = BPF_CORE_READ(rw, vec.iovec);
		if (room >= v.n)
			v.iov = (void *)v.iov + (u64)(room - v.n) * sizeof(struct segment);
		vector_sum(&v, rec);
		return;
	}
	set_len(rec, BPF_CORE_READ(rw, iter.count));
	if (BPF_CORE_READ(rw, iter.iter_type) == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		rec->buf = (u64)BPF_CORE_READ(rw, iter.ubuf) + BPF_CORE_READ(rw, iter.iov_offset);
		return;
	}
	if (bpf_core_field_exists(struct iov_iter, __iov)) {
		v.iov = BPF_CORE_READ(rw, iter.__iov);
	} else {
		struct iov_iter___6_3 *old = (void *)rw + bpf_core_field_offset(struct io_async_rw, iter);

		v.iov = BPF_CORE_READ(old, iov);
	}
	rec->buf = 0;
	if (v.n)
		bpf_probe_read_kernel(&rec->buf, sizeof(rec->buf), v.iov);
}

#endif
