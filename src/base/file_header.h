/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.h
 *		The header of a statistics file, and its validation.
 *
 * A file consists of this header, the data, and a CRC-32C of both.
 */
#ifndef CPM_FILE_HEADER_H
#define CPM_FILE_HEADER_H

#include "datatype/timestamp.h"
#include "port/pg_crc32c.h"

#define CPM_FILE_MAGIC UINT64CONST(0x74617473206d7063)	/* "cpm stat" */
#define CPM_FILE_FORMAT 14

typedef struct CpmFileHeader
{
	uint64		magic;
	uint64		format;			/* CPM_FILE_FORMAT: increment it when the layout changes */
	uint64		system_identifier;	/* of the cluster */
	TimestampTz saved_at;
	int64		setback_us;		/* by how much the clock had been set back since the start */
	uint64		on_standby;		/* 1: saved by a server in standby mode or archive recovery */
} CpmFileHeader;

/* The problem of a file whose magic number is wrong or absent. */
#define CPM_FILE_WRONG_MAGIC \
	"is not a file of connpool_monitor, or was written on a machine with another byte order"

/*
 * Return NULL if the bytes are a usable file; otherwise the reason why not, a constant that
 * continues the message "file is not used: it ...". Pure.
 */
extern const char *cpm_file_problem(const char *bytes, size_t size, uint64 system_identifier);

#endif							/* CPM_FILE_HEADER_H */
