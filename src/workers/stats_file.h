/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.h
 *		The files that preserve counters, history, alerts and incidents across restarts.
 */
#ifndef CPM_STATS_FILE_H
#define CPM_STATS_FILE_H

/*
 * Install a hook that loads the files whenever shared memory is created, and registers the
 * callback that saves them at shutdown. Call from _PG_init() while libraries are preloaded, after
 * the shared memory areas have been registered, because they must exist when a file is loaded.
 */
extern void cpm_stats_file_install(void);

/*
 * Save the file of counters, history and alerts, or that of incidents unless it is up to date. If
 * that fails, returns false, sets error and leaves the previous file in place. Raises an error if
 * memory is exhausted. The saver only, or the postmaster at shutdown.
 */
extern bool cpm_stats_file_save(char *error, size_t size);
extern bool cpm_incidents_file_save(char *error, size_t size);

#endif							/* CPM_STATS_FILE_H */
