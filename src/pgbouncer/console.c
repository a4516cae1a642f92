/* SPDX-License-Identifier: PostgreSQL */
/*
 * console.c
 *		One console of PgBouncer: has its process connect and ask, waits and tries again,
 *		without waiting itself (worker.c).
 *
 * A round asks all questions over one connection, which stays open for the next. The
 * connection is in a process (child.c), which lasts as long as it.
 * A round has until its deadline, be it that nobody listens, that nobody answers, that the
 * answer does not end or that libpq computes for longer: then the process is killed.
 * What failed is tried again after 1 s, 2 s, 4 s …
 * 60 s, a fifth more or less; a refused password after 60 s, for each try may count
 * against the user. A connection that was open from the round before may be gone because
 * PgBouncer was restarted: that is tried again at once, and only then has it failed.
 *
 * Passwords come from the password file only: the setting refuses them, and the
 * worker takes them out of its environment.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgbouncer/console.h"
#include "pgbouncer/sessions.h"
#include "pgbouncer/table.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_US USECS_PER_SEC
#define LAST_RETRY_US (60 * USECS_PER_SEC)
#define LEAST_DEADLINE_US USECS_PER_SEC
#define MOST_DEADLINE_US (10 * USECS_PER_SEC)
#define CONFIG_EVERY_US (60 * USECS_PER_SEC)
/* a message is a little longer than what the console sent */
#define MOST_BYTES (2 * (size_t) CPM_MOST_BYTES)

#define TOO_MUCH "it answers more than can be read"

/* A column without which it is no answer to the question: somebody else listens there. */
static const char *const needed_columns[CPM_QUESTIONS] = {
	"version", "name", "remote_pid", "cl_waiting", "total_query_time", "key",
};

static int64
interval_us(const CpmConsole *console)
{
	return console->entry->pgbouncer_interval_ms() * INT64CONST(1000);
}

/* How long a round may take. */
static int64
allowed_us(const CpmConsole *console)
{
	return Min(Max(interval_us(console), LEAST_DEADLINE_US), MOST_DEADLINE_US);
}

void
cpm_console_init(CpmConsole *console, const CpmWorkerApi *entry, int number)
{
	memset(console, 0, sizeof(*console));
	console->entry = entry;
	console->number = number;
	console->config = &entry->poolers()->console[number];
	console->answer = MemoryContextAllocZero(TopMemoryContext, sizeof(CpmPoolerAnswer));
	console->context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor PgBouncer round",
											 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < CPM_POOLER_SETTINGS; i++)
		console->answer->setting[i] = CPM_POOLER_NULL;
}

