/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample_ring.c
 *		The samples of the last hour, in a ring of fixed size.
 *
 * The sampler is the only writer. It fills the row after the newest and then
 * publishes it by advancing "next"; readers copy a row and afterwards look
 * whether the writer has come round to it. The ring has one row more than it
 * promises, for the one that is being written.
 *
 * Rows are in the order in which they were taken, which is the order of their
 * times unless the machine's clock was set back: a scan therefore looks at all
 * of them rather than searching.
 */
#include "postgres.h"

#include <math.h>

#include "port/atomics.h"
#include "samples/sample_ring.h"

#define RING_ROWS (CPM_HISTORY_SAMPLES + 1)

typedef struct History
{
	pg_atomic_uint64 next;		/* number of rows ever written; the sampler writes */
	pg_atomic_uint64 baseline;	/* the first that is shown; a reset writes */
	uint64		loaded;			/* so many are from before the server's start; set at start */
	CpmSampleRow row[RING_ROWS];	/* row n stands at n % RING_ROWS */
} History;

static History *history;

Size
cpm_sample_ring_size(void)
{
	return sizeof(History);
}

void
cpm_sample_ring_attach(void *memory, bool is_new)
{
	history = memory;
	if (is_new)
	{
		memset(history, 0, sizeof(*history));
		pg_atomic_init_u64(&history->next, 0);
		pg_atomic_init_u64(&history->baseline, 0);
	}
}

void
cpm_sample_ring_append(const CpmSampleRow *row)
{
	uint64		number = pg_atomic_read_u64(&history->next);

	/* "next" must be seen to have moved before the oldest row changes */
	pg_write_barrier();
	history->row[number % RING_ROWS] = *row;
	pg_write_barrier();
	pg_atomic_write_u64(&history->next, number + 1);
}

/* Copy row "number"; false when the writer has reused its place. */
static bool
copy_row(uint64 number, CpmSampleRow *copy)
{
	*copy = history->row[number % RING_ROWS];
	pg_read_barrier();
	return pg_atomic_read_u64(&history->next) - number < RING_ROWS;
}

/* The oldest row that may be shown when so many were ever written. */
static uint64
first_row(uint64 next)
{
	uint64		first = next > CPM_HISTORY_SAMPLES ? next - CPM_HISTORY_SAMPLES : 0;

	return Max(first, pg_atomic_read_u64(&history->baseline));
}

void
cpm_sample_ring_reset(void)
{
	pg_atomic_write_u64(&history->baseline, pg_atomic_read_u64(&history->next));
}

void
cpm_sample_ring_scan(TimestampTz since, TimestampTz until, CpmSampleRowVisitor visit, void *arg)
{
	uint64		next;
	CpmSampleRow row;

	if (history == NULL)
		return;

	next = pg_atomic_read_u64(&history->next);
	pg_read_barrier();
	for (uint64 i = first_row(next); i < next; i++)
		if (copy_row(i, &row) && row.at >= since && row.at <= until)
			visit(&row, arg);
}

void
cpm_sample_ring_add_growth(CpmGrowth *growth, CpmMetricId id)
{
	uint64		next;

	if (history == NULL)
		return;

	/* newest first, so that it ends at the first row that is too old */
	next = pg_atomic_read_u64(&history->next);
	pg_read_barrier();
	for (uint64 i = next; i > Max(first_row(next), history->loaded); i--)
	{
		uint64		number = i - 1;
		const CpmSampleRow *row = &history->row[number % RING_ROWS];
		TimestampTz at = row->at;
		float4		value = row->value[id];

		pg_read_barrier();
		if (pg_atomic_read_u64(&history->next) - number >= RING_ROWS ||
			growth->now - at >= CPM_GROWTH_SPAN_US)
			break;
		cpm_growth_add(growth, at, value);
	}
}

static void
save_row(const CpmSampleRow *row, void *arg)
{
	CpmSink    *sink = arg;

	cpm_put_more(sink, true);
	cpm_put(sink, &row->at, sizeof(row->at));
	cpm_put(sink, &row->interval_ms, sizeof(row->interval_ms));
	cpm_put(sink, &row->peak_connections, sizeof(row->peak_connections));
	cpm_put(sink, row->value, sizeof(row->value));
}

void
cpm_sample_ring_save(CpmSink *sink)
{
	cpm_sample_ring_scan(DT_NOBEGIN, DT_NOEND, save_row, sink);
	cpm_put_more(sink, false);
}

bool
cpm_sample_ring_load(CpmSource *source, const int *metric_of, int columns)
{
	while (cpm_get_more(source))
	{
		CpmSampleRow row = {0};

		(void) cpm_get(source, &row.at, sizeof(row.at));
		(void) cpm_get(source, &row.interval_ms, sizeof(row.interval_ms));
		(void) cpm_get(source, &row.peak_connections, sizeof(row.peak_connections));
		for (int i = 0; i < CPM_METRICS; i++)
			row.value[i] = NAN;
		for (int i = 0; i < columns; i++)
		{
			float4		value;

			(void) cpm_get(source, &value, sizeof(value));
			if (metric_of[i] >= 0)
				row.value[metric_of[i]] = value;
		}
		if (!source->failed && !source->validate_only)
			cpm_sample_ring_append(&row);
	}
	history->loaded = pg_atomic_read_u64(&history->next);
	return !source->failed;
}
