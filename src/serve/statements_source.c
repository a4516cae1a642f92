/*
 * statements_source.c
 *		Reads pg_stat_statements, wherever it is, if it is.
 *
 * Nothing of ours depends on its objects, so it can be updated and dropped; its
 * function is found at each call. It is called through SPI as the user who
 * asks, so it redacts for that user.
 */
#include "postgres.h"

#include "base/compat.h"
#include "executor/spi.h"
#include "serve/statements_source.h"
#include "utils/guc.h"

/* It is loaded if its settings are its own and not kept for it by the server. */
bool
cpm_statements_are_loaded(void)
{
	return GetConfigOption("pg_stat_statements.max", true, false) != NULL &&
		(GetConfigOptionFlags("pg_stat_statements.max", true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

void
cpm_statements_require_loaded(const char *what)
{
	if (!cpm_statements_are_loaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs pg_stat_statements to be preloaded", what),
				 errhint("Add pg_stat_statements to shared_preload_libraries and restart the server.")));
}

/* The quoted name of the schema that holds it; NULL when there is none. */
static const char *
schema_name(void)
{
	int			code = SPI_execute("SELECT pg_catalog.quote_ident(n.nspname) "
								   "FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n "
								   "ON n.oid OPERATOR(pg_catalog.=) e.extnamespace "
								   "WHERE e.extname OPERATOR(pg_catalog.=) 'pg_stat_statements'",
								   true, 1);

	if (code != SPI_OK_SELECT)
		elog(ERROR, "connpool_monitor: could not read pg_extension");
	if (SPI_processed == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

bool
cpm_statements_read(void)
{
	const char *schema = schema_name();

	if (schema == NULL)
		return false;
	if (SPI_execute(psprintf("SELECT * FROM %s.pg_stat_statements(true)", schema), true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "connpool_monitor: could not read pg_stat_statements");
	return true;
}

void
cpm_statements_require(void)
{
	if (!cpm_statements_read())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_stat_statements\" does not exist in this database"),
				 errhint("Run CREATE EXTENSION pg_stat_statements.")));
}
