/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file.h
 *		The parts of the statistics file that hold the pools.
 */
#ifndef CPM_POOL_FILE_H
#define CPM_POOL_FILE_H

#include "base/stream.h"

/*
 * All pools, with their counters since the last reset; the counters of evicted pools by database;
 * and what belongs to no single pool. Open sessions are saved as killed: if the file is loaded
 * after a crash, they were killed. Load the totals before the pools.
 */
extern const CpmFilePart cpm_pool_totals_part;
extern const CpmFilePart cpm_retained_databases_part;
extern const CpmFilePart cpm_pools_part;

#endif							/* CPM_POOL_FILE_H */
