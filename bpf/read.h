/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading kernel memory in two ways, chosen at compile time by the twin: `typed` programs load through
 * pointers that the verifier knows (one instruction a field), the others through a probe read.
 */
#ifndef RINGWATCH_READ_H
#define RINGWATCH_READ_H

extern void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k) __ksym __weak;

#define RD(typed, ptr, field) ((typed) ? (ptr)->field : BPF_CORE_READ(ptr, field))

#define CAST(typed, ptr, type) \
	((typed) ? (type *)bpf_rdonly_cast((const void *)(ptr), bpf_core_type_id_kernel(type)) : (type *)(ptr))

#endif
