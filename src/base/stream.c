/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream.c
 *		Writes values to a file and reads them back from memory.
 */
#include "postgres.h"

#include "base/stream.h"

void
cpm_put(CpmSink *sink, const void *bytes, size_t size)
{
	if (sink->error != 0)
		return;
	COMP_CRC32C(sink->crc, bytes, size);
	errno = 0;
	if (fwrite(bytes, 1, size, sink->file) != size)
		sink->error = errno != 0 ? errno : ENOSPC;
}

void
cpm_put_u64(CpmSink *sink, uint64 value)
{
	cpm_put(sink, &value, sizeof(value));
}

void
cpm_put_has_more(CpmSink *sink, bool has_more)
{
	cpm_put(sink, has_more ? "+" : ".", 1);
}

/* Most buckets are empty, so the file lists the others only. */
void
cpm_put_histogram(CpmSink *sink, const CpmHistogram *histogram)
{
	for (uint16 i = 0; i < CPM_BUCKETS; i++)
	{
		if (histogram->count[i] == 0)
			continue;
		cpm_put_has_more(sink, true);
		cpm_put(sink, &i, sizeof(i));
		cpm_put_u64(sink, histogram->count[i]);
	}
	cpm_put_has_more(sink, false);
}

void
cpm_put_mark(CpmSink *sink, uint64 mark)
{
	cpm_put_u64(sink, mark);
}

bool
cpm_get(CpmSource *source, void *bytes, size_t size)
{
	if (source->failed || (size_t) (source->end - source->next) < size)
	{
		source->failed = true;
		memset(bytes, 0, size);
		return false;
	}
	memcpy(bytes, source->next, size);
	source->next += size;
	return true;
}

uint64
cpm_get_u64(CpmSource *source)
{
	uint64		value;

	(void) cpm_get(source, &value, sizeof(value));
	return value;
}

bool
cpm_get_has_more(CpmSource *source)
{
	char		byte;

	if (!cpm_get(source, &byte, 1))
		return false;
	if (byte != '+' && byte != '.')
		source->failed = true;
	return byte == '+';
}

bool
cpm_get_histogram(CpmSource *source, CpmHistogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	while (cpm_get_has_more(source))
	{
		uint16		bucket;

		if (!cpm_get(source, &bucket, sizeof(bucket)) || bucket >= CPM_BUCKETS)
		{
			source->failed = true;
			break;
		}
		histogram->count[bucket] = cpm_get_u64(source);
	}
	return !source->failed;
}

bool
cpm_get_mark(CpmSource *source, uint64 mark)
{
	if (cpm_get_u64(source) != mark)
		source->failed = true;
	return !source->failed;
}
