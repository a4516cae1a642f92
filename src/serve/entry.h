/* SPDX-License-Identifier: PostgreSQL */
/*
 * entry.h
 *		Offers the library's functions to those that its workers load.
 */
#ifndef CPM_SERVE_ENTRY_H
#define CPM_SERVE_ENTRY_H

/* From _PG_init(), while libraries are preloaded: base/entry.h says what is in it. */
extern void cpm_entry_publish(void);

#endif							/* CPM_SERVE_ENTRY_H */
