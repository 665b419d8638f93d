// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The kernel side for kernels before 5.18, where io_uring_complete names the ring and user_data but not the request,
 * and for those before 5.5, which have no io_uring tracepoints. Every request is held in one hash map.
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
#include "early/kernel.h"
#include "early/files.h"
#include "write.h"
#include "vector.h"
#include "early/submitter.h"
#include "early/held.h"
#include "early/find.h"

#include "early/submit.bpf.c"
#include "early/complete.bpf.c"
#include "probes/ring.bpf.c"
#include "probes/file.bpf.c"
#include "early/legacy.bpf.c"
#include "probes/process.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One instance of each record, so that its type reaches the generated Rust code. */
struct rw_write record_write = {};
struct rw_path record_path = {};
struct rw_task record_task = {};
struct rw_created record_created = {};
