// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The floor of tracing: programs at the two places that every tracer of requests needs, which do nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/io_uring_submit_req")
int empty_submit_req(void *ctx)
{
	return 0;
}

/* Before 6.4. */
SEC("tp_btf/io_uring_submit_sqe")
int empty_submit_sqe(void *ctx)
{
	return 0;
}

SEC("tp_btf/io_uring_complete")
int empty_complete(void *ctx)
{
	return 0;
}
