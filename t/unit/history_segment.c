/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_segment.c
 *		Fills segments of the session history and reads them back, whole, cut off and damaged.
 *		Writes files of them for other tests.
 *
 * Usage: history_segment CHANGES
 *        history_segment FILE SYSTEM_IDENTIFIER SAMPLES SESSIONS UNTIL
 *
 * With one argument, prints whether decoding returns the samples that were written, and how many
 * truncated and changed segments were rejected. The decoder, which ignores checksums, also reads
 * damaged segments. It reads from memory of the exact size, so that sanitizers report a read
 * beyond its end.
 *
 * With five, writes a file of SAMPLES samples, one for each second up to UNTIL (microseconds since
 * 2000). Each has SESSIONS sessions, of five applications with twenty statements.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/history_segment.h"
#include "base/wait_class.h"

#define IDENTIFIER 42
#define START_AT INT64CONST(700000000000000)

static CpmSegmentReader reader;

static SockAddr
address_of(int i)
{
	SockAddr	address = {0};

	if (i % 2 == 0)
	{
		struct sockaddr_in *v4 = (struct sockaddr_in *) &address.addr;

		v4->sin_family = AF_INET;
		v4->sin_addr.s_addr = (uint32) i;
	}
	else
	{
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &address.addr;

		v6->sin6_family = AF_INET6;
		memset(&v6->sin6_addr, i, sizeof(v6->sin6_addr));
	}
	return address;
}

/* Fill a segment with samples of up to 9 sessions; returns the number of samples. */
static int
fill(CpmSegmentWriter *writer, char *bytes)
{
	int			samples = 0;

	cpm_segment_init(writer, bytes, IDENTIFIER, 7);
	while (cpm_segment_has_room(writer, CPM_SEGMENT_SAMPLE_SIZE(9) + 9 * CPM_SEGMENT_ROW_MAX))
	{
		CpmHistoryRow row[9] = {0};
		CpmHistorySample sample = {
			.at = START_AT + samples * USECS_PER_SEC,
			.interval_ms = 1000,
			.is_continuation = samples == 0,
			.count = samples % 10,
			.row = row,
		};

		for (int i = 0; i < sample.count; i++)
		{
			char		name[2 * NAMEDATALEN];
			CpmHistoryNames names = {samples, i, "shop", "", name};
			CpmHistoryWaitEvent event = {"Lock", name};
			SockAddr	address = address_of(samples + i);

			memset(name, 'a' + i, samples % (int) sizeof(name));
			name[samples % sizeof(name)] = '\0';
			row[i].pid = samples;
			row[i].root_blocker = i - 1;
			row[i].state_age = cpm_pack_age(i * INT64CONST(1000));
			row[i].xact_age = CPM_NO_AGE;
			row[i].names = cpm_segment_add_names(writer, &names);
			row[i].address = cpm_segment_add_address(writer, &address);
			row[i].queryid = cpm_segment_add_queryid(writer, PG_UINT64_MAX - samples);
			row[i].wait_event = cpm_segment_add_wait_event(writer, &event);
			row[i].state = CPM_STATE_ACTIVE;
			row[i].wait_class = CPM_WAIT_LOCK;
		}
		cpm_segment_add_sample(writer, &sample);
		samples++;
	}
	cpm_segment_seal(bytes, writer->used);
	return samples;
}

/* Return true if the row is the one that fill() wrote. */
static bool
is_as_written(int sample, int i, const CpmHistoryRow *row)
{
	CpmHistoryNames names = cpm_segment_names(&reader, row->names);
	CpmHistoryWaitEvent event = cpm_segment_wait_event(&reader, row->wait_event);
	SockAddr	address = cpm_segment_address(&reader, row->address);
	SockAddr	expected = address_of(sample + i);
	size_t		length = Min(sample % (2 * NAMEDATALEN), NAMEDATALEN - 1);

	return row->pid == sample && row->root_blocker == i - 1 &&
		cpm_unpack_age(row->state_age) == i && row->xact_age == CPM_NO_AGE &&
		names.database_oid == (Oid) sample && names.role_oid == (Oid) i && strcmp(names.database, "shop") == 0 &&
		names.role[0] == '\0' && strlen(names.application_name) == length &&
		strcmp(event.type, "Lock") == 0 && strcmp(event.name, names.application_name) == 0 &&
		cpm_segment_queryid(&reader, row->queryid) == PG_UINT64_MAX - sample &&
		memcmp(&address.addr, &expected.addr, sizeof(address.addr)) == 0;
}

