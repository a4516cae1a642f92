/* SPDX-License-Identifier: PostgreSQL */
/*
 * rollups.c
 *		Aggregates of samples: by minute for a week, and by hour for a year.
 *
 * Each resolution has a ring of rows. The newest row belongs to the unfinished minute or hour, and
 * every sample updates it. The sampler is the only writer, under one sequence lock for each ring.
 * Readers copy one row at a time, and retry if the sampler changed the ring meanwhile.
 *
 * If the system clock is set back, samples belong to minutes and hours that may already have
 * rows. The sampler searches for such a row and continues it, so that no minute or hour has two
 * rows. From then on rows are not ordered by time.
 */
#include "postgres.h"

#include <math.h>

#include "base/sample.h"
#include "base/seqlock.h"
#include "base/wait_class.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "samples/rollups.h"

#define MINUTE_ROWS (CPM_MINUTES_KEPT + 1)	/* plus the unfinished one */
#define HOUR_ROWS (CPM_HOURS_KEPT + 1)

/*
 * A reader skips a row after this many attempts, because the sampler may have been stopped while
 * it wrote.
 */
#define MAX_COPY_TRIES 1000

typedef struct RollupRing
{
	/* The postmaster sets both at startup. */
	int64		length_us;		/* time that a row covers */
	int			size;			/* number of rows */
	CpmSeqlock	lock;			/* guards the ring's rows; the sampler writes */
	pg_atomic_uint64 next;		/* number of rows ever begun; the sampler writes */
	pg_atomic_uint64 baseline;	/* number of the first visible row; a reset writes */

	/* Only the sampler reads and writes these. Updating a float4 mean would lose precision. */
	uint64		summed;			/* number of the row that the sums belong to */
	double		sum[CPM_METRICS];	/* of the row's finite values */
	double		busy_sum[CPM_WAIT_CLASSES]; /* of its numbers of busy sessions */
} RollupRing;

typedef struct Rollups
{
	RollupRing	minutes;
	RollupRing	hours;
	CpmRollupRow minute[MINUTE_ROWS];	/* row n is at n % size; the sampler writes */
	CpmRollupRow hour[HOUR_ROWS];	/* as above */
} Rollups;

typedef struct SavedRollupCell
{
	float4		mean;			/* NaN: no sample had a finite value */
	float4		worst;
	uint32		samples;
} SavedRollupCell;

typedef struct SavedRollup
{
	TimestampTz start;
	uint32		resolution;		/* a CpmRollup */
	uint32		all_samples;	/* as in CpmRollupRow */
	float4		busy[CPM_WAIT_CLASSES]; /* likewise */
	SavedRollupCell cell[CPM_METRICS];
} SavedRollup;

static Rollups *rollups;

Size
cpm_rollups_size(void)
{
	return sizeof(Rollups);
}

static void
init_ring(RollupRing *ring, int64 length_us, int size)
{
	ring->length_us = length_us;
	ring->size = size;
	ring->summed = PG_UINT64_MAX;
	cpm_seqlock_init(&ring->lock);
	pg_atomic_init_u64(&ring->next, 0);
	pg_atomic_init_u64(&ring->baseline, 0);
}

void
cpm_rollups_attach(void *memory, bool is_new)
{
	rollups = memory;
	if (!is_new)
		return;
	memset(rollups, 0, sizeof(*rollups));
	init_ring(&rollups->minutes, 60 * USECS_PER_SEC, MINUTE_ROWS);
	init_ring(&rollups->hours, 3600 * USECS_PER_SEC, HOUR_ROWS);
}

static RollupRing *
ring_of(CpmRollup resolution)
{
	return resolution == CPM_ROLLUP_MINUTES ? &rollups->minutes : &rollups->hours;
}

static CpmRollupRow *
row_of(RollupRing *ring, uint64 number)
{
	return (ring == &rollups->minutes ? rollups->minute : rollups->hour) + number % ring->size;
}

/* Return the number of the oldest visible row. */
static uint64
first_rollup(RollupRing *ring, uint64 next)
{
	uint64		first = next > (uint64) ring->size ? next - ring->size : 0;

	return Max(first, pg_atomic_read_u64(&ring->baseline));
}

