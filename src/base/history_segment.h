/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_segment.h
 *		A segment of the session history: a self-contained block of samples.
 *
 * A segment begins with a header. A writer then appends two kinds of entries: samples with their
 * rows, and the dictionary entries to which the rows refer. Each kind of dictionary entry is
 * numbered from 1 in the order of appearance. An entry precedes all references to it. A sample
 * that does not fit continues in the next segment. So a reader can decode a segment, or the
 * beginning of a segment up to the end of any entry, without other data.
 *
 * Pure functions over memory of the caller, which must be aligned to 8 bytes. Values are in the
 * machine's own byte order. A reader never reads beyond the given size, whatever the bytes are.
 */
#ifndef CPM_HISTORY_SEGMENT_H
#define CPM_HISTORY_SEGMENT_H

#include "base/lock_wait.h"
#include "base/session.h"
#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "port/pg_crc32c.h"

#define CPM_SEGMENT_SIZE 65536
#define CPM_SEGMENT_MAGIC UINT64CONST(0x74736968206d7063)	/* "cpm hist" */
#define CPM_SEGMENT_FORMAT 2

/* The kinds of dictionary entries */
typedef enum CpmDictionary
{
	CPM_DICTIONARY_NAMES,		/* database, role and application_name of a session */
	CPM_DICTIONARY_ADDRESS,
	CPM_DICTIONARY_QUERYID,
	CPM_DICTIONARY_WAIT_EVENT	/* by name, because PostgreSQL's numbers change over restarts */
} CpmDictionary;

#define CPM_DICTIONARIES (CPM_DICTIONARY_WAIT_EVENT + 1)
#define CPM_DICTIONARY_MAX (CPM_SEGMENT_SIZE / 8)	/* no entry is smaller than 8 bytes */

typedef struct CpmSegmentHeader
{
	uint64		magic;
	uint32		format;			/* CPM_SEGMENT_FORMAT: increment it when the layout changes */
	uint32		used;			/* bytes of this header and of all entries */
	uint64		system_identifier;	/* of the cluster */
	uint64		sequence;		/* orders the segments; from 1 */
	TimestampTz first;			/* the earliest time of a sample, not necessarily that of the
								 * first one, because the clock may have been set back */
	TimestampTz last;			/* the latest time of a sample */
	uint32		samples;
	pg_crc32c	data_crc;		/* of the entries */
	uint32		slot;			/* in the header of the file, the slot of the newest segment; in
								 * the header of a segment, 0 */
	pg_crc32c	header_crc;		/* of the fields above */
} CpmSegmentHeader;

/*
 * The file begins with two copies of its header, at these offsets. Slots for segments follow. The
 * header of the file is a segment header without entries, with the sequence and the slot of the
 * newest segment. When a new segment is saved, only the copy with the lower sequence is
 * overwritten, so the other copy is always intact.
 */
#define CPM_HISTORY_HEADERS 2
#define CPM_HISTORY_HEADER_OFFSET(copy) ((copy) * 4096)
#define CPM_HISTORY_SLOT_OFFSET(slot) (((slot) + INT64CONST(1)) * CPM_SEGMENT_SIZE)

#define CPM_NO_AGE PG_UINT32_MAX

/* A session in a sample. References are numbers of dictionary entries; 0: none. */
typedef struct CpmHistoryRow
{
	int32		pid;
	int32		root_blocker;	/* as cpm_lock_root() returns it */
	uint32		state_age;		/* from cpm_pack_age(); CPM_NO_AGE: none */
	uint32		xact_age;		/* likewise */
	uint16		names;			/* never 0 */
	uint16		address;
	uint16		queryid;
	uint16		wait_event;
	uint8		state;			/* a CpmState in which a session is busy */
	uint8		wait_class;		/* a CpmWaitClass */
	uint16		unused;
} CpmHistoryRow;

/* A sample, or the part of one that is in this segment */
typedef struct CpmHistorySample
{
	TimestampTz at;
	uint32		interval_ms;	/* sample_interval at that time */
	bool		is_continuation;	/* the previous segment has the first part */
	int			count;
	const CpmHistoryRow *row;
} CpmHistorySample;

/* A decoded dictionary entry; its strings point into the segment. */
typedef struct CpmHistoryNames
{
	Oid			database_oid;
	Oid			role_oid;
	const char *database;		/* empty if unknown, like role */
	const char *role;
	const char *application_name;
} CpmHistoryNames;

typedef struct CpmHistoryWaitEvent
{
	const char *type;
	const char *name;
} CpmHistoryWaitEvent;

/* The state of appending to a segment */
typedef struct CpmSegmentWriter
{
	char	   *bytes;			/* CPM_SEGMENT_SIZE of them */
	uint32		used;
	uint32		count[CPM_DICTIONARIES];
} CpmSegmentWriter;

