/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejection.h
 *		Why a connection was refused.
 */
#ifndef CPM_REJECTION_H
#define CPM_REJECTION_H

/* In the order of connpool_rejections. */
typedef enum CpmRejection
{
	CPM_REJECTED_TOO_MANY,		/* no slot at all */
	CPM_REJECTED_RESERVED,		/* only reserved slots were left */
	CPM_REJECTED_ROLE_LIMIT,
	CPM_REJECTED_DATABASE_LIMIT,
	CPM_REJECTED_AUTHENTICATION,
	CPM_REJECTED_HBA,
	CPM_REJECTED_NO_DATABASE,
	CPM_REJECTED_STARTING_UP,
	CPM_REJECTED_SHUTTING_DOWN,
	CPM_REJECTED_OTHER
} CpmRejection;

#define CPM_REJECTIONS (CPM_REJECTED_OTHER + 1)

/* too_many, reserved, … as connpool_rejections lists them */
extern const char *cpm_rejection_name(CpmRejection reason);

#endif							/* CPM_REJECTION_H */
