/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_state.c
 *		The current alert of each metric, and the log of alert transitions.
 *
 * Apart from resets, the sampler is the only writer of both. A sequence lock guards the board:
 * readers copy it whole and retry if the sampler changed it meanwhile. The log is a CpmRing. Both
 * outlive the sampler, so that a restarted sampler continues with the alerts of its predecessor.
 */
#include "postgres.h"

#include <math.h>

#include "base/ring.h"
#include "base/seqlock.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/alert_state.h"

/* The postmaster initializes and loads all fields at startup; later writers are named below. */
typedef struct AlertState
{
	CpmSeqlock	lock;			/* guards board */
	CpmAlertBoard board;		/* the sampler writes */
	pg_atomic_uint32 reset_pending; /* any process sets it; the sampler clears it */
	uint64		last_sequence;	/* of the newest log entry; the sampler writes and reads */
	pg_atomic_uint64 changes[CPM_METRICS][CPM_CRITICAL + 1];	/* since the server started; the
																 * sampler writes */
	CpmRing		log;			/* must be last: its entries follow. The sampler appends */
} AlertState;

static AlertState *shared;

Size
cpm_alert_state_size(void)
{
	return offsetof(AlertState, log) +
		cpm_ring_size(CPM_ALERT_LOG_ENTRIES, sizeof(CpmAlertLogEntry));
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
	cpm_ring_init(&shared->log, CPM_ALERT_LOG_ENTRIES, sizeof(CpmAlertLogEntry));
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
	cpm_ring_reset(&shared->log);
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
	cpm_seqlock_repair(&shared->lock);	/* the previous sampler may have died while it wrote */
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

uint64
cpm_alert_log_append(const CpmAlertLogEntry *entry)
{
	CpmAlertLogEntry numbered = *entry;

	numbered.sequence = ++shared->last_sequence;
	(void) cpm_ring_add(&shared->log, &numbered);
	pg_atomic_fetch_add_u64(&shared->changes[entry->metric][entry->to_status], 1);
	return numbered.sequence;
}

uint64
cpm_alert_changes(CpmMetricId metric, CpmStatus to_status)
{
	return pg_atomic_read_u64(&shared->changes[metric][to_status]);
}

typedef struct LogScan
{
	CpmAlertLogVisitor visit;
	void	   *arg;
} LogScan;

/* Call a CpmAlertLogVisitor; has the type of a CpmRingVisitor. */
static void
visit_log_entry(const void *entry, void *arg)
{
	const LogScan *scan = arg;

	scan->visit(entry, scan->arg);
}

void
cpm_alert_log_scan(CpmAlertLogVisitor visit, void *arg)
{
	LogScan		scan = {visit, arg};
	CpmAlertLogEntry copy;

	if (shared != NULL)
		cpm_ring_scan(&shared->log, &copy, visit_log_entry, &scan);
}

void
cpm_alert_state_save(CpmSink *sink)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	CpmAlertLogEntry entry;

	(void) cpm_alert_board_get(board);
	cpm_put_mark(sink, sizeof(CpmAlertRow));
	cpm_put(sink, board->row, sizeof(board->row));
	pfree(board);
	cpm_ring_save(&shared->log, &entry, sink);
}

/* Load one log entry. cpm_ring_load() cannot, because ids of metrics may have changed. */
static void
load_log_entry(CpmSource *source, const int *metric_of, int columns)
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
	(void) cpm_ring_add(&shared->log, &entry);
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
	while (cpm_get_has_more(source))
		load_log_entry(source, metric_of, columns);
	return !source->failed;
}
