/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool.c
 *		Application names as pools: which names share a pool, and how messages quote them.
 *
 * Poolers and orchestrators put addresses, pids and random suffixes into application names, which
 * would give each connection a pool of its own. Depending on application_grouping, these parts
 * are removed or replaced with '*'.
 *
 * Bytes outside ASCII count as letters. So does each escape such as \xc3 that PostgreSQL 16 and
 * later write for such a byte: treating its digits as numbers would merge different names.
 * PostgreSQL truncates names to NAMEDATALEN - 1 bytes; at the end of a name of that length, the
 * beginning of an address or a hash is treated like a complete one.
 *
 * Clients choose the names. Messages quote them like SQL identifiers, so that a name with spaces,
 * commas or parentheses cannot pass for another pool or for the end of the sentence.
 */
#include "postgres.h"

#include "base/pool.h"
#include "utils/builtins.h"

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"
#define POD_SUFFIX_CHARACTERS "bcdfghjklmnpqrstvwxz2456789" /* Kubernetes draws from these */
#define POD_SUFFIX_LENGTH 5
#define MIN_HASH_LENGTH 6
#define MAX_POD_HASH_LENGTH 10

/* Patterns for match_length(). */
#define ESCAPED_BYTE "\\xXX"	/* PostgreSQL's escape for a byte outside ASCII */
#define UUID "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX"
#define MIN_CUT_UUID_LENGTH 9	/* up to the first hyphen; a shorter prefix may be a word */

/* Suffixes added by PgBouncer's application_name_add_host: see pga_details() in its src/util.c. */
static const char *const client_addresses[] = {
	" - D.D.D.D:D", " - [A]:D", " - unix(D@H):D", " - unix:D"
};

/* Return how many leading bytes of the text match a pattern character. */
static size_t
span_length(char pattern, const char *text)
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
 * Return how many bytes at the start of the text match the whole pattern, or 0. With is_cut, text
 * that ends in the middle of the pattern matches too.
 */
static size_t
match_length(const char *pattern, const char *text, bool is_cut)
{
	const char *end = text;

	for (; *pattern != '\0'; pattern++)
	{
		size_t		span = span_length(*pattern, end);

		if (span == 0 && !(is_cut && *end == '\0'))
			return 0;
		end += span;
	}
	return end - text;
}

/* Remove one address from the end of the name; returns false if there is none. */
static bool
drop_address(char *name)
{
	size_t		length = strlen(name);
	bool		is_cut = length == NAMEDATALEN - 1;

	for (size_t i = 0; i < length; i++)
		for (size_t j = 0; name[i] == ' ' && j < lengthof(client_addresses); j++)
			if (match_length(client_addresses[j], name + i, is_cut) == length - i)
			{
				memset(name + i, 0, length - i);
				return true;
			}
	return false;
}

/* Return the length of the word at the start of the text: letters, digits, bytes outside ASCII. */
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
		else if (match_length(ESCAPED_BYTE, text + length, false) > 0)
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

/*
 * Return true if the word is the random suffix of a pod's name, or its beginning in a truncated
 * name. A suffix is the last of several words joined by hyphens.
 */
static bool
is_pod_suffix(const char *word, size_t length, bool is_cut)
{
	return length > 0 && strspn(word, POD_SUFFIX_CHARACTERS) == length && word[length] != '-' &&
		(length == POD_SUFFIX_LENGTH ||
		 (is_cut && length < POD_SUFFIX_LENGTH && word[length] == '\0'));
}

/*
 * Return true if the word is a hexadecimal hash, or the hash that precedes the suffix in a pod's
 * name. At least one decimal digit is required; otherwise "facade" would be a hash.
 */
static bool
is_hash(const char *word, size_t length, bool is_cut)
{
	if (!has_digit(word, length))
		return false;
	if (strspn(word, HEX_DIGITS) == length)
		return length >= MIN_HASH_LENGTH || (is_cut && word[length] == '\0');
	return length >= MIN_HASH_LENGTH && length <= MAX_POD_HASH_LENGTH &&
		strspn(word, POD_SUFFIX_CHARACTERS) == length && word[length] == '-' &&
		is_pod_suffix(word + length + 1, word_length(word + length + 1), is_cut);
}

/* Return the length of the UUID at the start of the text, or 0 if there is none. */
static size_t
uuid_length(const char *text, bool is_cut)
{
	size_t		length = match_length(UUID, text, is_cut);

	return length >= MIN_CUT_UUID_LENGTH && word_length(text + length) == 0 ? length : 0;
}

/* Copy a word, replacing each number in it with '*'. Return the end of the copy. */
static char *
copy_word(char *to, const char *word, size_t length)
{
	const char *end = word + length;

	while (word < end)
	{
		size_t		digits = strspn(word, DIGITS);
		size_t		byte = match_length(ESCAPED_BYTE, word, false);

		if (digits > 0)
			*to++ = '*';
		else
			for (size_t i = 0; i < Max(byte, 1); i++)
				*to++ = word[i];
		word += Max(digits, Max(byte, 1));
	}
	return to;
}

/*
 * Copy the name to pool, replacing each number, hash and random suffix with '*'. The copy is never
 * longer than the name.
 */
static void
replace_numbers(char *pool, const char *name)
{
	bool		is_cut = strlen(name) == NAMEDATALEN - 1;
	bool		after_hash = false; /* only hyphens and pod suffixes have followed a hash */

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
