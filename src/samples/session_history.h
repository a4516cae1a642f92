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
 * Return the current end. All samples before it are complete, so a reader that ignores the bytes
 * after it never sees a part of a sample. Any process; takes no lock.
 */
extern CpmHistoryEnd cpm_session_history_end(void);

/* Return the memory of the newest segment. The sampler only, like the next two; none can fail. */
extern char *cpm_session_history_newest(void);

/*
 * Begin the next segment, with that sequence number, and return its memory. Before the call, set
 * "used" in the header of the newest segment, which will not change any more.
 */
extern char *cpm_session_history_next(uint64 sequence);

/* Publish the end after a complete sample, which makes the sample visible to readers. */
extern void cpm_session_history_publish(CpmHistoryEnd end);

/*
 * Set the segment that the sampler continues after the server started: a copy of the newest
 * segment of the file or, if bytes is NULL, an empty one. The postmaster only.
 */
extern void cpm_session_history_start(uint64 sequence, const char *bytes, uint32 used);

/*
 * Copy a segment of shared memory up to "end" into a buffer of CPM_SEGMENT_SIZE. Returns the bytes
 * in use; 0 if the sampler has overwritten the segment. Any process; takes no lock.
 */
extern uint32 cpm_session_history_copy(uint64 sequence, CpmHistoryEnd end, char *buffer);

/*
 * Return the sequence number below which a reset has hidden all segments; 0 if there was no reset.
 */
extern uint64 cpm_session_history_visible_from(void);

/*
 * Return the sequence number of the oldest visible segment that may still be in shared memory.
 */
extern uint64 cpm_session_history_oldest(CpmHistoryEnd end);

/*
 * The index: the segment in each slot of CPM_SEGMENT_SIZE bytes of the file, with the earliest and
 * the latest time of its samples. sequence is 0 if the slot is free, or if the saver has not read
 * it since the server started. The saver sets entries, and the postmaster at startup and shutdown.
 * Other processes read them without a lock, so they must validate the segment that they then read
 * from the file.
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
 * Set, or return, the sequence number below which no segment remains to be saved. Only the saver
 * sets it, or the postmaster at startup and shutdown.
 */
extern void cpm_session_history_set_saved(uint64 before);
extern uint64 cpm_session_history_saved(void);

/* Return the number of samples that the sampler overwrote before they were saved. Any process. */
extern uint64 cpm_session_history_lost(void);

/*
 * The contents of the file as this server last read or wrote them. Only the saver uses this, and
 * the postmaster at startup and shutdown.
 */
typedef struct CpmHistoryFile
{
	/* sequence numbers of segments, except newest_slot */
	uint64		newest;			/* the highest number written to its header; 0: none */
	uint32		newest_slot;	/* the slot in that header */
	uint64		closed;			/* "newest" at startup or at the last close() that succeeded; an
								 * intact header never has a lower number */
	uint64		first;			/* of the segment set by cpm_session_history_start() */
	uint64		removed_before; /* segments with lower numbers were removed after a reset */
} CpmHistoryFile;

extern CpmHistoryFile *cpm_history_file(void);

/*
 * Record that the index has all segments of the file, or return whether it has. The saver records
 * it after it has read the file, or the postmaster at startup if there is no file.
 */
extern void cpm_history_set_complete(void);
extern bool cpm_history_is_complete(void);

/*
 * Open the file with these flags of open(); close it with CloseTransientFile(). Opening a pipe
 * does not wait for its other end. After a failure, returns -1 and sets errno and *problem. errno
 * is 0 if the file is not a regular one. *problem is a phrase that continues "file ...", or NULL
 * if the file does not exist or is empty. Any process.
 */
extern int	cpm_history_open(int flags, const char **problem);

/*
 * Wait until the index is complete, but at most for a second. Warn if the file exists and the
 * index is still incomplete, or if the file cannot be opened, because cpm_session_history_scan()
 * then misses samples. Any backend in a transaction.
 */
extern void cpm_session_history_await_file(void);

typedef void (*CpmSegmentVisitor) (const char *bytes, uint32 used, void *arg);

/*
 * Visit each segment that may have samples from since to until, oldest first, in the file and in
 * shared memory. Skips damaged segments of the file, and the whole file if it cannot be opened.
 * The bytes are valid only during a visit. Checks for interrupts, and allocates memory for one
 * segment and a list of all segments. Any backend in a transaction.
 */
extern void cpm_session_history_scan(TimestampTz since, TimestampTz until,
									 CpmSegmentVisitor visit, void *arg);

/*
 * Do the same for a short span without waiting for the disk, as the HTTP worker must. Visits at
 * most the 256 oldest segments of the span. Returns false if the index is still incomplete, or if
 * a segment is not in the cache of the operating system. In the second case some segments have
 * been visited, and the saver reads the span into the cache, so that a later call can succeed. The
 * call may wait if the operating system or the file system does not support reads that use only
 * the cache. The HTTP worker only.
 */
extern bool cpm_session_history_scan_cached(TimestampTz since, TimestampTz until,
											CpmSegmentVisitor visit, void *arg);

/* Read the span of the last cached scan that missed a segment, if there is one. The saver only. */
extern void cpm_session_history_read_wanted(void);

/* Return the time of the oldest sample; 0 if there is none. Any process. */
extern TimestampTz cpm_session_history_since(void);

/* Hide all samples taken so far. Any process. */
extern void cpm_session_history_reset(void);

#endif							/* CPM_SESSION_HISTORY_H */
