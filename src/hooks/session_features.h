/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_features.h
 *		Sees what this session does that outlives its transaction.
 */
#ifndef CPM_SESSION_FEATURES_H
#define CPM_SESSION_FEATURES_H

#include "executor/execdesc.h"
#include "nodes/nodes.h"

/* Install the hook on functions. From _PG_init(), while libraries are preloaded. */
extern void cpm_features_install(void);

/* What a utility statement means, to be asked before it runs: its tree may be gone then. */
typedef struct CpmFeatureUse
{
	bool		is_use;
	int			feature;		/* CpmFeature */
	int			listens_less;	/* by so many channels: UNLISTEN, DISCARD ALL */
	bool		ends_locks;		/* DISCARD ALL */
} CpmFeatureUse;

extern CpmFeatureUse cpm_features_of_utility(const Node *statement);

/* That statement has run. */
extern void cpm_features_utility_done(const CpmFeatureUse *use);

/* A plan is about to run in which set_config() was seen. */
extern void cpm_features_scan_plan(const QueryDesc *query);

/* The transaction has ended, and with it what was used in it stays or is undone. */
extern void cpm_features_transaction_ended(bool committed);

#endif							/* CPM_SESSION_FEATURES_H */
