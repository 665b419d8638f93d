/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Registered files as kernels before 5.15 keep them. */
#ifndef RINGWATCH_FILES_H
#define RINGWATCH_FILES_H

/* Files of one table, as a power of two. */
#define FILE_TABLE_BITS 9

#define HAS(ctx, form, field) bpf_core_field_exists(((struct io_ring_ctx___##form *)(ctx))->field)

static __always_inline bool in_tables(struct io_ring_ctx *ctx)
{
	return HAS(ctx, 5_14, submit_state.file_refs) || !HAS(ctx, 5_14, file_table.files);
}

/* The address of the tables; none before 5.5. */
static __always_inline u64 file_tables(struct io_ring_ctx *ctx)
{
	if (HAS(ctx, 5_14, file_table.files))
		return (u64)BPF_CORE_READ((struct io_ring_ctx___5_14 *)ctx, file_table.files);
	if (HAS(ctx, 5_5, file_table))
		return (u64)BPF_CORE_READ((struct io_ring_ctx___5_5 *)ctx, file_table);
	if (!HAS(ctx, 5_6, file_data))
		return 0;
	if (bpf_core_type_exists(struct fixed_file_data))
		return (u64)BPF_CORE_READ((struct io_ring_ctx___5_6 *)ctx, file_data, table);
	if (bpf_core_type_exists(struct fixed_rsrc_data))
		return (u64)BPF_CORE_READ((struct io_ring_ctx___5_12 *)ctx, file_data, table);
	return 0;
}

/* 0: no file. A kernel that keeps them in another way has none. */
static __always_inline u64 file_in_tables(struct io_ring_ctx *ctx, u32 index)
{
	u64 *tables = (void *)file_tables(ctx), *table = NULL, file = 0;

	if (HAS(ctx, 5_4, user_files)) {
		table = BPF_CORE_READ((struct io_ring_ctx___5_4 *)ctx, user_files);
	} else {
		bpf_probe_read_kernel(&table, sizeof(table), tables + (index >> FILE_TABLE_BITS));
		index &= (1U << FILE_TABLE_BITS) - 1;
	}
	bpf_probe_read_kernel(&file, sizeof(file), table + index);
	return file;
}

#endif
