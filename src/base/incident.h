/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident.h
 *		An incident, and the snapshots of the sessions that were open during it.
 *
 * Plain values without pointers: rules/incidents decides when an incident begins and ends,
 * samples/incidents keeps it in shared memory.
 */
#ifndef CPM_INCIDENT_H
#define CPM_INCIDENT_H

#include "base/metric.h"
#include "base/session.h"
#include "datatype/timestamp.h"

#define CPM_INCIDENTS_KEPT 50
#define CPM_INCIDENT_SNAPSHOTS 8	/* of one incident */
#define CPM_INCIDENT_SESSIONS 200	/* rows of single sessions in one snapshot */
#define CPM_INCIDENT_ROWS 10000 /* in all snapshots */
#define CPM_SNAPSHOT_ROWS (CPM_INCIDENT_ROWS / CPM_INCIDENT_SNAPSHOTS)	/* in one snapshot */
#define CPM_INCIDENT_CHANGES 64 /* changes of alerts kept of one incident */
#define CPM_INCIDENT_MESSAGE_SIZE 256
#define CPM_OPENED_SPANS 3		/* 10 seconds, a minute, 10 minutes */

/* A change of an alert. */
typedef struct CpmIncidentChange
{
	TimestampTz at;
	double		value;			/* of the metric; NaN if unknown */
	int32		metric;			/* CpmMetricId */
	int32		from_status;	/* CpmStatus */
	int32		to_status;
	int32		by_setting;		/* 1: because a setting changed, not the value */
} CpmIncidentChange;

typedef struct CpmIncident
{
	int64		id;				/* from 1 */
	TimestampTz started_at;
	TimestampTz ended_at;		/* 0: still in progress */
	uint64		refused;		/* connections refused because no slot was free */
	uint64		failed_queries;
	uint32		status;			/* the worst CpmStatus */
	uint32		peak_connections;
	uint32		peak_blocked;	/* the highest value of blocked_sessions */
	int			snapshots;		/* number of its snapshots that are kept */
	char		message[CPM_INCIDENT_MESSAGE_SIZE]; /* of the first alert or refusal */
	uint8		order[CPM_METRICS]; /* by CpmMetricId: 1 for the first metric that left OK, 2 for
									 * the second; 0: stayed OK */
	int			changes;		/* of alerts */
	CpmIncidentChange change[CPM_INCIDENT_CHANGES];
} CpmIncident;

/* An IP address, or none for a Unix socket. */
typedef struct CpmAddress
{
	uint32		bits;			/* 32, 128, or 0: none */
	uint8		byte[16];
} CpmAddress;

/* A session of a snapshot, or a group of sessions that have the same pool and state. */
typedef struct CpmSnapshotRow
{
	int32		pid;			/* 0: a group */
	Oid			database;		/* InvalidOid: unknown, or a group of several pools */
	Oid			role;			/* likewise */
	int32		sessions;		/* 1 if it is a session */
	char		application_name[NAMEDATALEN];	/* of a group: that of the pool */
	uint32		state;			/* CpmState */
	int32		opened[CPM_OPENED_SPANS];	/* number of the sessions that had opened within the
											 * span before the snapshot; 0 while authenticating */

	/* Not set for groups */
	int32		root_blocker;	/* a pid; 0: a prepared transaction; CPM_NO_ROOT_BLOCKER: none */
	int32		blocks;			/* sessions that wait behind it, directly or indirectly */
	CpmAddress	client_addr;
	char		wait_event_type[16];	/* empty: none */
	char		wait_event[NAMEDATALEN];
	int64		state_age_us;	/* at the time of the snapshot; -1: none */
	int64		xact_age_us;	/* likewise */
	uint64		queryid;		/* 0: unknown */
} CpmSnapshotRow;

/* Why a snapshot was taken. */
typedef enum CpmSnapshotReason
{
	CPM_AT_WARNING,				/* the incident began, or an alert rose to WARNING */
	CPM_AT_CRITICAL,			/* an alert rose to CRITICAL */
	CPM_AT_WORST,				/* the worst moment so far; the next one replaces it */
	CPM_SNAPSHOT_REASONS
} CpmSnapshotReason;

typedef struct CpmSnapshot
{
	int64		incident;		/* its id */
	TimestampTz at;
	uint32		reason;			/* CpmSnapshotReason */
	int			first_row;
	int			rows;
} CpmSnapshot;

/* The state of rules/incidents between two samples. Times are monotonic; -1: none. */
typedef struct CpmIncidentState
{
	bool		is_on;
	int64		started_us;		/* when the last incident began */
	int64		ended_us;		/* when it ended; after a minute it cannot resume */
	int64		refused_us;		/* when the last refusal was seen */

	int64		next_worst_us;	/* earliest time of the next snapshot of the worst moment */
	int64		critical_us;	/* when a rise to CRITICAL last had a snapshot */

	/* The worst sample of which the incident has a snapshot */
	uint32		worst_blocked;
	uint32		worst_busy;
} CpmIncidentState;

#endif							/* CPM_INCIDENT_H */
