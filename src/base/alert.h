/* SPDX-License-Identifier: PostgreSQL */
/*
 * alert.h
 *		Where the alert of one metric stands: a value that store/ keeps and judge/
 *		advances.
 */
#ifndef CPM_ALERT_H
#define CPM_ALERT_H

#include "base/metric.h"
#include "datatype/timestamp.h"

typedef struct CpmAlert
{
	CpmStatus	status;			/* as announced */
	TimestampTz since;			/* in this status; 0 before the first sample */
	bool		raised[2];		/* by level: WARNING, CRITICAL */
	int64		held_us[2];		/* condition met for so long; -1 not met */
	int64		clear_us[2];	/* condition clear for so long while raised; -1 met */
	int64		unrepeated_us;	/* since it was last announced */
	double		peak;			/* worst value since it left OK; NaN while OK */
} CpmAlert;

#endif							/* CPM_ALERT_H */
