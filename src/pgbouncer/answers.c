/* SPDX-License-Identifier: PostgreSQL */
/*
 * answers.c
 *		Reads the tables that a PgBouncer console returned.
 *
 * This file finds columns by name, because their number and order depend on PgBouncer's version.
 * table.c guarantees that every text ends within the message. This file trusts nothing else:
 * columns may be missing, numbers may be malformed, and there may be too many rows. The caller
 * rejects an answer whose numbers of clients or connections are invalid, because an alert depends
 * on their sum. Other invalid numbers are read as unknown: after a step of the clock, a genuine
 * PgBouncer shows negative or enormous times.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgbouncer/answers.h"

#define MAX_SERVERS 100000

/* Return a value of the current row; "" if it is NULL or column is -1. */
static const char *
text_at(const CpmTable *table, int column)
{
	return column >= 0 && table->value[column] != NULL ? table->value[column] : "";
}

static const char *
text_of(const CpmTable *table, const char *column)
{
	return text_at(table, cpm_table_column(table, column));
}

/* Return a number from 0 on; CPM_POOLER_NULL if the text is anything else. */
static int64
parse_number(const char *text)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return end == text || *end != '\0' || errno != 0 || number < 0 ? CPM_POOLER_NULL : number;
}

/* Do the same with a number of SHOW POOLS. PgBouncer stores these numbers in an int. */
static int64
parse_pool_number(const char *text)
{
	int64		number = parse_number(text);

	return number > PG_INT32_MAX ? CPM_POOLER_NULL : number;
}

static int64
number_of(const CpmTable *table, const char *column)
{
	return parse_number(text_of(table, column));
}

/*
 * Copy the text up to the first space, or the first character that is not printable ASCII. The
 * result is valid in every encoding, and in metrics, without conversion.
 */
static void
copy_printable(char *word, const char *text, size_t size)
{
	size_t		length = 0;

	while (length < size - 1 && text[length] > ' ' && text[length] <= '~')
		length++;
	memcpy(word, text, length);
	word[length] = '\0';
}

void
cpm_read_version(CpmTable *table, CpmPoolerAnswer *answer)
{
	const char *version = cpm_table_next(table) ? text_at(table, 0) : "";

	if (strncmp(version, "PgBouncer ", 10) == 0)
		version += 10;
	copy_printable(answer->version, version, sizeof(answer->version));
}

void
cpm_read_config(CpmTable *table, CpmPoolerAnswer *answer)
{
	while (cpm_table_next(table))
	{
		const char *key = text_of(table, "key");
		const char *value = text_of(table, "value");

		if (strcmp(key, "pool_mode") == 0)
			copy_printable(answer->pool_mode, value, sizeof(answer->pool_mode));
		for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
			if (strcmp(key, cpm_pooler_setting_names[i]) == 0)
				answer->setting[i] = parse_number(value);
	}
}

const char *
cpm_invalid_count(CpmTable *pools)
{
	const char *invalid = NULL;

	for (int row = 0; row < CPM_POOLER_ROWS && invalid == NULL && cpm_table_next(pools); row++)
		for (int i = 0; i < CPM_MAXWAIT; i++)
		{
			int			column = cpm_table_column(pools, cpm_pool_number_names[i]);

			if (column >= 0 && parse_pool_number(text_at(pools, column)) == CPM_POOLER_NULL)
				invalid = cpm_pool_number_names[i];
		}
	cpm_table_rewind(pools);
	return invalid;
}

void
cpm_read_pools(CpmTable *table, CpmPoolerAnswer *answer)
{
	int			rows = Min(table->rows, CPM_POOLER_ROWS);

	answer->pools = 0;
	answer->rows_dropped += table->rows - rows;
	for (int row = 0; row < rows && cpm_table_next(table); row++)
	{
		CpmPoolerPool pool = {0};

		strlcpy(pool.database, text_of(table, "database"), sizeof(pool.database));
		strlcpy(pool.user, text_of(table, "user"), sizeof(pool.user));
		copy_printable(pool.pool_mode, text_of(table, "pool_mode"), sizeof(pool.pool_mode));
		strlcpy(pool.load_balance_hosts, text_of(table, "load_balance_hosts"),
				sizeof(pool.load_balance_hosts));
		for (int i = 0; i < CPM_POOL_NUMBERS; i++)
			pool.number[i] = parse_pool_number(text_of(table, cpm_pool_number_names[i]));
		cpm_pooler_add_pool(answer, &pool);
	}
}

