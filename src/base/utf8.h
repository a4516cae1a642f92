/* SPDX-License-Identifier: PostgreSQL */
/*
 * utf8.h
 *		Converts text of unknown encoding to valid UTF-8.
 */
#ifndef CPM_UTF8_H
#define CPM_UTF8_H

#include "lib/stringinfo.h"

/*
 * Return a palloc'd copy in which each byte that is not part of a valid character is written as
 * \x and two hexadecimal digits. only_ascii escapes every byte outside ASCII. escape_backslash
 * doubles each backslash that could be mistaken for part of an escape, so that two different
 * texts never yield the same copy.
 */
extern char *cpm_valid_utf8(const char *text, bool only_ascii, bool escape_backslash);

#endif							/* CPM_UTF8_H */
