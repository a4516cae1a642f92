/* SPDX-License-Identifier: PostgreSQL */
/*
 * documents.h
 *		What the page over HTTP shows, as JSON documents.
 */
#ifndef CPM_DOCUMENTS_H
#define CPM_DOCUMENTS_H

#include "lib/stringinfo.h"

/*
 * Append a document. Any process that cpm_sample_take() serves; needs no catalogs.
 * The library must be preloaded. No SQL text, no pid and no address is in them.
 */
extern void cpm_write_status(StringInfo json);
extern void cpm_write_pools(StringInfo json);
extern void cpm_write_alerts(StringInfo json);
extern void cpm_write_poolers(StringInfo json);

#endif							/* CPM_DOCUMENTS_H */
