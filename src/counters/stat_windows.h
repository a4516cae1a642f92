/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_windows.h
 *		What had been counted of statements when the last minute, the last hour
 *		and the time since the last reset began.
 */
#ifndef CPM_STAT_WINDOWS_H
#define CPM_STAT_WINDOWS_H

#include "base/stat_window.h"
#include "base/stream.h"

extern Size cpm_stat_windows_size(void);
extern void cpm_stat_windows_attach(void *memory, bool is_new);

/*
 * Keep a snapshot when one is due: every ten seconds, for summing the buckets of
 * a thousand sessions costs more than a sample. The sampler only, every round.
 */
extern void cpm_stat_windows_snapshot(TimestampTz now);

/* What the period has seen. Any process; takes no lock. */
extern void cpm_stat_window_read(CpmStatWindow period, TimestampTz now, CpmStatWindowCounts *stats);

/*
 * What periods need to reach back beyond the server's start. To be saved before
 * the counts themselves (counters/pool_snapshot), which must not be behind it.
 * Loading is for the postmaster, before anybody else is there; once the counts
 * are loaded too, it goes on from them: they are those of saved_at.
 */
extern void cpm_stat_windows_save(CpmSink *sink);
extern bool cpm_stat_windows_load(CpmSource *source);
extern void cpm_stat_windows_resume(TimestampTz saved_at);

/* When all began, or were last reset; 0 when the library is not preloaded. */
extern TimestampTz cpm_stat_windows_reset_at(void);

/* All periods begin anew. Hold an exclusive lock against other resets. */
extern void cpm_stat_windows_reset(TimestampTz now);

#endif							/* CPM_STAT_WINDOWS_H */
