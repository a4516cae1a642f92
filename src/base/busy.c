/*
 * busy.c
 *		How many sessions of a pool were busy, and for how long.
 */
#include "postgres.h"

#include "base/busy.h"
#include "port/pg_bitutils.h"

#define FIRST_OCTAVE 7			/* 2 to this is CPM_BUSY_EXACT */
#define STEP_BITS 4				/* 2 to this is CPM_BUSY_STEPS */

int
cpm_busy_bucket(uint32 sessions)
{
	int			octave;

	if (sessions < CPM_BUSY_EXACT)
		return (int) sessions;
	octave = pg_leftmost_one_pos32(sessions);
	if (octave >= FIRST_OCTAVE + CPM_BUSY_OCTAVES)
		return CPM_BUSY_BUCKETS - 1;
	return CPM_BUSY_EXACT + (octave - FIRST_OCTAVE) * CPM_BUSY_STEPS +
		(int) ((sessions >> (octave - STEP_BITS)) & (CPM_BUSY_STEPS - 1));
}

uint32
cpm_busy_upper(int bucket)
{
	int			octave = FIRST_OCTAVE + (bucket - CPM_BUSY_EXACT) / CPM_BUSY_STEPS;
	uint32		step = (bucket - CPM_BUSY_EXACT) % CPM_BUSY_STEPS;

	if (bucket < CPM_BUSY_EXACT)
		return (uint32) bucket;
	return ((CPM_BUSY_STEPS + step + 1) << (octave - STEP_BITS)) - 1;
}

uint64
cpm_busy_observed(const CpmBusy *busy)
{
	uint64		sum = 0;

	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
		sum += busy->tenths[i];
	return sum;
}

uint32
cpm_busy_percentile(const CpmBusy *busy, double share)
{
	uint64		observed = cpm_busy_observed(busy);
	uint64		below = 0;

	if (observed == 0)
		return 0;
	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
	{
		below += busy->tenths[i];
		if ((double) below >= share * (double) observed)
			return cpm_busy_upper(i);
	}
	return cpm_busy_upper(CPM_BUSY_BUCKETS - 1);
}

double
cpm_busy_mean(const CpmBusy *busy)
{
	uint64		observed = cpm_busy_observed(busy);
	double		sum = 0;

	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
		sum += (double) busy->tenths[i] * cpm_busy_upper(i);
	return observed ? sum / (double) observed : 0;
}
