/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool.c
 *		Which applications are one pool, and names of pools as they stand in a sentence.
 *
 * Poolers and orchestrators put addresses, pids and random suffixes into application names, so
 * that one application would be a pool for each connection. Those parts are taken out, or
 * replaced by '*'. Only ASCII is looked at: a character of more bytes is a letter. So is each
 * \xc3 that PostgreSQL writes for such a byte since version 16, or different names would become
 * one. PostgreSQL cuts names after NAMEDATALEN - 1 bytes: at the end of such a name the
 * beginning of an address or a hash is enough.
 *
 * Clients choose the names. In a sentence each is quoted like an identifier of SQL, so that a
 * name with spaces, commas or brackets cannot be read as the name of another pool or as the end
 * of the sentence.
 */
#include "postgres.h"

#include "base/pool.h"
#include "utils/builtins.h"

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"
#define POD_CHARACTERS "bcdfghjklmnpqrstvwxz2456789"	/* of Kubernetes' random suffixes */
#define POD_SUFFIX_LENGTH 5
#define LEAST_HASH_LENGTH 6
#define MOST_POD_HASH_LENGTH 10

/* Patterns, as match() reads them. */
#define ESCAPED_BYTE "\\xXX"	/* how PostgreSQL writes a byte that is not ASCII */
#define UUID "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX"
#define LEAST_CUT_UUID 9		/* bytes, with its first hyphen: less may be a word */

/* What PgBouncer's application_name_add_host appends: see pga_details() in its src/util.c. */
static const char *const client_addresses[] = {
	" - D.D.D.D:D", " - [A]:D", " - unix(D@H):D", " - unix:D"
};

/* Return the length of what one character of a pattern stands for at the start of the text. */
static size_t
span_of(char pattern, const char *text)
{
	switch (pattern)
	{
		case 'D':				/* a decimal number */
			return strspn(text, DIGITS);
		case 'X':				/* a hexadecimal digit */
			return *text != '\0' && strchr(HEX_DIGITS, *text) != NULL;
		case 'A':				/* an IPv6 address */
			return strspn(text, HEX_DIGITS ":.");
		case 'H':				/* a host name */
			return strcspn(text, ")");
		default:
			return *text == pattern;
	}
}

/*
 * Return the length of what matches the pattern at the beginning of the text, 0 if nothing does.
 * Where the text was cut, its end may come before that of the pattern.
 */
static size_t
match(const char *pattern, const char *text, bool is_cut)
{
	const char *end = text;

	for (; *pattern != '\0'; pattern++)
	{
		size_t		span = span_of(*pattern, end);

		if (span == 0 && !(is_cut && *end == '\0'))
			return 0;
		end += span;
	}
	return end - text;
}

/* Cut one address off the end of the name; false if there is none. */
static bool
drop_address(char *name)
{
	size_t		length = strlen(name);
	bool		is_cut = length == NAMEDATALEN - 1;

	for (size_t i = 0; i < length; i++)
		for (size_t j = 0; name[i] == ' ' && j < lengthof(client_addresses); j++)
			if (match(client_addresses[j], name + i, is_cut) == length - i)
			{
				memset(name + i, 0, length - i);
				return true;
			}
	return false;
}

/* Return the length of the word at the start: letters, digits and all that is not ASCII. */
static size_t
word_length(const char *text)
{
	size_t		length = 0;

	for (;;)
	{
		char		c = text[length];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			IS_HIGHBIT_SET(c))
			length++;
		else if (match(ESCAPED_BYTE, text + length, false) > 0)
			length += strlen(ESCAPED_BYTE);
		else
			return length;
	}
}

static bool
has_digit(const char *word, size_t length)
{
	return strcspn(word, DIGITS) < length;
}

/* The random suffix of a pod, or what is left of it: the last of words joined by hyphens. */
static bool
is_pod_suffix(const char *word, size_t length, bool is_cut)
{
	return length > 0 && strspn(word, POD_CHARACTERS) == length && word[length] != '-' &&
		(length == POD_SUFFIX_LENGTH || (is_cut && length < POD_SUFFIX_LENGTH && word[length] == '\0'));
}

/*
 * Hexadecimal digits, or what stands before the suffix of a pod. One of them is a decimal digit:
 * without that, "facade" would be one.
 */
static bool
is_hash(const char *word, size_t length, bool is_cut)
{
	if (!has_digit(word, length))
		return false;
	if (strspn(word, HEX_DIGITS) == length)
		return length >= LEAST_HASH_LENGTH || (is_cut && word[length] == '\0');
	return length >= LEAST_HASH_LENGTH && length <= MOST_POD_HASH_LENGTH &&
		strspn(word, POD_CHARACTERS) == length && word[length] == '-' &&
		is_pod_suffix(word + length + 1, word_length(word + length + 1), is_cut);
}

static size_t
uuid_length(const char *text, bool is_cut)
{
	size_t		length = match(UUID, text, is_cut);

	return length >= LEAST_CUT_UUID && word_length(text + length) == 0 ? length : 0;
}

/* Copy a word with '*' for each number in it, and return the end of the copy. */
static char *
copy_word(char *to, const char *word, size_t length)
{
	const char *end = word + length;

	while (word < end)
	{
		size_t		digits = strspn(word, DIGITS);
		size_t		byte = match(ESCAPED_BYTE, word, false);

		if (digits > 0)
			*to++ = '*';
		else
			for (size_t i = 0; i < Max(byte, 1); i++)
				*to++ = word[i];
		word += Max(digits, Max(byte, 1));
	}
	return to;
}

/* The copy is never longer than the name. */
static void
replace_numbers(char *pool, const char *name)
{
	bool		is_cut = strlen(name) == NAMEDATALEN - 1;
	bool		after_hash = false; /* a hash and a hyphen stand before this word */

	for (const char *word = name; *word != '\0';)
	{
		bool		after_hyphen = word > name && word[-1] == '-';
		size_t		length = word_length(word);
		size_t		uuid = uuid_length(word, is_cut);

		if (length == 0)
		{
			after_hash = after_hash && *word == '-';
			*pool++ = *word++;
			continue;
		}
		if (uuid > 0 || is_hash(word, length, is_cut))
		{
			*pool++ = '*';
			after_hash = true;
		}
		else if (after_hyphen && is_pod_suffix(word, length, is_cut) &&
				 (after_hash || has_digit(word, length)))
			*pool++ = '*';
		else
		{
			pool = copy_word(pool, word, length);
			after_hash = false;
		}
		word += Max(uuid, length);
	}
}

void
cpm_pool_application(char *pool, const char *application_name, CpmGrouping grouping)
{
	char		name[NAMEDATALEN] = "";

	memcpy(name, application_name, strnlen(application_name, NAMEDATALEN - 1));
	while (grouping != CPM_GROUPING_OFF && drop_address(name))
		;
	memset(pool, 0, NAMEDATALEN);
	if (grouping == CPM_GROUPING_NUMBERS)
		replace_numbers(pool, name);
	else
		memcpy(pool, name, NAMEDATALEN);
}

const char *
cpm_application_label(const char *application_name)
{
	return application_name[0] != '\0' ? quote_identifier(application_name) :
		"(no application name)";
}

char *
cpm_pool_label(const CpmPoolName *name)
{
	return psprintf("%s (%s in %s)", cpm_application_label(name->application_name),
					quote_identifier(name->role), quote_identifier(name->database));
}
