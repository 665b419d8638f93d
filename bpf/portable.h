/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the objects do differently. ringwatch.bpf.c is for kernels whose completion carries the request (5.18 and
 * later, with bpf_loop and atomics that return a value); early.bpf.c, built with RW_EARLY, for those before.
 */
#ifndef RINGWATCH_PORTABLE_H
#define RINGWATCH_PORTABLE_H

#ifdef RW_EARLY

/* Only a program's context leads to a perf buffer, so it goes along to where records are sent. */
#define CTX void *context,
#define PASS_CTX context,
/* In the program itself. */
#define OWN_CTX ctx,

/*
 * Verified with each caller: global functions, which are verified once, take pointers from 5.12 on. So those that
 * loop (LOOPS) take numbers.
 */
#define ONCE static __noinline
/* With one caller: each call counts with 32 bytes of the stack at least. */
#define ONCE_INLINE static __always_inline
#define LOOPS __noinline

/* The step is a function of its own, so that the loop is simple enough for these verifiers. */
#define STEP static __noinline
#define REPEAT(n, step, state)               \
	do {                                 \
		u64 i_ = 0;                  \
                                             \
		do {                         \
			if (step(i_, state)) \
				break;       \
		} while (++i_ < (n));        \
	} while (0)

#else

#define CTX
#define PASS_CTX
#define OWN_CTX
#define ONCE __noinline
#define ONCE_INLINE __noinline
/* One call less: the kernel lets eight of them be nested. */
#define LOOPS static __always_inline

#define STEP static
#define REPEAT(n, step, state) bpf_loop(n, step, state, 0)

#endif

/*
 * An argument of a function that is traced by its trampoline, as a number: before 5.12 the verifier refuses a typed pointer
 * as a map key, and before 5.13 arguments that point to numbers.
 */
#define TRACED(type, n)                                                    \
	({                                                                 \
		u64 given_ = 0;                                            \
                                                                           \
		bpf_probe_read_kernel(&given_, sizeof(given_), ctx + (n)); \
		(type) given_;                                             \
	})

/* Of what belongs to one CPU. `whole`: the program cannot be preempted, and what interrupts it ends before it goes on. */
static __always_inline bool claim(const bool whole, u32 *busy)
{
#ifndef RW_EARLY
	if (!whole)
		return !__sync_val_compare_and_swap(busy, 0, 1);
#endif
	if (*busy)
		return false;
	*busy = 1;
	return true;
}

#endif
