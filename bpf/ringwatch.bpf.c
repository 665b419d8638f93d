// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The kernel side for 5.18 and later. Shared parts first, then one file for each concern; every probe is a thin
 * wrapper over an inline body. It is compiled twice: with RW_TYPED the hot programs are typed tracepoints.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "record.h"
#include "config.h"
#include "portable.h"
#include "bounds.h"
#include "maps.h"
#include "read.h"
#include "compat.h"
#include "path.h"
#include "task.h"
#include "sums.h"
#include "identity.h"
#include "filter.h"
#include "stat.h"
#include "write.h"
#include "vector.h"
#include "request.h"
#include "names.h"
#include "ops.h"
#include "again.h"
#include "cq.h"

#include "probes/submit.bpf.c"
#include "probes/complete.bpf.c"
#include "probes/io_write.bpf.c"
#include "probes/names.bpf.c"
#include "probes/ring.bpf.c"
#include "probes/file.bpf.c"
#include "probes/process.bpf.c"
#include "probes/sweep.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One instance of each record, so that its type reaches the generated Rust code. */
struct rw_write record_write = {};
struct rw_queue record_queue = {};
struct rw_path record_path = {};
struct rw_task record_task = {};
struct rw_request record_request = {};
struct rw_names record_names = {};
struct rw_created record_created = {};
