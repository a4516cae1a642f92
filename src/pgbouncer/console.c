/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.c
 *		One console of PgBouncer: connects, asks, waits and tries again, without
 *		waiting itself but for a name server (worker.c).
 *
 * A round asks all questions over one connection, which stays open for the next.
 * It has until its deadline for that, be it that nobody listens, that nobody
 * answers or that the answer does not end. What failed is tried again after 1 s, 2 s, 4 s …
 * 60 s, a fifth more or less; a refused password after 60 s, for each try may count
 * against the user. A connection that was open from the round before may be gone because
 * PgBouncer was restarted: that is tried again at once, and only then has it failed.
 *
 * Passwords come from the password file only: the setting refuses them, and the
 * worker takes them out of its environment.
 */
#include "postgres.h"

#include <sys/ioctl.h>

#include "common/pg_prng.h"
#include "pgbouncer/console.h"
#include "miscadmin.h"
#include "pgbouncer/sessions.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_US USECS_PER_SEC
#define LAST_RETRY_US (60 * USECS_PER_SEC)
#define LEAST_DEADLINE_US USECS_PER_SEC
#define MOST_DEADLINE_US (10 * USECS_PER_SEC)
#define CONFIG_EVERY_US (60 * USECS_PER_SEC)
#define MOST_BYTES (32 * 1024 * 1024)	/* of a round: what a hundred thousand servers take */
#define MOST_BYTES_TO_CONNECT (1024 * 1024)
#define LEAST_BUFFER (16 * 1024)	/* of libpq, which reads no more at once */

static const char *const questions[CPM_QUESTIONS] = {
	"SHOW VERSION", "SHOW DATABASES", "SHOW SERVERS", "SHOW POOLS", "SHOW STATS", "SHOW CONFIG",
};

/* A column without which it is no answer to the question: somebody else listens there. */
static const char *const needed_columns[CPM_QUESTIONS] = {
	"version", "name", "remote_pid", "cl_waiting", "total_query_time", "key",
};

static int64
interval_us(const CpmConsole *console)
{
	return console->entry->pgbouncer_interval_ms() * INT64CONST(1000);
}

void
cpm_console_init(CpmConsole *console, const CpmEntry *entry, int number)
{
	memset(console, 0, sizeof(*console));
	console->entry = entry;
	console->number = number;
	console->config = &entry->poolers()->console[number];
	console->answer = MemoryContextAllocZero(TopMemoryContext, sizeof(CpmPoolerAnswer));
	for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
		console->answer->setting[i] = CPM_POOLER_NULL;
}

static void
forget_results(CpmConsole *console)
{
	for (int i = 0; i < CPM_QUESTIONS; i++)
	{
		PQclear(console->result[i]);
		console->result[i] = NULL;
	}
}

static void
disconnect(CpmConsole *console)
{
	PQfinish(console->conn);
	console->conn = NULL;
	console->wants = 0;
}

/* The first line of what libpq says, which names hosts and users but no password. */
static void
first_line(const char *message, char *line, size_t size)
{
	size_t		length = strcspn(message, "\r\n");

	strlcpy(line, message, Min(size, length + 1));
}

static int64
pause_before_retry(const CpmConsole *console, bool password_refused)
{
	int			doublings = Min(console->failures, 6);
	int64		pause_us = password_refused ? LAST_RETRY_US :
		Min(FIRST_RETRY_US << doublings, LAST_RETRY_US);
	double		jitter = password_refused ? 0 : 0.4 * pg_prng_double(&pg_global_prng_state) - 0.2;

	return Min(pause_us + (int64) ((double) pause_us * jitter), LAST_RETRY_US);
}

static void
fail(CpmConsole *console, const char *message, int64 now_us)
{
	char		line[CPM_POOLER_ERROR_SIZE];
	bool		password_refused = console->conn != NULL && PQstatus(console->conn) == CONNECTION_BAD &&
		(PQconnectionUsedPassword(console->conn) || PQconnectionNeedsPassword(console->conn));
	int64		pause_us = pause_before_retry(console, password_refused);

	first_line(message, line, sizeof(line));
	disconnect(console);
	forget_results(console);
	console->phase = CPM_CONSOLE_RESTING;
	console->due_us = now_us + pause_us;
	console->rounds_to_config = 0;
	console->failures++;
	console->entry->pooler_failed(console->number, line, GetCurrentTimestamp() + pause_us);
	if (console->failures == 1)
		ereport(WARNING,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connpool_monitor: PgBouncer \"%s\" does not answer: %s", console->config->name, line),
				 errdetail("What it said last is shown with its age. It is asked again after growing pauses."),
				 errhidestmt(true)));
	console->was_up = false;
}

static void
ask(CpmConsole *console, int64 now_us)
{
	if (!PQsendQuery(console->conn, questions[console->question]))
		fail(console, PQerrorMessage(console->conn), now_us);
	else
		console->wants = WL_SOCKET_READABLE | (PQflush(console->conn) > 0 ? WL_SOCKET_WRITEABLE : 0);
}

