/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream.c
 *		The parts of the statistics file, and how their records are written and read.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/set_back.h"
#include "base/stream.h"
#include "utils/timestamp.h"

#define MAX_LINE 64				/* size of the line that begins a part, with a '\0' */
#define MAX_RUN 255				/* zeros that are written as one pair of bytes */

/* The file that is being loaded */
static TimestampTz file_saved_at;
static int64 file_saved_us;		/* the same by the monotonic clock; may be negative */
static int64 file_setback_us;	/* by how much the clock had been set back then */

void
cpm_set_loaded_file_time(TimestampTz saved_at, int64 setback_us)
{
	file_saved_at = saved_at;
	file_saved_us = cpm_monotonic_us() - Max(GetCurrentTimestamp() - saved_at, 0);
	file_setback_us = setback_us;
}

/*
 * Return the past time of a record, as cpm_past() does. Subtracts nothing from a time less than a
 * second later than "now", because the record may have been added since the caller read the clock.
 */
static TimestampTz
past_of_record(TimestampTz recorded, TimestampTz now, int64 setback_us)
{
	return recorded < now + CPM_MIN_STEP_US ? Min(recorded, now) :
		cpm_past(recorded, now, setback_us);
}

TimestampTz
cpm_loaded_time(TimestampTz saved)
{
	TimestampTz now = GetCurrentTimestamp();

	return cpm_past(past_of_record(saved, file_saved_at, file_setback_us), now,
					Max(file_saved_at - now, 0));
}

int64
cpm_loaded_us(int64 age_us)
{
	return file_saved_us - age_us;
}

void
cpm_correct_record_times(void *record, const CpmFileField *time, TimestampTz now, int64 setback_us)
{
	TimestampTz *first = (TimestampTz *) ((char *) record + time[0].offset);
	TimestampTz *last = (TimestampTz *) ((char *) record + time[time[1].size > 0].offset);

	if (time[0].size == 0 || *last <= now)
		return;
	*first = past_of_record(*first, now, setback_us);
	*last = Max(past_of_record(*last, now, setback_us), *first);
}

void
cpm_correct_loaded_times(void *record, const CpmFileField *time)
{
	TimestampTz now = GetCurrentTimestamp();

	cpm_correct_record_times(record, time, file_saved_at, file_setback_us);
	cpm_correct_record_times(record, time, now, Max(file_saved_at - now, 0));
}

void
cpm_put_bytes(CpmSink *sink, const void *bytes, Size size)
{
	if (sink->error != 0)
		return;
	COMP_CRC32C(sink->crc, bytes, size);
	errno = 0;
	if (fwrite(bytes, 1, size, sink->file) != size)
		sink->error = errno != 0 ? errno : ENOSPC;
}

/* Set line, of MAX_LINE bytes, to the beginning of a part; returns its length. */
static Size
part_line(char *line, const char *name, Size record_size)
{
	return snprintf(line, MAX_LINE, "%s %zu\n", name, record_size);
}

void
cpm_begin_part(CpmSink *sink, const char *name, Size record_size)
{
	char		line[MAX_LINE];

	cpm_put_bytes(sink, line, part_line(line, name, record_size));
	sink->record_size = record_size;
}

void
cpm_put(CpmSink *sink, const void *record)
{
	const char *bytes = record;
	Size		length;

	cpm_put_bytes(sink, "+", 1);
	for (Size at = 0; at < sink->record_size; at += length)
	{
		bool		is_zero = bytes[at] == 0;
		Size		max = Min(sink->record_size - at, MAX_RUN);
		char		run[2] = {0};

		for (length = 1; length < max && (bytes[at + length] == 0) == is_zero; length++)
			;
		run[1] = (char) length;
		cpm_put_bytes(sink, is_zero ? run : bytes + at, is_zero ? sizeof(run) : length);
	}
}

void
cpm_end_part(CpmSink *sink)
{
	cpm_put_bytes(sink, ".", 1);
}

/*
 * Return the next "size" bytes and advance; if there are fewer, fail the source and return NULL.
 */
static const char *
take_bytes(CpmSource *source, Size size)
{
	const char *bytes = source->next;

	if (source->failed || (Size) (source->end - bytes) < size)
	{
		source->failed = true;
		return NULL;
	}
	source->next += size;
	return bytes;
}

bool
cpm_get_part(CpmSource *source, const char *name, Size record_size)
{
	char		line[MAX_LINE];
	Size		length = part_line(line, name, record_size);
	const char *found = take_bytes(source, length);

	if (found == NULL || memcmp(found, line, length) != 0)
		source->failed = true;
	return !source->failed;
}

bool
cpm_get(CpmSource *source, void *record, Size record_size)
{
	char	   *bytes = record;
	const char *next = take_bytes(source, 1);

	if (next == NULL || *next == '.')
		return false;
	source->failed |= *next != '+';
	for (Size at = 0; at < record_size && (next = take_bytes(source, 1)) != NULL;)
	{
		if (*next != 0)
			bytes[at++] = *next;
		else
		{
			const unsigned char *zeros = (const unsigned char *) take_bytes(source, 1);

			if (zeros == NULL || *zeros == 0 || *zeros > record_size - at)
			{
				source->failed = true;
				break;
			}
			memset(bytes + at, 0, *zeros);
			at += *zeros;
		}
	}
	return !source->failed;
}