/* Return the start of the minute or hour that contains the time. */
static TimestampTz
rollup_start(const RollupRing *ring, TimestampTz at)
{
	int64		offset = at % ring->length_us;	/* negative before the year 2000 */

	return at - (offset < 0 ? offset + ring->length_us : offset);
}

/*
 * Return the number of the visible row with that start or, if there is none, the number that the
 * next row will have. Nearly all samples belong to the newest row, where the search begins. The
 * first sample of a minute or hour searches all rows, because they may not be ordered by time.
 */
static uint64
find_row(RollupRing *ring, TimestampTz start)
{
	uint64		next = pg_atomic_read_u64(&ring->next);
	uint64		first = first_rollup(ring, next);

	for (uint64 i = next; i > first; i--)
		if (row_of(ring, i - 1)->start == start)
			return i - 1;
	return next;
}

static void
begin_row(RollupRing *ring, uint64 number, TimestampTz start)
{
	CpmRollupRow *row = row_of(ring, number);

	row->start = start;
	for (int i = 0; i < CPM_METRICS; i++)
	{
		row->mean[i] = row->worst[i] = NAN;
		row->samples[i] = 0;
	}
	row->all_samples = 0;
	memset(row->busy, 0, sizeof(row->busy));
	pg_atomic_write_u64(&ring->next, number + 1);
}

/*
 * Set the ring's sums to those of the row, computed from its means. Call this if the ring has the
 * sums of another row, because the row is new or was loaded, or because the clock was set back.
 */
static void
restore_sums(RollupRing *ring, uint64 number)
{
	const CpmRollupRow *row = row_of(ring, number);

	for (int i = 0; i < CPM_METRICS; i++)
		ring->sum[i] = row->samples[i] > 0 ? (double) row->mean[i] * row->samples[i] : 0;
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
		ring->busy_sum[i] = (double) row->busy[i] * row->all_samples;
	ring->summed = number;
}

static void
add_value(RollupRing *ring, CpmRollupRow *row, CpmMetricId id, float4 value, float4 worst,
		  bool low_is_bad)
{
	if (!cpm_is_number(value) || row->samples[id] == PG_UINT16_MAX)
		return;
	if (row->samples[id] == 0 || (low_is_bad ? worst < row->worst[id] : worst > row->worst[id]))
		row->worst[id] = worst;
	row->samples[id]++;
	ring->sum[id] += value;
	row->mean[id] = (float4) (ring->sum[id] / row->samples[id]);
}

static void
add_busy_sessions(RollupRing *ring, CpmRollupRow *row, const CpmSampleRow *sample)
{
	if (row->all_samples == PG_UINT16_MAX)
		return;
	row->all_samples++;
	for (int i = 0; i < CPM_WAIT_CLASSES; i++)
	{
		ring->busy_sum[i] += sample->busy[i];
		row->busy[i] = (float4) (ring->busy_sum[i] / row->all_samples);
	}
}

static void
add_sample(RollupRing *ring, const CpmSampleRow *sample, const CpmMetric *catalogue)
{
	TimestampTz start = rollup_start(ring, sample->at);
	uint64		number = find_row(ring, start);

	cpm_seqlock_repair(&ring->lock);	/* the previous sampler may have died while it wrote */
	cpm_seqlock_write_begin(&ring->lock);
	if (number == pg_atomic_read_u64(&ring->next))
		begin_row(ring, number, start);
	if (number != ring->summed)
		restore_sums(ring, number);
	for (int i = 0; i < CPM_METRICS; i++)
		add_value(ring, row_of(ring, number), i, sample->value[i],
				  cpm_sample_row_worst(sample, i), catalogue[i].low_is_bad);
	add_busy_sessions(ring, row_of(ring, number), sample);
	cpm_seqlock_write_end(&ring->lock);
}

void
cpm_rollups_add(const CpmSampleRow *sample, const CpmMetric *catalogue)
{
	add_sample(&rollups->minutes, sample, catalogue);
	add_sample(&rollups->hours, sample, catalogue);
}

