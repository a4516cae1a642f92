/* SPDX-License-Identifier: PostgreSQL */
/*
 * session.c
 *		Queries one console of PgBouncer over one connection.
 *
 * libpq stores rows, notifications and parameter values, so a console that sends them endlessly
 * would exhaust memory. This file therefore counts all received bytes, from the connection attempt
 * on, and exits if there are too many.
 *
 * This file has no timeouts, because a single call may block: a name lookup, a SCRAM exchange
 * whose iteration count the console chooses, or a lookup of a directory that the console names.
 * The worker kills this process instead.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "console/reply.h"
#include "console/session.h"
#include "libpq-fe.h"

/*
 * The most bytes that the console may send while connecting, and the most that it may send in a
 * round beyond its answers.
 */
#define MAX_OTHER_BYTES (1024 * 1024)

#define LIBPQ_BUFFER_SIZE (16 * 1024)	/* initial size of libpq's input buffer */
#define MAX_KEYWORDS 64
#define SQLSTATE_LENGTH 5

/* By CpmQuestion. */
static const char *const questions[CPM_QUESTIONS] = {
	"SHOW VERSION", "SHOW DATABASES", "SHOW SERVERS", "SHOW POOLS", "SHOW STATS", "SHOW CONFIG",
};

static PGconn *conn;			/* NULL until the first request */
static int64_t bytes;			/* received while connecting; later, in this round */
static int64_t answer_bytes;	/* memory used by the answers of this round */

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

/* Return the number of bytes that the kernel has received and libpq has not read yet. */
static int
unread_bytes(void)
{
	int			unread = 0;

	return PQsocket(conn) >= 0 && ioctl(PQsocket(conn), FIONREAD, &unread) == 0 ? unread : 0;
}

/*
 * Increase "bytes" by a lower bound of the number of bytes that libpq has just read in one call.
 * "before" is the number of unread bytes before that call. The exact number is unknown, because
 * more bytes may have arrived since. If fewer bytes are unread now, libpq has read at least the
 * difference. Otherwise add the smaller of "before" and the size of libpq's buffer, because a call
 * of libpq reads all unread bytes or fills its buffer.
 */
static void
count_bytes(int before)
{
	int			after = PQstatus(conn) != CONNECTION_BAD ? unread_bytes() : 0;

	if (before > after)
		bytes += before - after;
	else
		bytes += before < LIBPQ_BUFFER_SIZE ? before : LIBPQ_BUFFER_SIZE;
}

/*
 * Start connecting. The database is "pgbouncer" unless the conninfo names another, and the default
 * application_name is the extension's. Ignores a password in the conninfo (see base/pooler_list.c)
 * and settings beyond MAX_KEYWORDS. Returns NULL if out of memory; exits if conninfo is invalid.
 */
static PGconn *
start_connection(const char *conninfo)
{
	char	   *problem = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &problem);
	const char *keywords[MAX_KEYWORDS] = {"dbname", "fallback_application_name"};
	const char *values[MAX_KEYWORDS] = {"pgbouncer", "connpool_monitor"};
	int			count = 2;

	if (options == NULL)
		give_up(problem ? problem : "out of memory");
	/* if a keyword occurs twice, libpq uses the later value */
	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		if (option->val == NULL || strcmp(option->keyword, "password") == 0 ||
			count == MAX_KEYWORDS - 1)
			continue;
		keywords[count] = option->keyword;
		values[count++] = option->val;
	}
	return PQconnectStartParams(keywords, values, 0);
}

/*
 * Copy the SQLSTATE in the error message of a failed connection, and remove it from the message;
 * copies "" if there is none. It follows the severity, as in "FATAL:  28P01: password
 * authentication failed". libpq has no function that returns it.
 */
static void
take_sqlstate(char *message, char *sqlstate)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	sqlstate[0] = '\0';
	for (char *at = strstr(message, ":  "); at != NULL; at = strstr(at + 1, ":  "))
		if (strspn(at + 3, digits) == SQLSTATE_LENGTH &&
			strncmp(at + 3 + SQLSTATE_LENGTH, ": ", 2) == 0)
		{
			memcpy(sqlstate, at + 3, SQLSTATE_LENGTH);
			sqlstate[SQLSTATE_LENGTH] = '\0';
			memmove(at + 3, at + 5 + SQLSTATE_LENGTH, strlen(at + 5 + SQLSTATE_LENGTH) + 1);
			return;
		}
}

