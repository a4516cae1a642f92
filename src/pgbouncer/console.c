/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.c
 *		The state machine that polls one console of PgBouncer.
 *
 * In each round a child process (child.c) sends all queries over one connection, and keeps the
 * connection for the next round. A round fails if it is not complete at its deadline. The worker
 * then kills the child, because the console may hang or keep libpq busy.
 *
 * The pause after a failed round doubles from 1 s up to 60 s, with a jitter of 20 % either way but
 * never above 60 s. It is always 60 s after a rejected password, because attempts may lock the
 * user out. If the connection of the previous round is lost, PgBouncer has probably restarted, so
 * the round starts again over a new connection and fails only if that fails too.
 *
 * No function waits for a console; worker.c does. Times are microseconds of the monotonic clock.
 */
#include "postgres.h"

#include "base/clock.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgbouncer/console.h"
#include "pgbouncer/sessions.h"
#include "pgbouncer/table.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MIN_RETRY_US USECS_PER_SEC
#define MAX_RETRY_US (60 * USECS_PER_SEC)
#define MIN_ROUND_US USECS_PER_SEC
#define MAX_ROUND_US (10 * USECS_PER_SEC)
#define CONFIG_INTERVAL_US (60 * USECS_PER_SEC)
/* the child reads up to CPM_MAX_BYTES, and its messages are somewhat longer than its input */
#define MAX_ROUND_BYTES (2 * (size_t) CPM_MAX_BYTES)

#define TOO_MUCH "it sends more than the limit of 32 MB"

/* By CpmQuestion: a column that PgBouncer's answer has in every version. */
static const char *const needed_columns[CPM_QUESTIONS] = {
	"version", "name", "remote_pid", "cl_waiting", "total_query_time", "key",
};

static int64
interval_us(const CpmConsole *console)
{
	return console->api->pgbouncer_interval_ms() * INT64CONST(1000);
}

/* Return the longest time that a round may take. */
static int64
round_limit_us(const CpmConsole *console)
{
	return Min(Max(interval_us(console), MIN_ROUND_US), MAX_ROUND_US);
}

void
cpm_console_init(CpmConsole *console, const CpmWorkerApi *api, int number)
{
	memset(console, 0, sizeof(*console));
	console->api = api;
	console->number = number;
	console->config = &api->poolers()->console[number];
	console->answer = MemoryContextAllocZero(TopMemoryContext, sizeof(CpmPoolerAnswer));
	console->context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor PgBouncer round",
											 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
		console->answer->setting[i] = CPM_POOLER_NULL;
}

static void
discard_answers(CpmConsole *console)
{
	MemoryContextReset(console->context);
	console->answers = 0;
	console->bytes = 0;
}

static int64
pause_before_retry(const CpmConsole *console, bool password_refused)
{
	int			doublings = Min(console->failures, 6);
	int64		pause_us = password_refused ? MAX_RETRY_US :
		Min(MIN_RETRY_US << doublings, MAX_RETRY_US);
	double		jitter = password_refused ? 0 : 0.4 * pg_prng_double(&pg_global_prng_state) - 0.2;

	return Min(pause_us + (int64) ((double) pause_us * jitter), MAX_RETRY_US);
}

/*
 * End the round with an error and schedule a retry. Keeps only the first line of the message,
 * which may contain hosts and users, but no password. The message may be in the memory context of
 * the round, which this function resets.
 */
static void
fail_because(CpmConsole *console, const char *message, bool password_refused, int64 now_us)
{
	char		line[CPM_POOLER_ERROR_SIZE];
	int64		pause_us = pause_before_retry(console, password_refused);

	strlcpy(line, message, Min(sizeof(line), strcspn(message, "\r\n") + 1));
	cpm_child_end(&console->child);
	discard_answers(console);
	console->phase = CPM_CONSOLE_IDLE;
	console->due_us = now_us + pause_us;
	console->rounds_to_config = 0;
	console->failures++;
	console->api->pooler_record_failure(console->number, line, console->due_us);
	if (console->failures == 1)
		ereport(WARNING,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connpool_monitor: PgBouncer \"%s\" does not answer: %s",
						console->config->name, line),
				 errdetail("The views show its last answer, if there is one, with its age. "
						   "The worker retries at increasing intervals."),
				 errhidestmt(true)));
	console->was_up = false;
}

