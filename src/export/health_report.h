/* SPDX-License-Identifier: PostgreSQL */
/*
 * health_report.h
 *		The state of the server in one JSON document.
 */
#ifndef CPM_HEALTH_REPORT_H
#define CPM_HEALTH_REPORT_H

#include "base/sample.h"
#include "lib/stringinfo.h"
#include "rules/health.h"

/*
 * Append the document and return its verdict; *sample is what it is about, unless
 * sample is NULL. Any process that cpm_sample_take() serves; needs no catalogs.
 */
extern CpmHealth cpm_health_write(StringInfo json, CpmSample *sample);

#endif							/* CPM_HEALTH_REPORT_H */
