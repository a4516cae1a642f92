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

char *
cpm_valid_utf8(const char *text, bool only_ascii, bool escape_backslash)
{
	size_t		length = strlen(text);
	char	   *copy = palloc(4 * length + 1);
	char	   *next = copy;

	for (size_t i = 0; i < length;)
	{
		int			bytes = pg_utf_mblen((const unsigned char *) text + i);
		bool		is_valid = i + bytes <= length &&
			pg_utf8_islegal((const unsigned char *) text + i, bytes);

		if (escape_backslash && text[i] == '\\')
			*next++ = '\\';
		if (is_valid && (bytes == 1 || !only_ascii))
		{
			memcpy(next, text + i, bytes);
			next += bytes;
			i += bytes;
		}
		else
			next += sprintf(next, "\\x%02x", (unsigned char) text[i++]);
	}
	*next = '\0';
	return copy;
}
