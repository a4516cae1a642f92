/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_segment.c
 *		Encodes and decodes segments of the session history.
 */
#include "postgres.h"

#include <netinet/in.h>

#include "base/history_segment.h"
#include "base/wait_class.h"

#define SAMPLE_ENTRY CPM_DICTIONARIES	/* the kind of entry that is in no dictionary */

#define MAX_SEQUENCE (UINT64CONST(1) << 40) /* more segments than any server writes */

/* The fixed part of each entry; entries begin at multiples of 8 bytes. */
typedef struct Entry
{
	uint8		kind;			/* a CpmDictionary or SAMPLE_ENTRY */
	uint8		detail;			/* sample: is_continuation; address: its length in bytes */
	uint16		length;			/* bytes of the entry without padding */
} Entry;

typedef struct NamesEntry
{
	Entry		entry;
	Oid			database;
	Oid			role;
	char		text[FLEXIBLE_ARRAY_MEMBER];	/* three names, each terminated by '\0' */
} NamesEntry;

typedef struct QueryidEntry
{
	Entry		entry;
	uint32		unused;
	uint64		queryid;
} QueryidEntry;

typedef struct SampleEntry
{
	Entry		entry;
	uint32		interval_ms;
	TimestampTz at;
	CpmHistoryRow row[FLEXIBLE_ARRAY_MEMBER];
} SampleEntry;

StaticAssertDecl(sizeof(CpmSegmentHeader) == 64, "unexpected size of a segment header");
StaticAssertDecl(sizeof(CpmHistoryRow) <= 32, "a row has more than 32 bytes");
StaticAssertDecl(offsetof(SampleEntry, row) == 16, "CPM_SEGMENT_SAMPLE_SIZE is wrong");

void
cpm_segment_init(CpmSegmentWriter *writer, char *bytes, uint64 system_identifier, uint64 sequence)
{
	CpmSegmentHeader header = {
		.magic = CPM_SEGMENT_MAGIC,
		.format = CPM_SEGMENT_FORMAT,
		.used = sizeof(header),
		.system_identifier = system_identifier,
		.sequence = sequence,
	};

	memcpy(bytes, &header, sizeof(header));
	memset(writer, 0, sizeof(*writer));
	writer->bytes = bytes;
	writer->used = sizeof(header);
}

bool
cpm_segment_resume(CpmSegmentWriter *writer, CpmSegmentReader *reader, char *bytes, uint32 used)
{
	CpmHistorySample sample;

	cpm_segment_begin(reader, bytes, used);
	while (cpm_segment_next(reader, &sample))
		;
	writer->bytes = bytes;
	writer->used = used;
	memcpy(writer->count, reader->count, sizeof(writer->count));
	return !reader->is_malformed;
}

/* Append an entry of the given length and set its fixed part; the caller fills in the rest. */
static void *
add_entry(CpmSegmentWriter *writer, uint8 kind, uint8 detail, size_t length)
{
	Entry	   *entry = (Entry *) (writer->bytes + writer->used);

	Assert(cpm_segment_has_room(writer, TYPEALIGN(8, length)));
	memset(entry, 0, TYPEALIGN(8, length));
	entry->kind = kind;
	entry->detail = detail;
	entry->length = (uint16) length;
	writer->used += TYPEALIGN(8, length);
	if (kind < CPM_DICTIONARIES)
		writer->count[kind]++;
	return entry;
}

/* Copy a name, truncated like all names in PostgreSQL, and return the end of the copy. */
static char *
put_name(char *end, const char *name)
{
	size_t		length = Min(strlen(name), NAMEDATALEN - 1);

	memcpy(end, name, length);
	end[length] = '\0';
	return end + length + 1;
}

