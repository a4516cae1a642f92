/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_windows.h
 *		Statement statistics of the last minute, the last hour and the time since the
 *		last reset.
 */
#ifndef CPM_STAT_WINDOWS_H
#define CPM_STAT_WINDOWS_H

#include "base/stat_window.h"
#include "base/stream.h"

/* Return the name of the window in views, such as "last_minute". */
extern const char *cpm_stat_window_name(CpmStatWindow window);

extern Size cpm_stat_windows_size(void);
extern void cpm_stat_windows_attach(void *memory, bool is_new);

/*
 * Store a snapshot of the counters if the previous one is ten seconds old. Stores an inconsistent
 * snapshot only if the previous one is twenty seconds old. Only the sampler calls this, at every
 * sample. Most calls return at once, because summing the buckets of a thousand sessions costs more
 * than a sample. May wait for 20 ms if a process was stopped during a transfer of counters.
 */
extern void cpm_stat_windows_snapshot(void);

/*
 * Set *stats to the statistics of a window that ends now. A longer window contains all statements
 * of a shorter one that was read before it, unless a reset came in between. Any process; takes no
 * lock. Allocates memory, and may wait for a second if a process was stopped during a reset or a
 * transfer of counters.
 */
extern void cpm_stat_window_read(CpmStatWindow window, CpmStatWindowCounts *stats);

/*
 * The snapshots in the statistics file, so that windows can begin before a restart. Must precede
 * the pools in the file, because no snapshot may be newer than the saved counters.
 */
extern const CpmFilePart cpm_stat_windows_part;

/*
 * Append a snapshot of the loaded counters, so that a window can begin at the start of the server
 * and need not include the time in which it was down. Postmaster only, at startup, after it has
 * loaded all parts.
 */
extern void cpm_stat_windows_resume(void);

/*
 * Return the time of the last reset, or of the first start if there was none, corrected if the
 * clock was set back since; 0 if the library is not preloaded. Any process; takes no lock, and
 * allocates memory only temporarily.
 */
extern TimestampTz cpm_stat_windows_reset_at(void);

/* Begin all windows now. The caller holds a lock that excludes other resets. */
extern void cpm_stat_windows_reset(TimestampTz now);

#endif							/* CPM_STAT_WINDOWS_H */
