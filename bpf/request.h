/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests in flight: what is kept from submission to the end, and the one way in which a write ends.
 *
 * Request memory is recycled at once, so an entry lives exactly as long as its request: it is taken away at the
 * end, and where the kernel told of no end, at the next submission that uses the same memory.
 */
#ifndef RINGWATCH_REQUEST_H
#define RINGWATCH_REQUEST_H

#define OPCODE_SHIFT 24

enum {
	SLOT_BITS = 14,
	PENDING_MAX = 65536,
	PLACE_BITS = 17,
	/* A request finds its place within so many of its hash. */
	PLACES_TRIED = 16,
};

/* What only the submission tells of a request; completion reads the rest from the request itself. */
struct slot {
	u64 req;
	u64 user_data;
	u64 submit_ns;
	u64 task_id;
	s64 pos;
	u64 buf;
	u32 len;
	s32 fd;
	u32 tid;
	/* enum rw_flag, and the opcode in the highest byte. */
	u32 flags;
	u32 rw_flags;
	u32 iov_count;
};

/* Requests in flight, by the hash of their address: one load tells whether a request is followed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SLOT_BITS);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* Requests in flight whose slot is taken, or of which completion cannot tell all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PENDING_MAX);
	__type(key, u64);
	__type(value, struct rw_request);
} pending SEC(".maps");

/* Requests inside io_write, by the thread that executes it; see probes/io_write.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u64);
} writing SEC(".maps");

/*
 * The requests in `pending`, so that they can be gone through in slices; twice as many as there may be. With PLACE_TOLD:
 * a request that is not in `pending`, and was reported already.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PLACE_BITS);
	__type(key, u32);
	__type(value, u64);
} places SEC(".maps");

#define PLACE_TOLD 1UL

/*
 * rw_request.claim: the request's address above CLAIM_BITS of its time; 0: somebody has taken the entry. The memory of an
 * entry that is taken out may serve another request at once, under the eyes of a sweep that still looks at it. So whoever
 * takes an entry out clears the claim that it read before all else.
 */
#define CLAIM_BITS 23

/* rw_request.marks: the claim that they belong to, and in its lowest bits what sweeps saw of the request. */
enum {
	/* A flag that is taken away at its end. */
	MARK_FLAGGED = 1,
	/* It is among the free ones. */
	MARK_FREE = 2,
	MARKS = MARK_FLAGGED | MARK_FREE,
};

/* Entries in `pending`; while it is 0, nobody looks there. */
u64 pending_count = 0;

/* Those of them that end without a CQE. */
u64 silent_count = 0;

/* Entries in `places` with PLACE_TOLD. */
u64 told_count = 0;

static __always_inline struct slot *slot_of(const void *req)
{
	u32 i = (u32)(unsigned long)req;

	i = (i >> 6) * 0x9e3779b1u >> (32 - SLOT_BITS);
	return bpf_map_lookup_elem(&slots, &i);
}

static __always_inline bool is_in_slot(u64 req)
{
	struct slot *slot = slot_of((void *)req);

	return slot && slot->req == req;
}

static __always_inline bool slot_take(struct slot *slot, u64 req)
{
	return __sync_val_compare_and_swap(&slot->req, req, 0) == req;
}

/* The verifier forbids arithmetic on what it knows to be a pointer. */
static __always_inline u64 number_of(u64 pointer)
{
	u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pointer);
	return number;
}

/* Puts `value` into a place of `req`. Its number from 1 on; 0: there was none. */
static __noinline u32 place_take(u64 req, u64 value)
{
	u32 first = (u32)(req >> 6) * 0x85ebca6bu >> (32 - PLACE_BITS);

	for (u32 i = 0; i < PLACES_TRIED; i++) {
		u32 key = (first + i) & ((1 << PLACE_BITS) - 1);
		u64 *place = bpf_map_lookup_elem(&places, &key);

		if (place && !*place && !__sync_val_compare_and_swap(place, 0, value))
			return key + 1;
	}
	return 0;
}

static __always_inline void place_put(u32 number, u64 value)
{
	u32 key = number - 1;
	u64 *place = bpf_map_lookup_elem(&places, &key);

	if (place)
		__sync_val_compare_and_swap(place, value, 0);
}

