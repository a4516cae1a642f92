/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream.h
 *		The parts of the statistics file, and how their records are written and read.
 *
 * Each kind of data that survives a restart is a part of the file: a line with its name and the
 * size of its records, and the records, which are structs in the machine's own byte order. The
 * number of records may change while they are copied from shared memory, so '+' precedes each
 * record, and '.' ends the part. Within a record, each run of zero bytes is written as a zero byte
 * and the length of the run, because most buckets are empty and names are padded with zeros.
 *
 * To save more data, define a CpmFilePart beside the data and add it to the table of parts in
 * workers/stats_file.c. Increase CPM_FILE_FORMAT with any change of a part or of the table.
 */
#ifndef CPM_STREAM_H
#define CPM_STREAM_H

#include <stdio.h>

#include "datatype/timestamp.h"
#include "port/pg_crc32c.h"

typedef struct CpmSink
{
	FILE	   *file;
	pg_crc32c	crc;			/* of all bytes written */
	int			error;			/* errno of the first failed write; 0: none */
	TimestampTz now;			/* when the save began */
	int64		now_us;			/* the same by the monotonic clock */
	Size		record_size;	/* of the part that is being written */
} CpmSink;

typedef struct CpmSource
{
	const char *next;			/* the next byte to read */
	const char *end;
	bool		failed;			/* the data was too short or malformed */
} CpmSource;

/* A field of a record. The loader checks texts and numbers, and corrects times. */
typedef struct CpmFileField
{
	Size		offset;
	Size		size;			/* array size of a text, exclusive upper limit of a number, or
								 * size of a time */
} CpmFileField;

#define CPM_TIME(type, field) {offsetof(type, field), sizeof(TimestampTz)}
#define CPM_TEXT(type, field) {offsetof(type, field), sizeof(((type *) 0)->field)}
#define CPM_BELOW(type, field, limit) {offsetof(type, field), (limit)}

/*
 * A part of the file. Its records are structs without pointers. Their padding must be zero,
 * because it is written too.
 *
 * If the clock was set back, a saved time may be in the future when it is loaded. The loader
 * corrects the fields in "time". A load function must correct all other times with
 * cpm_loaded_time().
 *
 * All records of the file are checked before the first one is loaded. So load can rely on "text"
 * and "below", and cannot fail. The postmaster calls save at shutdown and load at startup, while
 * no other process exists; the saver calls save at any time.
 */
typedef struct CpmFilePart
{
	const char *name;
	Size		size;			/* of a record; without its cells, if it has any */
	void		(*save) (CpmSink *sink);	/* pass each record to cpm_put() */
	void		(*load) (const void *record);	/* apply one record */
	struct CpmRing **ring;		/* NULL, or the ring whose entries are the records; then save and
								 * load may be NULL */
	CpmFileField text[3];		/* texts, each of which must end within its array */
	CpmFileField below[3];		/* numbers of 32 bits that must be below a limit */
	CpmFileField time[2];		/* times of past events, the earlier one first, each a TimestampTz
								 * or an atomic of one */
	int			rings;			/* number of rings, if "ring" points to an array; 0: a single one.
								 * After a setback, the sampler corrects the times in every ring */
	Size		metric;			/* offset of a CpmMetricId; 0: none. Records of metrics that no
								 * longer exist are not loaded */
	Size		cell;			/* size of an element of the array by CpmMetricId at the end of
								 * the record; 0: no array. Elements of metrics that the file
								 * lacks are filled with 0xFF, which is a NaN as a float4 */
	bool		is_history;		/* a standby loads it also from the file of its primary */
} CpmFilePart;

/*
 * Set the time at which the file that is loaded now was saved, and by how much the clock had been
 * set back then, for cpm_loaded_time() and cpm_loaded_us(). The postmaster only.
 */
extern void cpm_set_loaded_file_time(TimestampTz saved_at, int64 setback_us);

/*
 * Return the time of a past event that the file contains, corrected if the clock was set back; at
 * most now. If the time is at least a second later than saved_at, the clock was set back after the
 * event and before the save. The function then subtracts the amount of that setback. If the time
 * is less than a second later, the event happened during the save, and its time becomes saved_at.
 * If saved_at itself is in the future, the clock was set back after the save, by at least
 * saved_at - now. The function subtracts this minimum if the time is still in the future.
 */
extern TimestampTz cpm_loaded_time(TimestampTz saved);

/*
 * Return the monotonic time of an event that was age_us old when the file was saved. Adds the time
 * since then by the system clock, unless the clock shows a time before saved_at.
 */
extern int64 cpm_loaded_us(int64 age_us);

/*
 * Correct those of a record's times that are in the future, because the clock was set back by
 * setback_us. A time less than a second later than "now" becomes "now", because the record may
 * have been added since the caller read the clock. If the earlier time is in the past, it remains
 * as recorded, and the later time does not become less than it.
 */
extern void cpm_correct_record_times(void *record, const CpmFileField *time, TimestampTz now,
									 int64 setback_us);

/* Correct the times of a record of the file that is loaded now. */
extern void cpm_correct_loaded_times(void *record, const CpmFileField *time);

/* Write bytes unchanged. Like the next three functions, does nothing once sink->error is set. */
extern void cpm_put_bytes(CpmSink *sink, const void *bytes, Size size);

/* Begin a part with records of record_size; write a record; end the part. */
extern void cpm_begin_part(CpmSink *sink, const char *name, Size record_size);
extern void cpm_put(CpmSink *sink, const void *record);
extern void cpm_end_part(CpmSink *sink);

/*
 * Read the beginning of a part. If it has another name or record size, sets source->failed and
 * returns false.
 */
extern bool cpm_get_part(CpmSource *source, const char *name, Size record_size);

/*
 * Read a record. Returns false at the end of the part, and if the data is malformed, which sets
 * source->failed.
 */
extern bool cpm_get(CpmSource *source, void *record, Size record_size);

#endif							/* CPM_STREAM_H */
