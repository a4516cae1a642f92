/* SPDX-License-Identifier: PostgreSQL */
/*
 * foreign_text.c
 *		Text that came from another database or from a client, made fit to show.
 *
 * Shared memory holds names and queries as they came: in the encoding of another database, in
 * none (SQL_ASCII), or cut off in the middle of a character. PostgreSQL converts a text that it
 * sends and raises an error where it cannot, so one odd byte from anybody would make a view
 * fail for everybody. Here such bytes become "?".
 *
 * Nearly all text is plain ASCII, which every encoding of a server shares: that is recognised
 * first and returned as it is.
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

/* Upper bound of the bytes that one character becomes, with the terminating zero. */
#define LONGEST_CHARACTER 32

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

/* The conversion from one encoding to another; InvalidOid where none is needed or there is none. */
static Oid
find_conversion(int from, int to)
{
	if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII)
		return InvalidOid;
	return FindDefaultConversionProc(from, to);
}

/*
 * Convert the valid character of that length at source. Returns the number of bytes put into
 * target, or 0 if the other encoding does not have it.
 */
static int
convert_character(Oid conversion, const char *source, int length, int from, int to, char *target)
{
	int			done = pg_do_encoding_conversion_buf(conversion, from, to,
													 (unsigned char *) unconstify(char *, source), length,
													 (unsigned char *) target, LONGEST_CHARACTER, true);

	return done == length ? (int) strlen(target) : 0;
}

/*
 * Copy the text, converted from its encoding where there is a conversion, with "?" for bytes
 * that the encoding does not allow and characters that the other encoding does not have.
 */
static char *
copy_valid(const char *text, int encoding, Oid conversion, int to)
{
	size_t		left = strlen(text);
	char	   *copy = palloc(MAX_CONVERSION_GROWTH * left + LONGEST_CHARACTER);
	char	   *next = copy;

	while (left > 0)
	{
		int			length = pg_encoding_verifymbchar(encoding, text, (int) left);
		int			written = 0;

		if (length > 0 && OidIsValid(conversion))
			written = convert_character(conversion, text, length, encoding, to, next);
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
	/* no conversion: interpret the bytes in this database's encoding */
	return copy_valid(text, OidIsValid(conversion) ? encoding : server, conversion, server);
}

const char *
cpm_text_for_client(const char *text)
{
	int			server = GetDatabaseEncoding();
	int			client = pg_get_client_encoding();
	Oid			conversion;
	char		converted[LONGEST_CHARACTER];
	char	   *copy;
	char	   *next;

	if (is_plain_ascii(text))
		return text;
	/* PostgreSQL sends SQL_ASCII text unconverted, but checks it against the client's encoding */
	if (server == PG_SQL_ASCII)
		return copy_valid(text, client, InvalidOid, client);
	text = cpm_text_to_server(text, server);
	conversion = find_conversion(server, client);
	if (!OidIsValid(conversion))
		return text;
	copy = next = pstrdup(text);
	while (*text != '\0')
	{
		int			length = pg_encoding_verifymbchar(server, text, (int) strlen(text));

		if (convert_character(conversion, text, length, server, client, converted) > 0)
		{
			memcpy(next, text, length);
			next += length;
		}
		else
			*next++ = REPLACEMENT;
		text += length;
	}
	*next = '\0';
	return copy;
}
