/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream.h
 *		Writes values to a file and reads them back from memory.
 *
 * Each area of shared memory saves and loads its own part of the statistics file with these
 * functions, so that its counters survive a restart. A sink writes to an open file and remembers
 * the first error; a source never reads beyond its end. Values are in the machine's own byte
 * order.
 *
 * A list does not begin with its length, because that may change while entries are copied from
 * shared memory. Instead cpm_put_has_more(true) precedes each entry, and cpm_put_has_more(false)
 * ends the list.
 *
 * A source is read twice. With validate_only, loading functions check everything and change
 * nothing in shared memory. Only if that pass succeeds, a second pass applies the data. A file is
 * thus loaded completely or not at all.
 */
#ifndef CPM_STREAM_H
#define CPM_STREAM_H

#include <stdio.h>

#include "base/histogram.h"
#include "port/pg_crc32c.h"

typedef struct CpmSink
{
	FILE	   *file;
	pg_crc32c	crc;			/* of all bytes written */
	int			error;			/* errno of the first failed write; 0: none */
} CpmSink;

typedef struct CpmSource
{
	const char *next;			/* the next byte to read */
	const char *end;
	bool		validate_only;	/* check the data, change nothing */
	bool		failed;			/* the data was too short or malformed */
} CpmSource;

/* Write a value; does nothing once sink->error is set. */
extern void cpm_put(CpmSink *sink, const void *bytes, size_t size);
extern void cpm_put_u64(CpmSink *sink, uint64 value);
extern void cpm_put_has_more(CpmSink *sink, bool has_more);
extern void cpm_put_histogram(CpmSink *sink, const CpmHistogram *histogram);

/* Read a value; once source->failed is set, return false or 0 and zero the destination. */
extern bool cpm_get(CpmSource *source, void *bytes, size_t size);
extern uint64 cpm_get_u64(CpmSource *source);
extern bool cpm_get_has_more(CpmSource *source);
extern bool cpm_get_histogram(CpmSource *source, CpmHistogram *histogram);

/*
 * Write a mark, or read it and fail the source if it differs. Marks separate the parts of a file
 * and record the sizes of their structs.
 */
extern void cpm_put_mark(CpmSink *sink, uint64 mark);
extern bool cpm_get_mark(CpmSource *source, uint64 mark);

#endif							/* CPM_STREAM_H */
