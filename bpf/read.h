/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What only the typed object can do, and how the others do without. Reading kernel memory in two ways: the typed object loads through pointers that the verifier knows (one
 * instruction a field), the others by a probe read. HOT is the kind of the programs on the hot path.
 */
#ifndef RINGWATCH_READ_H
#define RINGWATCH_READ_H

#ifdef RW_TYPED

#define TYPED true
#define HOT(tracepoint) "tp_btf/" tracepoint

extern void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k) __ksym __weak;
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/*
 * While a program is preempted, the kernel skips it for all other tasks of that CPU: from 7.0 on nothing else
 * prevents that.
 */
#define WHOLE(work)                            \
	({                                     \
		int done_;                     \
                                               \
		if (cfg.preemptible)           \
			bpf_preempt_disable(); \
		done_ = (work);                \
		if (cfg.preemptible)           \
			bpf_preempt_enable();  \
		done_;                         \
	})

#define RD(typed, ptr, field) ((typed) ? (ptr)->field : BPF_CORE_READ(ptr, field))

/*
 * What io_uring keeps of a read or write, at the beginning of its request. Not by a cast: a request that a tracepoint
 * hands over is read by plain loads, and what a cast makes of it by loads that check the address first.
 */
#define RD_RW(typed, req, field)                                                                         \
	((typed) ? *(typeof(((struct io_rw *)0)->field) *)((void *)(req) +                               \
							   bpf_core_field_offset(struct io_rw, field)) : \
		   BPF_CORE_READ((struct io_rw *)(req), field))

#define CAST(typed, ptr, type) \
	((typed) ? (type *)bpf_rdonly_cast((const void *)(ptr), bpf_core_type_id_kernel(type)) : (type *)(ptr))

#else

#define TYPED false
#define WHOLE(work) (work)
#define HOT(tracepoint) "raw_tp/" tracepoint

#define RD(typed, ptr, field) BPF_CORE_READ(ptr, field)
#define RD_RW(typed, req, field) BPF_CORE_READ((struct io_rw *)(req), field)

#define CAST(typed, ptr, type) ((type *)(ptr))

#endif

#endif
