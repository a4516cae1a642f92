/* SPDX-License-Identifier: PostgreSQL */
/*
 * health.h
 *		Is the server fit to take connections?
 */
#ifndef CPM_HEALTH_H
#define CPM_HEALTH_H

#include "base/sample.h"

typedef struct CpmHealthInput
{
	const CpmSample *sample;	/* of now */
	const CpmStatus *status;	/* by metric: what alerting has reached, or live */
	const bool *is_checked;		/* by metric: it exists and is not silent */
	bool		refused_lately; /* somebody, for want of a slot, within ten seconds */
	bool		sampler_failed; /* preloaded, and has produced nothing for too long */
} CpmHealthInput;

typedef enum CpmHealth
{
	CPM_HEALTHY,
	CPM_DEGRADED,
	CPM_UNHEALTHY
} CpmHealth;

/* Pure. Unhealthy: an ordinary role could not connect now. */
extern CpmHealth cpm_evaluate_health(const CpmHealthInput *input);

/* healthy, degraded, unhealthy */
extern const char *cpm_health_name(CpmHealth health);

#endif							/* CPM_HEALTH_H */
