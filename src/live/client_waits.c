/* SPDX-License-Identifier: PostgreSQL */
/*
 * client_waits.c
 *		Records since when sessions have been waiting for their clients.
 *
 * PostgreSQL shows that an active session waits for its client, but not since when. One sample is
 * not enough: samples usually find a COPY with a slow client in ClientRead although it makes
 * progress. So the sampler records, for each PGPROC, the first of consecutive samples that found
 * the session waiting, with a hash (the signature) of everything that changes when the session
 * makes progress: the time of its last message, its transaction, and the bytes that its COPY has
 * processed. If a reader finds the session waiting with the same signature, it uses the time of
 * that sample as the start of the wait. Times are monotonic, so setting the system clock has no
 * effect.
 *
 * The wait may have begun up to one sample_interval earlier. PostgreSQL does not publish how many
 * rows of a SELECT it has sent, so a client that fetches a large result slowly counts as one
 * continuous wait if every sample finds its session waiting.
 */
#include "postgres.h"

#include "base/clock.h"
#include "common/hashfn.h"
#include "live/client_waits.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

/*
 * The sampler is the only writer. It clears since_us, then writes the signature, then sets
 * since_us. A reader reads the signature first. If the signature matches, since_us is the start of
 * this wait, or 0, or the start of a later wait that the sampler has recorded meanwhile. So a wait
 * may appear too short, but never too long.
 */
typedef struct ClientWait
{
	pg_atomic_uint64 signature; /* of the waiting session; 0 if it does not wait */
	pg_atomic_uint64 since_us;	/* by the monotonic clock; 0 if unknown */
} ClientWait;

static ClientWait *client_waits;	/* by number of the PGPROC; NULL if not preloaded */

Size
cpm_client_waits_size(void)
{
	return mul_size(MaxBackends, sizeof(ClientWait));
}

void
cpm_client_waits_attach(void *memory, bool is_new)
{
	client_waits = memory;
	for (int i = 0; is_new && i < MaxBackends; i++)
	{
		pg_atomic_init_u64(&client_waits[i].signature, 0);
		pg_atomic_init_u64(&client_waits[i].since_us, 0);
	}
}

static bool
is_waiting(const CpmSession *session)
{
	return session->state == CPM_STATE_ACTIVE && session->xact_start != 0 &&
		(session->wait_event_info == WAIT_EVENT_CLIENT_READ ||
		 session->wait_event_info == WAIT_EVENT_CLIENT_WRITE);
}

/* Hash the fields that change with progress: each Parse, Bind and Execute sets state_change. */
static uint64
signature_of(const CpmSession *session)
{
	const int64 progress[] = {session->pid, session->connected_at, session->recorded_xact_start,
	session->recorded_state_change, session->copied_bytes};

	return hash_bytes_extended((const unsigned char *) progress, sizeof(progress), 0);
}

TimestampTz
cpm_client_wait_since(const CpmSession *session, uint64 *id)
{
	ClientWait *wait;
	uint64		signature;
	int64		since_us;

	*id = 0;
	if (client_waits == NULL || !is_waiting(session))
		return 0;
	wait = &client_waits[session->proc_number];
	signature = signature_of(session);
	if (pg_atomic_read_u64(&wait->signature) != signature)
		return 0;
	pg_read_barrier();
	since_us = (int64) pg_atomic_read_u64(&wait->since_us);
	if (since_us == 0)
		return 0;
	*id = signature;
	return cpm_timestamp_of(since_us);
}

void
cpm_client_wait_record(const CpmSession *session)
{
	ClientWait *wait = &client_waits[session->proc_number];
	uint64		signature = is_waiting(session) ? signature_of(session) : 0;

	if (pg_atomic_read_u64(&wait->signature) == signature)
		return;
	pg_atomic_write_u64(&wait->since_us, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&wait->signature, signature);
	pg_write_barrier();
	if (signature != 0)
		pg_atomic_write_u64(&wait->since_us, (uint64) cpm_monotonic_us());
}