/* The state of reading a segment, with the offsets of the dictionary entries read so far */
typedef struct CpmSegmentReader
{
	const char *bytes;
	uint32		used;
	uint32		next;			/* offset of the next entry */
	bool		is_malformed;
	uint32		count[CPM_DICTIONARIES];
	uint16		offset[CPM_DICTIONARIES][CPM_DICTIONARY_MAX];
} CpmSegmentReader;

/* An upper bound of the bytes that a row needs in a segment, with all of its dictionary entries */
#define CPM_SEGMENT_ROW_MAX 448

/* The bytes that a sample with that number of rows needs, without dictionary entries */
#define CPM_SEGMENT_SAMPLE_SIZE(rows) (16 + TYPEALIGN(8, (rows) * sizeof(CpmHistoryRow)))

/* Pack an age into 32 bits: milliseconds up to 24 days, then seconds. Negative ages become 0. */
static inline uint32
cpm_pack_age(int64 age_us)
{
	int64		age_ms = Max(age_us, 0) / 1000;

	return age_ms <= PG_INT32_MAX ? (uint32) age_ms :
		(uint32) Min(age_ms / 1000, PG_INT32_MAX - 1) | UINT32_C(0x80000000);
}

/* Return the packed age in milliseconds. */
static inline int64
cpm_unpack_age(uint32 age)
{
	return age <= PG_INT32_MAX ? (int64) age : (int64) (age & PG_INT32_MAX) * 1000;
}

/* Begin an empty segment. */
extern void cpm_segment_init(CpmSegmentWriter *writer, char *bytes, uint64 system_identifier,
							 uint64 sequence);

/*
 * Prepare to append to a segment that has "used" bytes. Returns false if they are malformed.
 * reader is scratch memory.
 */
extern bool cpm_segment_resume(CpmSegmentWriter *writer, CpmSegmentReader *reader, char *bytes,
							   uint32 used);

/* Return true if the segment has room for an entry of that size. */
static inline bool
cpm_segment_has_room(const CpmSegmentWriter *writer, size_t size)
{
	return writer->used + size <= CPM_SEGMENT_SIZE;
}

/* Add a dictionary entry and return its number. The segment must have room. */
extern uint16 cpm_segment_add_names(CpmSegmentWriter *writer, const CpmHistoryNames *names);
extern uint16 cpm_segment_add_address(CpmSegmentWriter *writer, const SockAddr *address);
extern uint16 cpm_segment_add_queryid(CpmSegmentWriter *writer, uint64 queryid);
extern uint16 cpm_segment_add_wait_event(CpmSegmentWriter *writer,
										 const CpmHistoryWaitEvent *event);

/*
 * Set key, a buffer of at least 17 bytes, to the length and the bytes of an address. Returns false
 * for a Unix socket, which needs no entry.
 */
extern bool cpm_segment_address_key(const SockAddr *address, char *key);

/* Add a sample with copies of its rows. The segment must have room. */
extern void cpm_segment_add_sample(CpmSegmentWriter *writer, const CpmHistorySample *sample);

/* Complete the header of a segment that has "used" bytes, with both checksums. */
extern void cpm_segment_seal(char *bytes, uint32 used);

/*
 * Return NULL if the header is valid, otherwise the reason why not, a constant that continues the
 * message "file is not used: it ...".
 */
extern const char *cpm_segment_header_problem(const CpmSegmentHeader *header,
											  uint64 system_identifier);

/* Return true if "size" bytes contain a whole valid segment, with correct checksums. */
extern bool cpm_segment_is_valid(const char *bytes, size_t size, uint64 system_identifier);

/* The problem of a header in which a field or the checksum is wrong */
#define CPM_SEGMENT_DAMAGED "is damaged, or is not a file of connpool_monitor"

/* The problem of a header with the system identifier of another cluster */
#define CPM_SEGMENT_FOREIGN "belongs to another cluster"

/* Begin to read the first "used" bytes of a segment. They must not change meanwhile. */
extern void cpm_segment_begin(CpmSegmentReader *reader, const char *bytes, uint32 used);

/*
 * Return the next sample. Returns false at the end, and at a malformed entry, which sets
 * reader->is_malformed. All references of the rows are valid.
 */
extern bool cpm_segment_next(CpmSegmentReader *reader, CpmHistorySample *sample);

/* Decode the dictionary entry to which a row refers. The number in the row must not be 0. */
extern CpmHistoryNames cpm_segment_names(const CpmSegmentReader *reader, uint16 number);
extern SockAddr cpm_segment_address(const CpmSegmentReader *reader, uint16 number);
extern uint64 cpm_segment_queryid(const CpmSegmentReader *reader, uint16 number);
extern CpmHistoryWaitEvent cpm_segment_wait_event(const CpmSegmentReader *reader, uint16 number);

#endif							/* CPM_HISTORY_SEGMENT_H */
