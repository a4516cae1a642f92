/* SPDX-License-Identifier: PostgreSQL */
/*
 * recorded_load.h
 *		Sums the load of a span of time from segments of the session history.
 */
#ifndef CPM_RECORDED_LOAD_H
#define CPM_RECORDED_LOAD_H

#include "base/history_segment.h"
#include "base/pool.h"
#include "datatype/timestamp.h"
#include "utils/hsearch.h"
#include "utils/palloc.h"

/* The key by which load is summed, for instance pool, wait and statement; hashed as bytes. */
typedef struct CpmRecordedLoadKey
{
	CpmPoolName pool;
	char		wait_event[NAMEDATALEN];
	uint64		queryid;
	Oid			database;
	Oid			role;
	uint32		wait_class;
	uint32		unused;			/* 0 */
} CpmRecordedLoadKey;

typedef struct CpmRecordedLoadSum
{
	CpmRecordedLoadKey key;		/* hash key */
	int64		busy_us;		/* summed over sessions */
} CpmRecordedLoadSum;

/*
 * Return the key of a row. Only names, queryid, wait_event and wait_class of the row are set. The
 * function must set all bytes of the key. Its memory context is reset after each segment.
 */
typedef CpmRecordedLoadKey (*CpmRecordedLoadKeyOf) (const CpmSegmentReader *segment,
													const CpmHistoryRow *row, void *arg);

struct CpmSegmentLoad;

/* The state of summing, and its totals */
typedef struct CpmRecordedLoad
{
	TimestampTz since;
	TimestampTz until;
	CpmRecordedLoadKeyOf key_of;
	void	   *arg;			/* of key_of */
	int64		observed_us;	/* how much of the span the samples represent */
	int64		busy_us;		/* of all sums */
	HTAB	   *sums;			/* of CpmRecordedLoadSum */
	CpmSegmentReader *segment;
	struct CpmSegmentLoad *of_segment;
	MemoryContext context;		/* reset after each segment */
	TimestampTz previous_at;	/* of the previous sample; 0: none */
	int64		sample_us;		/* the time that the current sample represents */
} CpmRecordedLoad;

/* Begin to sum the samples from since to until, in the current memory context. */
extern void cpm_recorded_load_begin(CpmRecordedLoad *load, TimestampTz since, TimestampTz until,
									CpmRecordedLoadKeyOf key_of, void *arg);

/* A CpmSegmentVisitor: add a segment to the CpmRecordedLoad in arg. The oldest must come first. */
extern void cpm_recorded_load_add(const char *bytes, uint32 used, void *arg);

/* Return the sums, the largest first, and their number. */
extern CpmRecordedLoadSum **cpm_recorded_load_sums(const CpmRecordedLoad *load, int64 *count);

#endif							/* CPM_RECORDED_LOAD_H */