static void
begin_asking(CpmConsole *console, int64 now_us)
{
	console->phase = CPM_CONSOLE_ASKING;
	console->question = 0;
	console->bytes = 0;
	console->asked_at = GetCurrentTimestamp();
	ask(console, now_us);
}

static void
ignore_notice(void *arg, const char *message)
{
	(void) arg;
	(void) message;
}

/* The conninfo with a database and a name of our own, unless it has them. */
static PGconn *
start_connection(const char *conninfo, char **problem)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, problem);
	const char *keywords[64];
	const char *values[64];
	int			count = 0;
	PGconn	   *conn;

	if (options == NULL)
		return NULL;
	keywords[count] = "dbname";
	values[count++] = "pgbouncer";
	keywords[count] = "fallback_application_name";
	values[count++] = "connpool_monitor";
	/* a later one counts */
	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		if (option->val == NULL || strcmp(option->keyword, "password") == 0 || count >= 60)
			continue;
		keywords[count] = option->keyword;
		values[count++] = option->val;
	}
	keywords[count] = NULL;
	values[count] = NULL;
	conn = PQconnectStartParams(keywords, values, 0);
	PQconninfoFree(options);
	return conn;
}

static void
begin_connecting(CpmConsole *console, int64 now_us)
{
	char	   *problem = NULL;

	console->is_reused = false;
	console->conn = start_connection(console->config->conninfo, &problem);
	if (console->conn == NULL)
	{
		fail(console, problem ? problem : "out of memory", now_us);
		PQfreemem(problem);
	}
	else if (PQstatus(console->conn) == CONNECTION_BAD)
		fail(console, PQerrorMessage(console->conn), now_us);
	else
	{
		PQsetNoticeProcessor(console->conn, ignore_notice, NULL);
		console->phase = CPM_CONSOLE_CONNECTING;
		console->bytes = 0;
		console->wants = WL_SOCKET_WRITEABLE;
	}
}

/* Something is wrong with the connection: with an old one, try a new one first. */
static void
lose_connection(CpmConsole *console, int64 now_us)
{
	if (!console->is_reused)
	{
		fail(console, PQerrorMessage(console->conn), now_us);
		return;
	}
	disconnect(console);
	forget_results(console);
	begin_connecting(console, now_us);
}

static void
note_answer(CpmConsole *console)
{
	CpmPoolerAnswer *answer = console->answer;
	CpmServerList servers;

	answer->asked_at = console->asked_at;
	answer->rows_dropped = 0;
	cpm_read_version(console->result[CPM_ASK_VERSION], answer);
	cpm_read_pools(console->result[CPM_ASK_POOLS], answer);
	cpm_read_stats(console->result[CPM_ASK_STATS], answer);
	if (console->result[CPM_ASK_CONFIG] != NULL)
		cpm_read_config(console->result[CPM_ASK_CONFIG], answer);
	cpm_read_servers(console->result[CPM_ASK_SERVERS], console->result[CPM_ASK_DATABASES], &servers);
	/* marks first: who reads the answer must find them */
	cpm_claim_sessions(console->entry, console->number, &servers);
	console->entry->pooler_answered(console->number, answer);
}

static void
end_round(CpmConsole *console, int64 now_us)
{
	note_answer(console);
	if (console->rounds_to_config <= 0)
		console->rounds_to_config = (int) Max(CONFIG_EVERY_US / interval_us(console), 1);
	console->rounds_to_config--;
	forget_results(console);
	if (!console->was_up)
		ereport(LOG,
				(errmsg("connpool_monitor: PgBouncer \"%s\" (%s) answers", console->config->name,
						console->answer->version),
				 errhidestmt(true)));
	console->was_up = true;
	console->failures = 0;
	console->is_reused = true;
	console->wants = 0;
	console->phase = CPM_CONSOLE_RESTING;
	console->due_us = Max(console->due_us + interval_us(console), now_us);
}

/*
 * Bytes of this round that are not in the answers: notices, and values of parameters, which libpq
 * keeps for as long as the connection is open.
 */
static int64
bytes_besides(const CpmConsole *console)
{
	int64		bytes = console->bytes;

	for (int i = 0; i < CPM_QUESTIONS; i++)
		if (console->result[i] != NULL)
			bytes -= (int64) PQresultMemorySize(console->result[i]);
	return bytes;
}

/* A question is answered whole: go on to the next. */
static void
next_question(CpmConsole *console, int64 now_us)
{
	PGresult   *result = console->result[console->question];

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		char		line[CPM_POOLER_ERROR_SIZE];

		first_line(result ? PQresultErrorMessage(result) : "it answered nothing", line, sizeof(line));
		fail(console, line[0] ? line : "it answered something else than rows", now_us);
		return;
	}
	if (PQfnumber(result, needed_columns[console->question]) < 0)
	{
		fail(console, "it answered nothing that it was asked for: is it PgBouncer?", now_us);
		return;
	}
	if (bytes_besides(console) > MOST_BYTES_TO_CONNECT)
	{
		fail(console, "it sends more than it was asked for: is it PgBouncer?", now_us);
		return;
	}
	console->question++;
	if (console->question == CPM_QUESTIONS ||
		(console->question == CPM_ASK_CONFIG && console->rounds_to_config > 0))
		end_round(console, now_us);
	else
		ask(console, now_us);
}

