/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_list.c
 *		Parses the setting pgbouncer into a list of consoles.
 *
 * The preloaded library does not link libpq. It therefore only splits the text by libpq's rules
 * of quoting (single quotes; a backslash before a quote or a backslash) and rejects keywords that
 * could hold a secret. libpq validates the values when the worker connects.
 *
 * If the text is malformed, the check_ and parse_ functions set *problem and return NULL.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/pooler_list.h"

/* Return the end of a value, quoted or not; NULL if its quote is not closed. */
static const char *
skip_value(const char *text)
{
	bool		is_quoted = *text == '\'';

	for (text += is_quoted; *text != '\0'; text++)
	{
		if (*text == '\\' && text[1] != '\0')
			text++;
		else if (is_quoted && *text == '\'')
			return text + 1;
		else if (!is_quoted && (*text == ';' || isspace((unsigned char) *text)))
			return text;
	}
	return is_quoted ? NULL : text;
}

static const char *
skip_spaces(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

/* Return the length of the keyword at the start of the text, or 0. */
static size_t
keyword_length(const char *text)
{
	size_t		length = 0;

	while (isalnum((unsigned char) text[length]) || text[length] == '_')
		length++;
	return length;
}

/*
 * Return true for libpq's keywords that are useful here and never hold a secret. Unknown keywords
 * are rejected too: a password after a misspelt keyword would be visible to every role that may
 * read settings. "service" is rejected because a service file may contain a password.
 */
static bool
is_allowed_keyword(const char *keyword, size_t length)
{
	static const char *const allowed[] = {
		"host", "hostaddr", "port", "user", "dbname", "passfile", "connect_timeout",
		"application_name", "client_encoding", "keepalives", "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslmode", "sslnegotiation",
		"sslcompression", "sslcert", "sslkey", "sslcertmode", "sslrootcert", "sslcrl", "sslcrldir",
		"sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
		"requirepeer", "require_auth", "channel_binding", "gssencmode", "krbsrvname", "gsslib",
		"gssdelegation", "min_protocol_version", "max_protocol_version",
	};

	for (size_t i = 0; i < lengthof(allowed); i++)
		if (length == strlen(allowed[i]) && strncmp(keyword, allowed[i], length) == 0)
			return true;
	return false;
}

/*
 * Return true if a dbname contains harmless characters only. libpq would parse one with "=" or
 * "://" as another conninfo, which could contain a password.
 */
static bool
is_plain_name(const char *value, const char *end)
{
	for (; value < end; value++)
		if (!isalnum((unsigned char) *value) && !strchr("_.-'", *value))
			return false;
	return true;
}

/* Check the value of a keyword, which has "length" bytes, and return the end of the value. */
static const char *
check_value(const char *keyword, size_t length, const char *value, const char **problem)
{
	const char *end = skip_value(value);

	if (end == NULL)
		*problem = "A quoted value has no closing quote.";
	else if (length == strlen("dbname") && strncmp(keyword, "dbname", length) == 0 &&
			 !is_plain_name(value, end))
	{
		*problem = "dbname must be the plain name of the console's database; "
			"the default is \"pgbouncer\".";
		return NULL;
	}
	return end;
}

/* Return true if the keyword ends in "password", as sslpassword does. */
static bool
is_password_keyword(const char *keyword, size_t length)
{
	size_t		suffix = strlen("password");

	return length >= suffix &&
		pg_strncasecmp(keyword + length - suffix, "password", suffix) == 0;
}

/* Check keywords and values up to a semicolon or the end of the text; return that position. */
static const char *
check_conninfo(const char *text, const char **problem)
{
	for (text = skip_spaces(text); *text != '\0' && *text != ';'; text = skip_spaces(text))
	{
		const char *keyword = text;
		size_t		length = keyword_length(text);

		if (length == 0 || *skip_spaces(text + length) != '=')
			*problem = "A console is written as name=keyword=value keyword=value, "
				"and consoles are separated by semicolons.";
		else if (is_password_keyword(text, length))
			*problem = "A password does not belong here: "
				"put it into the password file of the server's operating system user.";
		else if (!is_allowed_keyword(text, length))
			*problem = "Only keywords of libpq that define how to connect are accepted, such as "
				"host, port, user, passfile and sslmode; not password, service and options.";
		else
		{
			text = check_value(keyword, length, skip_spaces(skip_spaces(text + length) + 1),
							   problem);
			if (text != NULL)
				continue;
		}
		return NULL;
	}
	return text;
}

static bool
has_console(const CpmPoolerList *list, const char *name)
{
	for (int i = 0; i < list->count; i++)
		if (strcmp(list->console[i].name, name) == 0)
			return true;
	return false;
}

/* Parse a console's name and the "=" after it; return the position after that. */
static const char *
parse_name(const char *text, CpmPoolerList *list, const char **problem)
{
	CpmPoolerConsole *console = &list->console[list->count];
	size_t		length = 0;

	while (isalnum((unsigned char) text[length]) ||
		   (text[length] != '\0' && strchr("_.-", text[length])))
		length++;
	if (length >= sizeof(console->name))
	{
		*problem = "The name of a console is longer than 63 characters.";
		return NULL;
	}
	if (length == 0 || *skip_spaces(text + length) != '=')
	{
		*problem = "Each console begins with a name of letters, digits, \"_\", \".\" or \"-\", "
			"and \"=\".";
		return NULL;
	}
	memcpy(console->name, text, length);
	console->name[length] = '\0';
	if (has_console(list, console->name))
	{
		*problem = "Two consoles have the same name.";
		return NULL;
	}
	return skip_spaces(skip_spaces(text + length) + 1);
}

/* Parse one console, add it to the list and return its end. */
static const char *
parse_console(const char *text, CpmPoolerList *list, const char **problem)
{
	const char *conninfo;
	const char *end;

	if (list->count >= CPM_MAX_POOLERS)
	{
		*problem = "There are more than 16 consoles.";
		return NULL;
	}
	conninfo = parse_name(text, list, problem);
	if (conninfo == NULL)
		return NULL;
	if (keyword_length(conninfo) == 0 ||
		strncmp(conninfo + keyword_length(conninfo), "://", 3) == 0)
	{
		*problem = "The name of a console must be followed by keywords and values, such as "
			"host=127.0.0.1 port=6432 user=stats. Connection URIs are not accepted.";
		return NULL;
	}
	end = check_conninfo(conninfo, problem);
	if (end != NULL && (size_t) (end - conninfo) >= CPM_CONNINFO_SIZE)
	{
		*problem = "The keywords and values of a console are longer than 1023 bytes.";
		return NULL;
	}
	if (end == NULL)
		return NULL;
	memcpy(list->console[list->count].conninfo, conninfo, end - conninfo);
	list->console[list->count].conninfo[end - conninfo] = '\0';
	list->count++;
	return end;
}

bool
cpm_pooler_list_parse(const char *text, CpmPoolerList *list, const char **problem)
{
	list->count = 0;
	for (text = skip_spaces(text); *text != '\0'; text = skip_spaces(text))
	{
		if (*text == ';')
		{
			text++;
			continue;
		}
		text = parse_console(text, list, problem);
		if (text == NULL)
			return false;
	}
	return true;
}
