/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_series.c
 *		Records, without a server, answers of consoles whose pools have changing names, and prints
 *		which pools have series.
 *
 * The answers are ten samples apart. Each line has the result of one case, which its printf()
 * names. t/030_pgbouncer_failures.pl checks the output.
 */
#include "postgres.h"

#include "base/settings.h"
#include "base/text_settings.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_busy.h"
#include "miscadmin.h"
#include "samples/pooler_state.h"

/* this program does not link the server's functions */
#undef printf
#undef snprintf
#include <stdio.h>

#define POOLS 60				/* more than have series */
#define STEADY 20				/* the first pools keep their names */
#define STEP 10					/* samples between two answers */

int			MaxBackends = 0;

static CpmPoolerList list = {.count = 1};
static CpmPoolerAnswer answer;
static uint64 samples = 1000;	/* more than a period */
static int	answers;
static int	created;			/* series of pools other than the steady ones */
static int	last_created = -1;	/* the highest number of such a pool */

const CpmPoolerList *
cpm_settings_poolers(void)
{
	return &list;
}

uint64
cpm_pool_busy_samples(void)
{
	return samples;
}

/*
 * Record an answer. The pools that are not steady change their names every "lasting" answers.
 * Returns the number of steady pools with series.
 */
static int
record(int lasting)
{
	int			kept = 0;

	samples += STEP;
	answer.pools = POOLS;
	for (int i = 0; i < POOLS; i++)
	{
		int			number = i < STEADY ? i : answers / lasting * POOLS + i;

		snprintf(answer.pool[i].database, CPM_POOLER_TEXT_SIZE, "%s%d",
				 i < STEADY ? "steady" : "new", number);
	}
	answers++;
	cpm_pooler_record_answer(0, &answer);
	for (int i = 0; i < POOLS; i++)
	{
		const char *name = answer.pool[i].database;

		kept += i < STEADY && answer.pool[i].has_series;
		if (i >= STEADY && answer.pool[i].has_series && atoi(name + 3) > last_created)
		{
			last_created = atoi(name + 3);
			created++;
		}
	}
	return kept;
}

int
main(void)
{
	int			kept = 0;
	uint64		began;

	cpm_poolers_attach(calloc(1, cpm_poolers_size()), true);
	for (int i = 0; i < 1000; i++)
		kept = record(1);
	printf("new names in each answer: %d steady pools with series, %d others\n", kept, created);
	began = samples;
	for (int i = 0; i < 6000; i++)
		kept = record(5);
	printf("names that last: %d steady, %d others of " UINT64_FORMAT "\n", kept, created,
		   CPM_MAX_POOLER_SERIES - STEADY + (samples - began) / CPM_SERIES_PERIOD_SAMPLES);
	samples += 10 * CPM_SERIES_PERIOD_SAMPLES;
	kept = record(5);
	printf("after a pause: %d steady\n", kept);
	return 0;
}
