/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_state.c
 *		What the worker of HTTP says of itself: is it running, and why is nobody served?
 *
 * It writes, everybody reads.
 */
#include "postgres.h"

#include "base/seqlock.h"
#include "miscadmin.h"
#include "store/http_state.h"

typedef struct HttpState
{
	CpmSeqlock	lock;			/* guards what follows */
	int			pid;
	char		problem[CPM_HTTP_PROBLEM_SIZE];
} HttpState;

static HttpState *shared;

Size
cpm_http_state_size(void)
{
	return sizeof(HttpState);
}

void
cpm_http_state_attach(void *memory, bool is_new)
{
	shared = memory;
	if (!is_new)
		return;
	memset(shared, 0, sizeof(*shared));
	cpm_seqlock_init(&shared->lock);
}

void
cpm_http_state_running(int pid)
{
	cpm_seqlock_repair(&shared->lock);
	cpm_seqlock_write_begin(&shared->lock);
	shared->pid = pid;
	shared->problem[0] = '\0';
	cpm_seqlock_write_end(&shared->lock);
}

void
cpm_http_state_problem(const char *problem)
{
	cpm_seqlock_write_begin(&shared->lock);
	strlcpy(shared->problem, problem, sizeof(shared->problem));
	cpm_seqlock_write_end(&shared->lock);
}

int
cpm_http_state_get(char problem[CPM_HTTP_PROBLEM_SIZE])
{
	HttpState	copy;

	problem[0] = '\0';
	if (shared == NULL)
		return 0;
	cpm_seqlock_copy(&shared->lock, &copy, shared, sizeof(copy));
	strlcpy(problem, copy.problem, CPM_HTTP_PROBLEM_SIZE);
	return copy.pid;
}
