/* SPDX-License-Identifier: PostgreSQL */
/*
 * incident_recorder.h
 *		Records incidents from the alerts, refusals and samples of each round.
 */
#ifndef CPM_INCIDENT_RECORDER_H
#define CPM_INCIDENT_RECORDER_H

#include "base/sample.h"

/* Counts of a round that are neither in its sample nor in the alerts. */
typedef struct CpmRoundCounts
{
	uint32		peak_connections;	/* since the previous sample */
	uint64		refused;		/* cpm_slot_rejections(), read before the sample is taken, so that
								 * the sample, and the alert of rejected_connections, include each
								 * refusal that begins an incident */
	uint64		failed;			/* failed statements */
} CpmRoundCounts;

/*
 * Initialize the state before the first round from the alerts, counters and incidents that were
 * loaded. has_crashed is true if the last shutdown was not clean. Postmaster only, after it has
 * loaded the statistics file and the file of incidents.
 */
extern void cpm_incidents_start(bool has_crashed);

/*
 * Begin, update or end an incident, and take a snapshot if one is due. The sampler only, after the
 * round of alerts. Logs an error that prevents a snapshot, and raises none. "now_us" is the
 * monotonic clock.
 */
extern void cpm_incidents_round(const CpmSample *sample, const CpmRoundCounts *counts,
								int64 now_us);

#endif							/* CPM_INCIDENT_RECORDER_H */
