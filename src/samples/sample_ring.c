/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample_ring.c
 *		The samples of the last hour, in a ring of fixed size.
 *
 * The sampler is the only writer: it fills the next row, then publishes the row by advancing
 * "next". A reader copies a row and discards the copy if "next" shows that the sampler may have
 * reused the row meanwhile. The ring has one row more than CPM_HISTORY_SAMPLES, because readers
 * cannot use the row that is being written.
 *
 * Rows are in the order in which they were taken, which is the order of their times unless the
 * system clock was set back. A scan therefore reads all rows instead of searching for the first.
 */
#include "postgres.h"

#include <math.h>

#include "port/atomics.h"
#include "samples/sample_ring.h"

#define RING_ROWS (CPM_HISTORY_SAMPLES + 1)

typedef struct SampleRing
{
	pg_atomic_uint64 next;		/* number of rows ever written; the sampler writes */
	pg_atomic_uint64 baseline;	/* number of the first visible row; a reset writes */
	uint64		loaded;			/* number of rows loaded at startup; the postmaster sets it */
	CpmSampleRow row[RING_ROWS];	/* row n is at n % RING_ROWS; the sampler writes */
} SampleRing;

static SampleRing *ring;

Size
cpm_sample_ring_size(void)
{
	return sizeof(SampleRing);
}

void
cpm_sample_ring_attach(void *memory, bool is_new)
{
	ring = memory;
	if (is_new)
	{
		memset(ring, 0, sizeof(*ring));
		pg_atomic_init_u64(&ring->next, 0);
		pg_atomic_init_u64(&ring->baseline, 0);
	}
}

void
cpm_sample_ring_append(const CpmSampleRow *row)
{
	uint64		number = pg_atomic_read_u64(&ring->next);

	/*
	 * Publish the previous advance of "next" before changing this row. A reader that copies the
	 * old row meanwhile then sees in "next" that its copy is invalid.
	 */
	pg_write_barrier();
	ring->row[number % RING_ROWS] = *row;
	pg_write_barrier();
	pg_atomic_write_u64(&ring->next, number + 1);
}

/* Copy a row; returns false if the sampler may have overwritten it meanwhile. */
static bool
copy_row(uint64 number, CpmSampleRow *copy)
{
	*copy = ring->row[number % RING_ROWS];
	pg_read_barrier();
	return pg_atomic_read_u64(&ring->next) - number < RING_ROWS;
}

/* Return the number of the oldest visible row. */
static uint64
first_row(uint64 next)
{
	uint64		first = next > CPM_HISTORY_SAMPLES ? next - CPM_HISTORY_SAMPLES : 0;

	return Max(first, pg_atomic_read_u64(&ring->baseline));
}

void
cpm_sample_ring_reset(void)
{
	pg_atomic_write_u64(&ring->baseline, pg_atomic_read_u64(&ring->next));
}

void
cpm_sample_ring_scan(TimestampTz since, TimestampTz until, CpmSampleRowVisitor visit, void *arg)
{
	uint64		next;
	CpmSampleRow row;

	if (ring == NULL)
		return;

	next = pg_atomic_read_u64(&ring->next);
	pg_read_barrier();
	for (uint64 i = first_row(next); i < next; i++)
		if (copy_row(i, &row) && row.at >= since && row.at <= until)
			visit(&row, arg);
}

void
cpm_sample_ring_add_growth(CpmGrowth *growth, CpmMetricId id)
{
	uint64		next;

	if (ring == NULL)
		return;

	/*
	 * Newest first, so that the loop ends at the first row that is too old. After the clock was
	 * set back, that may be too early or include rows from the future, which growth ignores.
	 */
	next = pg_atomic_read_u64(&ring->next);
	pg_read_barrier();
	for (uint64 i = next; i > Max(first_row(next), ring->loaded); i--)
	{
		uint64		number = i - 1;
		const CpmSampleRow *row = &ring->row[number % RING_ROWS];
		TimestampTz at = row->at;
		float4		value = row->value[id];

		pg_read_barrier();
		if (pg_atomic_read_u64(&ring->next) - number >= RING_ROWS ||
			growth->now - at >= CPM_GROWTH_SPAN_US)
			break;
		cpm_growth_add(growth, at, value);
	}
}

static void
save_row(const CpmSampleRow *row, void *arg)
{
	CpmSink    *sink = arg;

	cpm_put_has_more(sink, true);
	cpm_put(sink, &row->at, sizeof(row->at));
	cpm_put(sink, &row->interval_ms, sizeof(row->interval_ms));
	cpm_put(sink, &row->peak_connections, sizeof(row->peak_connections));
	cpm_put(sink, row->value, sizeof(row->value));
}

void
cpm_sample_ring_save(CpmSink *sink)
{
	cpm_sample_ring_scan(DT_NOBEGIN, DT_NOEND, save_row, sink);
	cpm_put_has_more(sink, false);
}

bool
cpm_sample_ring_load(CpmSource *source, const int *metric_of, int columns)
{
	while (cpm_get_has_more(source))
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
	ring->loaded = pg_atomic_read_u64(&ring->next);
	return !source->failed;
}
