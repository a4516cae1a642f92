/* SPDX-License-Identifier: PostgreSQL */
/*
 * table.h
 *		Reads a table that a console answered, out of a message (console/wire.h).
 */
#ifndef CPM_TABLE_H
#define CPM_TABLE_H

#include "console/wire.h"

typedef struct CpmTable
{
	int			rows;
	int			columns;
	const char **name;			/* of each column */
	const char **value;			/* in the row that was read last; NULL for NULL */
	const char *first;			/* the first row */
	const char *next;			/* the row to be read next */
	const char *end;
} CpmTable;

/*
 * Validate the body of a message and make a table of it, which points into the body. Allocates
 * in the current memory context. Returns false if it is no table.
 */
extern bool cpm_table_open(CpmTable *table, const char *body, size_t length);

/* Begin with the first row again. */
extern void cpm_table_rewind(CpmTable *table);

/* Read the next row into table->value. Returns false after the last one. */
extern bool cpm_table_next(CpmTable *table);

/* The number of a column, or -1. */
extern int	cpm_table_column(const CpmTable *table, const char *name);

#endif							/* CPM_TABLE_H */
