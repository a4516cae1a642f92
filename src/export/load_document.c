/* SPDX-License-Identifier: PostgreSQL */
/*
 * load_document.c
 *		The load by wait class as a JSON document: of the server, of pools, and over time.
 *
 * Lists the pools with the highest load in the last minute. Pools with equal load in the last
 * minute, for instance none, are ordered by their load in the last hour.
 */
#include "postgres.h"

#include <math.h>

#include "base/json.h"
#include "base/load.h"
#include "base/pool.h"
#include "base/processors.h"
#include "base/stat_window.h"
#include "base/wait_class.h"
#include "counters/pool_load.h"
#include "counters/pool_table.h"
#include "export/history_document.h"
#include "export/load_document.h"
#include "functions/series.h"
#include "utils/timestamp.h"

#define MAX_POOLS 20			/* pools in the document; its field "all" counts every pool with
								 * load */

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
 * Append an object with the average number of sessions of each class, or with nulls if nothing was
 * observed.
 */
static void
write_classes(StringInfo json, const char *key, const CpmLoad *load, uint64 observed_ms)
{
	cpm_json_open(json, key);
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		cpm_json_number(json, cpm_wait_class_name(i),
						observed_ms > 0 ? (double) load->ms[i] / (double) observed_ms : NAN);
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
		write_classes(json, window_keys[i], &sum, windows->observed_ms[i]);
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
	cpm_json_foreign_text(json, "database", name.database);
	cpm_json_foreign_text(json, "role", name.role);
	cpm_json_foreign_text(json, "application", name.application_name);
	for (int i = CPM_LAST_MINUTE; i <= CPM_LAST_HOUR; i++)
		write_classes(json, window_keys[i], &windows->by_pool[i][pool], windows->observed_ms[i]);
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

bool
cpm_write_load(StringInfo json, const char *since, const char *until)
{
	CpmDocumentSpan span;
	LoadWindows windows;
	int			processors = cpm_online_processors();

	if (!cpm_document_span(json, since, until, &span))
		return false;
	windows = read_windows();
	cpm_json_open(json, NULL);
	cpm_json_time(json, "timestamp", GetCurrentTimestamp());
	cpm_json_number(json, "processors", processors > 0 ? processors : NAN);
	write_server_load(json, &windows);
	write_pools_load(json, &windows);
	write_load_history(json, &span);
	cpm_json_close(json);
	return true;
}