uint16
cpm_segment_add_names(CpmSegmentWriter *writer, const CpmHistoryNames *names)
{
	char		text[3 * NAMEDATALEN];
	char	   *end = put_name(text, names->database);
	NamesEntry *entry;

	end = put_name(end, names->role);
	end = put_name(end, names->application_name);
	entry = add_entry(writer, CPM_DICTIONARY_NAMES, 0, offsetof(NamesEntry, text) + (end - text));
	entry->database = names->database_oid;
	entry->role = names->role_oid;
	memcpy(entry->text, text, end - text);
	return (uint16) writer->count[CPM_DICTIONARY_NAMES];
}

/* Set *bytes to the IP address within a SockAddr; returns its length, 0 for a Unix socket. */
static int
address_bytes(SockAddr *address, void **bytes)
{
	if (address->addr.ss_family == AF_INET)
	{
		*bytes = &((struct sockaddr_in *) &address->addr)->sin_addr;
		return sizeof(struct in_addr);
	}
	if (address->addr.ss_family == AF_INET6)
	{
		*bytes = &((struct sockaddr_in6 *) &address->addr)->sin6_addr;
		return sizeof(struct in6_addr);
	}
	*bytes = NULL;
	return 0;
}

bool
cpm_segment_address_key(const SockAddr *address, char *key)
{
	SockAddr	copy = *address;
	void	   *bytes;
	int			length = address_bytes(&copy, &bytes);

	key[0] = (char) length;
	if (length > 0)
		memcpy(key + 1, bytes, length);
	return length > 0;
}

uint16
cpm_segment_add_address(CpmSegmentWriter *writer, const SockAddr *address)
{
	SockAddr	copy = *address;
	void	   *bytes;
	int			length = address_bytes(&copy, &bytes);
	Entry	   *entry = add_entry(writer, CPM_DICTIONARY_ADDRESS, (uint8) length,
								  sizeof(Entry) + length);

	if (length > 0)
		memcpy(entry + 1, bytes, length);
	return (uint16) writer->count[CPM_DICTIONARY_ADDRESS];
}

uint16
cpm_segment_add_queryid(CpmSegmentWriter *writer, uint64 queryid)
{
	QueryidEntry *entry = add_entry(writer, CPM_DICTIONARY_QUERYID, 0, sizeof(QueryidEntry));

	entry->queryid = queryid;
	return (uint16) writer->count[CPM_DICTIONARY_QUERYID];
}

uint16
cpm_segment_add_wait_event(CpmSegmentWriter *writer, const CpmHistoryWaitEvent *event)
{
	char		text[2 * NAMEDATALEN];
	char	   *end = put_name(put_name(text, event->type), event->name);
	Entry	   *entry = add_entry(writer, CPM_DICTIONARY_WAIT_EVENT, 0,
								  sizeof(Entry) + (end - text));

	memcpy(entry + 1, text, end - text);
	return (uint16) writer->count[CPM_DICTIONARY_WAIT_EVENT];
}

void
cpm_segment_add_sample(CpmSegmentWriter *writer, const CpmHistorySample *sample)
{
	CpmSegmentHeader *header = (CpmSegmentHeader *) writer->bytes;
	SampleEntry *entry = add_entry(writer, SAMPLE_ENTRY, sample->is_continuation,
								   offsetof(SampleEntry, row) +
								   sample->count * sizeof(CpmHistoryRow));

	entry->interval_ms = sample->interval_ms;
	entry->at = sample->at;
	if (sample->count > 0)
		memcpy(entry->row, sample->row, sample->count * sizeof(CpmHistoryRow));
	header->first = header->samples == 0 ? sample->at : Min(header->first, sample->at);
	header->last = header->samples == 0 ? sample->at : Max(header->last, sample->at);
	header->samples++;
}

static pg_crc32c
checksum(const void *bytes, size_t size)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, bytes, size);
	FIN_CRC32C(crc);
	return crc;
}

