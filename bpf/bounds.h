/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bounds of numbers, as the verifiers of old kernels need them: those before 5.11 forget the bounds of what the compiler
 * spills to the stack, and those before 5.10 do not carry what a comparison says over to copies of its register. So a
 * bound is put onto the very register, right before its use, where the compiler can neither drop nor move it.
 */
#ifndef RINGWATCH_BOUNDS_H
#define RINGWATCH_BOUNDS_H

/* `mask` is a constant below 2^31. */
#define MASK(number, mask)                                                   \
	({                                                                   \
		u64 masked_ = (number);                                      \
                                                                             \
		asm volatile("%0 &= %1" : "+r"(masked_) : "i"((int)(mask))); \
		masked_;                                                     \
	})

/* `most` is such a constant, too. */
#define AT_MOST(number, most)                                                                       \
	({                                                                                          \
		u64 bounded_ = (number);                                                            \
                                                                                                    \
		asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(bounded_) : "i"((int)(most))); \
		bounded_;                                                                           \
	})

#endif
