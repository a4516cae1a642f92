/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_features.h
 *		Counts uses of features whose effect outlives the transaction, such as LISTEN.
 */
#ifndef CPM_SESSION_FEATURES_H
#define CPM_SESSION_FEATURES_H

#include "executor/execdesc.h"
#include "nodes/nodes.h"

/* Install object_access_hook. Call from _PG_init() while libraries are preloaded. */
extern void cpm_features_install(void);

/* The session features that a utility statement uses or releases. */
typedef struct CpmFeatureUse
{
	bool		uses_feature;
	int			feature;		/* a CpmFeature; -1 unless uses_feature */
	int			channels;		/* 1: LISTEN; -1: UNLISTEN of a channel; -PG_INT32_MAX: of all */
	bool		releases_locks; /* DISCARD ALL releases all advisory locks */
} CpmFeatureUse;

/*
 * Return the features that a utility statement uses. Call before the statement runs, because
 * its parse tree may be freed while it runs.
 */
extern CpmFeatureUse cpm_features_of_utility(const Node *statement);

/* Count the features of a utility statement that has run without an error. */
extern void cpm_features_count_utility(const CpmFeatureUse *use);

/*
 * Search a plan for calls of set_config() whose effect outlives the transaction, and record each.
 * Call before the plan runs, if the executor has prepared a call of set_config().
 */
extern void cpm_features_scan_plan(const QueryDesc *query);

/* Count the features used in the transaction if it committed; otherwise discard them. */
extern void cpm_features_end_transaction(bool committed);

#endif							/* CPM_SESSION_FEATURES_H */
