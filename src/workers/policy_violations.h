/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy_violations.h
 *		Describes pools that violate their policy, in the message of an alert.
 */
#ifndef CPM_POLICY_VIOLATIONS_H
#define CPM_POLICY_VIOLATIONS_H

#include "datatype/timestamp.h"

/*
 * Describe up to three pools and the limits that each violates, as in "web (shop in shopdb)
 * over_max, idle_too_long". Sets an empty text if there are none. Takes no lock; allocates in the
 * current memory context. The sampler only.
 */
extern void cpm_describe_violations(char *buffer, size_t size, TimestampTz now);

#endif							/* CPM_POLICY_VIOLATIONS_H */
