/* SPDX-License-Identifier: PostgreSQL */
/*
 * grouping.c
 *		Prints for each line "grouping<tab>application_name" of its input under which name that
 *		application is counted. t/043_application_grouping.pl has the names.
 */
#include "postgres.h"

#include "base/pool.h"

/* the server's own are not linked here, nor what quotes names in a sentence */
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
