/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_history.h
 *		The session history: its newest segments in shared memory, and an index of the
 *		segments in its file.
 */
#ifndef CPM_SESSION_HISTORY_H
#define CPM_SESSION_HISTORY_H

#include "base/history_segment.h"
#include "pgstat.h"

#define CPM_HISTORY_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/connpool_monitor.sessions"

extern Size cpm_session_history_size(void);
extern void cpm_session_history_attach(void *memory, bool is_new);

/* Return true if the library is preloaded and session_history_size is not 0. */
extern bool cpm_session_history_is_on(void);

/* The end of the history: the sequence number of the newest segment and its bytes in use. */
typedef struct CpmHistoryEnd
{
	uint64		sequence;
	uint32		used;
} CpmHistoryEnd;

/*
 * Return the present end. All samples before it are complete, so a reader that ignores the bytes
 * after it never sees a part of a sample. Any process; takes no lock.
 */
extern CpmHistoryEnd cpm_session_history_end(void);

/*
 * Return the memory of the newest segment; begin the next segment and return its memory; publish
 * the end after a complete sample. Complete the previous segment before the next one is published.
 * The sampler only; none of them can fail.
 */
extern char *cpm_session_history_newest(void);
extern char *cpm_session_history_next(uint64 sequence);
extern void cpm_session_history_publish(CpmHistoryEnd end);

/*
 * Set the first segment after a start of the server: a copy of a segment from the file or, if
 * bytes is NULL, an empty one. The postmaster only.
 */
extern void cpm_session_history_start(uint64 sequence, const char *bytes, uint32 used);

/*
 * Copy a segment of shared memory up to "end" into a buffer of CPM_SEGMENT_SIZE. Returns the bytes
 * in use; 0 if the sampler has overwritten the segment. Any process; takes no lock.
 */
extern uint32 cpm_session_history_copy(uint64 sequence, CpmHistoryEnd end, char *buffer);

/* Return the oldest segment that may be in shared memory, or is visible at all since a reset. */
extern uint64 cpm_session_history_oldest(CpmHistoryEnd end);
extern uint64 cpm_session_history_visible_from(void);

/*
 * The index: the segment in each slot of CPM_SEGMENT_SIZE bytes of the file. sequence is 0 in a
 * free slot, and in one that the saver has not read since the start of the server. Only the saver
 * sets entries, and the postmaster at startup. Any process reads them without a lock, so it must
 * validate the segment that it then reads from the file.
 */
typedef struct CpmHistorySlot
{
	uint64		sequence;
	TimestampTz first;
	TimestampTz last;
} CpmHistorySlot;

extern int	cpm_history_slots(void);
extern CpmHistorySlot cpm_history_slot(int slot);
extern void cpm_history_set_slot(int slot, CpmHistorySlot content);
extern void cpm_history_clear_slots(void);

/*
 * Set and return the number below which all segments have been saved; only the saver sets it. The
 * third function returns the number of samples that the sampler overwrote before they were saved.
 */
extern void cpm_session_history_set_saved(uint64 before);
extern uint64 cpm_session_history_saved(void);
extern uint64 cpm_session_history_lost(void);

/*
 * What is known of the file. The postmaster sets it at startup, and then the saver; no other
 * process reads it.
 */
typedef struct CpmHistoryFile
{
	uint64		newest;			/* the highest number written to its header; 0: none */
	uint32		newest_slot;	/* the slot in that header */
	uint64		closed;			/* the highest that was in it when a close succeeded */
	uint64		first;			/* the lowest number that this run of the server writes */
	uint64		removed_before; /* segments with lower numbers were removed after a reset */
} CpmHistoryFile;

extern CpmHistoryFile *cpm_history_file(void);

/*
 * Set and return whether the index has all segments of the file. The saver sets it some time after
 * a start of the server, and the postmaster if there is no file.
 */
extern void cpm_history_set_complete(void);
extern bool cpm_history_is_complete(void);

/*
 * Open the file with flags of open(); never waits, whatever the file is. If that fails, returns -1
 * and sets *problem to a phrase that continues "the file ...", or to NULL if there is no file or
 * an empty one. errno is 0 if it is not a regular file. Any process; close the file with
 * CloseTransientFile().
 */
extern int	cpm_history_open(int flags, const char **problem);

/*
 * Wait for at most a second until the index is complete. Warn if it is not, or if the file cannot
 * be opened, because cpm_session_history_scan() then lacks samples. Any backend in a transaction.
 */
extern void cpm_session_history_await_file(void);

typedef void (*CpmSegmentVisitor) (const char *bytes, uint32 used, void *arg);

/*
 * Visit each segment that may have samples from since to until, oldest first, in the file and in
 * shared memory. Skips segments of the file that are damaged, and all of them if it cannot be
 * opened. The bytes are valid during the call only. Checks for interrupts, and allocates memory
 * for one segment and the index. Any backend in a transaction.
 */
extern void cpm_session_history_scan(TimestampTz since, TimestampTz until,
									 CpmSegmentVisitor visit, void *arg);

/*
 * Do the same for a short span without waiting for the disk. If a segment is not in the cache of
 * the operating system, returns false, after some visits, and lets the saver read the span into
 * the cache, so that a later call can succeed. On file systems that cannot tell what is in the
 * cache, it may wait after all. The HTTP worker only.
 */
extern bool cpm_session_history_scan_cached(TimestampTz since, TimestampTz until,
											CpmSegmentVisitor visit, void *arg);

/* Read the span that a scan has missed last, if there is one. The saver only. */
extern void cpm_session_history_read_wanted(void);

/* Return the time of the oldest sample; 0 if there is none. Any process. */
extern TimestampTz cpm_session_history_since(void);

/* Hide all samples taken so far. Any process. */
extern void cpm_session_history_reset(void);

#endif							/* CPM_SESSION_HISTORY_H */