static void
fail(CpmConsole *console, const char *message, int64 now_us)
{
	fail_because(console, message, false, now_us);
}

/* Send the request of this round. If the child has ended, cpm_console_ready() detects that. */
static void
send_request(CpmConsole *console)
{
	CpmRequest	request = {
		.questions = console->questions,
		/* after this time the child exits by itself, in case the worker was killed */
		.seconds = (uint32) (round_limit_us(console) / USECS_PER_SEC) + 2,
	};

	StaticAssertDecl(sizeof(request.conninfo) == CPM_CONNINFO_SIZE,
					 "a conninfo fits into a request");

	strlcpy(request.conninfo, console->config->conninfo, sizeof(request.conninfo));
	console->asked_at = GetCurrentTimestamp();
	console->asked_us = cpm_monotonic_us();
	cpm_child_send(&console->child, &request);
}

/* Begin a round by starting a child, which connects. */
static void
begin_connecting(CpmConsole *console, int64 now_us)
{
	char		path[MAXPGPATH];
	int			error;

	console->is_reused = false;
	snprintf(path, sizeof(path), "%s/%s", pkglib_path, CPM_CONSOLE_PROGRAM);
	error = cpm_child_start(&console->child, path, console->config->name);
	if (error != 0)
	{
		fail(console, psprintf("could not execute \"%s\": %s", path, strerror(error)), now_us);
		return;
	}
	console->phase = CPM_CONSOLE_CONNECTING;
	send_request(console);
}

/* Begin a round over the connection of the previous one. */
static void
reuse_connection(CpmConsole *console)
{
	console->is_reused = true;
	console->phase = CPM_CONSOLE_ASKING;
	send_request(console);
}

/* Handle a lost connection: reconnect if it is from the previous round, otherwise fail. */
static void
lose_connection(CpmConsole *console, const char *message, int64 now_us)
{
	if (!console->is_reused)
	{
		fail(console, message, now_us);
		return;
	}
	cpm_child_end(&console->child);
	discard_answers(console);
	begin_connecting(console, now_us);
}

static void
publish_answer(CpmConsole *console)
{
	CpmPoolerAnswer *answer = console->answer;
	CpmTable   *table = console->table;
	CpmServerList servers;

	answer->asked_at = console->asked_at;
	answer->asked_us = console->asked_us;
	answer->rows_dropped = 0;
	cpm_read_version(&table[CPM_ASK_VERSION], answer);
	cpm_read_pools(&table[CPM_ASK_POOLS], answer);
	cpm_read_stats(&table[CPM_ASK_STATS], answer);
	if (console->answers > CPM_ASK_CONFIG)
		cpm_read_config(&table[CPM_ASK_CONFIG], answer);
	cpm_read_servers(&table[CPM_ASK_SERVERS], &table[CPM_ASK_DATABASES], &servers,
					 answer);
	/* claim first, because unclaimed sessions count as direct once the answer is published */
	cpm_claim_sessions(console->api, console->number, &servers);
	console->api->pooler_record_answer(console->number, answer);
}

static void
end_round(CpmConsole *console, int64 now_us)
{
	publish_answer(console);
	if (console->rounds_to_config <= 0)
		console->rounds_to_config = (int) Max(CONFIG_INTERVAL_US / interval_us(console), 1);
	console->rounds_to_config--;
	discard_answers(console);
	if (!console->was_up)
		ereport(LOG,
				(errmsg("connpool_monitor: PgBouncer \"%s\" (%s) answers", console->config->name,
						console->answer->version),
				 errhidestmt(true)));
	console->was_up = true;
	console->failures = 0;
	console->phase = CPM_CONSOLE_IDLE;
	console->due_us = Max(console->due_us + interval_us(console), now_us);
}

