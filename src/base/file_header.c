/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.c
 *		How a file of ours begins and ends, and what may be wrong with it.
 */
#include "postgres.h"

#include "base/file_header.h"

static bool
checksum_is_right(const char *bytes, size_t size)
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
		return CPM_FILE_NOT_OURS;
	if (header.format > CPM_FILE_FORMAT)
		return "was written by a newer version of connpool_monitor";
	if (!checksum_is_right(bytes, size))
		return "is damaged: its checksum is wrong";
	if (header.format < CPM_FILE_FORMAT)
		return "was written by a version of connpool_monitor that is no longer read";
	if (header.system_identifier != system_identifier)
		return "belongs to another cluster";
	return NULL;
}
