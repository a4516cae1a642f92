/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.c
 *		Asks one console of PgBouncer over one connection.
 *
 * libpq keeps rows, notifications and values of parameters, and a console that sends them
 * without end must not fill the memory: all bytes are counted, from connecting on. Nothing
 * here watches the time. The worker ends this process when it takes too long, also within a
 * call of libpq: a SCRAM exchange with as many iterations as the console likes is one call,
 * and looking up a host's name another.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "console/reply.h"
#include "console/session.h"
#include "libpq-fe.h"

#define MOST_BYTES_BESIDES (1024 * 1024)	/* while connecting, and of a round besides answers */
#define LEAST_BUFFER (16 * 1024)	/* of libpq, which reads no more at once */
#define MOST_KEYWORDS 64

static const char *const questions[CPM_QUESTIONS] = {
	"SHOW VERSION", "SHOW DATABASES", "SHOW SERVERS", "SHOW POOLS", "SHOW STATS", "SHOW CONFIG",
};

static PGconn *conn;			/* NULL until the first request */
static int64_t bytes;			/* that came while connecting, or in this round */
static int64_t bytes_answered;	/* that the answers of this round take */

static void give_up(const char *message) __attribute__((noreturn));

static void
give_up(const char *message)
{
	cpm_reply_failure(CPM_MESSAGE_FAILED, message);
}

static void
ignore_notice(void *arg, const char *message)
{
	(void) arg;
	(void) message;
}

/* Wait until the connection's socket is ready. */
static void
wait_for_socket(short events)
{
	struct pollfd event = {.fd = PQsocket(conn), .events = events};

	while (poll(&event, 1, -1) < 0 && errno == EINTR)
		;
}

/* Bytes that have come and not been read. */
static int
bytes_waiting(void)
{
	int			waiting = 0;

	return PQsocket(conn) >= 0 && ioctl(PQsocket(conn), FIONREAD, &waiting) == 0 ? waiting : 0;
}

/*
 * Count the bytes that libpq has read since `before` bytes were waiting. Bytes that arrived
 * meanwhile hide as many of the read ones, up to a buffer of them.
 */
static void
count_bytes(int before)
{
	int			after = PQstatus(conn) != CONNECTION_BAD ? bytes_waiting() : 0;

	bytes += before > after ? before - after : before < LEAST_BUFFER ? before : LEAST_BUFFER;
}

/* The conninfo with a database and a name of our own, unless it has them. */
static PGconn *
start_connection(const char *conninfo)
{
	char	   *problem = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &problem);
	const char *keywords[MOST_KEYWORDS] = {"dbname", "fallback_application_name"};
	const char *values[MOST_KEYWORDS] = {"pgbouncer", "connpool_monitor"};
	int			count = 2;

	if (options == NULL)
		give_up(problem ? problem : "out of memory");
	/* a later one counts */
	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		if (option->val == NULL || strcmp(option->keyword, "password") == 0 ||
			count == MOST_KEYWORDS - 1)
			continue;
		keywords[count] = option->keyword;
		values[count++] = option->val;
	}
	return PQconnectStartParams(keywords, values, 0);
}

static void
fail_to_connect(void)
{
	bool		password_refused = PQconnectionUsedPassword(conn) || PQconnectionNeedsPassword(conn);

	cpm_reply_failure(password_refused ? CPM_MESSAGE_PASSWORD : CPM_MESSAGE_FAILED,
					  PQerrorMessage(conn));
}

static void
open_session(const char *conninfo)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	conn = start_connection(conninfo);
	if (conn == NULL)
		give_up("out of memory");
	if (PQstatus(conn) == CONNECTION_BAD)
		fail_to_connect();
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	while (status != PGRES_POLLING_OK)
	{
		int			before;

		wait_for_socket(status == PGRES_POLLING_READING ? POLLIN : POLLOUT);
		before = bytes_waiting();
		status = PQconnectPoll(conn);
		count_bytes(before);
		if (bytes > MOST_BYTES_BESIDES)
			give_up("it sends too much before it lets in: is it PgBouncer?");
		if (status == PGRES_POLLING_FAILED)
			fail_to_connect();
	}
}

static void
lose_session(void)
{
	cpm_reply_failure(CPM_MESSAGE_LOST, PQerrorMessage(conn));
}

/* PgBouncer sends no notifications; libpq queues them until somebody asks for them. */
static bool
sends_notifications(void)
{
	PGnotify   *notification = PQnotifies(conn);
	bool		is_any = notification != NULL;

	PQfreemem(notification);
	return is_any;
}

/* Wait for more of an answer, and read it. */
static void
read_more(void)
{
	int			before;
	bool		is_well;

	wait_for_socket(POLLIN);
	before = bytes_waiting();
	is_well = PQconsumeInput(conn);
	count_bytes(before);
	if (!is_well)
		lose_session();
	if (bytes > CPM_MOST_BYTES)
		give_up("it answers more than can be read");
	if (sends_notifications())
		give_up("it sends notifications: is it PgBouncer?");
}

/* After COPY libpq gives results without end, each time that it is asked. */
static bool
is_copy(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Return the first result of a query when all have come; NULL if there is none. */
static PGresult *
read_answer(void)
{
	PGresult   *answer = NULL;

	for (;;)
	{
		PGresult   *result;

		while (PQisBusy(conn))
			read_more();
		result = PQgetResult(conn);
		if (result == NULL)
			return answer;
		if (is_copy(result))
			give_up("it answers with COPY: is it PgBouncer?");
		if (PQstatus(conn) == CONNECTION_BAD)
			lose_session();
		if (answer == NULL)
			answer = result;
		else
			PQclear(result);
	}
}

static void
ask(const char *question)
{
	PGresult   *result;

	if (!PQsendQuery(conn, question))
		lose_session();
	result = read_answer();
	if (result == NULL)
		give_up("it answered nothing");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		give_up(PQresultErrorMessage(result)[0] ? PQresultErrorMessage(result) :
				"it answered something else than rows");
	/* the rest are notices, and values of parameters, which libpq keeps */
	bytes_answered += (int64_t) PQresultMemorySize(result);
	if (bytes - bytes_answered > MOST_BYTES_BESIDES)
		give_up("it sends more than it was asked for: is it PgBouncer?");
	cpm_reply_table(result);
	PQclear(result);
}

void
cpm_session_answer(const CpmRequest *request)
{
	if (conn == NULL)
		open_session(request->conninfo);
	bytes = bytes_answered = 0;
	cpm_reply_asking();
	for (uint32_t i = 0; i < request->questions; i++)
		ask(questions[i]);
}
