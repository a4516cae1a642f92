/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file.h
 *		The part of the statistics file that holds the pools.
 */
#ifndef CPM_POOL_FILE_H
#define CPM_POOL_FILE_H

#include "base/stream.h"
#include "datatype/timestamp.h"

/*
 * Write all pools, with their counters since the last reset. Open sessions are written as killed
 * at "now": if the file is loaded after a crash, they were killed. Allocates memory.
 */
extern void cpm_pool_file_save(CpmSink *sink, TimestampTz now);

/*
 * Load all pools; returns false if the file is damaged. Changes nothing if source->validate_only.
 * The postmaster only, at startup.
 */
extern bool cpm_pool_file_load(CpmSource *source);

#endif							/* CPM_POOL_FILE_H */
