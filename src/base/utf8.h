/* SPDX-License-Identifier: PostgreSQL */
/*
 * utf8.h
 *		Names that clients or other databases chose, as valid UTF-8.
 */
#ifndef CPM_UTF8_H
#define CPM_UTF8_H

#include "lib/stringinfo.h"

/*
 * Return a palloc'd copy in which each byte that is not part of a valid character is written
 * as \x and two hexadecimal digits, and with only_ascii each byte outside ASCII. With
 * escape_backslash a backslash that could be taken for part of such an escape becomes two, so
 * that different texts never become the same.
 */
extern char *cpm_valid_utf8(const char *text, bool only_ascii, bool escape_backslash);

#endif							/* CPM_UTF8_H */
