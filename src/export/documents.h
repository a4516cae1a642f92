/* SPDX-License-Identifier: PostgreSQL */
/*
 * documents.h
 *		JSON documents for the HTTP page.
 */
#ifndef CPM_DOCUMENTS_H
#define CPM_DOCUMENTS_H

#include "lib/stringinfo.h"

/*
 * Append a document about the server's state, its pools, its alerts, its incidents or its
 * PgBouncers. The documents contain no SQL text, no pid and no address. The library must be
 * preloaded. Any process that may call cpm_sample_take() may call these functions; they read no
 * catalogs. They raise an error only if memory runs out.
 */
extern void cpm_write_status(StringInfo json);
extern void cpm_write_pools(StringInfo json);
extern void cpm_write_alerts(StringInfo json);
extern void cpm_write_incidents(StringInfo json);
extern void cpm_write_poolers(StringInfo json);

#endif							/* CPM_DOCUMENTS_H */
