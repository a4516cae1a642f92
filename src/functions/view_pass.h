/* SPDX-License-Identifier: PostgreSQL */
/*
 * view_pass.h
 *		The value by which a function behind a view recognises a call by that view.
 */
#ifndef CPM_VIEW_PASS_H
#define CPM_VIEW_PASS_H

/* Return true if _connpool_view_pass has given this value to a view in this process. */
extern bool cpm_is_view_pass(int64 value);

#endif							/* CPM_VIEW_PASS_H */
