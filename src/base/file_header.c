/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.c
 *		Validates the header and the checksum of a statistics file.
 */
#include "postgres.h"

#include "base/file_header.h"

static bool
has_valid_checksum(const char *bytes, size_t size)
{
	pg_crc32c	computed;
	pg_crc32c	written;

	INIT_CRC32C(computed);
	COMP_CRC32C(computed, bytes, size - sizeof(written));
	FIN_CRC32C(computed);
	memcpy(&written, bytes + size - sizeof(written), sizeof(written));
	return EQ_CRC32C(computed, written);
}

const char *
cpm_file_problem(const char *bytes, size_t size, uint64 system_identifier)
{
	CpmFileHeader header;

	if (size < sizeof(header) + sizeof(pg_crc32c))
		return "is truncated";
	memcpy(&header, bytes, sizeof(header));
	if (header.magic != CPM_FILE_MAGIC)
		return CPM_FILE_WRONG_MAGIC;
	if (header.format > CPM_FILE_FORMAT)
		return "was written by a newer version of connpool_monitor";
	if (!has_valid_checksum(bytes, size))
		return "is damaged: its checksum is wrong";
	if (header.format < CPM_FILE_FORMAT)
		return "was written by an older version of connpool_monitor whose format is not supported";
	if (header.system_identifier != system_identifier)
		return "belongs to another cluster";
	return NULL;
}