/* Whether the request was reported at its submission; `forget`: its memory serves another one. */
static __noinline bool was_told(u64 req, bool forget)
{
	u32 first = (u32)(req >> 6) * 0x85ebca6bu >> (32 - PLACE_BITS);
	u64 value = req | PLACE_TOLD;

	for (u32 i = 0; i < PLACES_TRIED; i++) {
		u32 key = (first + i) & ((1 << PLACE_BITS) - 1);
		u64 *place = bpf_map_lookup_elem(&places, &key);

		if (!place || *place != value)
			continue;
		if (forget && __sync_val_compare_and_swap(place, value, 0) == value)
			__sync_fetch_and_add(&told_count, -1);
		return true;
	}
	return false;
}

/* False: the table is full. */
static __always_inline bool pending_put(u64 req, struct rw_request *request)
{
	struct task_struct *task = task_of(false, (void *)req);

	u64 number = number_of(req);

	request->place = place_take(number, number);
	request->task = (u64)task;
	request->task_tid = BPF_CORE_READ(task, pid);
	request->round = 0;
	request->marks = 0;
	request->claim = number >> 6 << CLAIM_BITS |
			 ((request->w.submit_ns ?: bpf_ktime_get_ns()) >> 4 & ((1 << CLAIM_BITS) - 1));
	if (!request->place)
		return false;
	if (bpf_map_update_elem(&pending, &req, request, BPF_NOEXIST)) {
		place_put(request->place, req);
		return false;
	}
	__sync_fetch_and_add(&pending_count, 1);
	if (request->w.flags & RW_F_CQE_SKIP)
		__sync_fetch_and_add(&silent_count, 1);
	return true;
}

/* The claim of an entry. 0: it is not that of the request any more. */
static __always_inline u64 claim_of(u64 req, struct rw_request *held)
{
	u64 claim = *(volatile u64 *)&held->claim;

	return claim >> CLAIM_BITS == (req >> 6 & ~0ULL >> CLAIM_BITS) ? claim : 0;
}

/* `claim` was read before anything else of the entry. False: somebody else took it; what was read may be of another. */
static __always_inline bool pending_take(u64 req, struct rw_request *held, u64 claim)
{
	u32 place = held->place, silent = held->w.flags & RW_F_CQE_SKIP;

	if (!claim || __sync_val_compare_and_swap(&held->claim, claim, 0) != claim)
		return false;
	bpf_map_delete_elem(&pending, &req);
	place_put(place, req);
	__sync_fetch_and_add(&pending_count, -1);
	if (silent)
		__sync_fetch_and_add(&silent_count, -1);
	return true;
}

/* What only a struct rw_request holds of a write. */
static __always_inline void widen(const bool typed, struct work *w, struct io_kiocb *req)
{
	struct rw_request *r = &w->request;

	r->w.type = RW_REQUEST;
	r->req_flags = req_flags_of(req);
	r->punted_ns = 0;
	r->armed_ns = 0;
	r->names_id = 0;
	__builtin_memset(r->arg, 0, sizeof(r->arg));
	__builtin_memset(r->acted, 0, sizeof(r->acted));
	r->mnt = 0;
	r->arms = 0;
	r->moves = 0;
	r->sq_tid = w->who.flags & RW_F_SQPOLL ? BPF_CORE_READ(task_of(false, req), pid) : 0;
}

/* What the request itself tells, at submission and at the end alike. */
static __always_inline void set_request(const bool typed, struct rw_write *rec, struct io_kiocb *req, u8 opcode)
{
	rec->type = RW_WRITE;
	rec->opcode = opcode;
	rec->ctx = (u64)RD(typed, req, ctx);
	rec->user_data = user_data_of(typed, req);
	rec->buf = RD_RW(typed, req, addr);
	rec->len = RD_RW(typed, req, len);
	rec->rw_flags = RD_RW(typed, req, flags);
	rec->iov_count = 0;
}

/* No room to work: the request is lost. */
static __always_inline void count_lost_scratch(void)
{
	count(RW_LOST_RING_FULL);
	count(RW_LOST_SCRATCH);
}

