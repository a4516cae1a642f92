/* SPDX-License-Identifier: PostgreSQL */
/*
 * client_waits.c
 *		Since when sessions have been waiting for their clients.
 *
 * PostgreSQL shows that an active session waits for its client, but not since when: a COPY
 * whose client is slower than the server is found in ClientRead most of the time, though it
 * makes progress. So the sampler notes, for each PGPROC, the first of an unbroken series of
 * samples that found the session waiting, and a signature of all that moves with progress:
 * its last message, its transaction, and the bytes of its COPY. A reader in whose own pass the
 * session waits with the same signature takes that sample as the beginning of the wait.
 *
 * The wait may have begun up to one sample_interval earlier. PostgreSQL publishes no count of
 * the rows that it has sent for a SELECT: a client that fetches a large result slowly counts
 * as waited for if every sample finds the session so.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "live/client_waits.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

/* The sampler alone writes. It sets since to 0 while it changes the signature. */
typedef struct ClientWait
{
	pg_atomic_uint64 signature; /* 0: not waiting */
	pg_atomic_uint64 since;		/* a TimestampTz */
} ClientWait;

static ClientWait *client_waits;	/* by the number of the PGPROC; NULL when not preloaded */

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
		pg_atomic_init_u64(&client_waits[i].since, 0);
	}
}

static bool
is_waiting(const CpmSession *session)
{
	return session->state == CPM_STATE_ACTIVE && session->xact_start != 0 &&
		(session->wait_event_info == WAIT_EVENT_CLIENT_READ ||
		 session->wait_event_info == WAIT_EVENT_CLIENT_WRITE);
}

/* Each Parse, Bind and Execute message changes state_change. */
static uint64
signature_of(const CpmSession *session)
{
	const int64 moving[] = {session->pid, session->connected_at, session->xact_start,
	session->state_change, session->copied_bytes};

	return hash_bytes_extended((const unsigned char *) moving, sizeof(moving), 0);
}

TimestampTz
cpm_client_wait_since(const CpmSession *session)
{
	ClientWait *wait;

	if (client_waits == NULL || !is_waiting(session))
		return 0;
	wait = &client_waits[session->proc_number];
	if (pg_atomic_read_u64(&wait->signature) != signature_of(session))
		return 0;
	pg_read_barrier();
	return (TimestampTz) pg_atomic_read_u64(&wait->since);
}

void
cpm_client_wait_note(const CpmSession *session, TimestampTz sampled_at)
{
	ClientWait *wait = &client_waits[session->proc_number];
	uint64		signature = is_waiting(session) ? signature_of(session) : 0;

	if (pg_atomic_read_u64(&wait->signature) == signature)
		return;
	pg_atomic_write_u64(&wait->since, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&wait->signature, signature);
	pg_write_barrier();
	if (signature != 0)
		pg_atomic_write_u64(&wait->since, (uint64) sampled_at);
}
