/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.h
 *		The files that preserve counters, history, alerts and incidents across restarts.
 */
#ifndef CPM_STATS_FILE_H
#define CPM_STATS_FILE_H

#include "datatype/timestamp.h"

/*
 * Install a hook that loads the files whenever shared memory is created, and registers the
 * callback that saves them at shutdown. Call from _PG_init() while libraries are preloaded, after
 * the shared memory areas have been registered, because they must exist when a file is loaded.
 */
extern void cpm_stats_file_install(void);

/*
 * Save counters, history and alerts to the statistics file. If that fails, returns false, sets
 * error and leaves the previous file in place. Raises an error if memory runs out. The saver only,
 * or the postmaster at shutdown.
 */
extern bool cpm_stats_file_save(char *error, size_t size);

/* Do the same for the file of incidents, unless nothing in it has changed. */
extern bool cpm_incidents_file_save(char *error, size_t size);

/*
 * Correct times that are in the future because the clock was set back by setback_us, in all logs
 * that the statistics file preserves. Changes shared memory, not the file. The sampler only; takes
 * no lock.
 */
extern void cpm_stats_file_correct_logs(TimestampTz now, int64 setback_us);

#endif							/* CPM_STATS_FILE_H */
