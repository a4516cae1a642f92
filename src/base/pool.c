/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool.c
 *		Names of pools as they stand in a sentence.
 *
 * Clients choose them. Each is quoted like an identifier of SQL, so that a name with spaces,
 * commas or brackets cannot be read as the name of another pool or as the end of the sentence.
 */
#include "postgres.h"

#include "base/pool.h"
#include "utils/builtins.h"

const char *
cpm_application_in_words(const char *application_name)
{
	return application_name[0] != '\0' ? quote_identifier(application_name) :
		"(no application name)";
}

char *
cpm_pool_in_words(const CpmPoolName *name)
{
	return psprintf("%s (%s in %s)", cpm_application_in_words(name->application_name),
					quote_identifier(name->role), quote_identifier(name->database));
}
