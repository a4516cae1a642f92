/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgbouncer_queues.c
 *		In which pools of PgBouncer clients wait, for the message of an alert.
 */
#include "postgres.h"

#include "samples/pooler_state.h"
#include "utils/builtins.h"
#include "workers/pgbouncer_queues.h"

#define QUEUES_NAMED 3

typedef struct Queue
{
	int			pooler;
	CpmPoolerPool pool;
} Queue;

static int64
waiting(const CpmPoolerPool *pool)
{
	return Max(pool->number[CPM_CL_WAITING], 0);
}

/* Put a pool in its place among the longest queues so far. */
static void
insert(Queue *longest, int *count, int pooler, const CpmPoolerPool *pool)
{
	int			place = *count;

	while (place > 0 && waiting(&longest[place - 1].pool) < waiting(pool))
		place--;
	if (place >= QUEUES_NAMED)
		return;
	*count = Min(*count + 1, QUEUES_NAMED);
	memmove(&longest[place + 1], &longest[place], (*count - place - 1) * sizeof(Queue));
	longest[place].pooler = pooler;
	longest[place].pool = *pool;
}

void
cpm_describe_queues(char *buffer, size_t size)
{
	CpmPoolerAnswer *answer = palloc(sizeof(CpmPoolerAnswer));
	Queue		longest[QUEUES_NAMED];
	int			count = 0;
	size_t		used = 0;

	for (int pooler = 0; pooler < cpm_poolers_count(); pooler++)
	{
		int			pools = cpm_pooler_answer(pooler, answer) ? answer->pools : 0;

		for (int i = 0; i < pools; i++)
			if (waiting(&answer->pool[i]) > 0)
				insert(longest, &count, pooler, &answer->pool[i]);
	}
	buffer[0] = '\0';
	for (int i = 0; i < count && used < size; i++)
	{
		const CpmPoolerPool *pool = &longest[i].pool;

		used += snprintf(buffer + used, size - used,
						 "%s%s of %s at %s: " INT64_FORMAT " %s for " INT64_FORMAT " ms",
						 i == 0 ? "Waiting for " : "; ", quote_identifier(pool->database), quote_identifier(pool->user),
						 cpm_pooler_state(longest[i].pooler).name, waiting(pool),
						 waiting(pool) == 1 ? "client," : "clients, the first",
						 Max(pool->number[CPM_MAXWAIT], 0) * 1000 + Max(pool->number[CPM_MAXWAIT_US], 0) / 1000);
	}
	pfree(answer);
}
