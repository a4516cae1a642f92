/* SPDX-License-Identifier: PostgreSQL */
/*
 * view_pass.h
 *		The value by which a function behind a view recognizes a call from that view.
 */
#ifndef CPM_VIEW_PASS_H
#define CPM_VIEW_PASS_H

/* Return true if value is the one that _connpool_view_pass returns to views in this process. */
extern bool cpm_is_view_pass(int64 value);

#endif							/* CPM_VIEW_PASS_H */
