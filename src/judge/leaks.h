/*
 * leaks.h
 *		Which sessions and prepared transactions look forgotten.
 */
#ifndef CPM_LEAKS_H
#define CPM_LEAKS_H

#include "base/session.h"

typedef enum CpmLeakKind
{
	CPM_NO_LEAK,
	CPM_LEAK_IDLE_IN_TRANSACTION,
	CPM_LEAK_IDLE,
	CPM_LEAK_PREPARED
} CpmLeakKind;

/*
 * Judge each of the sessions. kinds has room for count; sessions are sorted by
 * pool and age on the way. Pure; n log n.
 */
extern void cpm_find_leaks(CpmSession *sessions, int count, TimestampTz now,
						   const CpmAges *ages, CpmLeakKind *kinds);

extern const char *cpm_leak_kind_name(CpmLeakKind kind);

#endif							/* CPM_LEAKS_H */