void
cpm_segment_seal(char *bytes, uint32 used)
{
	CpmSegmentHeader *header = (CpmSegmentHeader *) bytes;

	header->used = used;
	header->data_crc = checksum(header + 1, used - sizeof(*header));
	header->header_crc = checksum(header, offsetof(CpmSegmentHeader, header_crc));
}

const char *
cpm_segment_header_problem(const CpmSegmentHeader *header, uint64 system_identifier)
{
	if (header->magic != CPM_SEGMENT_MAGIC)
		return CPM_SEGMENT_DAMAGED;
	if (header->format > CPM_SEGMENT_FORMAT)
		return "was written by a newer version of connpool_monitor";
	if (header->format < CPM_SEGMENT_FORMAT ||
		!EQ_CRC32C(header->header_crc,
				   checksum(header, offsetof(CpmSegmentHeader, header_crc))) ||
		header->sequence == 0 || header->sequence > MAX_SEQUENCE ||
		header->used < sizeof(*header) || header->used > CPM_SEGMENT_SIZE)
		return CPM_SEGMENT_DAMAGED;
	if (header->system_identifier != system_identifier)
		return CPM_SEGMENT_FOREIGN;
	return NULL;
}

bool
cpm_segment_is_valid(const char *bytes, size_t size, uint64 system_identifier)
{
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) bytes;

	return size >= sizeof(*header) &&
		cpm_segment_header_problem(header, system_identifier) == NULL &&
		header->used <= size &&
		EQ_CRC32C(header->data_crc, checksum(header + 1, header->used - sizeof(*header)));
}

void
cpm_segment_begin(CpmSegmentReader *reader, const char *bytes, uint32 used)
{
	reader->bytes = bytes;
	reader->used = Min(used, CPM_SEGMENT_SIZE);
	reader->next = sizeof(CpmSegmentHeader);
	reader->is_malformed = false;
	memset(reader->count, 0, sizeof(reader->count));
}

/* Return true if the bytes consist of that number of strings, each terminated by '\0'. */
static bool
are_strings(const char *bytes, int length, int strings)
{
	if (length <= 0 || bytes[length - 1] != '\0')
		return false;
	for (int i = 0; i < length; i++)
		strings -= bytes[i] == '\0';
	return strings == 0;
}

/* Return true if a dictionary entry is valid. Its length must be within the segment. */
static bool
is_valid_dictionary_entry(const Entry *entry)
{
	int			length = entry->length;

	switch (entry->kind)
	{
		case CPM_DICTIONARY_NAMES:
			return are_strings((const char *) entry + offsetof(NamesEntry, text),
							   length - (int) offsetof(NamesEntry, text), 3);
		case CPM_DICTIONARY_ADDRESS:
			return length == (int) sizeof(Entry) + entry->detail &&
				(entry->detail == 0 || entry->detail == sizeof(struct in_addr) ||
				 entry->detail == sizeof(struct in6_addr));
		case CPM_DICTIONARY_QUERYID:
			return length == (int) sizeof(QueryidEntry);
		case CPM_DICTIONARY_WAIT_EVENT:
			return are_strings((const char *) (entry + 1), length - (int) sizeof(Entry), 2);
		default:
			return false;
	}
}

static bool
is_valid_row(const CpmSegmentReader *reader, const CpmHistoryRow *row)
{
	return row->names > 0 && row->names <= reader->count[CPM_DICTIONARY_NAMES] &&
		row->address <= reader->count[CPM_DICTIONARY_ADDRESS] &&
		row->queryid <= reader->count[CPM_DICTIONARY_QUERYID] &&
		row->wait_event <= reader->count[CPM_DICTIONARY_WAIT_EVENT] &&
		row->state < CPM_STATES && row->wait_class < CPM_WAIT_CLASSES;
}

