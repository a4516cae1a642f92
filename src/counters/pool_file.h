/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file.h
 *		The parts of the statistics file that hold the pools.
 */
#ifndef CPM_POOL_FILE_H
#define CPM_POOL_FILE_H

#include "base/stream.h"

/*
 * The counters that belong to no single pool, the counters of evicted pools by database, and all
 * pools with their counters since the last reset. The saver records open sessions as killed,
 * because if the postmaster loads the file after a crash, the crash has killed them. Load the
 * totals before the pools.
 */
extern const CpmFilePart cpm_pool_totals_part;
extern const CpmFilePart cpm_retained_databases_part;
extern const CpmFilePart cpm_pools_part;

#endif							/* CPM_POOL_FILE_H */
