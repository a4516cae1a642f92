/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_feature.h
 *		Features whose effect outlives a transaction, which transaction pooling breaks.
 */
#ifndef CPM_SESSION_FEATURE_H
#define CPM_SESSION_FEATURE_H

/* The order is that of every listing. */
typedef enum CpmFeature
{
	CPM_FEATURE_SET,			/* except SET LOCAL and settings that PgBouncer tracks */
	CPM_FEATURE_LISTEN,
	CPM_FEATURE_WITH_HOLD_CURSOR,
	CPM_FEATURE_SQL_PREPARE,	/* not the protocol's Parse, which PgBouncer handles */
	CPM_FEATURE_TEMP_TABLE,		/* except ON COMMIT DROP */
	CPM_FEATURE_LOAD,
	CPM_FEATURE_ADVISORY_LOCK	/* session-level only */
} CpmFeature;

#define CPM_FEATURES (CPM_FEATURE_ADVISORY_LOCK + 1)

#endif							/* CPM_SESSION_FEATURE_H */
