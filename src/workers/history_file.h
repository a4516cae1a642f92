/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_file.h
 *		The file that preserves the session history.
 */
#ifndef CPM_HISTORY_FILE_H
#define CPM_HISTORY_FILE_H

#include "c.h"

/*
 * Install a hook that reads the file's header and its newest segment whenever shared memory is
 * created, and registers the callback that saves the newest segments at shutdown. Call from
 * _PG_init() while libraries are preloaded, after the shared memory areas have been registered.
 */
extern void cpm_history_file_install(void);

/*
 * Save the complete segments that are not saved yet and, if is_all, the newest segment as it is.
 * If that fails, returns false and sets error; the next call retries. The saver only, or the
 * postmaster at shutdown.
 */
extern bool cpm_history_file_save(bool is_all, char *error, size_t size);

/*
 * Read the next segments of the file for about 50 ms, to complete the index after the server
 * started. Adds intact segments to the index, and at the end logs a warning if others were
 * damaged. If session_history_size was reduced, moves the newest of the segments beyond the new
 * size into slots within it, and truncates the file. Returns true if more remains to be done. The
 * saver only.
 */
extern bool cpm_history_file_check(void);

#endif							/* CPM_HISTORY_FILE_H */
