/* SPDX-License-Identifier: PostgreSQL */
/*
 * version.h
 *		The version of the extension; must agree with connpool_monitor.control.
 */
#ifndef CPM_VERSION_H
#define CPM_VERSION_H

#define CPM_VERSION "1.0"

#endif							/* CPM_VERSION_H */
