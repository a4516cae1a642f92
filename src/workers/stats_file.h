/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.h
 *		The file that preserves counters, history and alerts across restarts.
 */
#ifndef CPM_STATS_FILE_H
#define CPM_STATS_FILE_H

/*
 * Install the hook that loads the file whenever shared memory is created, and that arranges for
 * saving it at shutdown. Call from _PG_init() while libraries are preloaded, after the shared
 * memory areas have been registered, because they must exist when the file is loaded.
 */
extern void cpm_stats_file_install(void);

/*
 * Save the file now. Returns false and sets error if that fails; the previous file then remains.
 * May raise an error if memory is short. The saver only, or the postmaster at shutdown.
 */
extern bool cpm_stats_file_save(char *error, size_t size);

#endif							/* CPM_STATS_FILE_H */
