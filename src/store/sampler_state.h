/* SPDX-License-Identifier: PostgreSQL */
/*
 * sampler_state.h
 *		What the sampler says of itself: is it running, when did it last sample,
 *		at what cost.
 */
#ifndef CPM_SAMPLER_STATE_H
#define CPM_SAMPLER_STATE_H

#include "base/sample.h"

typedef struct CpmSamplerState
{
	TimestampTz server_start;	/* when shared memory was made */
	int			pid;			/* 0 while no sampler runs */
	TimestampTz started_at;		/* by the last sampler; 0 before the first */
	TimestampTz last_sample;	/* 0 before the first */
	double		cost_ms;		/* of the last sample, all that the round did */
	uint64		samples;		/* since server_start; a number to wait for */
	uint64		missed;			/* rounds that came an interval or more late */
	int64		heard_us;		/* monotonic: the newest of last sample, sampler start, server start */
} CpmSamplerState;

extern Size cpm_sampler_state_size(void);
extern void cpm_sampler_state_attach(void *memory, bool is_new);

/* The sampler only: it starts, it ends, it has taken a sample. */
extern void cpm_sampler_state_started(int pid);
extern void cpm_sampler_state_ended(void);
extern void cpm_sampler_state_sampled(TimestampTz at, double cost_ms, uint64 missed);

/* Any process; takes no lock. All zero when the library is not preloaded. */
extern CpmSamplerState cpm_sampler_state_get(void);

/*
 * Has the sampler produced nothing for ten intervals, and at least ten seconds, since its last
 * sample, its start and the server's? Uses a monotonic clock, so setting
 * the system clock has no effect.
 */
extern bool cpm_sampler_is_stale(const CpmSamplerState *state);

#endif							/* CPM_SAMPLER_STATE_H */