/*
 * Report why the connection failed, and exit. The reason is the password if the console asked for
 * one and libpq had none, or if libpq sent one and the console answered with an error of class 28
 * or with 08P01. PgBouncer uses 08P01 for most errors, but reports other problems, such as too
 * many connections, before it asks for a password.
 */
static void
fail_to_connect(void)
{
	char	   *message = strdup(PQerrorMessage(conn));
	char		sqlstate[SQLSTATE_LENGTH + 1];
	bool		password_refused = PQconnectionNeedsPassword(conn);

	if (message == NULL)
		give_up("out of memory");
	take_sqlstate(message, sqlstate);
	if (PQconnectionUsedPassword(conn))
		password_refused |= strncmp(sqlstate, "28", 2) == 0 || strcmp(sqlstate, "08P01") == 0;
	cpm_reply_failure(password_refused ? CPM_MESSAGE_PASSWORD : CPM_MESSAGE_FAILED, message);
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
	(void) PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* for take_sqlstate() */
	while (status != PGRES_POLLING_OK)
	{
		int			before;

		wait_for_socket(status == PGRES_POLLING_READING ? POLLIN : POLLOUT);
		before = unread_bytes();
		status = PQconnectPoll(conn);
		count_bytes(before);
		if (bytes > MAX_OTHER_BYTES)
			give_up("it sends too much before it accepts the connection: is it PgBouncer?");
		if (status == PGRES_POLLING_FAILED)
			fail_to_connect();
	}
	(void) PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
}

static void
lose_session(void)
{
	cpm_reply_failure(CPM_MESSAGE_LOST, PQerrorMessage(conn));
}

/* Return true if libpq has queued a notification, which PgBouncer never sends. */
static bool
has_notification(void)
{
	PGnotify   *notification = PQnotifies(conn);
	bool		found = notification != NULL;

	PQfreemem(notification);
	return found;
}

/* Wait for the next part of an answer and read it. */
static void
read_more(void)
{
	int			before;
	bool		is_ok;

	wait_for_socket(POLLIN);
	before = unread_bytes();
	is_ok = PQconsumeInput(conn);
	count_bytes(before);
	if (!is_ok)
		lose_session();
	if (bytes > CPM_MAX_BYTES)
		give_up("it sends more than the limit of 32 MB");
	if (has_notification())
		give_up("it sends notifications: is it PgBouncer?");
}

/* Return true if the console began a COPY, in which PQgetResult() would never return NULL. */
static bool
is_copy(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Wait for all results of a query and return the first; NULL if there is none. */
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

/*
 * In the column "host" of SHOW DATABASES, replace each directory with its path without symbolic
 * links. The worker compares these paths with the socket directories of this server. It does not
 * resolve them itself, because the console chooses them, and a lookup may block, for example on a
 * network file system.
 */
static void
resolve_hosts(PGresult *result)
{
	int			column = PQfnumber(result, "host");

	for (int row = 0; column >= 0 && row < PQntuples(result); row++)
	{
		const char *host = PQgetvalue(result, row, column);
		char	   *path = host[0] == '/' ? realpath(host, NULL) : NULL;

		if (path != NULL)
			(void) PQsetvalue(result, row, column, path, (int) strlen(path));
		free(path);
	}
}

static void
ask(CpmQuestion question)
{
	PGresult   *result;

	if (!PQsendQuery(conn, questions[question]))
		lose_session();
	result = read_answer();
	if (result == NULL)
		give_up("it sent no answer");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		give_up(PQresultErrorMessage(result)[0] ? PQresultErrorMessage(result) :
				"its answer has no rows");
	/* all other bytes are notices, or parameter values, which libpq stores */
	answer_bytes += (int64_t) PQresultMemorySize(result);
	if (bytes - answer_bytes > MAX_OTHER_BYTES)
		give_up("it sends more than it was asked for: is it PgBouncer?");
	if (question == CPM_ASK_DATABASES)
		resolve_hosts(result);
	cpm_reply_table(result);
	PQclear(result);
}

void
cpm_session_answer(const CpmRequest *request)
{
	if (conn == NULL)
		open_session(request->conninfo);
	bytes = answer_bytes = 0;
	cpm_reply_asking();
	for (uint32_t i = 0; i < request->questions; i++)
		ask(i);
}
