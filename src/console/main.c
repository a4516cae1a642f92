/* SPDX-License-Identifier: PostgreSQL */
/*
 * main.c
 *		connpool_monitor_console: queries one console of PgBouncer on behalf of the worker.
 *
 * A slow or hostile console can make a call of libpq take arbitrarily long and use arbitrarily
 * much memory. libpq therefore runs in this separate process, without shared memory, and the
 * worker kills the process if a round takes too long. After the worker has ended, this process
 * exits when it reads the end of its standard input or, during a round, when an alarm fires.
 *
 * Standard input and output are connected to the worker (wire.h). Standard error is that of the
 * server, so that libpq's warning about the permissions of a password file reaches its log.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/version.h"
#include "console/reply.h"
#include "console/session.h"

#define MAX_MEMORY (256 * 1024 * 1024)
#define MAX_DESCRIPTORS 65536

/* Set a limit. Ignore errors, because session.c, which counts bytes, is the first defense. */
static void
set_limit(int resource, rlim_t max)
{
	struct rlimit limits = {.rlim_cur = max, .rlim_max = max};

	(void) setrlimit(resource, &limits);
}

static void
limit_resources(void)
{
	/* a core dump would contain passwords */
	set_limit(RLIMIT_CORE, 0);
	/* AddressSanitizer reserves terabytes of address space */
#ifndef __SANITIZE_ADDRESS__
	set_limit(RLIMIT_DATA, MAX_MEMORY);
#endif
}

/* Close the files and sockets that the process has inherited from the server. */
static void
close_descriptors(void)
{
	long		max = sysconf(_SC_OPEN_MAX);

	if (max < 0 || max > MAX_DESCRIPTORS)
		max = MAX_DESCRIPTORS;
	for (int descriptor = STDERR_FILENO + 1; descriptor < max; descriptor++)
		close(descriptor);
}

/* Wait for a request. Returns false if the worker has closed its end of the socket. */
static bool
read_request(CpmRequest *request)
{
	size_t		received = 0;

	while (received < sizeof(*request))
	{
		ssize_t		got = read(STDIN_FILENO, (char *) request + received,
							   sizeof(*request) - received);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		received += (size_t) got;
	}
	return true;
}

int
main(int argc, char **argv)
{
	CpmRequest	request;

	limit_resources();
	close_descriptors();
	/* pg_cancel_backend() on the worker signals its whole process group */
	signal(SIGINT, SIG_IGN);
	if (argc != 3 || strcmp(argv[2], CPM_VERSION) != 0)
		cpm_reply_failure(CPM_MESSAGE_FAILED,
						  CPM_CONSOLE_PROGRAM " is of another version than the worker");
	while (read_request(&request))
	{
		alarm(request.seconds);
		cpm_session_answer(&request);
		alarm(0);
	}
	return 0;
}
