// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The kernel side of ringwatch, one object. Shared parts first, then one file for each concern; every probe is
 * a thin wrapper over an inline body, with a typed and a raw twin where the write path is hot.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "record.h"
#include "config.h"
#include "maps.h"
#include "read.h"
#include "path.h"
#include "identity.h"
#include "filter.h"
#include "vector.h"
#include "request.h"

#include "probes/submit.bpf.c"
#include "probes/complete.bpf.c"
#include "probes/io_write.bpf.c"
#include "probes/ring.bpf.c"
#include "probes/process.bpf.c"
#include "probes/sweep.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One instance of each record, so that its type reaches the generated Rust code. */
struct rw_write record_write = {};
struct rw_path record_path = {};
struct rw_task record_task = {};
