/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy.c
 *		A distribution over time of the number of busy sessions in a pool.
 */
#include "postgres.h"

#include "base/busy.h"
#include "port/pg_bitutils.h"

#define FIRST_OCTAVE 7			/* log2 of CPM_BUSY_EXACT */
#define STEP_BITS 4				/* log2 of CPM_BUSY_STEPS */
#define MAX_WEIGHT_TENTHS (14 * 24 * 3600 * 10) /* two weeks in tenths of a second */

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

static void
halve_busy(CpmBusy *busy)
{
	busy->samples /= 2;
	busy->weight = 0;
	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
	{
		busy->tenths[i] /= 2;
		busy->weight += busy->tenths[i];
	}
}

void
cpm_busy_add(CpmBusy *busy, uint32 sessions, uint32 tenths)
{
	busy->samples++;
	busy->observed_tenths += tenths;
	busy->tenths[cpm_busy_bucket(sessions)] += tenths;
	busy->weight += tenths;
	if (busy->weight > MAX_WEIGHT_TENTHS)
		halve_busy(busy);
}

uint32
cpm_busy_percentile(const CpmBusy *busy, double share)
{
	uint64		below = 0;

	if (busy->weight == 0)
		return 0;
	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
	{
		below += busy->tenths[i];
		if ((double) below >= share * (double) busy->weight)
			return cpm_busy_upper(i);
	}
	return cpm_busy_upper(CPM_BUSY_BUCKETS - 1);
}

double
cpm_busy_mean(const CpmBusy *busy)
{
	double		sum = 0;

	for (int i = 0; i < CPM_BUSY_BUCKETS; i++)
		sum += (double) busy->tenths[i] * cpm_busy_upper(i);
	return busy->weight ? sum / (double) busy->weight : 0;
}