/* Decode all, and use every reference; returns the number of samples. */
static int
decode(const char *bytes, uint32 used, int *wrong)
{
	CpmHistorySample sample;
	int			samples = 0;

	cpm_segment_begin(&reader, bytes, used);
	while (cpm_segment_next(&reader, &sample))
	{
		*wrong += sample.at != START_AT + samples * USECS_PER_SEC ||
			sample.count != samples % 10 || sample.is_continuation != (samples == 0);
		for (int i = 0; i < sample.count; i++)
			*wrong += sample.row[i].address == 0 || sample.row[i].queryid == 0 ||
				sample.row[i].wait_event == 0 || !is_as_written(samples, i, &sample.row[i]);
		samples++;
	}
	return samples;
}

static size_t
random_below(size_t limit)
{
	return ((size_t) rand() << 16 ^ (size_t) rand()) % limit;
}

static void
write_at(FILE *file, int64 offset, const void *bytes, size_t size)
{
	if (fseek(file, offset, SEEK_SET) != 0 || fwrite(bytes, 1, size, file) != size)
		exit(1);
}

/* Write a segment to the slot of its number, and a header of the file for that segment. */
static void
write_segment(FILE *file, CpmSegmentWriter *writer)
{
	CpmSegmentHeader *segment = (CpmSegmentHeader *) writer->bytes;
	CpmSegmentHeader header;
	CpmSegmentWriter unused;

	cpm_segment_init(&unused, (char *) &header, segment->system_identifier, segment->sequence);
	header.slot = (uint32) segment->sequence - 1;
	cpm_segment_seal((char *) &header, sizeof(header));
	write_at(file, CPM_HISTORY_HEADER_OFFSET(segment->sequence % CPM_HISTORY_HEADERS), &header,
			 sizeof(header));
	cpm_segment_seal(writer->bytes, writer->used);
	write_at(file, CPM_HISTORY_SLOT_OFFSET(header.slot), writer->bytes, CPM_SEGMENT_SIZE);
}

/* Set the row of a session, and add to the segment the dictionary entries that it needs. */
static void
set_row(CpmSegmentWriter *writer, CpmHistoryRow *row, int session, int sample)
{
	static const char *const applications[] = {"web", "worker", "reports", "batch", "admin"};
	static const char *const events[] = {"DataFileRead", "WALWrite", "DataFileExtend"};

	if (writer->count[CPM_DICTIONARY_NAMES] == 0)
	{
		for (int i = 0; i < 5; i++)
		{
			CpmHistoryNames names = {1, 10, "shop", "shop", applications[i]};

			(void) cpm_segment_add_names(writer, &names);
		}
		for (int i = 0; i < 3; i++)
		{
			CpmHistoryWaitEvent event = {"IO", events[i]};

			(void) cpm_segment_add_wait_event(writer, &event);
		}
		for (int i = 1; i <= 20; i++)
			(void) cpm_segment_add_queryid(writer, i);
	}
	memset(row, 0, sizeof(*row));
	row->pid = session + 1;
	row->root_blocker = CPM_NO_ROOT_BLOCKER;
	row->state_age = sample % 1000;
	row->xact_age = CPM_NO_AGE;
	row->names = (uint16) (1 + session % 5);
	row->queryid = (uint16) (1 + (session + sample) % 20);
	row->wait_event = (uint16) ((session * 7 + sample) % 4);
	row->state = CPM_STATE_ACTIVE;
	row->wait_class = row->wait_event ? CPM_WAIT_IO : CPM_WAIT_CPU;
}