/* Decode a sample; returns false if it is malformed. Its length must be within the segment. */
static bool
decode_sample(const CpmSegmentReader *reader, const SampleEntry *entry, CpmHistorySample *sample)
{
	int			size = entry->entry.length - (int) offsetof(SampleEntry, row);

	if (size < 0 || size % sizeof(CpmHistoryRow) != 0)
		return false;
	sample->at = entry->at;
	sample->interval_ms = entry->interval_ms;
	sample->is_continuation = entry->entry.detail != 0;
	sample->count = size / sizeof(CpmHistoryRow);
	sample->row = entry->row;
	for (int i = 0; i < sample->count; i++)
		if (!is_valid_row(reader, &sample->row[i]))
			return false;
	return true;
}

/* Return the next entry and advance beyond it; NULL at the end. */
static const Entry *
next_entry(CpmSegmentReader *reader)
{
	const Entry *entry = (const Entry *) (reader->bytes + reader->next);

	if (reader->is_malformed || reader->next >= reader->used)
		return NULL;
	if (reader->used - reader->next < sizeof(Entry) || entry->length < sizeof(Entry) ||
		entry->length > reader->used - reader->next)
	{
		reader->is_malformed = true;
		return NULL;
	}
	reader->next += TYPEALIGN(8, entry->length);
	return entry;
}

bool
cpm_segment_next(CpmSegmentReader *reader, CpmHistorySample *sample)
{
	const Entry *entry;

	while ((entry = next_entry(reader)) != NULL)
	{
		if (entry->kind == SAMPLE_ENTRY)
		{
			reader->is_malformed = !decode_sample(reader, (const SampleEntry *) entry, sample);
			return !reader->is_malformed;
		}
		if (!is_valid_dictionary_entry(entry))
		{
			reader->is_malformed = true;
			return false;
		}
		reader->offset[entry->kind][reader->count[entry->kind]++] =
			(uint16) ((const char *) entry - reader->bytes);
	}
	return false;
}

static const Entry *
dictionary_entry(const CpmSegmentReader *reader, CpmDictionary dictionary, uint16 number)
{
	return (const Entry *) (reader->bytes + reader->offset[dictionary][number - 1]);
}

CpmHistoryNames
cpm_segment_names(const CpmSegmentReader *reader, uint16 number)
{
	const NamesEntry *entry =
		(const NamesEntry *) dictionary_entry(reader, CPM_DICTIONARY_NAMES, number);
	CpmHistoryNames names = {
		.database_oid = entry->database,
		.role_oid = entry->role,
		.database = entry->text,
	};

	names.role = names.database + strlen(names.database) + 1;
	names.application_name = names.role + strlen(names.role) + 1;
	return names;
}

SockAddr
cpm_segment_address(const CpmSegmentReader *reader, uint16 number)
{
	const Entry *entry = dictionary_entry(reader, CPM_DICTIONARY_ADDRESS, number);
	SockAddr	address = {0};
	void	   *bytes;

	address.addr.ss_family = AF_UNIX;
	if (entry->detail == sizeof(struct in_addr))
	{
		address.addr.ss_family = AF_INET;
		address.salen = sizeof(struct sockaddr_in);
	}
	else if (entry->detail == sizeof(struct in6_addr))
	{
		address.addr.ss_family = AF_INET6;
		address.salen = sizeof(struct sockaddr_in6);
	}
	if (address_bytes(&address, &bytes) > 0)
		memcpy(bytes, entry + 1, entry->detail);
	return address;
}

uint64
cpm_segment_queryid(const CpmSegmentReader *reader, uint16 number)
{
	return ((const QueryidEntry *)
			dictionary_entry(reader, CPM_DICTIONARY_QUERYID, number))->queryid;
}

CpmHistoryWaitEvent
cpm_segment_wait_event(const CpmSegmentReader *reader, uint16 number)
{
	const Entry *entry = dictionary_entry(reader, CPM_DICTIONARY_WAIT_EVENT, number);
	CpmHistoryWaitEvent event = {.type = (const char *) (entry + 1)};

	event.name = event.type + strlen(event.type) + 1;
	return event;
}
