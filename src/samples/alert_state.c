/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_state.c
 *		The current alert of each metric, and the log of alert transitions.
 *
 * Apart from resets, the sampler is the only writer of both. The current alerts form a board,
 * which a sequence lock guards: readers copy the whole board and retry if the sampler changed it
 * meanwhile. A reset only increments a counter. Until the sampler publishes a board that reflects
 * the last reset, readers, including the saver, see a cleared one. The log is a CpmRing. Both
 * outlive the sampler, so that a restarted sampler continues with the alerts of its predecessor.
 */
#include "postgres.h"

#include <math.h>

#include "base/ring.h"
#include "base/seqlock.h"
#include "base/set_back.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/alert_state.h"

/* The postmaster initializes and loads all fields at startup; later writers are named below. */
typedef struct AlertState
{
	CpmSeqlock	lock;			/* guards board */
	CpmAlertBoard board;		/* the sampler writes */
	pg_atomic_uint32 resets;	/* number of resets; any process increments it */
	uint64		last_sequence;	/* of the newest log entry; only the sampler uses it */
	pg_atomic_uint64 changes[CPM_METRICS][CPM_CRITICAL + 1];	/* since the server started; the
																 * sampler writes */
	CpmRing		log;			/* must be last: its entries follow. The sampler appends */
} AlertState;

typedef struct SavedAlert
{
	CpmAlertRow row;
	CpmMetricId metric;
} SavedAlert;

static AlertState *shared;
static CpmRing *alert_log;		/* &shared->log */

/* Set every alert to OK with all values unknown. */
static void
clear_board(CpmAlertBoard *board, uint32 resets)
{
	memset(board, 0, sizeof(*board));
	board->resets = resets;
	for (int i = 0; i < CPM_METRICS; i++)
	{
		CpmAlertRow *row = &board->row[i];

		for (int level = 0; level < 2; level++)
			row->alert.held_us[level] = row->alert.clear_us[level] = -1;
		row->alert.peak = NAN;
		row->value = row->maximum = row->warning = row->critical = NAN;
	}
}

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
	alert_log = &shared->log;
	if (!is_new)
		return;

	memset(shared, 0, sizeof(*shared));
	cpm_seqlock_init(&shared->lock);
	pg_atomic_init_u32(&shared->resets, 0);
	cpm_ring_init(alert_log, CPM_ALERT_LOG_ENTRIES, sizeof(CpmAlertLogEntry));
	for (int i = 0; i < CPM_METRICS; i++)
		for (int status = CPM_OK; status <= CPM_CRITICAL; status++)
			pg_atomic_init_u64(&shared->changes[i][status], 0);
	clear_board(&shared->board, 0);
}

void
cpm_alerts_reset(void)
{
	cpm_ring_reset(alert_log);
	pg_atomic_fetch_add_u32(&shared->resets, 1);
}

void
cpm_alert_board_publish(const CpmAlertBoard *board)
{
	cpm_seqlock_repair(&shared->lock);	/* the previous sampler may have died while it wrote */
	cpm_seqlock_write_begin(&shared->lock);
	shared->board = *board;
	cpm_seqlock_write_end(&shared->lock);
}

void
cpm_alert_board_correct_times(TimestampTz now, int64 setback_us)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));

	cpm_seqlock_repair(&shared->lock);	/* or the copy would wait for a sampler that died */
	(void) cpm_alert_board_get(board);
	for (int i = 0; i < CPM_METRICS; i++)
		board->row[i].alert.since = cpm_past(board->row[i].alert.since, now, setback_us);
	cpm_alert_board_publish(board);
	pfree(board);
}

bool
cpm_alert_board_get(CpmAlertBoard *board)
{
	uint32		resets;

	if (shared == NULL)
		return false;
	cpm_seqlock_copy(&shared->lock, board, &shared->board, sizeof(*board));
	resets = pg_atomic_read_u32(&shared->resets);
	if (board->resets != resets)
		clear_board(board, resets);
	return true;
}

uint64
cpm_alert_log_append(const CpmAlertLogEntry *entry)
{
	CpmAlertLogEntry numbered = *entry;

	numbered.sequence = ++shared->last_sequence;
	(void) cpm_ring_add(alert_log, &numbered);
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
		cpm_ring_scan(alert_log, &copy, visit_log_entry, &scan);
}

static void
save_alerts(CpmSink *sink)
{
	CpmAlertBoard *board = palloc(sizeof(CpmAlertBoard));
	SavedAlert *saved = palloc0(sizeof(SavedAlert));

	(void) cpm_alert_board_get(board);
	for (int i = 0; i < CPM_METRICS; i++)
	{
		saved->row = board->row[i];
		saved->metric = i;
		cpm_put(sink, saved);
	}
	pfree(saved);
	pfree(board);
}

static void
load_alert(const void *record)
{
	const SavedAlert *saved = record;

	shared->board.row[saved->metric] = saved->row;
}

const CpmFilePart cpm_alerts_part = {
	"alerts", sizeof(SavedAlert), .save = save_alerts, .load = load_alert,
	.text = {CPM_TEXT(SavedAlert, row.message), CPM_TEXT(SavedAlert, row.culprit)},
	.below = {CPM_BELOW(SavedAlert, row.alert.status, CPM_CRITICAL + 1)},
	.time = {CPM_TIME(SavedAlert, row.alert.since)},
	.metric = offsetof(SavedAlert, metric)
};

static void
load_transition(const void *record)
{
	const CpmAlertLogEntry *entry = record;

	shared->last_sequence = Max(shared->last_sequence, entry->sequence);
	(void) cpm_ring_add(alert_log, entry);
}

const CpmFilePart cpm_alert_log_part = {
	"alert log", sizeof(CpmAlertLogEntry), .load = load_transition, .ring = &alert_log,
	.text = {CPM_TEXT(CpmAlertLogEntry, message), CPM_TEXT(CpmAlertLogEntry, culprit)},
	.below = {CPM_BELOW(CpmAlertLogEntry, from_status, CPM_CRITICAL + 1),
	CPM_BELOW(CpmAlertLogEntry, to_status, CPM_CRITICAL + 1)},
	.time = {CPM_TIME(CpmAlertLogEntry, at)},
	.metric = offsetof(CpmAlertLogEntry, metric)
};
