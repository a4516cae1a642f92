/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_state.c
 *		The alert of each metric as it stands, and the log of transitions.
 *
 * The sampler is the only writer of both. The board is copied whole under a
 * sequence counter; the log is a ring like the history's, with one entry more
 * than it promises for the one being written. Both outlive the sampler: a new
 * one goes on from the board that the last one left.
 */
#include "postgres.h"

#include <math.h>

#include "base/seqlock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/alert_state.h"

#define RING_ENTRIES (CPM_ALERT_LOG_ENTRIES + 1)

typedef struct AlertState
{
	CpmSeqlock	lock;			/* guards board */
	CpmAlertBoard board;
	pg_atomic_uint32 reset_pending; /* set by a reset, taken back by the sampler */
	pg_atomic_uint64 baseline;	/* the first log entry shown; a reset writes */
	pg_atomic_uint64 next;		/* number of log entries ever written */
	uint64		last_sequence;	/* of an entry; the sampler and the postmaster at startup */
	pg_atomic_uint64 changes[CPM_METRICS][CPM_CRITICAL + 1];	/* since the server started */
	CpmAlertLogEntry entry[RING_ENTRIES];	/* entry n stands at n % RING_ENTRIES */
} AlertState;

static AlertState *shared;

Size
cpm_alert_state_size(void)
{
	return sizeof(AlertState);
}

void
cpm_alert_state_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;

	memset(shared, 0, sizeof(*shared));
	cpm_seqlock_init(&shared->lock);
	pg_atomic_init_u32(&shared->reset_pending, 0);
	pg_atomic_init_u64(&shared->baseline, 0);
	pg_atomic_init_u64(&shared->next, 0);
	for (int i = 0; i < CPM_METRICS; i++)
		for (int status = CPM_OK; status <= CPM_CRITICAL; status++)
			pg_atomic_init_u64(&shared->changes[i][status], 0);
	cpm_alert_board_clear(&shared->board);
}

void
cpm_alert_board_clear(CpmAlertBoard *board)
{
	memset(board, 0, sizeof(*board));
	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmAlertRow *row = &board->row[i];

		for (int level = 0; level < 2; level++)
			row->alert.held_us[level] = row->alert.clear_us[level] = -1;
		row->alert.peak = NAN;
		row->value = row->maximum = row->warning = row->critical = NAN;
	}
}

void
cpm_alerts_reset(void)
{
	pg_atomic_write_u64(&shared->baseline, pg_atomic_read_u64(&shared->next));
	pg_atomic_write_u32(&shared->reset_pending, 1);
}

bool
cpm_alerts_reset_pending(void)
{
	return pg_atomic_exchange_u32(&shared->reset_pending, 0) != 0;
}

void
cpm_alert_board_publish(const CpmAlertBoard *board)
{
	cpm_seqlock_repair(&shared->lock);
	cpm_seqlock_write_begin(&shared->lock);
	shared->board = *board;
	cpm_seqlock_write_end(&shared->lock);
}

bool
cpm_alert_board_get(CpmAlertBoard *board)
{
	if (shared == NULL)
		return false;
	cpm_seqlock_copy(&shared->lock, board, &shared->board, sizeof(*board));
	return true;
}

static void
append(const CpmAlertLogEntry *entry)
{
	uint64		number = pg_atomic_read_u64(&shared->next);

	pg_write_barrier();			/* as in cpm_sample_ring_append() */
	shared->entry[number % RING_ENTRIES] = *entry;
	pg_write_barrier();
	pg_atomic_write_u64(&shared->next, number + 1);
}

uint64
cpm_alert_log_append(const CpmAlertLogEntry *entry)
{
	CpmAlertLogEntry numbered = *entry;

	numbered.sequence = ++shared->last_sequence;
	append(&numbered);
	pg_atomic_fetch_add_u64(&shared->changes[entry->metric][entry->to_status], 1);
	return numbered.sequence;
}

uint64
cpm_alert_changes(CpmMetricId metric, CpmStatus to_status)
{
	return pg_atomic_read_u64(&shared->changes[metric][to_status]);
}

/* False when the writer has come round to it. */
static bool
copy_log_entry(uint64 number, CpmAlertLogEntry *copy)
{
	*copy = shared->entry[number % RING_ENTRIES];
	pg_read_barrier();
	return pg_atomic_read_u64(&shared->next) - number < RING_ENTRIES;
}

/* The oldest that may be shown when so many were ever written. */
static uint64
first_log_entry(uint64 next)
{
	uint64		first = next > CPM_ALERT_LOG_ENTRIES ? next - CPM_ALERT_LOG_ENTRIES : 0;

	return Max(first, pg_atomic_read_u64(&shared->baseline));
}

void
cpm_alert_log_scan(CpmAlertLogVisitor visit, void *arg)
{
	CpmAlertLogEntry copy;
	uint64		next;
	uint64		first;

	if (shared == NULL)
		return;

	next = pg_atomic_read_u64(&shared->next);
	pg_read_barrier();
	first = first_log_entry(next);
	for (uint64 i = next; i > first; i--)
		if (copy_log_entry(i - 1, &copy))
			visit(&copy, arg);
}

void
cpm_alert_state_save(CpmSink *sink)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	uint64		next = pg_atomic_read_u64(&shared->next);
	CpmAlertLogEntry entry;

	(void) cpm_alert_board_get(board);
	cpm_put_mark(sink, sizeof(CpmAlertRow));
	cpm_put(sink, board->row, sizeof(board->row));
	pfree(board);
	cpm_put_mark(sink, sizeof(CpmAlertLogEntry));
	for (uint64 i = first_log_entry(next); i < next; i++)
	{
		if (!copy_log_entry(i, &entry))
			continue;
		cpm_put_more(sink, true);
		cpm_put(sink, &entry, sizeof(entry));
	}
	cpm_put_more(sink, false);
}

static void
load_entry(CpmSource *source, const int *metric_of, int columns)
{
	CpmAlertLogEntry entry;

	if (!cpm_get(source, &entry, sizeof(entry)) || (uint32) entry.metric >= (uint32) columns ||
		(uint32) entry.from_status > CPM_CRITICAL || (uint32) entry.to_status > CPM_CRITICAL)
	{
		source->failed = true;
		return;
	}
	if (source->validate_only || metric_of[entry.metric] < 0)
		return;
	entry.metric = (CpmMetricId) metric_of[entry.metric];
	entry.message[sizeof(entry.message) - 1] = '\0';
	entry.culprit[sizeof(entry.culprit) - 1] = '\0';
	shared->last_sequence = Max(shared->last_sequence, entry.sequence);
	append(&entry);
}

bool
cpm_alert_state_load(CpmSource *source, const int *metric_of, int columns)
{
	if (!cpm_get_mark(source, sizeof(CpmAlertRow)))
		return false;
	for (int i = 0; i < columns; i++)
	{
		CpmAlertRow row;

		if (!cpm_get(source, &row, sizeof(row)) || (uint32) row.alert.status > CPM_CRITICAL)
			source->failed = true;
		else if (!source->validate_only && metric_of[i] >= 0)
		{
			row.message[sizeof(row.message) - 1] = '\0';
			row.culprit[sizeof(row.culprit) - 1] = '\0';
			shared->board.row[metric_of[i]] = row;
		}
	}
	if (!cpm_get_mark(source, sizeof(CpmAlertLogEntry)))
		return false;
	while (cpm_get_more(source))
		load_entry(source, metric_of, columns);
	return !source->failed;
}
