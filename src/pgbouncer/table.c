/* SPDX-License-Identifier: PostgreSQL */
/*
 * table.c
 *		Validates and reads a table in a message from a child (console/wire.h).
 *
 * A hostile console might take over the child through a bug in libpq, so the message may contain
 * anything. cpm_table_open() checks the whole message, so that reading the rows cannot fail later:
 * all lengths are correct, and a zero byte follows each text. A text may contain zero bytes too.
 */
#include "postgres.h"

#include "pgbouncer/table.h"

#define MAX_COLUMNS 1600

/* Read a text or NULL at *next and advance *next. Returns false if it is malformed. */
static bool
next_text(const char **next, const char *end, const char **text)
{
	uint32		length;

	if ((size_t) (end - *next) < sizeof(length))
		return false;
	memcpy(&length, *next, sizeof(length));
	*next += sizeof(length);
	*text = NULL;
	if (length == CPM_NULL_LENGTH)
		return true;
	if (length >= (size_t) (end - *next) || (*next)[length] != '\0')
		return false;
	*text = *next;
	*next += (size_t) length + 1;
	return true;
}

/* Read a row, or the row of column names. Returns false if it is malformed. */
static bool
next_texts(CpmTable *table, const char **texts)
{
	for (int i = 0; i < table->columns; i++)
		if (!next_text(&table->next, table->end, &texts[i]))
			return false;
	return true;
}

/* Return true if no column name is NULL and the body consists of exactly that number of rows. */
static bool
is_valid(CpmTable *table, uint32 rows)
{
	if (!next_texts(table, table->name))
		return false;
	for (int i = 0; i < table->columns; i++)
		if (table->name[i] == NULL)
			return false;
	table->first = table->next;
	for (uint32 row = 0; row < rows; row++)
		if (!next_texts(table, table->value))
			return false;
	return table->next == table->end;
}

bool
cpm_table_open(CpmTable *table, const char *body, size_t length)
{
	CpmTableHeader header;

	if (length < sizeof(header))
		return false;
	memcpy(&header, body, sizeof(header));
	if (header.columns < 1 || header.columns > MAX_COLUMNS || header.rows > length)
		return false;
	table->rows = (int) header.rows;
	table->columns = (int) header.columns;
	table->name = palloc(table->columns * sizeof(char *));
	table->value = palloc(table->columns * sizeof(char *));
	table->next = body + sizeof(header);
	table->end = body + length;
	if (!is_valid(table, header.rows))
		return false;
	cpm_table_rewind(table);
	return true;
}

void
cpm_table_rewind(CpmTable *table)
{
	table->next = table->first;
}

bool
cpm_table_next(CpmTable *table)
{
	return table->next < table->end && next_texts(table, table->value);
}

int
cpm_table_column(const CpmTable *table, const char *name)
{
	for (int i = 0; i < table->columns; i++)
		if (strcmp(table->name[i], name) == 0)
			return i;
	return -1;
}
