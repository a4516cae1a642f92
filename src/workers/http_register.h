/* SPDX-License-Identifier: PostgreSQL */
/*
 * http_register.h
 *		Registers the HTTP worker.
 */
#ifndef CPM_HTTP_REGISTER_H
#define CPM_HTTP_REGISTER_H

/*
 * Register the worker if http_listen is set; log a warning if its library is not installed. Call
 * from _PG_init() while libraries are preloaded.
 */
extern void cpm_http_register(void);

#endif							/* CPM_HTTP_REGISTER_H */
