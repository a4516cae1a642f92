/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.h
 *		The file in which counters, history and alerts survive the server.
 */
#ifndef CPM_STATS_FILE_H
#define CPM_STATS_FILE_H

/*
 * Load the file whenever shared memory is made, and save it when the server has
 * stopped. From _PG_init(), while libraries are preloaded and after the areas
 * of shared memory are registered.
 */
extern void cpm_stats_file_install(void);

/*
 * Save it now. The saver only. False, with the reason, when that failed; then
 * the file is what it was before. May raise an error for want of memory.
 */
extern bool cpm_stats_file_save(char *error, size_t size);

#endif							/* CPM_STATS_FILE_H */
