/*
 * utf8.h
 *		Names that clients or other databases chose, as valid UTF-8.
 */
#ifndef CPM_UTF8_H
#define CPM_UTF8_H

#include "lib/stringinfo.h"

/*
 * A palloc'd copy in which every byte that is no UTF-8 is as "\xe9", and with only_ascii
 * every one that is no ASCII: names that differ stay different.
 */
extern char *cpm_valid_utf8(const char *text, bool only_ascii);

#endif							/* CPM_UTF8_H */
