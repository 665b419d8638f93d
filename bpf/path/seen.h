/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ids whose strings user space holds, and buffers for strings. */
#ifndef RINGWATCH_PATH_SEEN_H
#define RINGWATCH_PATH_SEEN_H

static __always_inline struct seen_set *seen_set_of(u64 id)
{
	u32 i = id & ((1 << SEEN_BITS) - 1);

	return bpf_map_lookup_elem(&seen, &i);
}

static __always_inline bool already_seen(u64 id)
{
	struct seen_set *set = seen_set_of(id);
	u64 held = id + epoch;

	if (!set)
		return false;
#pragma unroll
	for (int i = 0; i < SEEN_WAYS; i++)
		if (set->id[i] == held)
			return true;
	return false;
}

static __always_inline void mark_seen(u64 id, u32 at_epoch)
{
	struct seen_set *set = seen_set_of(id);
	u32 at = id >> 32 & (SEEN_WAYS - 1);

	if (!set)
		return;
		/* A free place, else one that the id says. */
#pragma unroll
	for (int i = 0; i < SEEN_WAYS; i++) {
		if (!set->id[i]) {
			at = i;
			break;
		}
	}
	set->id[at & (SEEN_WAYS - 1)] = id + at_epoch;
}

static __always_inline struct scratch *scratch_get(u32 *index)
{
	u32 first = bpf_get_smp_processor_id() * NEST;

	for (u32 i = 0; i < NEST; i++) {
		struct scratch *s;

		*index = first + i;
		s = bpf_map_lookup_elem(&scratches, index);
		if (s && claim(false, &s->busy))
			return s;
	}
	count(RW_LOST_SCRATCH);
	return NULL;
}

static __always_inline void scratch_put(struct scratch *s)
{
	s->busy = 0;
}

#endif
