/* SPDX-License-Identifier: PostgreSQL */
/*
 * take_sample.h
 *		Takes a sample of all metrics.
 */
#ifndef CPM_TAKE_SAMPLE_H
#define CPM_TAKE_SAMPLE_H

#include "base/sample.h"
#include "base/session.h"
#include "counters/minute_counters.h"
#include "live/backends.h"

/*
 * Callbacks that cpm_sample_take() invokes for each client session and each prepared transaction.
 * Either may be NULL. scan is CPM_SCAN_STATES or CPM_SCAN_ACTIVITY.
 */
typedef struct CpmSampleObserver
{
	CpmScan		scan;			/* which fields of each session to read */
	CpmSessionVisitor session;
	void		(*prepared) (const CpmPrepared *prepared, void *arg);
	void	   *arg;
} CpmSampleObserver;

/*
 * Fill a sample with the current state, and call the observer unless it is NULL; taken_at is set
 * before the first callback. Any process with a backend status may call this; a worker without one
 * may call it once cpm_backends_is_published() returns true. Takes only the locks of
 * cpm_prepared_xacts_list(), and allocates memory only while prepared transactions are enabled.
 */
extern void cpm_sample_take(CpmSample *sample, const CpmSampleObserver *observer);

/* Return the CPM_SOURCE_… bits that a sample taken now would have. */
extern int	cpm_sample_sources(void);

/* Return the current counters, with the monotonic time of the call. Any process; no lock. */
extern CpmCounters cpm_sample_counters_now(void);

#endif							/* CPM_TAKE_SAMPLE_H */
