/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The bytes of a vectored write: the sum of its segments and the address of the first. */
#ifndef RINGWATCH_VECTOR_H
#define RINGWATCH_VECTOR_H

/* The kernel takes UIO_MAXIOV (1,024) segments; a write with more is refused, and summed up to here. */
#ifdef RW_EARLY
#define SEGMENTS_MAX 1032
#else
#define SEGMENTS_MAX 4096
#endif

struct segment {
	u64 base;
	u64 len;
};

/* Of a program of 32 bits. */
struct compat_segment {
	u32 base;
	u32 len;
};

/* The kernel cuts what is longer: MAX_RW_COUNT. */
#define MOST_BYTES 0x7ffff000

/* Segments that one step adds: fewer steps are less for the verifier to go through. */
#define SEGMENTS_STEP 8

/* Some segments more to the sum of a work: as in path_step, the state is where the verifier does not follow it. */
static __always_inline bool segment_read(struct segment *segment, const struct vector *v, u64 i,
					 const bool user)
{
	struct compat_segment narrow;

	if (!user)
		return !bpf_probe_read_kernel(segment, sizeof(*segment), (void *)v->iov + i * sizeof(*segment));
	if (!v->compat)
		return !bpf_probe_read_user(segment, sizeof(*segment), (void *)v->iov + i * sizeof(*segment));
	if (bpf_probe_read_user(&narrow, sizeof(narrow), (void *)v->iov + i * sizeof(narrow)))
		return false;
	segment->base = narrow.base;
	segment->len = narrow.len;
	return true;
}

static __always_inline long vector_step(u64 i, u32 index, const bool user)
{
	struct work *w = bpf_map_lookup_elem(&works, &index);
	u32 at = i * SEGMENTS_STEP;
	struct segment segment;
	struct vector *v;

	if (!w)
		return 1;
	v = &w->vector;
#pragma unroll
	for (u32 k = 0; k < SEGMENTS_STEP; k++, at++) {
		if (at >= v->n || !segment_read(&segment, v, at, user))
			return 1;
		if (!at)
			v->first = segment.base;
		v->sum += segment.len;
		/* One segment alone may be longer than any sum that is told. */
		v->over |= segment.len >> 32;
	}
	return 0;
}

STEP(vector_step_user, u32 index, u32 unused)
{
	USED(unused);
	return vector_step(i, index, true);
}

static __always_inline void set_len(struct rw_write *rec, u64 len)
{
	rec->len = len > 0xffffffff ? 0xffffffff : len;
}

/*
 * All of these replace what the SQE says, the address of the array and the number of segments, by the address
 * of the first segment and the sum of all.
 */

static __always_inline void vector_start(struct work *w, u64 iov)
{
	w->vector.iov = iov;
	w->vector.n = w->rec.iov_count;
	w->vector.first = 0;
	w->vector.sum = 0;
	w->vector.over = 0;
	w->vector.compat = 0;
}

static __always_inline void vector_end(struct work *w)
{
	w->rec.buf = w->vector.first;
	set_len(&w->rec, w->vector.over ? ~0ULL : w->vector.sum);
}

/* Before the kernel has copied the array: as the program's memory holds it now. */
__noinline int vector_of_user_(u32 index)
{
	struct work *w = bpf_map_lookup_elem(&works, &index);
	struct io_ring_ctx *ctx;

	if (!w)
		return 0;
	ctx = (void *)w->rec.ctx;
	vector_start(w, w->rec.buf);
	/* Other acts than requests have no ring. */
	if (ctx && bpf_core_field_exists(ctx->compat))
		w->vector.compat = BPF_CORE_READ_BITFIELD_PROBED(ctx, compat);
	REPEAT(SEGMENTS_MAX / SEGMENTS_STEP, vector_step_user, index, 0);
	vector_end(w);
	return 0;
}

static __always_inline void vector_of_user(struct work *w)
{
	vector_of_user_(w->index);
}

#ifndef RW_EARLY

STEP(vector_step_kernel, u32 index, u32 unused)
{
	USED(unused);
	return vector_step(i, index, false);
}

struct iov_iter___6_3 {
	const struct iovec *iov;
} __attribute__((preserve_access_index));

/* From the kernel's own copy, where the preparation made one. */
static __noinline void vector_of_request(struct work *w, struct io_kiocb *req)
{
	struct rw_write *rec = &w->rec;
	u32 index = w->index;
	struct io_async_rw *rw = BPF_CORE_READ(req, async_data);
	const struct iovec *iov;
	u64 count;

	/* Before 6.10 the array is copied when the request is issued. */
	if (!bpf_core_field_exists(struct io_async_rw, iter) ||
	    !(BPF_CORE_READ(req, flags) & cfg.req_async_data)) {
		vector_of_user(w);
		return;
	}
	if (bpf_core_field_exists(struct io_async_rw, vec) && rec->opcode == IORING_OP_WRITEV_FIXED) {
		/* The copied segments end where the array ends. */
		u32 room = BPF_CORE_READ(rw, vec.nr);

		iov = BPF_CORE_READ(rw, vec.iovec);
		if (room >= rec->iov_count)
			iov = (void *)iov + (u64)(room - rec->iov_count) * sizeof(struct segment);
		vector_start(w, (u64)iov);
		REPEAT(SEGMENTS_MAX / SEGMENTS_STEP, vector_step_kernel, index, 0);
		vector_end(w);
		return;
	}
	count = BPF_CORE_READ(rw, iter.count);
	if (count >= MOST_BYTES) {
		vector_of_user(w);
		if (rec->len >= count)
			return;
	}
	set_len(rec, count);
	if (BPF_CORE_READ(rw, iter.iter_type) == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		rec->buf = (u64)BPF_CORE_READ(rw, iter.ubuf) + BPF_CORE_READ(rw, iter.iov_offset);
		return;
	}
	if (bpf_core_field_exists(struct iov_iter, __iov)) {
		iov = BPF_CORE_READ(rw, iter.__iov);
	} else {
		struct iov_iter___6_3 *old = (void *)rw + bpf_core_field_offset(struct io_async_rw, iter);

		iov = BPF_CORE_READ(old, iov);
	}
	rec->buf = 0;
	if (rec->iov_count)
		bpf_probe_read_kernel(&rec->buf, sizeof(rec->buf), iov);
}

#endif

#endif
