/* SPDX-License-Identifier: PostgreSQL */
/*
 * recorded_load.c
 *		Sums the load of a span of time from segments of the session history.
 *
 * A row refers to the dictionary of its segment by small numbers. Rows with the same numbers are
 * summed first, within the segment, and these few sums are then added to the result. So names are
 * looked up and hashed only once for each such sum, not for each row.
 *
 * A sample represents the time since the previous one, but at most two intervals, so a time
 * without samples (the server was down) counts as unobserved rather than as idle.
 */
#include "postgres.h"

#include "functions/recorded_load.h"
#include "miscadmin.h"
#include "port.h"
#include "utils/memutils.h"

/* The sum of the rows of a segment that have the same references */
typedef struct CpmSegmentLoad
{
	uint64		references;		/* from pack_references(); 0: the entry is free */
	int64		busy_us;
} CpmSegmentLoad;

/* A power of two that is greater than the number of rows in a segment */
#define SEGMENT_LOADS 4096

StaticAssertDecl(SEGMENT_LOADS > CPM_SEGMENT_SIZE / sizeof(CpmHistoryRow), "too few entries");

void
cpm_recorded_load_begin(CpmRecordedLoad *load, TimestampTz since, TimestampTz until,
						CpmRecordedLoadKeyOf key_of, void *arg)
{
	HASHCTL		control = {
		.keysize = sizeof(CpmRecordedLoadKey),
		.entrysize = sizeof(CpmRecordedLoadSum),
		.hcxt = CurrentMemoryContext,
	};

	memset(load, 0, sizeof(*load));
	load->since = since;
	load->until = until;
	load->key_of = key_of;
	load->arg = arg;
	load->sums = hash_create("connpool_monitor load", 256, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	load->segment = palloc(sizeof(CpmSegmentReader));
	load->of_segment = palloc(SEGMENT_LOADS * sizeof(CpmSegmentLoad));
	load->context = AllocSetContextCreate(CurrentMemoryContext, "connpool_monitor load",
										  ALLOCSET_DEFAULT_SIZES);
}

/* Pack the references of a row, and its class, into one word, which is never 0. */
static inline uint64
pack_references(const CpmHistoryRow *row)
{
	return (uint64) row->names | (uint64) row->queryid << 16 |
		(uint64) row->wait_event << 32 | (uint64) row->wait_class << 48;
}

static CpmHistoryRow
unpack_references(uint64 references)
{
	CpmHistoryRow row = {
		.names = (uint16) references,
		.queryid = (uint16) (references >> 16),
		.wait_event = (uint16) (references >> 32),
		.wait_class = (uint8) (references >> 48),
	};

	return row;
}

static void
add_row_load(CpmRecordedLoad *load, const CpmHistoryRow *row)
{
	uint64		references = pack_references(row);
	uint32		entry = (uint32) (references * UINT64CONST(0x9E3779B97F4A7C15) >> 52);

	while (load->of_segment[entry].references != references)
	{
		if (load->of_segment[entry].references == 0)
		{
			load->of_segment[entry].references = references;
			break;
		}
		entry = (entry + 1) % SEGMENT_LOADS;
	}
	load->of_segment[entry].busy_us += load->sample_us;
}

static bool
is_sample_in_span(const CpmRecordedLoad *load, const CpmHistorySample *sample)
{
	return sample->at >= load->since && sample->at <= load->until;
}

/* Set the time that the sample represents; if it is in the span, add it to the observed time. */
static void
observe_sample(CpmRecordedLoad *load, const CpmHistorySample *sample)
{
	int64		interval_us = sample->interval_ms * INT64CONST(1000);
	int64		distance_us = sample->at - load->previous_at;
	bool		is_same = sample->is_continuation && sample->at == load->previous_at;

	if (is_same)
		return;
	/* without a previous sample, or if the clock was set back, assume one interval */
	load->sample_us = load->previous_at == 0 || distance_us <= 0 ? interval_us :
		Min(distance_us, 2 * interval_us);
	load->previous_at = sample->at;
	if (is_sample_in_span(load, sample))
		load->observed_us += load->sample_us;
}

/* Add the sums of a segment to the result. */
static void
add_segment_loads(CpmRecordedLoad *load)
{
	MemoryContext old_context = MemoryContextSwitchTo(load->context);

	for (int i = 0; i < SEGMENT_LOADS; i++)
	{
		const CpmSegmentLoad *part = &load->of_segment[i];
		CpmHistoryRow row;
		CpmRecordedLoadKey key;
		CpmRecordedLoadSum *sum;
		bool		found;

		if (part->references == 0)
			continue;
		row = unpack_references(part->references);
		key = load->key_of(load->segment, &row, load->arg);
		sum = hash_search(load->sums, &key, HASH_ENTER, &found);
		if (!found)
			sum->busy_us = 0;
		sum->busy_us += part->busy_us;
		load->busy_us += part->busy_us;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(load->context);
}

void
cpm_recorded_load_add(const char *bytes, uint32 used, void *arg)
{
	CpmRecordedLoad *load = arg;
	CpmHistorySample sample;

	memset(load->of_segment, 0, SEGMENT_LOADS * sizeof(CpmSegmentLoad));
	cpm_segment_begin(load->segment, bytes, used);
	while (cpm_segment_next(load->segment, &sample))
	{
		observe_sample(load, &sample);
		for (int i = 0; is_sample_in_span(load, &sample) && i < sample.count; i++)
			add_row_load(load, &sample.row[i]);
	}
	add_segment_loads(load);
}

/* Sort the largest load first, and equal ones by their keys. */
static int
compare_loads(const void *a, const void *b, void *arg)
{
	const CpmRecordedLoadSum *first = *(const CpmRecordedLoadSum *const *) a;
	const CpmRecordedLoadSum *second = *(const CpmRecordedLoadSum *const *) b;

	(void) arg;
	if (first->busy_us != second->busy_us)
		return first->busy_us > second->busy_us ? -1 : 1;
	return memcmp(&first->key, &second->key, sizeof(CpmRecordedLoadKey));
}

CpmRecordedLoadSum **
cpm_recorded_load_sums(const CpmRecordedLoad *load, int64 *count)
{
	CpmRecordedLoadSum **sums;
	CpmRecordedLoadSum *sum;
	HASH_SEQ_STATUS status;

	*count = hash_get_num_entries(load->sums);
	sums = palloc_extended((*count + 1) * sizeof(CpmRecordedLoadSum *), MCXT_ALLOC_HUGE);
	*count = 0;
	hash_seq_init(&status, load->sums);
	while ((sum = hash_seq_search(&status)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		sums[(*count)++] = sum;
	}
	qsort_interruptible(sums, *count, sizeof(CpmRecordedLoadSum *), compare_loads, NULL);
	return sums;
}
