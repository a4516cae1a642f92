/* SPDX-License-Identifier: PostgreSQL */
/*
 * page.h
 *		The page that a browser gets.
 */
#ifndef CPM_HTTP_PAGE_H
#define CPM_HTTP_PAGE_H

#include "lib/stringinfo.h"

#define CPM_NONCE_SIZE 33		/* with its end */

/*
 * Append the page, with a nonce of its own in its style and script, for the policy
 * that comes with it. False when there is no randomness.
 */
extern bool cpm_page_write(StringInfo html, char nonce[CPM_NONCE_SIZE]);

#endif							/* CPM_HTTP_PAGE_H */
