/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_queues.c
 *		Describes PgBouncer pools whose clients wait, in the message of an alert.
 */
#include "postgres.h"

#include "samples/pooler_state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "workers/pgbouncer_queues.h"

#define MAX_QUEUES 3

typedef struct Queue
{
	int			pooler;
	CpmPoolerPool pool;
} Queue;

/* Return the number of waiting clients. CPM_POOLER_NULL is negative and counts as 0. */
static int64
waiting(const CpmPoolerPool *pool)
{
	return Max(pool->number[CPM_CL_WAITING], 0);
}

/* Insert a pool into the sorted array of the longest queues, unless its queue is too short. */
static void
insert_queue(Queue *longest, int *count, int pooler, const CpmPoolerPool *pool)
{
	int			position = *count;

	while (position > 0 && waiting(&longest[position - 1].pool) < waiting(pool))
		position--;
	if (position >= MAX_QUEUES)
		return;
	*count = Min(*count + 1, MAX_QUEUES);
	memmove(&longest[position + 1], &longest[position], (*count - position - 1) * sizeof(Queue));
	longest[position].pooler = pooler;
	longest[position].pool = *pool;
}

void
cpm_describe_queues(char *buffer, size_t size)
{
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));
	Queue		longest[MAX_QUEUES];
	int			count = 0;
	size_t		used = 0;

	for (int pooler = 0; pooler < cpm_poolers_count(); pooler++)
	{
		bool		is_fresh = cpm_pooler_is_fresh(pooler);
		int			pools = is_fresh && cpm_pooler_answer(pooler, answer) ? answer->pools : 0;

		for (int i = 0; i < pools; i++)
			if (waiting(&answer->pool[i]) > 0)
				insert_queue(longest, &count, pooler, &answer->pool[i]);
	}
	buffer[0] = '\0';
	for (int i = 0; i < count && used < size; i++)
	{
		const CpmPoolerPool *pool = &longest[i].pool;

		used += snprintf(buffer + used, size - used,
						 "%s%s of %s at %s: " INT64_FORMAT " %s for " INT64_FORMAT " ms",
						 i == 0 ? "Waiting for " : "; ",
						 quote_identifier(pool->database), quote_identifier(pool->user),
						 cpm_pooler_state(longest[i].pooler).name, waiting(pool),
						 waiting(pool) == 1 ? "client," : "clients, the first",
						 Max(pool->number[CPM_MAXWAIT], 0) * 1000 +
						 Max(pool->number[CPM_MAXWAIT_US], 0) / 1000);
	}
	pfree(answer);
}
