/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream.h
 *		Bytes on their way to a file, and back out of one: what each shared object
 *		writes of itself so that it survives a restart.
 *
 * A sink goes to an open file and remembers its first failure; a source reads
 * from memory and cannot be led beyond its end. Both in the machine's own byte
 * order. Lists are written as "another" before each entry and "no more" after
 * the last, for who writes them may not know how many there will be.
 *
 * A source is gone through twice: in validate_only, when nothing may be changed but
 * everything is looked at, and then in earnest. What fails in validate_only is
 * never begun.
 */
#ifndef CPM_STREAM_H
#define CPM_STREAM_H

#include <stdio.h>

#include "base/histogram.h"
#include "port/pg_crc32c.h"

typedef struct CpmSink
{
	FILE	   *file;
	pg_crc32c	crc;			/* of all that was put */
	int			error;			/* errno of the first failure; 0 for none */
} CpmSink;

typedef struct CpmSource
{
	const char *next;
	const char *end;
	bool		validate_only;	/* look, and change nothing */
	bool		failed;			/* asked for more than there was, or for something else */
} CpmSource;

extern void cpm_put(CpmSink *sink, const void *bytes, size_t size);
extern void cpm_put_u64(CpmSink *sink, uint64 value);
extern void cpm_put_more(CpmSink *sink, bool is_there);
extern void cpm_put_histogram(CpmSink *sink, const CpmHistogram *histogram);

/* Each false once the source has failed; what was to be filled is then zero. */
extern bool cpm_get(CpmSource *source, void *bytes, size_t size);
extern uint64 cpm_get_u64(CpmSource *source);
extern bool cpm_get_more(CpmSource *source);
extern bool cpm_get_histogram(CpmSource *source, CpmHistogram *histogram);

/*
 * A mark between two parts, and for the sizes of what a part consists of: a
 * source that finds another one fails.
 */
extern void cpm_put_mark(CpmSink *sink, uint64 mark);
extern bool cpm_get_mark(CpmSource *source, uint64 mark);

#endif							/* CPM_STREAM_H */