/* The end of an entry of which the kernel did not tell. */
static __always_inline void emit_untold(struct work *w, u8 end)
{
	struct rw_write *rec = &w->rec;

	list_end(w);
	rec->end_ns = bpf_ktime_get_ns();
	rec->end = end;
	/* A request that does not succeed in full loses IOSQE_CQE_SKIP_SUCCESS and posts its CQE. */
	if (end == RW_END_SKIPPED) {
		rec->result = rec->len;
		if (rec->flags & RW_F_PUNTED) {
			rec->executor = RW_EXEC_IOWQ;
		} else if (rec->flags & RW_F_SQPOLL) {
			rec->executor = RW_EXEC_SQPOLL;
		} else {
			rec->executor = RW_EXEC_SUBMITTER;
			rec->exec_tid = rec->tid;
			rec->flags |= RW_F_EXEC_TID;
		}
	}
	emit(w);
}

/*
 * Keeps what is known of a request until its end. Without room its end is reported without that; where the end has no
 * CQE, the request is reported now.
 */
static __always_inline void keep(struct io_kiocb *req, struct work *w)
{
	u64 number;

	if (pending_put((u64)req, &w->request))
		return;
	if (!(w->rec.flags & RW_F_CQE_SKIP)) {
		count(RW_LOST_TABLE_FULL);
		return;
	}
	number = number_of((u64)req);
	if (place_take(number, number | PLACE_TOLD))
		__sync_fetch_and_add(&told_count, 1);
	emit_untold(w, RW_END_UNTRACKED);
}

static __always_inline void slot_to_record(struct rw_write *rec, const struct slot *slot)
{
	__builtin_memset(rec, 0, sizeof(*rec));
	clear_end(rec);
	rec->type = RW_WRITE;
	rec->flags = slot->flags & ((1U << OPCODE_SHIFT) - 1);
	rec->opcode = slot->flags >> OPCODE_SHIFT;
	rec->submit_ns = slot->submit_ns;
	rec->task_id = slot->task_id;
	rec->user_data = slot->user_data;
	rec->asked_pos = slot->pos;
	rec->buf = slot->buf;
	rec->len = slot->len;
	rec->fd = slot->fd;
	rec->tid = slot->tid;
	rec->rw_flags = slot->rw_flags;
	rec->iov_count = slot->iov_count;
}

/* `req`'s memory serves a new request: whatever is still held of an old one ended without being told. */
static __noinline void recycled_slot(struct slot *slot, u64 req)
{
	struct work *w = work_get(false);

	/* What is left must not be joined to the new request. */
	if (!w) {
		if (slot_take(slot, req))
			count_lost_scratch();
		return;
	}
	slot_to_record(&w->rec, slot);
	if (slot_take(slot, req))
		emit_untold(w, RW_END_UNSEEN);
	work_put(w);
}

static __noinline void recycled_pending(u64 req, struct io_ring_ctx *ctx)
{
	struct rw_request *held = bpf_map_lookup_elem(&pending, &req);
	struct rw_write *rec;
	struct work *w;
	bool sent = true;
	u64 claim;

	if (!held)
		return;
	claim = claim_of(number_of(req), held);
	w = work_get(false);
	if (!w) {
		if (pending_take(req, held, claim))
			count_lost_scratch();
		return;
	}
	rec = &w->rec;
	w->request = *held;
	if (pending_take(req, held, claim)) {
		/* A link before it may have filled the ring's slot after the submission. */
		if (!(rec->flags & RW_F_FILE) && rec->flags & RW_F_FIXED_FILE && rec->ctx == (u64)ctx)
			sent = take_file_by_number(w, NULL, ctx);
		if (sent)
			emit_untold(w, rec->flags & RW_F_CQE_SKIP ? RW_END_SKIPPED : RW_END_UNSEEN);
		else
			count(RW_LOST_RING_FULL);
	}
	work_put(w);
}

static __always_inline void recycled(struct slot *slot, struct io_kiocb *req, struct io_ring_ctx *ctx)
{
	if (slot->req == (u64)req)
		recycled_slot(slot, (u64)req);
	if (pending_count)
		recycled_pending((u64)req, ctx);
	if (told_count)
		was_told(number_of((u64)req), true);
}

#endif
