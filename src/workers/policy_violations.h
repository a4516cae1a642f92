/* SPDX-License-Identifier: PostgreSQL */
/*
 * policy_violations.h
 *		Which pools do not keep their policy, for the message of an alert.
 */
#ifndef CPM_POLICY_VIOLATIONS_H
#define CPM_POLICY_VIOLATIONS_H

#include "datatype/timestamp.h"

/*
 * Name some pools and what each violates, as in "web (shop in shopdb) over_max,
 * idle_too_long"; empty when all keep theirs. In the current memory context; takes
 * no lock. The sampler only, at a transition.
 */
extern void cpm_describe_violations(char *buffer, size_t size, TimestampTz now);

#endif							/* CPM_POLICY_VIOLATIONS_H */
