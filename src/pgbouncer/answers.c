/* SPDX-License-Identifier: PostgreSQL */
/*
 * answers.c
 *		Reads the answers of PgBouncer's console: columns by name, whatever its version.
 *
 * What comes over the network is believed to be text with an end, for libpq sees to
 * that, and nothing else: names may be missing, numbers no numbers, rows too many.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgbouncer/answers.h"

#define MOST_SERVERS 100000

/* A value as text; "" when there is none. */
static const char *
text_at(const PGresult *result, int row, int column)
{
	return column >= 0 && !PQgetisnull(result, row, column) ? PQgetvalue(result, row, column) : "";
}

static const char *
text_of(const PGresult *result, int row, const char *column)
{
	return text_at(result, row, PQfnumber(result, column));
}

static int64
parse_number(const char *text)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return end == text || *end != '\0' || errno != 0 ? CPM_POOLER_NULL : number;
}

static int64
number_of(const PGresult *result, int row, const char *column)
{
	return parse_number(text_of(result, row, column));
}

/* A word that is shown as it is, wherever it goes: plain characters, or it ends. */
static void
copy_word(char *word, const char *text, size_t size)
{
	size_t		length = 0;

	while (length < size - 1 && text[length] > ' ' && text[length] <= '~')
		length++;
	memcpy(word, text, length);
	word[length] = '\0';
}

void
cpm_read_version(const PGresult *result, CpmPoolerAnswer *answer)
{
	const char *version = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";

	if (strncmp(version, "PgBouncer ", 10) == 0)
		version += 10;
	copy_word(answer->version, version, sizeof(answer->version));
}

void
cpm_read_config(const PGresult *result, CpmPoolerAnswer *answer)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *key = text_of(result, row, "key");
		const char *value = text_of(result, row, "value");

		if (strcmp(key, "pool_mode") == 0)
			copy_word(answer->pool_mode, value, sizeof(answer->pool_mode));
		for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
			if (strcmp(key, cpm_pooler_setting_names[i]) == 0)
				answer->setting[i] = parse_number(value);
	}
}

void
cpm_read_pools(const PGresult *result, CpmPoolerAnswer *answer)
{
	answer->pools = Min(PQntuples(result), CPM_POOLER_ROWS);
	answer->rows_dropped += PQntuples(result) - answer->pools;
	for (int row = 0; row < answer->pools; row++)
	{
		CpmPoolerPool *pool = &answer->pool[row];

		strlcpy(pool->database, text_of(result, row, "database"), sizeof(pool->database));
		strlcpy(pool->user, text_of(result, row, "user"), sizeof(pool->user));
		copy_word(pool->pool_mode, text_of(result, row, "pool_mode"), sizeof(pool->pool_mode));
		strlcpy(pool->load_balance_hosts, text_of(result, row, "load_balance_hosts"),
				sizeof(pool->load_balance_hosts));
		for (int i = 0; i < CPM_POOL_NUMBERS; i++)
			pool->number[i] = number_of(result, row, cpm_pool_number_names[i]);
	}
}

void
cpm_read_stats(const PGresult *result, CpmPoolerAnswer *answer)
{
	answer->stats = Min(PQntuples(result), CPM_POOLER_ROWS);
	answer->rows_dropped += PQntuples(result) - answer->stats;
	for (int row = 0; row < answer->stats; row++)
	{
		CpmPoolerStat *stat = &answer->stat[row];

		strlcpy(stat->database, text_of(result, row, "database"), sizeof(stat->database));
		for (int i = 0; i < CPM_STAT_NUMBERS; i++)
			stat->number[i] = number_of(result, row, cpm_stat_number_names[i]);
	}
}

/* A database and its host, as PgBouncer has them. */
typedef struct DatabaseHost
{
	const char *name;
	const char *host;
} DatabaseHost;

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const DatabaseHost *) a)->name, ((const DatabaseHost *) b)->name);
}

/* By name, for there may be thousands, and as many servers. */
static DatabaseHost *
sorted_hosts(const PGresult *databases, int *count)
{
	int			name = PQfnumber(databases, "name");
	int			host = PQfnumber(databases, "host");
	DatabaseHost *hosts;

	*count = databases ? PQntuples(databases) : 0;
	hosts = palloc_extended((*count + 1) * sizeof(DatabaseHost), MCXT_ALLOC_HUGE);
	for (int row = 0; row < *count; row++)
	{
		hosts[row].name = text_at(databases, row, name);
		hosts[row].host = text_at(databases, row, host);
	}
	qsort(hosts, *count, sizeof(DatabaseHost), compare_names);
	return hosts;
}

/* The columns of SHOW SERVERS that are read, once for all rows. */
typedef struct ServerColumns
{
	int			remote_pid;
	int			addr;
	int			port;
	int			local_addr;
	int			local_port;
	int			database;
} ServerColumns;

static ServerColumns
server_columns(const PGresult *result)
{
	ServerColumns column = {
		.remote_pid = PQfnumber(result, "remote_pid"),
		.addr = PQfnumber(result, "addr"),
		.port = PQfnumber(result, "port"),
		.local_addr = PQfnumber(result, "local_addr"),
		.local_port = PQfnumber(result, "local_port"),
		.database = PQfnumber(result, "database"),
	};

	return column;
}

/* False for a connection that is being set up, which has no pid yet. */
static bool
read_server(const PGresult *result, int row, const ServerColumns *column, CpmPoolerServer *server)
{
	int64		pid = parse_number(text_at(result, row, column->remote_pid));

	if (pid <= 0 || pid > PG_INT32_MAX)
		return false;
	server->remote_pid = (int) pid;
	server->is_unix = strncmp(text_at(result, row, column->addr), "unix", 4) == 0;
	server->server_port = (int) parse_number(text_at(result, row, column->port));
	server->client_port = (int) parse_number(text_at(result, row, column->local_port));
	strlcpy(server->client_addr, text_at(result, row, column->local_addr), sizeof(server->client_addr));
	return true;
}

void
cpm_read_servers(const PGresult *result, const PGresult *databases, CpmServerList *servers)
{
	int			rows = Min(PQntuples(result), MOST_SERVERS);
	ServerColumns column = server_columns(result);
	int			host_count;
	DatabaseHost *hosts = sorted_hosts(databases, &host_count);

	servers->server = palloc_extended((rows + 1) * sizeof(CpmPoolerServer), MCXT_ALLOC_HUGE);
	servers->count = 0;
	for (int row = 0; row < rows; row++)
	{
		CpmPoolerServer *server = &servers->server[servers->count];
		DatabaseHost wanted = {.name = text_at(result, row, column.database)};
		const DatabaseHost *found;

		CHECK_FOR_INTERRUPTS();
		if (!read_server(result, row, &column, server))
			continue;
		found = bsearch(&wanted, hosts, host_count, sizeof(DatabaseHost), compare_names);
		strlcpy(server->server_host, found ? found->host : "", sizeof(server->server_host));
		servers->count++;
	}
}
