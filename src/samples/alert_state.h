/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_state.h
 *		The current alert of each metric, and the log of alert transitions.
 */
#ifndef CPM_ALERT_STATE_H
#define CPM_ALERT_STATE_H

#include "base/alert.h"
#include "base/stream.h"
#include "datatype/timestamp.h"

#define CPM_ALERT_LOG_ENTRIES 1000
#define CPM_MESSAGE_SIZE 256
#define CPM_CULPRIT_SIZE 640

typedef struct CpmAlertRow
{
	CpmAlert	alert;
	double		value;			/* in the latest sample; NaN if unknown */
	double		maximum;		/* NaN if the metric has none */
	double		warning;		/* thresholds in the metric's unit; NaN if off */
	double		critical;
	char		message[CPM_MESSAGE_SIZE];	/* of the last event */
	char		culprit[CPM_CULPRIT_SIZE];	/* main contributors at that event; empty if none */
} CpmAlertRow;

typedef struct CpmAlertBoard
{
	CpmAlertRow row[CPM_METRICS];	/* by CpmMetricId */
	uint32		resets;			/* number of resets that the board reflects */
} CpmAlertBoard;

typedef struct CpmAlertLogEntry
{
	uint64		sequence;		/* number of the transition, from 1; a restarted server continues
								 * from the newest saved entry */
	TimestampTz at;
	CpmMetricId metric;
	CpmStatus	from_status;
	CpmStatus	to_status;
	double		value;
	char		message[CPM_MESSAGE_SIZE];
	char		culprit[CPM_CULPRIT_SIZE];
} CpmAlertLogEntry;

typedef void (*CpmAlertLogVisitor) (const CpmAlertLogEntry *entry, void *arg);

extern Size cpm_alert_state_size(void);
extern void cpm_alert_state_attach(void *memory, bool is_new);

/*
 * Replace the board that readers see. The caller must have obtained the board from
 * cpm_alert_board_get(), which sets its number of resets, because readers see a board with an
 * older number as cleared. Sampler only; cannot fail.
 */
extern void cpm_alert_board_publish(const CpmAlertBoard *board);

/*
 * Correct the times on the board that are in the future, because the clock was set back by
 * setback_us. Sampler only.
 */
extern void cpm_alert_board_correct_times(TimestampTz now, int64 setback_us);

/*
 * Append a transition to the log and count it. Assigns the entry's sequence number and returns
 * it. Sampler only; cannot fail.
 */
extern uint64 cpm_alert_log_append(const CpmAlertLogEntry *entry);

/*
 * Return how many transitions of the metric to that status occurred since the server started. Any
 * process, but only if the library is preloaded; takes no lock.
 */
extern uint64 cpm_alert_changes(CpmMetricId metric, CpmStatus to_status);

/*
 * Copy the board or, if the sampler has published none since the last reset, a cleared one.
 * Returns false if the library is not preloaded. Any process; takes no lock. If the sampler was
 * stopped while it wrote, waits for about a second, and the copy may be inconsistent.
 */
extern bool cpm_alert_board_get(CpmAlertBoard *board);

/*
 * Hide the current log entries, and clear the board: every alert is OK, with all values unknown.
 * Any process, but only if the library is preloaded.
 */
extern void cpm_alerts_reset(void);

/* The board and the log in the statistics file. */
extern const CpmFilePart cpm_alerts_part;
extern const CpmFilePart cpm_alert_log_part;

/*
 * Visit copies of the log entries, newest first. Any process; takes no lock. Visits nothing if
 * the library is not preloaded.
 */
extern void cpm_alert_log_scan(CpmAlertLogVisitor visit, void *arg);

#endif							/* CPM_ALERT_STATE_H */
