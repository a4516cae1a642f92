/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy_times.h
 *		For how long how many sessions of each pool were busy: active or in a
 *		transaction.
 */
#ifndef CPM_BUSY_TIMES_H
#define CPM_BUSY_TIMES_H

#include "base/busy.h"

extern Size cpm_busy_times_size(void);
extern void cpm_busy_times_attach(void *memory, bool is_new);

/*
 * For so long (tenths of a second) as many sessions were busy as it says by index
 * of store/pools; pools without sessions are not observed. The sampler only.
 */
extern void cpm_busy_times_keep(const uint32 *busy_by_pool, uint32 tenths);

/* What is known of a pool; false for nothing. Any process; no lock. */
extern bool cpm_busy_times_copy(int index, CpmBusy *busy);

/* All begins anew. */
extern void cpm_busy_times_reset(void);

/* Go on from what is known of a pool. The postmaster only, before anybody else is there. */
extern void cpm_busy_times_load(int index, const CpmBusy *busy);

#endif							/* CPM_BUSY_TIMES_H */