static void
forget_answers(CpmConsole *console)
{
	MemoryContextReset(console->context);
	console->answers = 0;
	console->bytes = 0;
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

/* Only the first line of the message counts. It names hosts and users but no password. */
static void
fail_because(CpmConsole *console, const char *message, bool password_refused, int64 now_us)
{
	char		line[CPM_POOLER_ERROR_SIZE];
	int64		pause_us = pause_before_retry(console, password_refused);

	strlcpy(line, message, Min(sizeof(line), strcspn(message, "\r\n") + 1));
	cpm_child_end(&console->child);
	forget_answers(console);
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
fail(CpmConsole *console, const char *message, int64 now_us)
{
	fail_because(console, message, false, now_us);
}

/* A process that has ended meanwhile is noticed where its end is read. */
static void
send_request(CpmConsole *console)
{
	CpmRequest	request = {
		.questions = console->questions,
		/* the worker kills it before that, unless the worker has been killed */
		.seconds = (uint32) (allowed_us(console) / USECS_PER_SEC) + 2,
	};

	StaticAssertDecl(sizeof(request.conninfo) == CPM_CONNINFO_SIZE,
					 "a conninfo fits into a request");

	strlcpy(request.conninfo, console->config->conninfo, sizeof(request.conninfo));
	console->asked_at = GetCurrentTimestamp();
	cpm_child_send(&console->child, &request);
}

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

static void
begin_asking(CpmConsole *console)
{
	console->is_reused = true;
	console->phase = CPM_CONSOLE_ASKING;
	send_request(console);
}

/* Something is wrong with the connection: with an old one, try a new one first. */
static void
lose_connection(CpmConsole *console, const char *message, int64 now_us)
{
	if (!console->is_reused)
	{
		fail(console, message, now_us);
		return;
	}
	cpm_child_end(&console->child);
	forget_answers(console);
	begin_connecting(console, now_us);
}

static void
note_answer(CpmConsole *console)
{
	CpmPoolerAnswer *answer = console->answer;
	CpmTable   *table = console->table;
	CpmServerList servers;

	answer->asked_at = console->asked_at;
	answer->rows_dropped = 0;
	cpm_read_version(&table[CPM_ASK_VERSION], answer);
	cpm_read_pools(&table[CPM_ASK_POOLS], answer);
	cpm_read_stats(&table[CPM_ASK_STATS], answer);
	if (console->answers > CPM_ASK_CONFIG)
		cpm_read_config(&table[CPM_ASK_CONFIG], answer);
	cpm_read_servers(&table[CPM_ASK_SERVERS], &table[CPM_ASK_DATABASES], &servers);
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
	forget_answers(console);
	if (!console->was_up)
		ereport(LOG,
				(errmsg("connpool_monitor: PgBouncer \"%s\" (%s) answers", console->config->name,
						console->answer->version),
				 errhidestmt(true)));
	console->was_up = true;
	console->failures = 0;
	console->phase = CPM_CONSOLE_RESTING;
	console->due_us = Max(console->due_us + interval_us(console), now_us);
}

static void
note_table(CpmConsole *console, int64 now_us)
{
	CpmTable   *table = &console->table[console->answers];

	if (!cpm_table_open(table, console->child.body, console->child.header.length))
		fail(console, "it answered no table: is it PgBouncer?", now_us);
	else if (cpm_table_column(table, needed_columns[console->answers]) < 0)
		fail(console, "it answered nothing that it was asked for: is it PgBouncer?", now_us);
	else if (++console->answers == console->questions)
		end_round(console, now_us);
}

static void
read_message(CpmConsole *console, int64 now_us)
{
	const CpmChild *child = &console->child;

	console->bytes += sizeof(child->header) + child->header.length;
	if (console->bytes > MOST_BYTES)
		fail(console, TOO_MUCH, now_us);
	else if (child->header.type == CPM_MESSAGE_ASKING)
		console->phase = CPM_CONSOLE_ASKING;
	else if (child->header.type == CPM_MESSAGE_TABLE && console->phase == CPM_CONSOLE_ASKING)
		note_table(console, now_us);
	else if (child->header.type == CPM_MESSAGE_LOST)
		lose_connection(console, child->body, now_us);
	else if (child->header.type == CPM_MESSAGE_FAILED || child->header.type == CPM_MESSAGE_PASSWORD)
		fail_because(console, child->body, child->header.type == CPM_MESSAGE_PASSWORD, now_us);
	else
		fail(console, CPM_CONSOLE_PROGRAM " sends what the worker does not understand", now_us);
}

/* The process has ended without a reason of its own: somebody has killed it, perhaps. */
static void
child_ended(CpmConsole *console, int64 now_us)
{
	int			status = cpm_child_end(&console->child);

	lose_connection(console, psprintf(CPM_CONSOLE_PROGRAM ": %s", wait_result_to_str(status)),
					now_us);
}

void
cpm_console_ready(CpmConsole *console, int64 now_us)
{
	MemoryContext caller = MemoryContextSwitchTo(console->context);

	if (console->phase == CPM_CONSOLE_RESTING)
		cpm_child_end(&console->child); /* it has nothing to say now but its end */
	else
		switch (cpm_child_receive(&console->child, MOST_BYTES - console->bytes))
		{
			case CPM_RECEIVED_MESSAGE:
				read_message(console, now_us);
				break;
			case CPM_RECEIVED_TOO_MUCH:
				fail(console, TOO_MUCH, now_us);
				break;
			case CPM_RECEIVED_END:
				child_ended(console, now_us);
				break;
			case CPM_RECEIVED_PART:
				break;
		}
	MemoryContextSwitchTo(caller);
}

void
cpm_console_tick(CpmConsole *console, int64 now_us)
{
	if (console->phase == CPM_CONSOLE_RESTING && now_us >= console->due_us)
	{
		console->due_us = now_us;
		console->deadline_us = now_us + allowed_us(console);
		console->questions = console->rounds_to_config > 0 ? CPM_ASK_CONFIG : CPM_QUESTIONS;
		if (console->child.pid != 0)
			begin_asking(console);
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

void
cpm_console_end(CpmConsole *console)
{
	cpm_child_end(&console->child);
}