static void
write_file(const char *name, uint64 identifier, int samples, int sessions, int64 until)
{
	FILE	   *file = fopen(name, "wb");
	CpmHistoryRow *rows = malloc(sessions * sizeof(CpmHistoryRow));
	CpmSegmentWriter writer;
	uint64		sequence = 1;

	if (file == NULL || rows == NULL)
		exit(1);
	cpm_segment_init(&writer, calloc(1, CPM_SEGMENT_SIZE), identifier, sequence);
	for (int i = 0; i < samples; i++)
	{
		CpmHistorySample sample = {
			.at = until - (samples - 1 - i) * USECS_PER_SEC,
			.interval_ms = 1000,
			.count = sessions,
			.row = rows,
		};

		if (!cpm_segment_has_room(&writer, CPM_SEGMENT_SAMPLE_SIZE(sessions) + 1000))
		{
			write_segment(file, &writer);
			cpm_segment_init(&writer, writer.bytes, identifier, ++sequence);
		}
		for (int j = 0; j < sessions; j++)
			set_row(&writer, &rows[j], j, i);
		cpm_segment_add_sample(&writer, &sample);
	}
	write_segment(file, &writer);
	free(writer.bytes);
	free(rows);
	if (fclose(file) != 0)
		exit(1);
}

static void
check(int changes)
{
	static char bytes[CPM_SEGMENT_SIZE] pg_attribute_aligned(8);
	CpmSegmentWriter writer;
	CpmSegmentWriter resumed;
	int			samples = fill(&writer, bytes);
	uint32		used = writer.used;
	int			wrong = 0;
	int			ignored = 0;
	int			cut = 0;
	int			changed = 0;
	int			too_many = 0;
	char	   *copy;

	printf("valid: %d, ", cpm_segment_is_valid(bytes, sizeof(bytes), IDENTIFIER));
	printf("foreign: %d\n", cpm_segment_is_valid(bytes, sizeof(bytes), IDENTIFIER + 1));
	printf("all samples are read: %d, ", decode(bytes, used, &wrong) == samples);
	printf("differences: %d\n", wrong);
	printf("resumed: %d\n", cpm_segment_resume(&resumed, &reader, bytes, used) &&
		   resumed.used == writer.used &&
		   memcmp(resumed.count, writer.count, sizeof(writer.count)) == 0);
	printf("ages: %d %d %d\n", cpm_unpack_age(cpm_pack_age(-1)) == 0,
		   cpm_unpack_age(cpm_pack_age(PG_INT32_MAX * INT64CONST(1000))) == PG_INT32_MAX,
		   cpm_unpack_age(cpm_pack_age(100 * USECS_PER_DAY)) == 100 * INT64CONST(86400000));

	for (uint32 size = 0; size < used; size++)
		cut += !cpm_segment_is_valid(bytes, size, IDENTIFIER);
	for (uint32 size = 0; size < used; size += 13)
	{
		copy = malloc(size + 1);
		memcpy(copy, bytes, size);
		too_many += decode(copy, size, &ignored) > samples;
		free(copy);
	}
	printf("cut: %d of %u\n", cut, used);

	srand(1);
	for (int i = 0; i < changes; i++)
	{
		copy = malloc(used);
		memcpy(copy, bytes, used);
		copy[random_below(used)] ^= (char) (1 + rand() % 255);
		changed += !cpm_segment_is_valid(copy, used, IDENTIFIER);
		for (int j = rand() % 100; j > 0; j--)
			copy[random_below(used)] = (char) rand();
		(void) decode(copy, used, &ignored);
		free(copy);
	}
	for (int i = 0; i < changes / 10; i++)
	{
		copy = malloc(used);
		for (uint32 j = 0; j < used; j++)
			copy[j] = (char) (rand() % (i % 2 ? 256 : 8));
		(void) decode(copy, used, &ignored);
		free(copy);
	}
	printf("changed: %d of %d\n", changed, changes);
	printf("more samples than written: %d\n", too_many);
}

int
main(int argc, char **argv)
{
	if (argc == 2)
		check(atoi(argv[1]));
	else if (argc == 6)
		write_file(argv[1], strtoull(argv[2], NULL, 10), atoi(argv[3]), atoi(argv[4]),
				   strtoll(argv[5], NULL, 10));
	else
		return 1;
	return 0;
}
