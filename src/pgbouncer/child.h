/* SPDX-License-Identifier: PostgreSQL */
/*
 * child.h
 *		Controls a process that queries one console of PgBouncer (src/console).
 */
#ifndef CPM_CHILD_H
#define CPM_CHILD_H

#include "console/wire.h"
#include "port.h"

typedef struct CpmChild
{
	pid_t		pid;			/* 0: no process */
	pgsocket	socket;			/* connected to its standard input and output */
	size_t		received;		/* bytes of the current message so far, including its header */
	CpmMessageHeader header;
	char	   *body;			/* terminated by '\0'; allocated once the header is complete */
} CpmChild;

typedef enum CpmReceived
{
	CPM_RECEIVED_PART,			/* the message is incomplete */
	CPM_RECEIVED_MESSAGE,		/* header and body are complete; the next call overwrites them */
	CPM_RECEIVED_TOO_MUCH,		/* the body is longer than allowed */
	CPM_RECEIVED_END			/* the process has ended */
} CpmReceived;

/* Start the process. argument is the console's name, visible in ps. Returns 0 or an errno. */
extern int	cpm_child_start(CpmChild *child, const char *path, const char *argument);

/*
 * Send a request without blocking. Logs an error and does not return it, because the next
 * cpm_child_receive() returns CPM_RECEIVED_END if the process has ended.
 */
extern void cpm_child_send(CpmChild *child, const CpmRequest *request);

/*
 * Read available data without blocking, up to the end of a message. Allocates a body of at most
 * max bytes in the current memory context, which must not be reset before the message is complete.
 */
extern CpmReceived cpm_child_receive(CpmChild *child, size_t max);

/*
 * Kill the process and wait until it has ended. Returns its wait status, which gives the reason if
 * it had ended before; 0 if there is no process.
 */
extern int	cpm_child_end(CpmChild *child);

#endif							/* CPM_CHILD_H */
