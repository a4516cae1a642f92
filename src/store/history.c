/*
 * history.c
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

#include "port/atomics.h"
#include "store/history.h"

#define RING_ROWS (CPM_HISTORY_SAMPLES + 1)

typedef struct History
{
	pg_atomic_uint64 next;		/* number of rows ever written; the sampler writes */
	pg_atomic_uint64 baseline;	/* the first that is shown; a reset writes */
	CpmHistoryRow row[RING_ROWS];	/* row n stands at n % RING_ROWS */
} History;

static History *history;

Size
cpm_history_size(void)
{
	return sizeof(History);
}

void
cpm_history_attach(void *memory, bool is_new)
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
cpm_history_append(const CpmSample *sample, uint32 peak_connections, int interval_ms)
{
	uint64		number = pg_atomic_read_u64(&history->next);
	CpmHistoryRow *row = &history->row[number % RING_ROWS];

	/* "next" must be seen to have moved before this row, the oldest, changes */
	pg_write_barrier();
	row->at = sample->taken_at;
	row->interval_ms = interval_ms;
	for (int i = 0; i < CPM_METRICS; i++)
		row->value[i] = (float4) sample->value[i];
	row->peak_connections = (float4) peak_connections;

	pg_write_barrier();
	pg_atomic_write_u64(&history->next, number + 1);
}

/* Copy row "number"; false when the writer has reused its place. */
static bool
copy_row(uint64 number, CpmHistoryRow *copy)
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
cpm_history_reset(void)
{
	pg_atomic_write_u64(&history->baseline, pg_atomic_read_u64(&history->next));
}

void
cpm_history_scan(TimestampTz since, TimestampTz until, CpmHistoryVisitor visit, void *arg)
{
	uint64		next;
	CpmHistoryRow row;

	if (history == NULL)
		return;

	next = pg_atomic_read_u64(&history->next);
	pg_read_barrier();
	for (uint64 i = first_row(next); i < next; i++)
		if (copy_row(i, &row) && row.at >= since && row.at <= until)
			visit(&row, arg);
}

void
cpm_history_add_growth(CpmGrowth *growth, CpmMetricId id)
{
	uint64		next;

	if (history == NULL)
		return;

	/* newest first, so that it ends at the first row that is too old */
	next = pg_atomic_read_u64(&history->next);
	pg_read_barrier();
	for (uint64 i = next; i > first_row(next); i--)
	{
		uint64		number = i - 1;
		const CpmHistoryRow *row = &history->row[number % RING_ROWS];
		TimestampTz at = row->at;
		float4		value = row->value[id];

		pg_read_barrier();
		if (pg_atomic_read_u64(&history->next) - number >= RING_ROWS ||
			growth->now - at >= CPM_GROWTH_SPAN_US)
			break;
		cpm_growth_add(growth, at, value);
	}
}
