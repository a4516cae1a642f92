/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert_state.h
 *		The alert of each metric as it stands, and the log of transitions.
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
	double		value;			/* of the last sample; NaN when not known */
	double		maximum;		/* NaN when there is none */
	double		warning;		/* in the metric's unit; NaN when off */
	double		critical;
	char		message[CPM_MESSAGE_SIZE];	/* as last announced; stale while OK */
	char		culprit[CPM_CULPRIT_SIZE];
} CpmAlertRow;

typedef struct CpmAlertBoard
{
	CpmAlertRow row[CPM_METRICS];
} CpmAlertBoard;

typedef struct CpmAlertLogEntry
{
	uint64		sequence;		/* numbers transitions from 1; restored at startup from the newest
								 * saved entry */
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
 * The sampler only; neither can fail. cpm_alert_log_append() returns the sequence number that
 * it gives to the entry.
 */
extern void cpm_alert_board_publish(const CpmAlertBoard *board);
extern uint64 cpm_alert_log_append(const CpmAlertLogEntry *entry);

/* How often an alert came to that status since the server started. Any process. */
extern uint64 cpm_alert_changes(CpmMetricId metric, CpmStatus to_status);

/* Any process; no lock. False when the library is not preloaded. */
extern bool cpm_alert_board_get(CpmAlertBoard *board);

/*
 * Start anew: the log so far is not shown any more, and the sampler puts the
 * board back at its next sample (cpm_alert_board_clear). Any process.
 */
extern void cpm_alerts_reset(void);

/* The sampler: has a reset been asked for since the last call? Then clear it. */
extern bool cpm_alerts_reset_pending(void);
extern void cpm_alert_board_clear(CpmAlertBoard *board);

/* As in samples/rollups. */
extern void cpm_alert_state_save(CpmSink *sink);
extern bool cpm_alert_state_load(CpmSource *source, const int *metric_of, int columns);

/* Visit the log, newest first. */
extern void cpm_alert_log_scan(CpmAlertLogVisitor visit, void *arg);

#endif							/* CPM_ALERT_STATE_H */
