/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.h
 *		How a file of ours begins and ends, and what may be wrong with it.
 *
 * A header, whatever is in between, and a checksum of all that (CRC-32C).
 */
#ifndef CPM_FILE_HEADER_H
#define CPM_FILE_HEADER_H

#include "datatype/timestamp.h"
#include "port/pg_crc32c.h"

#define CPM_FILE_MAGIC UINT64CONST(0x74617473206d7063)	/* "cpm stat" */
#define CPM_FILE_FORMAT 7

typedef struct CpmFileHeader
{
	uint64		magic;
	uint64		format;			/* raised by who changes what is in the file */
	uint64		system_identifier;	/* of the cluster */
	TimestampTz saved_at;
	uint64		on_standby;		/* 1: saved in recovery from a primary or an archive */
} CpmFileHeader;

/* Of one that does not even begin as one. */
#define CPM_FILE_NOT_OURS "is not one of connpool_monitor, or of a machine of another kind"

/*
 * What is wrong with these bytes of a file, in words that fit after "the file is
 * not used: it …"; NULL when they can be taken for what they say. Pure.
 */
extern const char *cpm_file_problem(const char *bytes, size_t size, uint64 system_identifier);

#endif							/* CPM_FILE_HEADER_H */
