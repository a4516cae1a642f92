/* SPDX-License-Identifier: PostgreSQL */
/*
 * attributes.h
 *		Compiler attributes for symbols of the library and for data of the hot path.
 *
 * PostgreSQL 15 exports every symbol of an extension, so even the library's own accesses go
 * through its global offset table. Since 16, symbols are hidden unless they are exported.
 * CPM_INTERNAL hides a symbol in every version.
 */
#ifndef CPM_ATTRIBUTES_H
#define CPM_ATTRIBUTES_H

#if defined(__GNUC__) && !defined(WIN32)
#define CPM_INTERNAL __attribute__((visibility("hidden")))
#else
#define CPM_INTERNAL
#endif

/*
 * Lets the compiler check arguments against a format. pg_attribute_printf() is not used, because
 * its archetype depends on the compiler that built PostgreSQL, and another compiler may not
 * support that archetype.
 */
#if defined(__GNUC__)
#define CPM_PRINTF(format_, first) __attribute__((format(printf, format_, first)))
#else
#define CPM_PRINTF(format_, first)
#endif

/*
 * Marks variables that every statement accesses. Each starts a cache line, and all share one
 * page: with hundreds of active backends, each further page costs every statement a TLB miss.
 */
#if defined(__GNUC__) && defined(__ELF__)
#define CPM_HOT_DATA __attribute__((aligned(64), section(".data.connpool_hot")))
#else
#define CPM_HOT_DATA pg_attribute_aligned(64)
#endif

#endif							/* CPM_ATTRIBUTES_H */