void
cpm_read_stats(CpmTable *table, CpmPoolerAnswer *answer)
{
	answer->stats = Min(table->rows, CPM_POOLER_ROWS);
	answer->rows_dropped += table->rows - answer->stats;
	for (int row = 0; row < answer->stats && cpm_table_next(table); row++)
	{
		CpmPoolerStat *stat = &answer->stat[row];

		strlcpy(stat->database, text_of(table, "database"), sizeof(stat->database));
		for (int i = 0; i < CPM_STAT_NUMBERS; i++)
			stat->number[i] = number_of(table, cpm_stat_number_names[i]);
	}
}

/* A database name and its host in SHOW DATABASES. */
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

/* Return a palloc'd array sorted by name, so that callers can use binary search. */
static DatabaseHost *
sorted_hosts(CpmTable *databases, int *count)
{
	int			name = cpm_table_column(databases, "name");
	int			host = cpm_table_column(databases, "host");
	DatabaseHost *hosts;

	hosts = palloc_extended((databases->rows + 1) * sizeof(DatabaseHost), MCXT_ALLOC_HUGE);
	for (*count = 0; cpm_table_next(databases); (*count)++)
	{
		hosts[*count].name = text_at(databases, name);
		hosts[*count].host = text_at(databases, host);
	}
	qsort(hosts, *count, sizeof(DatabaseHost), compare_names);
	return hosts;
}

/* Indexes of the columns of SHOW SERVERS, looked up once for all rows. */
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
server_columns(const CpmTable *table)
{
	ServerColumns column = {
		.remote_pid = cpm_table_column(table, "remote_pid"),
		.addr = cpm_table_column(table, "addr"),
		.port = cpm_table_column(table, "port"),
		.local_addr = cpm_table_column(table, "local_addr"),
		.local_port = cpm_table_column(table, "local_port"),
		.database = cpm_table_column(table, "database"),
	};

	return column;
}

/* Read the current row; returns false if PgBouncer is still opening the connection. */
static bool
read_server(const CpmTable *table, const ServerColumns *column, CpmPoolerServer *server)
{
	int64		pid = parse_number(text_at(table, column->remote_pid));

	if (pid <= 0 || pid > PG_INT32_MAX)
		return false;
	server->remote_pid = (int) pid;
	server->is_unix = strncmp(text_at(table, column->addr), "unix", 4) == 0;
	server->server_port = (int) parse_number(text_at(table, column->port));
	server->client_port = (int) parse_number(text_at(table, column->local_port));
	strlcpy(server->client_addr, text_at(table, column->local_addr), sizeof(server->client_addr));
	return true;
}

void
cpm_read_servers(CpmTable *table, CpmTable *databases, CpmServerList *servers,
				 CpmPoolerAnswer *answer)
{
	int			rows = Min(table->rows, MAX_SERVERS);
	ServerColumns column = server_columns(table);
	int			host_count;
	DatabaseHost *hosts = sorted_hosts(databases, &host_count);

	servers->server = palloc_extended((rows + 1) * sizeof(CpmPoolerServer), MCXT_ALLOC_HUGE);
	servers->count = 0;
	answer->rows_dropped += table->rows - rows;
	for (int row = 0; row < rows && cpm_table_next(table); row++)
	{
		CpmPoolerServer *server = &servers->server[servers->count];
		DatabaseHost wanted = {.name = text_at(table, column.database)};
		const DatabaseHost *found;

		CHECK_FOR_INTERRUPTS();
		if (!read_server(table, &column, server))
			continue;
		found = bsearch(&wanted, hosts, host_count, sizeof(DatabaseHost), compare_names);
		strlcpy(server->server_host, found ? found->host : "", sizeof(server->server_host));
		servers->count++;
	}
}
