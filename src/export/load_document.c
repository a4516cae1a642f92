/* SPDX-License-Identifier: PostgreSQL */
/*
 * load_document.c
 *		The load by wait class as one of two JSON documents: the recent load with its history,
 *		or the load at a past moment.
 *
 * The first document has the load of the server and of pools in the last minute and the last hour.
 * It lists the pools with the highest load of the last minute; the load of the last hour breaks
 * ties.
 *
 * The second document has the load of the server, of pools and of wait events, but not of
 * statements. This load is the mean of about ten samples of the session history, so that its cost
 * does not depend on the size of the history.
 */
#include "postgres.h"

#include <math.h>

#include "base/history_segment.h"
#include "base/json.h"
#include "base/load.h"
#include "base/pool.h"
#include "base/processors.h"
#include "base/settings.h"
#include "base/stat_window.h"
#include "base/wait_class.h"
#include "counters/pool_load.h"
#include "counters/pool_table.h"
#include "export/history_document.h"
#include "export/load_document.h"
#include "functions/recorded_load.h"
#include "functions/series.h"
#include "samples/session_history.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#define MAX_POOLS 20			/* pools in a document; "all" is the number that had load */
#define MAX_WAITS 20			/* wait events in a document */
#define SAMPLES_OF_MOMENT 10

/* The load of all pools in the last minute and the last hour. */
typedef struct LoadWindows
{
	CpmLoad    *by_pool[CPM_LAST_HOUR + 1]; /* by index of counters/pool_table */
	uint64		observed_ms[CPM_LAST_HOUR + 1];
} LoadWindows;

static const char *const window_keys[] = {
	[CPM_LAST_MINUTE] = "lastMinute",
	[CPM_LAST_HOUR] = "lastHour",
};

/* The load of a pool, by which the pools are sorted. */
typedef struct LoadRow
{
	int			pool;
	uint64		minute_ms;
	uint64		hour_ms;
} LoadRow;

/* The state of merging points into steps of equal length. */
typedef struct LoadSteps
{
	StringInfo	json;
	const CpmDocumentSpan *span;
	int64		step;			/* the current step */
	int			points;			/* in the current step */
	double		sum[CPM_WAIT_CLASSES];	/* of their sessions */
} LoadSteps;

static LoadWindows
read_windows(void)
{
	LoadWindows windows;

	for (int i = CPM_LAST_MINUTE; i <= CPM_LAST_HOUR; i++)
	{
		windows.by_pool[i] = palloc(cpm_pool_slots() * sizeof(CpmLoad));
		windows.observed_ms[i] = cpm_pool_load_read(i, windows.by_pool[i]);
	}
	return windows;
}

/*
 * Append an object with the average sessions of each class; null if nothing was observed. The busy
 * times by class have the unit of the observed time.
 */
static void
write_classes(StringInfo json, const char *key, const uint64 *busy, uint64 observed)
{
	cpm_json_open(json, key);
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		cpm_json_number(json, cpm_wait_class_name(i),
						observed > 0 ? (double) busy[i] / (double) observed : NAN);
	cpm_json_close(json);
}

static void
write_server_load(StringInfo json, const LoadWindows *windows)
{
	for (int i = CPM_LAST_MINUTE; i <= CPM_LAST_HOUR; i++)
	{
		CpmLoad		sum = {{0}};

		for (int pool = 0; pool < cpm_pool_slots(); pool++)
			cpm_load_add(&sum, &windows->by_pool[i][pool]);
		write_classes(json, window_keys[i], sum.ms, windows->observed_ms[i]);
	}
}

/* Order by load, the highest first. */
static int
compare_load_rows(const void *a, const void *b)
{
	const LoadRow *left = a;
	const LoadRow *right = b;

	if (left->minute_ms != right->minute_ms)
		return left->minute_ms > right->minute_ms ? -1 : 1;
	if (left->hour_ms != right->hour_ms)
		return left->hour_ms > right->hour_ms ? -1 : 1;
	return left->pool - right->pool;
}

static void
write_pool_load(StringInfo json, const LoadWindows *windows, int pool)
{
	CpmPoolName name;

	/* skip a pool that was evicted meanwhile */
	if (!cpm_pool_name(pool, &name))
		return;
	cpm_json_open(json, NULL);
	cpm_json_pool_name(json, &name);
	for (int i = CPM_LAST_MINUTE; i <= CPM_LAST_HOUR; i++)
		write_classes(json, window_keys[i], windows->by_pool[i][pool].ms, windows->observed_ms[i]);
	cpm_json_close(json);
}

