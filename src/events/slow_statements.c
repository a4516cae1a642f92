/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_statements.c
 *		A log of the latest statements that took longer than slow_statement_time.
 *
 * Every backend writes to a ring without a lock (base/ring). The ring contains no texts, because
 * their literals may be confidential. pg_stat_statements has the normalized texts.
 */
#include "postgres.h"

#include "base/settings.h"
#include "events/slow_statements.h"

static CpmRing *slow_ring;

Size
cpm_slow_statements_size(void)
{
	return cpm_ring_size(cpm_slow_statements_kept, sizeof(CpmSlowStatement));
}

void
cpm_slow_statements_attach(void *memory, bool is_new)
{
	slow_ring = memory;
	if (is_new)
		cpm_ring_init(slow_ring, cpm_slow_statements_kept, sizeof(CpmSlowStatement));
}

void
cpm_slow_statements_add(const CpmSlowStatement *statement)
{
	cpm_ring_add(slow_ring, statement);
}

void
cpm_slow_statements_scan(CpmRingVisitor visit, void *arg)
{
	CpmSlowStatement copy;

	cpm_ring_scan(slow_ring, &copy, visit, arg);
}

void
cpm_slow_statements_reset(void)
{
	cpm_ring_reset(slow_ring);
}

const CpmFilePart cpm_slow_statements_part = {
	"slow statements", sizeof(CpmSlowStatement), .ring = &slow_ring,
	.time = {CPM_TIME(CpmSlowStatement, finished_at)},
	.text = {CPM_TEXT(CpmSlowStatement, session.database),
		CPM_TEXT(CpmSlowStatement, session.role),
	CPM_TEXT(CpmSlowStatement, session.application_name)}
};
