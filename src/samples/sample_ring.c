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
save_sample(const CpmSampleRow *row, void *sink)
{
	cpm_put(sink, row);
}

static void
save_samples(CpmSink *sink)
{
	cpm_sample_ring_scan(DT_NOBEGIN, DT_NOEND, save_sample, sink);
}

static void
load_sample(const void *record)
{
	cpm_sample_ring_append(record);
	ring->loaded = pg_atomic_read_u64(&ring->next);
}

const CpmFilePart cpm_samples_part = {
	"samples", offsetof(CpmSampleRow, value), .save = save_samples, .load = load_sample,
	.cell = sizeof(float4), .is_history = true
};
