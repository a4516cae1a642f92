/* SPDX-License-Identifier: PostgreSQL */
/*
 * load_view.c
 *		connpool_load_stats: the load of each pool by wait class.
 */
#include "postgres.h"

#include "base/load.h"
#include "base/pool.h"
#include "base/stat_window.h"
#include "base/wait_class.h"
#include "counters/pool_load.h"
#include "counters/pool_table.h"
#include "counters/stat_windows.h"
#include "fmgr.h"
#include "functions/access.h"
#include "functions/rows.h"

PG_FUNCTION_INFO_V1(connpool_load_stats_1_0);

/* One window of the listing. */
typedef struct LoadListing
{
	ReturnSetInfo *result;
	CpmStatWindow window;
	CpmLoad    *by_pool;		/* by index of counters/pool_table */
	uint64		observed_ms;
	uint64		total_ms;		/* of all pools and classes */
} LoadListing;

/* Emit a row; wait_class is NULL if the caller may not see it. */
static void
emit_load(const LoadListing *listing, const CpmPoolName *name, const char *wait_class, uint64 ms)
{
	CpmRow		row = {0};

	if (ms == 0)
		return;
	cpm_row_text(&row, cpm_stat_window_name(listing->window));
	cpm_row_text(&row, name->database);
	cpm_row_text(&row, name->role);
	cpm_row_text(&row, name->application_name);
	cpm_row_text(&row, wait_class);
	cpm_row_float8(&row, (double) ms / (double) listing->observed_ms);
	cpm_row_float8(&row, (double) ms / (double) listing->total_ms);
	cpm_row_emit(&row, listing->result);
}

/*
 * Emit the rows of a window. If a pool was evicted meanwhile, adds its load to "(other)". The slot
 * of "(other)" is the first, so the loop runs backwards to emit it last.
 */
static void
emit_window(LoadListing *listing)
{
	int			slots = cpm_pool_slots();

	listing->observed_ms = cpm_pool_load_read(listing->window, listing->by_pool);
	listing->total_ms = 0;
	for (int i = 0; i < slots; i++)
		listing->total_ms += cpm_load_total(&listing->by_pool[i]);
	for (int i = slots - 1; i >= 0; i--)
	{
		const CpmLoad *load = &listing->by_pool[i];
		CpmPoolName name;

		if (cpm_load_total(load) == 0)
			continue;
		if (!cpm_pool_name(i, &name))
			cpm_load_add(&listing->by_pool[CPM_OTHER_POOL], load);
		else if (!cpm_may_see(cpm_pool_role(i)))
			emit_load(listing, &name, NULL, cpm_load_total(load));
		else
			for (int class = 0; class < CPM_WAIT_CLASSES; class++)
				emit_load(listing, &name, cpm_wait_class_name(class), load->ms[class]);
	}
}

/* Columns: period, database, role, application_name, wait_class, avg_sessions, share. */
Datum
connpool_load_stats_1_0(PG_FUNCTION_ARGS)
{
	LoadListing listing = {.result = cpm_view_begin(fcinfo, "connpool_load_stats")};

	listing.by_pool = palloc(cpm_pool_slots() * sizeof(CpmLoad));
	for (listing.window = CPM_LAST_MINUTE; listing.window < CPM_STAT_WINDOWS; listing.window++)
		emit_window(&listing);
	return (Datum) 0;
}
