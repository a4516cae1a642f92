/* SPDX-License-Identifier: PostgreSQL */
/*
 * http.h
 *		Registers the worker that answers over HTTP.
 */
#ifndef CPM_WORK_HTTP_H
#define CPM_WORK_HTTP_H

/* From _PG_init(), while libraries are preloaded. Does nothing without http_listen. */
extern void cpm_http_register(void);

#endif							/* CPM_WORK_HTTP_H */
