/* SPDX-License-Identifier: PostgreSQL */
/*
 * utf8.c
 *		Converts text of unknown encoding to valid UTF-8.
 *
 * Names chosen by clients are stored in the encoding of their own database and may be truncated
 * in the middle of a character. JSON and metrics must be UTF-8.
 */
#include "postgres.h"

#include "base/utf8.h"
#include "mb/pg_wchar.h"

/* Return the length of the character at the start of the text; 0 if it must be escaped. */
static int
printable_length(const char *text, size_t left, bool only_ascii)
{
	int			bytes = pg_utf_mblen((const unsigned char *) text);

	if ((size_t) bytes > left || !pg_utf8_islegal((const unsigned char *) text, bytes))
		return 0;
	return bytes == 1 || !only_ascii ? bytes : 0;
}

/*
 * Return true if a backslash before this text must be doubled, because a decoder could read it as
 * part of an escape. That is so if the text begins with x and two hexadecimal digits, with another
 * backslash, or with a byte that will itself be written as an escape.
 */
static bool
is_ambiguous_before(const char *text, size_t left, bool only_ascii)
{
	static const char digits[] = "0123456789abcdef";

	if (left == 0)
		return false;
	if (text[0] == 'x' && left >= 3)
		return strchr(digits, text[1]) != NULL && strchr(digits, text[2]) != NULL;
	return text[0] == '\\' || printable_length(text, left, only_ascii) == 0;
}

char *
cpm_valid_utf8(const char *text, bool only_ascii, bool escape_backslash)
{
	size_t		left = strlen(text);
	char	   *copy = palloc(4 * left + 1);
	char	   *next = copy;

	while (left > 0)
	{
		int			bytes = printable_length(text, left, only_ascii);

		if (escape_backslash && *text == '\\' &&
			is_ambiguous_before(text + 1, left - 1, only_ascii))
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
