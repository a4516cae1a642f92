/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_window.h
 *		The time windows over which statistics of statements are reported.
 */
#ifndef CPM_STAT_WINDOW_H
#define CPM_STAT_WINDOW_H

#include "base/histogram.h"
#include "base/query_counts.h"
#include "datatype/timestamp.h"

/* In the order of the view connpool_query_stats. */
typedef enum CpmStatWindow
{
	CPM_LAST_MINUTE,
	CPM_LAST_HOUR,
	CPM_SINCE_RESET
} CpmStatWindow;

#define CPM_STAT_WINDOWS (CPM_SINCE_RESET + 1)

/* The statistics of a window that ends now. */
typedef struct CpmStatWindowCounts
{
	TimestampTz since;			/* start of the window, by the clock as it is set now */
	int64		length_us;		/* of the window, by the monotonic clock */
	CpmQueryCounts counts;
	CpmHistogram histogram;		/* read after counts, so the two may differ by a few statements */
	int64		max_us;			/* the longest statement; 0: none */
} CpmStatWindowCounts;

#endif							/* CPM_STAT_WINDOW_H */
