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

/*
 * Each turn of a loop is followed: the step is a global function, which is verified once. Callers do not set what it does
 * not use, which the verifier refuses: USED.
 */
#define USED(parameter) asm volatile("" : : "r"(parameter))
#define STEP(name, a, b) __noinline long name(u64 i, a, b)
#define REPEAT(n, step, a, b)               \
	do {                                \
		u64 i_ = 0;                 \
                                            \
		do {                        \
			if (step(i_, a, b)) \
				break;      \
		} while (++i_ < (n));       \
	} while (0)

#else

#define CTX
#define PASS_CTX
#define OWN_CTX
#define ONCE __noinline
#define ONCE_INLINE __noinline
/* One call less: the kernel lets eight of them be nested. */
#define LOOPS static __always_inline

#define USED(parameter) ((void)(parameter))

struct state {
	u32 a, b;
};

#define STEP(name, a_, b_)                                    \
	static __always_inline long name##_of(u64 i, a_, b_); \
	static long name(u64 i, const struct state *state)    \
	{                                                     \
		return name##_of(i, state->a, state->b);      \
	}                                                     \
	static __always_inline long name##_of(u64 i, a_, b_)
#define REPEAT(n, step, a_, b_)                   \
	do {                                      \
		struct state state_ = { a_, b_ }; \
                                                  \
		bpf_loop(n, step, &state_, 0);    \
	} while (0)

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
