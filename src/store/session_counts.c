/*
 * session_counts.c
 *		How many sessions there have been.
 *
 * Every session adds itself once, by an atomic; nobody subtracts.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "store/session_counts.h"

typedef struct SessionCounts
{
	pg_atomic_uint64 opened;
} SessionCounts;

static SessionCounts *counts;

Size
cpm_session_counts_size(void)
{
	return sizeof(SessionCounts);
}

void
cpm_session_counts_attach(void *memory, bool is_new)
{
	counts = memory;
	if (is_new)
		pg_atomic_init_u64(&counts->opened, 0);
}

void
cpm_session_opened(void)
{
	pg_atomic_fetch_add_u64(&counts->opened, 1);
}

uint64
cpm_sessions_opened(void)
{
	return counts ? pg_atomic_read_u64(&counts->opened) : 0;
}
