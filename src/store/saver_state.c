/* SPDX-License-Identifier: PostgreSQL */
/*
 * saver_state.c
 *		What the saver says of itself.
 *
 * Written by the saver under a sequence counter, read by everybody.
 */
#include "postgres.h"

#include "base/seqlock.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "store/saver_state.h"

typedef struct SharedSaverState
{
	CpmSeqlock	lock;			/* guards state */
	CpmSaverState state;
	pg_atomic_uint32 proc_number;	/* of the saver; it may be gone */
	pg_atomic_uint32 asked;		/* set by a reset, taken back by the saver */
} SharedSaverState;

static SharedSaverState *shared;

Size
cpm_saver_state_size(void)
{
	return sizeof(SharedSaverState);
}

void
cpm_saver_state_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;
	memset(shared, 0, sizeof(*shared));
	cpm_seqlock_init(&shared->lock);
	pg_atomic_init_u32(&shared->proc_number, 0);
	pg_atomic_init_u32(&shared->asked, 0);
}

void
cpm_saver_state_running(int pid, int proc_number)
{
	pg_atomic_write_u32(&shared->proc_number, (uint32) proc_number);
	cpm_seqlock_repair(&shared->lock);
	cpm_seqlock_write_begin(&shared->lock);
	shared->state.pid = pid;
	cpm_seqlock_write_end(&shared->lock);
}

void
cpm_saver_state_saved(TimestampTz at)
{
	cpm_seqlock_write_begin(&shared->lock);
	shared->state.last_saved = at;
	shared->state.error[0] = '\0';
	cpm_seqlock_write_end(&shared->lock);
}

void
cpm_saver_state_failed(const char *error)
{
	cpm_seqlock_write_begin(&shared->lock);
	strlcpy(shared->state.error, error, sizeof(shared->state.error));
	cpm_seqlock_write_end(&shared->lock);
}

CpmSaverState
cpm_saver_state_get(void)
{
	CpmSaverState state = {0};

	if (shared == NULL)
		return state;
	cpm_seqlock_copy(&shared->lock, &state, &shared->state, sizeof(state));
	return state;
}

void
cpm_saver_ask(void)
{
	pg_atomic_write_u32(&shared->asked, 1);
	/* another process may have that PGPROC by now: a latch set in vain does no harm */
	if (cpm_saver_state_get().pid != 0)
		SetLatch(&GetPGProcByNumber(pg_atomic_read_u32(&shared->proc_number))->procLatch);
}

bool
cpm_saver_was_asked(void)
{
	return pg_atomic_exchange_u32(&shared->asked, 0) != 0;
}
