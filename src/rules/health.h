/* SPDX-License-Identifier: PostgreSQL */
/*
 * health.h
 *		Evaluates whether the server can accept connections.
 */
#ifndef CPM_HEALTH_H
#define CPM_HEALTH_H

#include "base/sample.h"

typedef struct CpmHealthInput
{
	const CpmSample *sample;	/* the current state */
	const CpmStatus *status;	/* by CpmMetricId: the status of the alert or, without a sampler,
								 * that of the value in the sample */
	const bool *is_checked;		/* by CpmMetricId: the metric is available and not silent */
	bool		recently_refused;	/* a connection was refused in the last ten seconds because no
									 * slot was free */
	bool		sampler_failed; /* the library is preloaded, but the sampler is stale */
} CpmHealthInput;

typedef enum CpmHealth
{
	CPM_HEALTHY,
	CPM_DEGRADED,
	CPM_UNHEALTHY
} CpmHealth;

/*
 * Return CPM_UNHEALTHY if no usable slot is free or connections were recently refused, else
 * CPM_DEGRADED if an alert is raised or the sampler failed. Pure.
 */
extern CpmHealth cpm_evaluate_health(const CpmHealthInput *input);

/* Return "healthy", "degraded" or "unhealthy". */
extern const char *cpm_health_name(CpmHealth health);

#endif							/* CPM_HEALTH_H */
