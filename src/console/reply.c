/* SPDX-License-Identifier: PostgreSQL */
/*
 * reply.c
 *		Sends messages to the PgBouncer worker.
 *
 * If a write fails, the worker has ended, and this process exits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/reply.h"

static void
write_bytes(const void *bytes, size_t length)
{
	if (fwrite(bytes, 1, length, stdout) != length)
		exit(1);
}

static void
write_header(CpmMessageType type, size_t length)
{
	CpmMessageHeader header = {.type = type, .length = (uint32_t) length};

	write_bytes(&header, sizeof(header));
}

static void
end_message(void)
{
	if (fflush(stdout) != 0)
		exit(1);
}

void
cpm_reply_asking(void)
{
	write_header(CPM_MESSAGE_ASKING, 0);
	end_message();
}

/* Write a column name or a value of a table; a null pointer stands for NULL. */
static void
write_text(const char *text, size_t text_length)
{
	uint32_t	length = text ? (uint32_t) text_length : CPM_NULL_LENGTH;

	write_bytes(&length, sizeof(length));
	if (text)
		write_bytes(text, text_length + 1);
}

/* Return the number of bytes that write_text() writes. */
static size_t
text_size(const char *text, size_t text_length)
{
	return sizeof(uint32_t) + (text ? text_length + 1 : 0);
}

static const char *
value_at(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static size_t
message_size(const PGresult *result)
{
	size_t		size = sizeof(CpmTableHeader);

	for (int column = 0; column < PQnfields(result); column++)
	{
		size += text_size(PQfname(result, column), strlen(PQfname(result, column)));
		for (int row = 0; row < PQntuples(result); row++)
			size += text_size(value_at(result, row, column), PQgetlength(result, row, column));
	}
	return size;
}

void
cpm_reply_table(const PGresult *result)
{
	CpmTableHeader header = {.columns = PQnfields(result), .rows = PQntuples(result)};

	write_header(CPM_MESSAGE_TABLE, message_size(result));
	write_bytes(&header, sizeof(header));
	for (int column = 0; column < PQnfields(result); column++)
		write_text(PQfname(result, column), strlen(PQfname(result, column)));
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			write_text(value_at(result, row, column), PQgetlength(result, row, column));
	end_message();
}

void
cpm_reply_failure(CpmMessageType type, const char *text)
{
	write_header(type, strlen(text));
	write_bytes(text, strlen(text));
	end_message();
	exit(1);
}