static void
write_pools_load(StringInfo json, const LoadWindows *windows)
{
	LoadRow    *row = palloc(cpm_pool_slots() * sizeof(LoadRow));
	int			rows = 0;

	for (int i = 0; i < cpm_pool_slots(); i++)
	{
		row[rows].pool = i;
		row[rows].minute_ms = cpm_load_total(&windows->by_pool[CPM_LAST_MINUTE][i]);
		row[rows].hour_ms = cpm_load_total(&windows->by_pool[CPM_LAST_HOUR][i]);
		rows += row[rows].minute_ms > 0 || row[rows].hour_ms > 0;
	}
	qsort(row, rows, sizeof(LoadRow), compare_load_rows);
	cpm_json_number(json, "all", rows);
	cpm_json_open_array(json, "pools");
	for (int i = 0; i < Min(rows, MAX_POOLS); i++)
		write_pool_load(json, windows, row[i].pool);
	cpm_json_close_array(json);
}

/* Append the current step as [milliseconds since 1970, sessions of each class]. */
static void
finish_load_step(LoadSteps *steps)
{
	if (steps->points == 0)
		return;
	cpm_json_open_array(steps->json, NULL);
	cpm_json_number(steps->json, NULL, cpm_document_step_ms(steps->span, steps->step));
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		cpm_json_number(steps->json, NULL, steps->sum[i] / steps->points);
	cpm_json_close_array(steps->json);
	steps->points = 0;
	memset(steps->sum, 0, sizeof(steps->sum));
}

static void
add_load_point(const CpmLoadPoint *point, void *arg)
{
	LoadSteps  *steps = arg;
	int64		step = cpm_document_step(steps->span, point->at);

	if (step != steps->step)
		finish_load_step(steps);
	steps->step = step;
	steps->points++;
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		steps->sum[i] += point->sessions[i];
}

static void
write_load_history(StringInfo json, const CpmDocumentSpan *span)
{
	LoadSteps	steps = {.json = json, .span = span};

	cpm_json_open_array(json, "classes");
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		cpm_json_text(json, NULL, cpm_wait_class_name(i));
	cpm_json_close_array(json);
	cpm_document_write_span(json, span);
	cpm_json_open_array(json, "points");
	cpm_series_scan_load(span->rollup, 0, span->since, span->until, add_load_point, &steps);
	finish_load_step(&steps);
	cpm_json_close_array(json);
}

/* Begin a document with the fields that both documents have. */
static void
open_document(StringInfo json)
{
	int			processors = cpm_online_processors();

	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_number(json, "processors", processors > 0 ? processors : NAN);
}

/* The load around a moment, summed by pool, by pool and class, and by wait event */
typedef struct MomentLoad
{
	CpmRecordedLoad by_pool;
	CpmRecordedLoad by_pool_class;
	CpmRecordedLoad by_wait;
} MomentLoad;

/* Return the pool of a row (a CpmRecordedLoadKeyOf). Names that were not recorded stay empty. */
static CpmRecordedLoadKey
key_of_pool(const CpmSegmentReader *segment, const CpmHistoryRow *row, void *arg)
{
	CpmHistoryNames names = cpm_segment_names(segment, row->names);
	char		application_name[NAMEDATALEN];
	CpmRecordedLoadKey key;

	(void) arg;
	memset(&key, 0, sizeof(key));
	strlcpy(key.pool.database, names.database, NAMEDATALEN);
	strlcpy(key.pool.role, names.role, NAMEDATALEN);
	strlcpy(application_name, names.application_name, NAMEDATALEN);
	cpm_pool_application(key.pool.application_name, application_name, cpm_application_grouping);
	return key;
}

/* Return the pool and the wait class of a row. */
static CpmRecordedLoadKey
key_of_pool_class(const CpmSegmentReader *segment, const CpmHistoryRow *row, void *arg)
{
	CpmRecordedLoadKey key = key_of_pool(segment, row, arg);

	key.wait_class = row->wait_class;
	return key;
}

/* Return the wait class and the wait event of a row; no event stays empty. */
static CpmRecordedLoadKey
key_of_wait(const CpmSegmentReader *segment, const CpmHistoryRow *row, void *arg)
{
	CpmRecordedLoadKey key;

	(void) arg;
	memset(&key, 0, sizeof(key));
	key.wait_class = row->wait_class;
	if (row->wait_event != 0)
		strlcpy(key.wait_event, cpm_segment_wait_event(segment, row->wait_event).name,
				NAMEDATALEN);
	return key;
}

/* Add the rows of a segment to the three sums (a CpmSegmentVisitor). */
static void
add_moment_segment(const char *bytes, uint32 used, void *arg)
{
	MomentLoad *load = arg;

	cpm_recorded_load_add(bytes, used, &load->by_pool);
	cpm_recorded_load_add(bytes, used, &load->by_pool_class);
	cpm_recorded_load_add(bytes, used, &load->by_wait);
}

