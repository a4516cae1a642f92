/*
 * answers.c
 *		Reads the answers of PgBouncer's console: columns by name, whatever its version.
 *
 * What comes over the network is believed to be text with an end, for libpq sees to
 * that, and nothing else: names may be missing, numbers no numbers, rows too many.
 */
#include "postgres.h"

#include "pgbouncer/answers.h"

#define MOST_SERVERS 100000

/* A value as text; "" when there is none. */
static const char *
text_of(const PGresult *result, int row, const char *column)
{
	int			number = PQfnumber(result, column);

	return number >= 0 && !PQgetisnull(result, row, number) ? PQgetvalue(result, row, number) : "";
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

void
cpm_read_version(const PGresult *result, CpmPoolerAnswer *answer)
{
	const char *version = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";

	if (strncmp(version, "PgBouncer ", 10) == 0)
		version += 10;
	strlcpy(answer->version, version, sizeof(answer->version));
}

void
cpm_read_config(const PGresult *result, CpmPoolerAnswer *answer)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *key = text_of(result, row, "key");
		const char *value = text_of(result, row, "value");

		if (strcmp(key, "pool_mode") == 0)
			strlcpy(answer->pool_mode, value, sizeof(answer->pool_mode));
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
		strlcpy(pool->pool_mode, text_of(result, row, "pool_mode"), sizeof(pool->pool_mode));
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

/* The host of a database as PgBouncer has it; "" when it does not say. */
static const char *
host_of(const PGresult *databases, const char *database)
{
	for (int row = 0; databases != NULL && row < PQntuples(databases); row++)
		if (strcmp(text_of(databases, row, "name"), database) == 0)
			return text_of(databases, row, "host");
	return "";
}

void
cpm_read_servers(const PGresult *result, const PGresult *databases, CpmServerList *servers)
{
	int			rows = Min(PQntuples(result), MOST_SERVERS);

	servers->server = palloc_extended((rows + 1) * sizeof(CpmPoolerServer), MCXT_ALLOC_HUGE);
	servers->count = 0;
	for (int row = 0; row < rows; row++)
	{
		CpmPoolerServer *server = &servers->server[servers->count];
		int64		pid = number_of(result, row, "remote_pid");

		/* one that is being set up has none yet */
		if (pid <= 0 || pid > PG_INT32_MAX)
			continue;
		server->remote_pid = (int) pid;
		server->is_unix = strncmp(text_of(result, row, "addr"), "unix", 4) == 0;
		server->server_port = (int) number_of(result, row, "port");
		server->client_port = (int) number_of(result, row, "local_port");
		strlcpy(server->client_addr, text_of(result, row, "local_addr"), sizeof(server->client_addr));
		strlcpy(server->server_host, host_of(databases, text_of(result, row, "database")),
				sizeof(server->server_host));
		servers->count++;
	}
}
