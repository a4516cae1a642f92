/* SPDX-License-Identifier: PostgreSQL */
/*
 * foreign_text.c
 *		Makes text from other databases and from clients valid in the reader's encoding.
 *
 * Names and queries in shared memory are unconverted. They may be in the encoding of another
 * database, in no encoding (SQL_ASCII), or truncated in the middle of a character. PostgreSQL
 * raises an error if it cannot convert text that it sends to a client, so one invalid byte from
 * any session would make a view fail for all readers. These functions replace such bytes with "?".
 *
 * Nearly all text is plain ASCII, which is valid in every server encoding, so it is detected
 * first and returned without a copy.
 */
#include "postgres.h"

#include "access/htup.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "functions/foreign_text.h"
#include "mb/pg_wchar.h"
#include "utils/syscache.h"

#define REPLACEMENT '?'

/* Upper bound of the bytes of one character after conversion, including the terminating zero. */
#define MAX_CHARACTER_SIZE 32

static bool
is_plain_ascii(const char *text)
{
	while ((signed char) *text > 0)
		text++;
	return *text == '\0';
}

int
cpm_database_encoding(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	int			encoding = GetDatabaseEncoding();

	if (HeapTupleIsValid(tuple))
	{
		encoding = ((Form_pg_database) GETSTRUCT(tuple))->encoding;
		ReleaseSysCache(tuple);
	}
	return encoding;
}

/* Return the default conversion; InvalidOid if none is needed or none exists. */
static Oid
find_conversion(int source_encoding, int target_encoding)
{
	if (source_encoding == target_encoding || source_encoding == PG_SQL_ASCII ||
		target_encoding == PG_SQL_ASCII)
		return InvalidOid;
	return FindDefaultConversionProc(source_encoding, target_encoding);
}

/*
 * Convert one valid character of length bytes. Returns the number of bytes written to target,
 * which has room for MAX_CHARACTER_SIZE; 0 if the target encoding does not have the character.
 */
static int
convert_character(Oid conversion, const char *source, int length, int source_encoding,
				  int target_encoding, char *target)
{
	unsigned char *bytes = (unsigned char *) unconstify(char *, source);
	int			converted = pg_do_encoding_conversion_buf(conversion, source_encoding,
														  target_encoding, bytes, length,
														  (unsigned char *) target,
														  MAX_CHARACTER_SIZE, true);

	/* the function returns the number of source bytes that it has converted */
	return converted == length ? (int) strlen(target) : 0;
}

/*
 * Return a palloc'd copy of the text, converted to the target encoding if conversion is a valid
 * OID. Invalid bytes, and characters that the target encoding does not have, become "?".
 */
static char *
copy_valid(const char *text, int encoding, Oid conversion, int target_encoding)
{
	size_t		left = strlen(text);
	char	   *copy = palloc(MAX_CONVERSION_GROWTH * left + MAX_CHARACTER_SIZE);
	char	   *next = copy;

	while (left > 0)
	{
		int			length = pg_encoding_verifymbchar(encoding, text, (int) left);
		int			written = 0;

		if (length > 0 && OidIsValid(conversion))
			written = convert_character(conversion, text, length, encoding, target_encoding, next);
		else if (length > 0)
		{
			memcpy(next, text, length);
			written = length;
		}
		if (written == 0)
			next[written++] = REPLACEMENT;
		next += written;
		length = Max(length, 1);
		text += length;
		left -= length;
	}
	*next = '\0';
	return copy;
}

const char *
cpm_text_to_server(const char *text, int encoding)
{
	int			server = GetDatabaseEncoding();
	Oid			conversion;

	if (is_plain_ascii(text))
		return text;
	conversion = find_conversion(encoding, server);
	/* without a conversion, interpret the bytes in this database's encoding */
	return copy_valid(text, OidIsValid(conversion) ? encoding : server, conversion, server);
}

const char *
cpm_text_for_client(const char *text)
{
	int			server = GetDatabaseEncoding();
	int			client = pg_get_client_encoding();
	Oid			conversion;
	char		converted[MAX_CHARACTER_SIZE];
	size_t		left;
	char	   *copy;
	char	   *next;

	if (is_plain_ascii(text))
		return text;
	/* PostgreSQL does not convert SQL_ASCII text, but verifies it in the client's encoding */
	if (server == PG_SQL_ASCII)
		return copy_valid(text, client, InvalidOid, client);
	/* from here on the text is valid, so that each character has a length above 0 */
	text = cpm_text_to_server(text, server);
	conversion = find_conversion(server, client);
	if (!OidIsValid(conversion))
		return text;
	copy = next = pstrdup(text);
	left = strlen(text);
	while (left > 0)
	{
		int			length = pg_encoding_verifymbchar(server, text, (int) left);

		if (convert_character(conversion, text, length, server, client, converted) > 0)
		{
			memcpy(next, text, length);
			next += length;
		}
		else
			*next++ = REPLACEMENT;
		text += length;
		left -= length;
	}
	*next = '\0';
	return copy;
}