/* Bytes that have come and not been read. */
static int
bytes_waiting(const CpmConsole *console)
{
	int			waiting = 0;

	return PQsocket(console->conn) >= 0 &&
		ioctl(PQsocket(console->conn), FIONREAD, &waiting) == 0 ? waiting : 0;
}

/*
 * Count the bytes that libpq has read since `before` bytes were waiting. libpq keeps rows,
 * notifications and values of parameters, and a console that sends them without end must not fill
 * the memory. Bytes that arrived meanwhile hide as many of the read ones, up to a buffer of them.
 */
static void
count_bytes(CpmConsole *console, int before)
{
	int			after = PQstatus(console->conn) != CONNECTION_BAD ? bytes_waiting(console) : 0;

	console->bytes += before > after ? before - after : Min(before, LEAST_BUFFER);
}

/* Read what has come. Returns false if the connection is lost. */
static bool
consume_input(CpmConsole *console)
{
	int			before = bytes_waiting(console);
	bool		is_well = PQconsumeInput(console->conn);

	count_bytes(console, before);
	return is_well;
}

/* PgBouncer sends no notifications; libpq queues them until somebody asks for them. */
static bool
sends_notifications(CpmConsole *console)
{
	PGnotify   *notification = PQnotifies(console->conn);
	bool		is_any = notification != NULL;

	PQfreemem(notification);
	return is_any;
}

/* After COPY libpq gives results without end, each time that it is asked. */
static bool
is_copy(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

static void
read_answer(CpmConsole *console, int64 now_us)
{
	CpmQuestion question = console->question;

	if (!consume_input(console))
	{
		lose_connection(console, now_us);
		return;
	}
	if (console->bytes > MOST_BYTES)
	{
		fail(console, "it answers more than can be read", now_us);
		return;
	}
	if (sends_notifications(console))
	{
		fail(console, "it sends notifications: is it PgBouncer?", now_us);
		return;
	}
	while (!PQisBusy(console->conn))
	{
		PGresult   *result = PQgetResult(console->conn);

		CHECK_FOR_INTERRUPTS();
		if (result == NULL)
		{
			next_question(console, now_us);
			return;
		}
		if (is_copy(result))
		{
			PQclear(result);
			fail(console, "it answers with COPY: is it PgBouncer?", now_us);
			return;
		}
		if (console->result[question] == NULL)
			console->result[question] = result;
		else
			PQclear(result);
		if (PQstatus(console->conn) == CONNECTION_BAD)
		{
			lose_connection(console, now_us);
			return;
		}
	}
}

static void
go_on_connecting(CpmConsole *console, int64 now_us)
{
	int			before = bytes_waiting(console);
	PostgresPollingStatusType status = PQconnectPoll(console->conn);

	count_bytes(console, before);
	if (console->bytes > MOST_BYTES_TO_CONNECT)
	{
		fail(console, "it sends too much before it lets in: is it PgBouncer?", now_us);
		return;
	}
	switch (status)
	{
		case PGRES_POLLING_READING:
			console->wants = WL_SOCKET_READABLE;
			break;
		case PGRES_POLLING_WRITING:
			console->wants = WL_SOCKET_WRITEABLE;
			break;
		case PGRES_POLLING_OK:
			begin_asking(console, now_us);
			break;
		default:
			fail(console, PQerrorMessage(console->conn), now_us);
			break;
	}
}

void
cpm_console_ready(CpmConsole *console, int64 now_us)
{
	if (console->phase == CPM_CONSOLE_CONNECTING)
	{
		go_on_connecting(console, now_us);
		return;
	}
	if ((console->wants & WL_SOCKET_WRITEABLE) != 0 && PQflush(console->conn) == 0)
		console->wants = WL_SOCKET_READABLE;
	read_answer(console, now_us);
}

void
cpm_console_tick(CpmConsole *console, int64 now_us)
{
	if (console->phase == CPM_CONSOLE_RESTING && now_us >= console->due_us)
	{
		console->due_us = now_us;
		console->deadline_us = now_us +
			Min(Max(interval_us(console), LEAST_DEADLINE_US), MOST_DEADLINE_US);
		if (console->conn != NULL)
			begin_asking(console, now_us);
		else
			begin_connecting(console, now_us);
	}
	else if (console->phase != CPM_CONSOLE_RESTING && now_us >= console->deadline_us)
		fail(console, console->phase == CPM_CONSOLE_CONNECTING ?
			 "no connection within its time" : "no whole answer within its time", now_us);
}

int64
cpm_console_next_us(const CpmConsole *console)
{
	return console->phase == CPM_CONSOLE_RESTING ? console->due_us : console->deadline_us;
}
