/* SPDX-License-Identifier: PostgreSQL */
/*
 * pooler_list.c
 *		The consoles of PgBouncer as a setting names them.
 *
 * Values are quoted as libpq has it: in single quotes, with a backslash before a
 * quote or a backslash. libpq is not linked to this library, so that it only looks
 * for what must not be there and leaves the rest to who connects.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/pooler_list.h"

/* After a value, quoted or not; NULL when its quote does not end. */
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

/* A keyword, without what follows it; its length is 0 for none. */
static size_t
keyword_length(const char *text)
{
	size_t		length = 0;

	while (isalnum((unsigned char) text[length]) || text[length] == '_')
		length++;
	return length;
}

/*
 * Keywords of libpq that lead to a console and hold no secret. What is not among
 * them is refused, for a password under a misspelt name would be shown to everybody
 * who may read settings; so would that which a service file brings.
 */
static bool
is_allowed_keyword(const char *keyword, size_t length)
{
	static const char *const allowed[] = {
		"host", "hostaddr", "port", "user", "dbname", "passfile", "connect_timeout", "application_name",
		"client_encoding", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "sslmode", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslcertmode",
		"sslrootcert", "sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
		"requirepeer", "require_auth", "channel_binding", "gssencmode", "krbsrvname", "gsslib",
		"gssdelegation", "min_protocol_version", "max_protocol_version",
	};

	for (size_t i = 0; i < lengthof(allowed); i++)
		if (length == strlen(allowed[i]) && strncmp(keyword, allowed[i], length) == 0)
			return true;
	return false;
}

/* libpq takes a dbname with "=" or "://" for a conninfo of its own, with a password perhaps. */
static bool
is_plain_name(const char *value, const char *end)
{
	for (; value < end; value++)
		if (!isalnum((unsigned char) *value) && !strchr("_.-'", *value))
			return false;
	return true;
}

/* A keyword's value, up to its end; NULL for a problem. */
static const char *
check_value(const char *keyword, size_t length, const char *value, const char **problem)
{
	const char *end = skip_value(value);

	if (end == NULL)
		*problem = "A quoted value does not end.";
	else if (strncmp(keyword, "dbname", length) == 0 && !is_plain_name(value, end))
	{
		*problem = "dbname is the plain name of the console's database, \"pgbouncer\" unless it is said.";
		return NULL;
	}
	return end;
}

/* Look through keywords and values up to a semicolon or the end; NULL for a problem. */
static const char *
check_conninfo(const char *text, const char **problem)
{
	for (text = skip_spaces(text); *text != '\0' && *text != ';'; text = skip_spaces(text))
	{
		const char *keyword = text;
		size_t		length = keyword_length(text);

		if (length == 0 || *skip_spaces(text + length) != '=')
			*problem = "A console is written as name=keyword=value keyword=value, and consoles are separated by semicolons.";
		else if (length >= strlen("password") && pg_strncasecmp(text + length - strlen("password"), "password", strlen("password")) == 0)
			*problem = "A password does not belong here: put it into the password file of the server's operating system user.";
		else if (!is_allowed_keyword(text, length))
			*problem = "Keywords are those of libpq that lead to a console, as host, port, user, passfile and those of TLS; password, service and options are not taken.";
		else
		{
			text = check_value(keyword, length, skip_spaces(skip_spaces(text + length) + 1), problem);
			if (text != NULL)
				continue;
		}
		return NULL;
	}
	return text;
}

static bool
is_known(const CpmPoolerList *list, const char *name)
{
	for (int i = 0; i < list->count; i++)
		if (strcmp(list->console[i].name, name) == 0)
			return true;
	return false;
}

/* A name and its "="; NULL for a problem. */
static const char *
parse_name(const char *text, CpmPoolerList *list, const char **problem)
{
	CpmPoolerConsole *console = &list->console[list->count];
	size_t		length = 0;

	while (isalnum((unsigned char) text[length]) || (text[length] != '\0' && strchr("_.-", text[length])))
		length++;
	if (length >= sizeof(console->name))
	{
		*problem = "The name of a console is longer than 63 characters.";
		return NULL;
	}
	if (length == 0 || *skip_spaces(text + length) != '=')
	{
		*problem = "Each console begins with a name of letters, digits, \"_\", \".\" or \"-\", and \"=\".";
		return NULL;
	}
	memcpy(console->name, text, length);
	console->name[length] = '\0';
	if (is_known(list, console->name))
	{
		*problem = "Two consoles have the same name.";
		return NULL;
	}
	return skip_spaces(skip_spaces(text + length) + 1);
}

/* One console; NULL for a problem. */
static const char *
parse_console(const char *text, CpmPoolerList *list, const char **problem)
{
	const char *conninfo;
	const char *end;

	if (list->count >= CPM_MOST_POOLERS)
	{
		*problem = "There are more than 16 consoles.";
		return NULL;
	}
	conninfo = parse_name(text, list, problem);
	if (conninfo == NULL)
		return NULL;
	if (keyword_length(conninfo) == 0 || strncmp(conninfo + keyword_length(conninfo), "://", 3) == 0)
	{
		*problem = "After its name a console has keywords and values, as in host=127.0.0.1 port=6432 user=stats; addresses with \"://\" are not taken.";
		return NULL;
	}
	end = check_conninfo(conninfo, problem);
	if (end != NULL && (size_t) (end - conninfo) >= CPM_CONNINFO_SIZE)
	{
		*problem = "What is said of a console is longer than 1023 bytes.";
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
