/* SPDX-License-Identifier: PostgreSQL */
/*
 * grouping.c
 *		Prints the pool's application for each application_name in its input.
 *
 * Each line of the input has a CpmGrouping as a digit, a tab and an application_name. Exits with
 * status 1 if the bytes after the end of a result are not zero. t/043_application_grouping.pl
 * checks the output.
 */
#include "postgres.h"

#include "base/pool.h"

/* this program does not link the server's functions, and does not test the quoting of names */
#undef printf
#include <stdio.h>

const char *
quote_identifier(const char *name)
{
	return name;
}

char *
psprintf(const char *format, ...)
{
	(void) format;
	return NULL;
}

int
main(void)
{
	char		line[1024];

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		char		application_name[NAMEDATALEN] = "";
		char		pool[NAMEDATALEN];
		int			grouping;

		line[strcspn(line, "\n")] = '\0';
		grouping = line[0] - '0';
		memcpy(application_name, line + 2, Min(strlen(line + 2), NAMEDATALEN - 1));
		memset(pool, 'x', NAMEDATALEN);
		cpm_pool_application(pool, application_name, grouping);
		for (int i = (int) strlen(pool); i < NAMEDATALEN; i++)
			if (pool[i] != '\0')
				return 1;
		printf("%s\n", pool);
	}
	return 0;
}