/* Append the number of busy sessions by class, and the most frequent wait events. */
static void
write_moment_waits(StringInfo json, const MomentLoad *load)
{
	int64		count;
	CpmRecordedLoadSum **waits = cpm_recorded_load_sums(&load->by_wait, &count);
	uint64		server[CPM_WAIT_CLASSES] = {0};

	for (int64 i = 0; i < count; i++)
		server[waits[i]->key.wait_class] += waits[i]->busy_us;
	write_classes(json, "load", server, load->by_wait.observed_us);
	cpm_json_open_array(json, "waits");
	for (int64 i = 0; i < Min(count, MAX_WAITS); i++)
	{
		cpm_json_open(json, NULL);
		cpm_json_text(json, "class", cpm_wait_class_name(waits[i]->key.wait_class));
		if (waits[i]->key.wait_event[0] != '\0')
			cpm_json_foreign_text(json, "event", waits[i]->key.wait_event);
		else
			cpm_json_text(json, "event", NULL);
		cpm_json_number(json, "sessions",
						(double) waits[i]->busy_us / (double) load->by_wait.observed_us);
		cpm_json_close(json);
	}
	cpm_json_close_array(json);
}

static void
write_moment_pool(StringInfo json, const MomentLoad *load, const CpmPoolName *name)
{
	uint64		busy[CPM_WAIT_CLASSES];
	CpmRecordedLoadKey key;

	memset(&key, 0, sizeof(key));
	key.pool = *name;
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
	{
		const CpmRecordedLoadSum *found;

		key.wait_class = i;
		found = hash_search(load->by_pool_class.sums, &key, HASH_FIND, NULL);
		busy[i] = found ? found->busy_us : 0;
	}
	cpm_json_open(json, NULL);
	cpm_json_pool_name(json, name);
	write_classes(json, "load", busy, load->by_pool_class.observed_us);
	cpm_json_close(json);
}

static void
write_moment_pools(StringInfo json, const MomentLoad *load)
{
	int64		count;
	CpmRecordedLoadSum **pools = cpm_recorded_load_sums(&load->by_pool, &count);

	cpm_json_number(json, "all", (double) count);
	cpm_json_open_array(json, "pools");
	for (int64 i = 0; i < Min(count, MAX_POOLS); i++)
		write_moment_pool(json, load, &pools[i]->key.pool);
	cpm_json_close_array(json);
}

/*
 * Append the document of a moment. Returns false after an error; sets *is_pending and returns
 * false if the session history has to be read from the disk first.
 */
static bool
write_moment_load(StringInfo json, TimestampTz at, bool *is_pending)
{
	int64		half_us = SAMPLES_OF_MOMENT * cpm_sample_interval_ms * INT64CONST(1000) / 2;
	TimestampTz since = at - half_us;
	TimestampTz until = at + half_us;
	MomentLoad	load;

	cpm_recorded_load_begin(&load.by_pool, since, until, key_of_pool, NULL);
	cpm_recorded_load_begin(&load.by_pool_class, since, until, key_of_pool_class, NULL);
	cpm_recorded_load_begin(&load.by_wait, since, until, key_of_wait, NULL);
	*is_pending = cpm_session_history_is_on() &&
		!cpm_session_history_scan_cached(since, until, add_moment_segment, &load);
	if (*is_pending)
		return cpm_document_reject(json, "the session history is being read from the disk");
	open_document(json);
	cpm_json_time(json, "at", at);
	cpm_json_time(json, "since", since);
	cpm_json_time(json, "until", until);
	cpm_json_number(json, "observedMs", (double) load.by_wait.observed_us / 1000);
	write_moment_waits(json, &load);
	write_moment_pools(json, &load);
	cpm_json_close(json);
	return true;
}

bool
cpm_write_load(StringInfo json, const char *at, const char *since, const char *until,
			   bool *is_pending)
{
	CpmDocumentSpan span;
	LoadWindows windows;
	TimestampTz moment;

	*is_pending = false;
	if (at && (since || until))
		return cpm_document_reject(json, "at cannot be combined with since or until");
	if (at)
		return cpm_document_moment(json, at, &moment) &&
			write_moment_load(json, moment, is_pending);
	if (!cpm_document_span(json, since, until, &span))
		return false;
	windows = read_windows();
	open_document(json);
	write_server_load(json, &windows);
	write_pools_load(json, &windows);
	write_load_history(json, &span);
	cpm_json_close(json);
	return true;
}
