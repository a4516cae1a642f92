/* SPDX-License-Identifier: PostgreSQL */
/*
 * sqlstates.c
 *		The condition name of an SQLSTATE, and whether a retry can succeed.
 *
 * The build generates the names from the errcodes.txt of the PostgreSQL version that the library
 * is built for.
 */
#include "postgres.h"

#include "base/sqlstates.h"

typedef struct Condition
{
	const char *sqlstate;
	const char *name;
} Condition;

static const Condition conditions[] = {
#include "base/condition_names.inc"
};

static const char *const retryable[] = {
	"40001", "40P01", "53300", "57P01", "57P02", "57P03", "55P03",
};

const char *
cpm_condition_name(const char *sqlstate)
{
	for (size_t i = 0; i < lengthof(conditions); i++)
		if (strcmp(conditions[i].sqlstate, sqlstate) == 0)
			return conditions[i].name;
	return NULL;
}

int
cpm_condition_count(void)
{
	return lengthof(conditions);
}

const char *
cpm_condition_sqlstate(int index)
{
	return conditions[index].sqlstate;
}

bool
cpm_is_known_class(const char *sqlstate)
{
	for (size_t i = 0; i < lengthof(conditions); i++)
		if (strncmp(conditions[i].sqlstate, sqlstate, 2) == 0)
			return true;
	return false;
}

bool
cpm_is_retryable(const char *sqlstate)
{
	if (strncmp(sqlstate, "08", 2) == 0)
		return true;
	for (size_t i = 0; i < lengthof(retryable); i++)
		if (strcmp(retryable[i], sqlstate) == 0)
			return true;
	return false;
}
