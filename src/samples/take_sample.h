/* SPDX-License-Identifier: PostgreSQL */
/*
 * take_sample.h
 *		Takes a sample: the one path by which every reader sees the present.
 */
#ifndef CPM_TAKE_SAMPLE_H
#define CPM_TAKE_SAMPLE_H

#include "base/sample.h"
#include "base/session.h"
#include "counters/minute_counters.h"
#include "live/backends.h"

/*
 * Callbacks that cpm_sample_take() invokes for each session and each prepared
 * transaction that it counts. A callback may be NULL: its kind is then counted only.
 */
typedef struct CpmSampleObserver
{
	CpmSessionVisitor session;
	void		(*prepared) (const CpmPrepared *prepared, void *arg);
	void	   *arg;
} CpmSampleObserver;

/*
 * Fill a sample with the state of now; its taken_at is set first. watcher may be
 * NULL. Any process that has a backend status may call it. Takes no lock but
 * cpm_prepared_xacts_list()'s; allocates a little in the current memory context when
 * prepared transactions are possible.
 */
extern void cpm_sample_take(CpmSample *sample, const CpmSampleObserver *watcher);

/* The CPM_SOURCE_… bits that a sample taken now would have. */
extern int	cpm_sample_sources(void);

/* What the counters stand at, for the sampler to keep. Any process; no lock. */
extern CpmCounters cpm_counters_now(TimestampTz at);

#endif							/* CPM_TAKE_SAMPLE_H */
