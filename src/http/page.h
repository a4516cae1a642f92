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
 * Append the page to html. Sets nonce to a new random nonce, which the page's style and script
 * elements carry and which the answer's Content-Security-Policy must name. Returns false if no
 * random bytes are available.
 */
extern bool cpm_page_write(StringInfo html, char nonce[CPM_NONCE_SIZE]);

#endif							/* CPM_HTTP_PAGE_H */
