/* SPDX-License-Identifier: PostgreSQL */
/*
 * stat_window.h
 *		The periods over which statements are summed up.
 */
#ifndef CPM_STAT_WINDOW_H
#define CPM_STAT_WINDOW_H

#include "base/histogram.h"
#include "base/query_counts.h"
#include "datatype/timestamp.h"

/* In the order of connpool_query_stats. */
typedef enum CpmStatWindow
{
	CPM_LAST_MINUTE,
	CPM_LAST_HOUR,
	CPM_SINCE_RESET
} CpmStatWindow;

#define CPM_STAT_WINDOWS (CPM_SINCE_RESET + 1)

/* What was counted in a period that ends now. */
typedef struct CpmStatWindowCounts
{
	TimestampTz since;
	CpmQueryCounts counts;
	CpmHistogram histogram;		/* of the same statements, but for those ending just now */
	int64		max_us;			/* the longest; 0 for none */
} CpmStatWindowCounts;

#endif							/* CPM_STAT_WINDOW_H */
