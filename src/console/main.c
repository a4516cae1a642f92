/* SPDX-License-Identifier: PostgreSQL */
/*
 * main.c
 *		connpool_monitor_console: asks one console of PgBouncer for the worker.
 *
 * A console decides how long a call of libpq takes and how much memory it needs. libpq
 * therefore runs in a process of its own, without shared memory, which the worker kills when
 * it takes too long. Should the worker be gone, the process ends by itself: at the end of its
 * standard input, or by the alarm while it is busy. Standard input and output are the worker's
 * (wire.h). Standard error stays the server's log, where libpq complains about a password file
 * that others can read.
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

#define MOST_MEMORY (256 * 1024 * 1024)
#define MOST_DESCRIPTORS 65536

/* A limit that the system does not know does not matter: bytes are counted too. */
static void
limit(int resource, rlim_t most)
{
	struct rlimit limits = {.rlim_cur = most, .rlim_max = most};

	(void) setrlimit(resource, &limits);
}

static void
limit_resources(void)
{
	/* the process has read a password file */
	limit(RLIMIT_CORE, 0);
	/* AddressSanitizer reserves terabytes */
#ifndef __SANITIZE_ADDRESS__
	limit(RLIMIT_DATA, MOST_MEMORY);
#endif
}

/* Close what the server had open. */
static void
close_descriptors(void)
{
	long		most = sysconf(_SC_OPEN_MAX);

	if (most < 0 || most > MOST_DESCRIPTORS)
		most = MOST_DESCRIPTORS;
	for (int descriptor = STDERR_FILENO + 1; descriptor < most; descriptor++)
		close(descriptor);
}

/* Wait for a request. Returns false when the worker has closed its end. */
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
	/* pg_cancel_backend() signals the worker's process group */
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
