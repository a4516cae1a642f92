/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_file.h
 *		The file that preserves the session history.
 */
#ifndef CPM_HISTORY_FILE_H
#define CPM_HISTORY_FILE_H

#include "c.h"

/*
 * Install a hook that reads the file's header whenever shared memory is created, and registers the
 * callback that saves the newest segments at shutdown. Call from _PG_init() while libraries are
 * preloaded, after the shared memory areas have been registered.
 */
extern void cpm_history_file_install(void);

/*
 * Save the segments that are complete, and with is_all also the newest one. If that fails, returns
 * false and sets error; the next call tries again. The saver only, or the postmaster at shutdown.
 */
extern bool cpm_history_file_save(bool is_all, char *error, size_t size);

/*
 * Read the next few segments of the file after a start of the server. Enters those that are intact
 * into the index, and logs a warning at the end if others are damaged. If session_history_size was
 * reduced, moves the newest segments into the smaller file and truncates it. Returns true if more
 * remains to be read. The saver only.
 */
extern bool cpm_history_file_check(void);

#endif							/* CPM_HISTORY_FILE_H */
