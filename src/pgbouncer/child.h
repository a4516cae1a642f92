/* SPDX-License-Identifier: PostgreSQL */
/*
 * child.h
 *		The process that asks one console of PgBouncer (src/console).
 */
#ifndef CPM_CHILD_H
#define CPM_CHILD_H

#include "console/wire.h"
#include "port.h"

typedef struct CpmChild
{
	pid_t		pid;			/* 0 for none */
	pgsocket	socket;			/* its standard input and output */
	size_t		received;		/* bytes of the message that is coming, header included */
	CpmMessageHeader header;
	char	   *body;			/* with a zero byte behind it; valid once the header is whole */
} CpmChild;

typedef enum CpmReceived
{
	CPM_RECEIVED_PART,			/* no whole message yet */
	CPM_RECEIVED_MESSAGE,		/* header and body are whole, until the next call */
	CPM_RECEIVED_TOO_MUCH,		/* the body would be longer than it may be */
	CPM_RECEIVED_END			/* the process has ended */
} CpmReceived;

/* Start the process; argument names the console for ps. Returns 0 or an errno. */
extern int	cpm_child_start(CpmChild *child, const char *path, const char *argument);

/* Send a request. If the process has ended, that is read, not returned here. */
extern void cpm_child_send(CpmChild *child, const CpmRequest *request);

/*
 * Read what has come, without waiting. A body of up to `most` bytes is allocated in the current
 * memory context, which must be the same until the message is whole, and is the caller's then.
 */
extern CpmReceived cpm_child_receive(CpmChild *child, size_t most);

/* Kill the process, if there is one, and wait for its end. Returns its exit status. */
extern int	cpm_child_end(CpmChild *child);

#endif							/* CPM_CHILD_H */
