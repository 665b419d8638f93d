// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * For each rule of tests/kernel/verifier a program that breaks it, as ringwatch's own once did where that was seen on a
 * kernel, and one that keeps it.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "bounds.h"

#define SIZE 4096

struct value {
	u64 numbers[64];
	u8 bytes[SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct value);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u64);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

static __always_inline struct value *value(void)
{
	u32 key = 0;

	return bpf_map_lookup_elem(&values, &key);
}

/* What a compiler may do with a number: keep it on the stack. */
static __always_inline u64 spill(u64 number)
{
	asm volatile("*(u64 *)(r10 - 8) = %0\n\t%0 = *(u64 *)(r10 - 8)" : "+r"(number)::"memory");
	return number;
}

SEC("kprobe/x")
int spilled_refused(void *ctx)
{
	struct value *v = value();
	u64 at = bpf_ktime_get_ns() & (SIZE - 1);

	if (v)
		v->bytes[spill(at)] = 1;
	return 0;
}

SEC("kprobe/x")
int spilled_taken(void *ctx)
{
	struct value *v = value();
	u64 at = bpf_ktime_get_ns() & (SIZE - 1);

	if (v)
		v->bytes[MASK(spill(at), SIZE - 1)] = 1;
	return 0;
}

SEC("kprobe/x")
int copied_refused(void *ctx)
{
	struct value *v = value();
	u64 at = bpf_ktime_get_ns(), copy;

	if (!v)
		return 0;
	asm volatile("%0 = %1\n\tif %1 <= 63 goto +1\n\t%0 = 0" : "=&r"(copy) : "r"(at));
	v->numbers[copy] = 1;
	return 0;
}

SEC("kprobe/x")
int copied_taken(void *ctx)
{
	struct value *v = value();

	if (v)
		v->numbers[AT_MOST(bpf_ktime_get_ns(), 63)] = 1;
	return 0;
}

SEC("kprobe/x")
int sized_refused(void *ctx)
{
	struct value *v = value();
	u64 size = bpf_ktime_get_ns();

	if (v && size <= SIZE)
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, v->bytes, spill(size));
	return 0;
}

SEC("kprobe/x")
int sized_taken(void *ctx)
{
	struct value *v = value();
	u64 size = bpf_ktime_get_ns();

	if (v)
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, v->bytes, AT_MOST(spill(size), SIZE));
	return 0;
}

SEC("fentry/io_write")
int BPF_PROG(typed_key_refused, struct io_kiocb *req)
{
	u64 key = (u64)req;

	bpf_map_delete_elem(&table, &key);
	return 0;
}

SEC("fentry/io_write")
int typed_key_taken(u64 *ctx)
{
	u64 key = 0;

	bpf_probe_read_kernel(&key, sizeof(key), ctx);
	bpf_map_delete_elem(&table, &key);
	return 0;
}

SEC("kprobe/x")
int fetched_refused(void *ctx)
{
	struct value *v = value();

	return v ? __sync_fetch_and_add(&v->numbers[0], 1) : 0;
}

SEC("kprobe/x")
int fetched_taken(void *ctx)
{
	struct value *v = value();

	if (v)
		__sync_fetch_and_add(&v->numbers[0], 1);
	return 0;
}

SEC("kprobe/x")
int helper_refused(void *ctx)
{
	u64 record = 0;

	return bpf_ringbuf_output(&table, &record, sizeof(record), 0);
}

SEC("kprobe/x")
int helper_taken(void *ctx)
{
	u64 record = 0;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ringbuf_output))
		return bpf_ringbuf_output(&table, &record, sizeof(record), 0);
	return 0;
}

SEC("kprobe/x")
int relocated_refused(void *ctx)
{
	struct io_ring_ctx *ring = (void *)bpf_get_current_task();

	return BPF_CORE_READ(ring, file_table.data.nr);
}

SEC("kprobe/x")
int relocated_taken(void *ctx)
{
	struct io_ring_ctx *ring = (void *)bpf_get_current_task();

	return bpf_core_field_exists(ring->file_table.data.nr) ? BPF_CORE_READ(ring, file_table.data.nr) : 0;
}

SEC("kprobe/x")
int beyond_refused(void *ctx)
{
	struct value *v = value();

	if (v)
		v->bytes[AT_MOST(bpf_ktime_get_ns(), SIZE)] = 1;
	return 0;
}

SEC("kprobe/x")
int beyond_taken(void *ctx)
{
	struct value *v = value();

	if (v)
		v->bytes[AT_MOST(bpf_ktime_get_ns(), SIZE - 1)] = 1;
	return 0;
}

SEC("kprobe/x")
int unchecked_refused(void *ctx)
{
	return value()->numbers[0];
}

SEC("kprobe/x")
int unchecked_taken(void *ctx)
{
	struct value *v = value();

	return v ? v->numbers[0] : 0;
}

#define FILL(bytes)                                                        \
	u8 buffer[bytes];                                                  \
                                                                           \
	bpf_probe_read_kernel(buffer, sizeof(buffer), (void *)from);       \
	asm volatile("" ::"r"(buffer) : "memory")

static __noinline int fill_200(u64 from)
{
	FILL(200);
	return buffer[0];
}

static __noinline int fill_100(u64 from)
{
	FILL(100);
	return buffer[0];
}

SEC("kprobe/x")
int deep_refused(void *ctx)
{
	u64 from = bpf_ktime_get_ns();

	FILL(320);
	return fill_200(from) + buffer[0];
}

SEC("kprobe/x")
int deep_taken(void *ctx)
{
	u64 from = bpf_ktime_get_ns();

	FILL(320);
	return fill_100(from) + buffer[0];
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
