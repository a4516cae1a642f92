/* SPDX-License-Identifier: PostgreSQL */
/*
 * table.h
 *		Validates and reads a table in a message from a child (console/wire.h).
 */
#ifndef CPM_TABLE_H
#define CPM_TABLE_H

#include "console/wire.h"

typedef struct CpmTable
{
	int			rows;
	int			columns;
	const char **name;			/* column names */
	const char **value;			/* values of the current row, or null pointers */
	const char *first;			/* the first row in the message's body */
	const char *next;			/* the next row to read */
	const char *end;			/* the end of the body */
} CpmTable;

/*
 * Validate the body of a message and initialize the table, which points into the body. Allocates
 * in the current memory context. Returns false if the body is malformed.
 */
extern bool cpm_table_open(CpmTable *table, const char *body, size_t length);

/* Return to the first row. */
extern void cpm_table_rewind(CpmTable *table);

/* Read the next row into table->value. Returns false after the last one. */
extern bool cpm_table_next(CpmTable *table);

/* Return the index of a column; -1 if there is none. */
extern int	cpm_table_column(const CpmTable *table, const char *name);

#endif							/* CPM_TABLE_H */
