/* SPDX-License-Identifier: PostgreSQL */
/*
 * health.c
 *		Evaluates whether the server can accept connections.
 *
 * Compares the usable slots with total_connections, which counts PGPROCs in use, and not with the
 * sessions in pg_stat_activity: that view may omit sessions that are still authenticating.
 */
#include "postgres.h"

#include "rules/health.h"

CpmHealth
cpm_evaluate_health(const CpmHealthInput *input)
{
	if (input->sample->value[CPM_TOTAL_CONNECTIONS] >= input->sample->usable_slots)
		return CPM_UNHEALTHY;
	if (input->recently_refused)
		return CPM_UNHEALTHY;
	if (input->sampler_failed)
		return CPM_DEGRADED;
	for (int i = 0; i < CPM_METRICS; i++)
		if (input->is_checked[i] && input->status[i] != CPM_OK)
			return CPM_DEGRADED;
	return CPM_HEALTHY;
}

const char *
cpm_health_name(CpmHealth health)
{
	static const char *const names[] = {
		[CPM_HEALTHY] = "healthy",
		[CPM_DEGRADED] = "degraded",
		[CPM_UNHEALTHY] = "unhealthy",
	};

	return names[health];
}
