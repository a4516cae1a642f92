/* SPDX-License-Identifier: PostgreSQL */
/*
 * attributes.h
 *		Marks variables and functions that stay within the library, and those that
 *		every statement meets.
 *
 * Internal ones are reached without a detour over the library's table of
 * symbols. Since PostgreSQL 16 all symbols of an extension are hidden unless
 * they are exported.
 *
 * Hot variables begin a line of the cache each and stand in one page, hot
 * functions too: among hundreds of sessions each page that a statement touches
 * is one that the processor has to look up again.
 */
#ifndef CPM_ATTRIBUTES_H
#define CPM_ATTRIBUTES_H

#if defined(__GNUC__) && !defined(WIN32)
#define CPM_INTERNAL __attribute__((visibility("hidden")))
#else
#define CPM_INTERNAL
#endif

/* Arguments are checked against the format; PostgreSQL's own macro knows only the compiler it was built with. */
#if defined(__GNUC__)
#define CPM_PRINTF(format_, first) __attribute__((format(printf, format_, first)))
#else
#define CPM_PRINTF(format_, first)
#endif

#if defined(__GNUC__) && defined(__ELF__)
#define CPM_HOT_DATA __attribute__((aligned(64), section(".data.connpool_hot")))
#else
#define CPM_HOT_DATA pg_attribute_aligned(64)
#endif

#endif							/* CPM_ATTRIBUTES_H */
