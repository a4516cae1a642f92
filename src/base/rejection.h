/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejection.h
 *		Why a connection was refused.
 */
#ifndef CPM_REJECTION_H
#define CPM_REJECTION_H

/* In the order of connpool_rejections. */
typedef enum CpmRefusal
{
	CPM_REFUSED_TOO_MANY,		/* no slot at all */
	CPM_REFUSED_RESERVED,		/* only reserved slots were left */
	CPM_REFUSED_ROLE_LIMIT,
	CPM_REFUSED_DATABASE_LIMIT,
	CPM_REFUSED_AUTHENTICATION,
	CPM_REFUSED_HBA,
	CPM_REFUSED_NO_DATABASE,
	CPM_REFUSED_STARTING_UP,
	CPM_REFUSED_SHUTTING_DOWN,
	CPM_REFUSED_OTHER
} CpmRefusal;

#define CPM_REFUSALS (CPM_REFUSED_OTHER + 1)

/* too_many, reserved, … as connpool_rejections lists them */
extern const char *cpm_refusal_name(CpmRefusal reason);

#endif							/* CPM_REJECTION_H */
