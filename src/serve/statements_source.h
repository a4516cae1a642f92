/*
 * statements_source.h
 *		Reads pg_stat_statements, wherever it is, if it is.
 */
#ifndef CPM_STATEMENTS_SOURCE_H
#define CPM_STATEMENTS_SOURCE_H

/* Is pg_stat_statements in shared_preload_libraries? */
extern bool cpm_statements_are_loaded(void);

/* Fail with 55000 unless it is. */
extern void cpm_statements_require_loaded(const char *what);

/*
 * Leave all its rows, as the caller may see them, in SPI_tuptable and
 * SPI_processed. Call between SPI_connect() and SPI_finish(), when it is
 * loaded. False when this database has no such extension.
 */
extern bool cpm_statements_read(void);

/* The same, but fail where there is no such extension. */
extern void cpm_statements_require(void);

#endif							/* CPM_STATEMENTS_SOURCE_H */
