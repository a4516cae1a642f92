/* SPDX-License-Identifier: PostgreSQL */
/*
 * child.c
 *		Controls a process that queries one console of PgBouncer (src/console).
 *
 * The worker starts the process by posix_spawn(), because fork() would leave a copy of the worker
 * attached to shared memory. It ends the process by SIGKILL, which even a compromised process
 * cannot ignore. Only cpm_child_end() blocks, until the process that it has killed has ended.
 *
 * The kernel closes the worker's end of the socket on exec, so that no other child keeps it open.
 * A child therefore reads end-of-file on its standard input after the worker has ended, even if a
 * signal killed the worker.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/version.h"
#include "libpq/pqsignal.h"
#include "pgbouncer/child.h"

extern char **environ;

/*
 * Start the program with the socket as its standard input and output, default signal handling and
 * the worker's environment. Returns 0 or an errno.
 */
static int
spawn(pid_t *pid, const char *path, const char *argument, int socket)
{
	char	   *arguments[] = {CPM_CONSOLE_PROGRAM, (char *) argument, CPM_VERSION, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t	none;
	sigset_t	all;
	int			error;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attributes) != 0)
	{
		posix_spawn_file_actions_destroy(&actions);
		return ENOMEM;
	}
	error = posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, socket, STDOUT_FILENO);
	if (error == 0)
		error = posix_spawnattr_setflags(&attributes,
										 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (error == 0)
		error = posix_spawnattr_setsigmask(&attributes, &none);
	if (error == 0)
		error = posix_spawnattr_setsigdefault(&attributes, &all);
	if (error == 0)
		error = posix_spawn(pid, path, &actions, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

int
cpm_child_start(CpmChild *child, const char *path, const char *argument)
{
	int			sockets[2];
	pid_t		pid;
	int			error;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
		return errno;
	if (fcntl(sockets[0], F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(sockets[1], F_SETFD, FD_CLOEXEC) != 0 ||
		!pg_set_noblock(sockets[0]))
		error = errno;
	else
		error = spawn(&pid, path, argument, sockets[1]);
	close(sockets[1]);
	if (error != 0)
	{
		close(sockets[0]);
		return error;
	}
	child->pid = pid;
	child->socket = sockets[0];
	child->received = 0;
	return 0;
}

void
cpm_child_send(CpmChild *child, const CpmRequest *request)
{
	/* does not block: the process has read the previous request, so the buffer is empty */
	if (send(child->socket, request, sizeof(*request), 0) < 0)
		elog(DEBUG1, "could not send to process %d: %m", (int) child->pid);
}

CpmReceived
cpm_child_receive(CpmChild *child, size_t max)
{
	for (;;)
	{
		bool		in_header = child->received < sizeof(CpmMessageHeader);
		size_t		in_body = in_header ? 0 : child->received - sizeof(CpmMessageHeader);
		char	   *end = in_header ? (char *) &child->header + child->received :
			child->body + in_body;
		size_t		missing = in_header ? sizeof(CpmMessageHeader) - child->received :
			child->header.length - in_body;
		ssize_t		got;

		if (!in_header && missing == 0)
		{
			child->received = 0;
			return CPM_RECEIVED_MESSAGE;
		}
		got = recv(child->socket, end, missing, 0);
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return CPM_RECEIVED_PART;
		if (got <= 0)
			return CPM_RECEIVED_END;
		child->received += got;
		if (child->received != sizeof(CpmMessageHeader) || !in_header)
			continue;
		if (child->header.length > max)
			return CPM_RECEIVED_TOO_MUCH;
		child->body = palloc(child->header.length + 1);
		child->body[child->header.length] = '\0';
	}
}

int
cpm_child_end(CpmChild *child)
{
	int			status = 0;

	if (child->pid == 0)
		return 0;
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(child->socket);
	child->pid = 0;
	return status;
}