/*
 * Copy a row; returns false if the sampler has overwritten it with a newer row, or was stopped
 * while it wrote.
 */
static bool
copy_rollup(RollupRing *ring, uint64 number, CpmRollupRow *copy)
{
	for (int tries = 0; tries < MAX_COPY_TRIES; tries++)
	{
		uint32		before = cpm_seqlock_read_begin(&ring->lock);
		uint64		next;

		*copy = *row_of(ring, number);
		next = pg_atomic_read_u64(&ring->next);
		if (cpm_seqlock_read_ok(&ring->lock, before))
			return next - number <= (uint64) ring->size;
	}
	return false;
}

static void
scan_ring(RollupRing *ring, TimestampTz since, TimestampTz until, CpmRollupVisitor visit,
		  void *arg)
{
	uint64		next = pg_atomic_read_u64(&ring->next);
	CpmRollupRow row;

	for (uint64 i = first_rollup(ring, next); i < next; i++)
		if (copy_rollup(ring, i, &row) && row.start + ring->length_us > since &&
			row.start <= until)
			visit(&row, arg);
}

void
cpm_rollup_scan(CpmRollup resolution, TimestampTz since, TimestampTz until, CpmRollupVisitor visit,
				void *arg)
{
	if (rollups != NULL)
		scan_ring(ring_of(resolution), since, until, visit, arg);
}

int64
cpm_rollup_length_us(CpmRollup resolution)
{
	return (resolution == CPM_ROLLUP_MINUTES ? 60 : 3600) * USECS_PER_SEC;
}

void
cpm_rollups_reset(void)
{
	pg_atomic_write_u64(&rollups->minutes.baseline, pg_atomic_read_u64(&rollups->minutes.next));
	pg_atomic_write_u64(&rollups->hours.baseline, pg_atomic_read_u64(&rollups->hours.next));
}

/* Where save_rollup() writes the rows of one resolution */
typedef struct RollupSave
{
	CpmSink    *sink;
	CpmRollup	resolution;
} RollupSave;

static void
save_rollup(const CpmRollupRow *row, void *arg)
{
	const RollupSave *save = arg;
	SavedRollup saved = {
		.start = row->start,
		.resolution = save->resolution,
		.all_samples = row->all_samples,
	};

	memcpy(saved.busy, row->busy, sizeof(saved.busy));
	for (int i = 0; i < CPM_METRICS; i++)
	{
		saved.cell[i].mean = row->mean[i];
		saved.cell[i].worst = row->worst[i];
		saved.cell[i].samples = row->samples[i];
	}
	cpm_put(save->sink, &saved);
}

static void
save_rollups(CpmSink *sink)
{
	for (CpmRollup resolution = CPM_ROLLUP_MINUTES; resolution <= CPM_ROLLUP_HOURS; resolution++)
	{
		RollupSave	save = {sink, resolution};

		scan_ring(ring_of(resolution), DT_NOBEGIN, DT_NOEND, save_rollup, &save);
	}
}

/* Load a row. Takes no sequence lock, because no other process runs yet. */
static void
load_rollup(const void *record)
{
	const SavedRollup *saved = record;
	RollupRing *ring = ring_of(saved->resolution);
	uint64		number = pg_atomic_read_u64(&ring->next);
	CpmRollupRow *row = row_of(ring, number);

	begin_row(ring, number, saved->start);
	row->all_samples = (uint16) saved->all_samples;
	memcpy(row->busy, saved->busy, sizeof(row->busy));
	for (int i = 0; i < CPM_METRICS; i++)
	{
		if (isnan(saved->cell[i].mean))
			continue;
		row->mean[i] = saved->cell[i].mean;
		row->worst[i] = saved->cell[i].worst;
		row->samples[i] = (uint16) saved->cell[i].samples;
	}
}

const CpmFilePart cpm_rollups_part = {
	"rollups", offsetof(SavedRollup, cell), .save = save_rollups, .load = load_rollup,
	.cell = sizeof(SavedRollupCell), .is_history = true
};
