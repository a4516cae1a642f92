/* SPDX-License-Identifier: PostgreSQL */
/*
 * health_report.h
 *		The health of the server as a JSON document.
 */
#ifndef CPM_HEALTH_REPORT_H
#define CPM_HEALTH_REPORT_H

#include "base/sample.h"
#include "lib/stringinfo.h"
#include "rules/health.h"

/*
 * Append the health document to json, and return the health that it reports. Copies the underlying
 * sample to *sample, unless sample is NULL. Any process that may call cpm_sample_take() may call
 * this function; it reads no catalogs.
 */
extern CpmHealth cpm_health_write(StringInfo json, CpmSample *sample);

#endif							/* CPM_HEALTH_REPORT_H */
