/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejection.h
 *		The reasons for which a connection is refused.
 */
#ifndef CPM_REJECTION_H
#define CPM_REJECTION_H

/* In the order of the view connpool_rejections. */
typedef enum CpmRejection
{
	CPM_REJECTED_TOO_MANY,		/* all connection slots were in use */
	CPM_REJECTED_RESERVED,		/* only reserved connection slots were left */
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

/* Return the reason's name in connpool_rejections, such as "too_many". Never NULL. */
extern const char *cpm_rejection_name(CpmRejection reason);

#endif							/* CPM_REJECTION_H */
