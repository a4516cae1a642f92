/* SPDX-License-Identifier: PostgreSQL */
/*
 * page.h
 *		The page for browsers.
 */
#ifndef CPM_HTTP_PAGE_H
#define CPM_HTTP_PAGE_H

#include "lib/stringinfo.h"

#define CPM_NONCE_SIZE 33		/* with the terminating zero */

/*
 * Append the page to html, with a new nonce in its style and script elements, and copy
 * the nonce to nonce, because the answer's Content-Security-Policy must name it. Returns false
 * if no random bytes are available.
 */
extern bool cpm_page_write(StringInfo html, char nonce[CPM_NONCE_SIZE]);

#endif							/* CPM_HTTP_PAGE_H */
