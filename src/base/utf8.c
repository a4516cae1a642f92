/* SPDX-License-Identifier: PostgreSQL */
/*
 * utf8.c
 *		Names that clients or other databases chose, as valid UTF-8.
 *
 * They are stored as they came: in the encoding of their database, or cut off in the
 * middle of a character.
 */
#include "postgres.h"

#include "base/utf8.h"
#include "mb/pg_wchar.h"

/* The length of the character at that place if it can be shown as it is, otherwise 0. */
static int
shown_length(const char *text, size_t left, bool only_ascii)
{
	int			bytes = pg_utf_mblen((const unsigned char *) text);

	if ((size_t) bytes > left || !pg_utf8_islegal((const unsigned char *) text, bytes))
		return 0;
	return bytes == 1 || !only_ascii ? bytes : 0;
}

/* Could a backslash before this text be taken for the beginning of an escape, or end one? */
static bool
is_ambiguous_before(const char *text, size_t left, bool only_ascii)
{
	static const char digits[] = "0123456789abcdef";

	if (left == 0)
		return false;
	if (text[0] == 'x' && left >= 3)
		return strchr(digits, text[1]) != NULL && strchr(digits, text[2]) != NULL;
	return text[0] == '\\' || shown_length(text, left, only_ascii) == 0;
}

char *
cpm_valid_utf8(const char *text, bool only_ascii, bool escape_backslash)
{
	size_t		left = strlen(text);
	char	   *copy = palloc(4 * left + 1);
	char	   *next = copy;

	while (left > 0)
	{
		int			bytes = shown_length(text, left, only_ascii);

		if (escape_backslash && *text == '\\' && is_ambiguous_before(text + 1, left - 1, only_ascii))
			*next++ = '\\';
		if (bytes > 0)
			memcpy(next, text, bytes);
		next += bytes > 0 ? bytes : sprintf(next, "\\x%02x", (unsigned char) *text);
		text += Max(bytes, 1);
		left -= Max(bytes, 1);
	}
	*next = '\0';
	return copy;
}
