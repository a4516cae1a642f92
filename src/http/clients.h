/* SPDX-License-Identifier: PostgreSQL */
/*
 * clients.h
 *		Who is connected over HTTP, and who has been so for too long.
 */
#ifndef CPM_HTTP_CLIENTS_H
#define CPM_HTTP_CLIENTS_H

/*
 * A connection came, has had a whole answer, or is gone. The first returns what to
 * give to the others; NULL when there is no memory, which is taken too.
 */
extern void *cpm_client_came(int fd, int64 now_us);
extern void cpm_client_was_answered(void *client, int64 now_us);
extern void cpm_client_went(void *client);

/*
 * Shut down those that have waited for longer than anybody may, and the longest
 * waiting while there are too many.
 */
extern void cpm_clients_tidy(int64 now_us);

/* Milliseconds until the next one has waited for too long; -1 when there is none. */
extern long cpm_clients_next_ms(int64 now_us);

#endif							/* CPM_HTTP_CLIENTS_H */
