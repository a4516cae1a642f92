/* SPDX-License-Identifier: PostgreSQL */
/*
 * sampler_state.c
 *		What the sampler says of itself.
 *
 * Written by the sampler under a sequence counter, read by everybody.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/seqlock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "store/sampler_state.h"
#include "utils/timestamp.h"

#define STALE_INTERVALS 10
#define STALE_LEAST_US (10 * USECS_PER_SEC)

typedef struct SharedSamplerState
{
	CpmSeqlock	lock;			/* guards state, which the sampler writes */
	CpmSamplerState state;
} SharedSamplerState;

static SharedSamplerState *shared;

Size
cpm_sampler_state_size(void)
{
	return sizeof(SharedSamplerState);
}

void
cpm_sampler_state_attach(void *memory, bool is_new)
{
	shared = memory;
	if (is_new)
	{
		memset(shared, 0, sizeof(*shared));
		cpm_seqlock_init(&shared->lock);
		shared->state.server_start = GetCurrentTimestamp();
		shared->state.heard_us = cpm_monotonic_us();
	}
}

static void
set_running(int pid, TimestampTz started_at)
{
	cpm_seqlock_repair(&shared->lock);
	cpm_seqlock_write_begin(&shared->lock);
	shared->state.pid = pid;
	if (pid != 0)
	{
		shared->state.started_at = started_at;
		shared->state.heard_us = cpm_monotonic_us();
	}
	cpm_seqlock_write_end(&shared->lock);
}

void
cpm_sampler_state_started(int pid)
{
	set_running(pid, GetCurrentTimestamp());
}

void
cpm_sampler_state_ended(void)
{
	set_running(0, 0);
}

void
cpm_sampler_state_sampled(TimestampTz at, double cost_ms, uint64 missed)
{
	cpm_seqlock_write_begin(&shared->lock);
	shared->state.last_sample = at;
	shared->state.heard_us = cpm_monotonic_us();
	shared->state.cost_ms = cost_ms;
	shared->state.samples++;
	shared->state.missed += missed;
	cpm_seqlock_write_end(&shared->lock);
}

CpmSamplerState
cpm_sampler_state_get(void)
{
	CpmSamplerState state = {0};

	if (shared == NULL)
		return state;
	cpm_seqlock_copy(&shared->lock, &state, &shared->state, sizeof(state));
	return state;
}

bool
cpm_sampler_is_stale(const CpmSamplerState *state)
{
	int64		allowed_us = STALE_INTERVALS * (int64) cpm_sample_interval_ms * 1000;

	return cpm_monotonic_us() - state->heard_us > Max(allowed_us, STALE_LEAST_US);
}
