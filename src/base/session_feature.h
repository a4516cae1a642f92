/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_feature.h
 *		What a session can do that outlives its transaction, and that a pooler in
 *		transaction mode therefore breaks.
 */
#ifndef CPM_SESSION_FEATURE_H
#define CPM_SESSION_FEATURE_H

/* In the order of the contract. */
typedef enum CpmFeature
{
	CPM_FEATURE_SET,			/* not LOCAL, and not what PgBouncer keeps track of */
	CPM_FEATURE_LISTEN,
	CPM_FEATURE_WITH_HOLD_CURSOR,
	CPM_FEATURE_SQL_PREPARE,	/* the statements; the protocol's own messages are no matter */
	CPM_FEATURE_TEMP_TABLE,		/* not ON COMMIT DROP */
	CPM_FEATURE_LOAD,
	CPM_FEATURE_ADVISORY_LOCK	/* of the session, not of a transaction */
} CpmFeature;

#define CPM_FEATURES (CPM_FEATURE_ADVISORY_LOCK + 1)

#endif							/* CPM_SESSION_FEATURE_H */