static void
handle_table(CpmConsole *console, int64 now_us)
{
	CpmTable   *table = &console->table[console->answers];
	const char *column;

	if (!cpm_table_open(table, console->child.body, console->child.header.length))
		fail(console, "it sent a malformed answer: is it PgBouncer?", now_us);
	else if (cpm_table_column(table, needed_columns[console->answers]) < 0)
		fail(console, "its answer lacks the expected columns: is it PgBouncer?", now_us);
	else if (console->answers == CPM_ASK_POOLS && (column = cpm_invalid_count(table)) != NULL)
		fail(console, psprintf("its answer has an invalid %s: is it PgBouncer?", column), now_us);
	else if (++console->answers == console->questions)
		end_round(console, now_us);
}

static void
read_message(CpmConsole *console, int64 now_us)
{
	const CpmChild *child = &console->child;
	uint32		type = child->header.type;

	console->bytes += sizeof(child->header) + child->header.length;
	if (console->bytes > MAX_ROUND_BYTES)
		fail(console, TOO_MUCH, now_us);
	else if (type == CPM_MESSAGE_ASKING)
		console->phase = CPM_CONSOLE_ASKING;
	else if (type == CPM_MESSAGE_TABLE && console->phase == CPM_CONSOLE_ASKING)
		handle_table(console, now_us);
	else if (type == CPM_MESSAGE_LOST)
		lose_connection(console, child->body, now_us);
	else if (type == CPM_MESSAGE_FAILED || type == CPM_MESSAGE_PASSWORD)
		fail_because(console, child->body, type == CPM_MESSAGE_PASSWORD, now_us);
	else
		fail(console, CPM_CONSOLE_PROGRAM " sent an unexpected message", now_us);
}

/* Handle the end of a child that reported no reason, perhaps because a signal ended it. */
static void
handle_child_end(CpmConsole *console, int64 now_us)
{
	int			status = cpm_child_end(&console->child);

	lose_connection(console, psprintf(CPM_CONSOLE_PROGRAM ": %s", wait_result_to_str(status)),
					now_us);
}

void
cpm_console_ready(CpmConsole *console, int64 now_us)
{
	MemoryContext caller = MemoryContextSwitchTo(console->context);

	if (console->phase == CPM_CONSOLE_IDLE)
		cpm_child_end(&console->child); /* it only sends in a round, so it has probably ended */
	else
		switch (cpm_child_receive(&console->child, MAX_ROUND_BYTES - console->bytes))
		{
			case CPM_RECEIVED_MESSAGE:
				read_message(console, now_us);
				break;
			case CPM_RECEIVED_TOO_MUCH:
				fail(console, TOO_MUCH, now_us);
				break;
			case CPM_RECEIVED_END:
				handle_child_end(console, now_us);
				break;
			case CPM_RECEIVED_PART:
				break;
		}
	MemoryContextSwitchTo(caller);
}

void
cpm_console_tick(CpmConsole *console, int64 now_us)
{
	if (console->phase == CPM_CONSOLE_IDLE && now_us >= console->due_us)
	{
		console->due_us = now_us;
		console->deadline_us = now_us + round_limit_us(console);
		console->questions = console->rounds_to_config > 0 ? CPM_ASK_CONFIG : CPM_QUESTIONS;
		if (console->child.pid != 0)
			reuse_connection(console);
		else
			begin_connecting(console, now_us);
	}
	else if (console->phase != CPM_CONSOLE_IDLE && now_us >= console->deadline_us)
		fail(console, console->phase == CPM_CONSOLE_CONNECTING ?
			 "no connection within the time limit" : "no complete answer within the time limit",
			 now_us);
}

int64
cpm_console_next_us(const CpmConsole *console)
{
	return console->phase == CPM_CONSOLE_IDLE ? console->due_us : console->deadline_us;
}

void
cpm_console_end(CpmConsole *console)
{
	cpm_child_end(&console->child);
}
