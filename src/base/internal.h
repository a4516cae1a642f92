/*
 * internal.h
 *		Marks variables and functions that stay within the library.
 *
 * For those that every statement meets: they are reached without a detour over
 * the library's table of symbols. Since PostgreSQL 16 all symbols of an
 * extension are hidden unless they are exported.
 */
#ifndef CPM_INTERNAL_H
#define CPM_INTERNAL_H

#if defined(__GNUC__) && !defined(WIN32)
#define CPM_INTERNAL __attribute__((visibility("hidden")))
#else
#define CPM_INTERNAL
#endif

#endif							/* CPM_INTERNAL_H */
