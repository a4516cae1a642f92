/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_register.h
 *		Registers the worker that answers over HTTP.
 */
#ifndef CPM_HTTP_REGISTER_H
#define CPM_HTTP_REGISTER_H

/* From _PG_init(), while libraries are preloaded. Does nothing without http_listen. */
extern void cpm_http_register(void);

#endif							/* CPM_HTTP_REGISTER_H */
