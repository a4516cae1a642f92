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
 * at "now": if the server crashes, they will have been.
 */
extern void cpm_pool_file_save(CpmSink *sink, TimestampTz now);

/* Load them. The postmaster only, before another process exists. */
extern bool cpm_pool_file_load(CpmSource *source);

#endif							/* CPM_POOL_FILE_H */
