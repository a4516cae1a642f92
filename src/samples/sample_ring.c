/* SPDX-License-Identifier: PostgreSQL */
/*
 * sample_ring.c
 *		The samples of the last hour, in a ring of fixed size.
 *
 * The sampler is the only writer of the ring (base/ring).
 *
 * Rows are in the order in which they were taken, which is the order of their times unless the
 * system clock was set back. A scan therefore reads all rows instead of searching for the first.
 */
#include "postgres.h"

#include "base/ring.h"
#include "samples/sample_ring.h"

typedef struct SampleRing
{
	uint64		loaded;			/* number of rows loaded at startup; the postmaster sets it */
	CpmRing		rows;			/* its entries follow the struct */
} SampleRing;

static SampleRing *samples;
static CpmRing *sample_rows;	/* &samples->rows */

Size
cpm_sample_ring_size(void)
{
	return offsetof(SampleRing, rows) + cpm_ring_size(CPM_HISTORY_SAMPLES, sizeof(CpmSampleRow));
}

void
cpm_sample_ring_attach(void *memory, bool is_new)
{
	samples = memory;
	sample_rows = &samples->rows;
	if (!is_new)
		return;
	samples->loaded = 0;
	cpm_ring_init(sample_rows, CPM_HISTORY_SAMPLES, sizeof(CpmSampleRow));
}

void
cpm_sample_ring_append(const CpmSampleRow *row)
{
	(void) cpm_ring_add(sample_rows, row);
}

void
cpm_sample_ring_reset(void)
{
	cpm_ring_reset(sample_rows);
}

void
cpm_sample_ring_scan(TimestampTz since, TimestampTz until, CpmSampleRowVisitor visit, void *arg)
{
	uint64		first;
	uint64		next;
	CpmSampleRow row;

	if (samples == NULL)
		return;
	next = cpm_ring_next(sample_rows, &first);
	for (uint64 i = first; i < next; i++)
		if (cpm_ring_copy(sample_rows, i, &row) && row.at >= since && row.at <= until)
			visit(&row, arg);
}

void
cpm_sample_ring_add_growth(CpmGrowth *growth, CpmMetricId id)
{
	uint64		first;
	uint64		next;
	CpmSampleRow row;
	TimestampTz newer = growth->now;

	if (samples == NULL)
		return;

	/*
	 * Newest first, so that the loop ends at the first row that is too old. It also ends at the
	 * first row from before the clock was set back, because the age of such rows is unknown.
	 */
	next = cpm_ring_next(sample_rows, &first);
	for (uint64 i = next; i > Max(first, samples->loaded); i--)
	{
		if (!cpm_ring_copy(sample_rows, i - 1, &row))
			continue;
		if (growth->now - row.at >= CPM_GROWTH_SPAN_US || row.at > newer)
			break;
		newer = row.at;
		cpm_growth_add(growth, row.at, row.value[id]);
	}
}

static void
load_sample(const void *record)
{
	cpm_sample_ring_append(record);
	samples->loaded++;
}

const CpmFilePart cpm_samples_part = {
	"samples", offsetof(CpmSampleRow, value), .load = load_sample, .ring = &sample_rows,
	.cell = sizeof(float4), .is_history = true
};
