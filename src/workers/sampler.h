/* SPDX-License-Identifier: PostgreSQL */
/*
 * sampler.h
 *		The background worker that samples, keeps history and raises alerts.
 */
#ifndef CPM_SAMPLER_H
#define CPM_SAMPLER_H

#include "postgres_ext.h"

/* The worker's main function, called by PostgreSQL. Does not return. */
extern PGDLLEXPORT void cpm_sampler_main(Datum argument);

#endif							/* CPM_SAMPLER_H */
