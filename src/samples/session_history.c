/* SPDX-License-Identifier: PostgreSQL */
/*
 * session_history.c
 *		The session history: its newest segments in shared memory, and an index of the
 *		segments in its file.
 *
 * The newest segments are in a ring. Only the sampler appends, and makes a sample visible by
 * advancing "end". A reader copies a segment up to the end, and discards the copy if the segment's
 * sequence number has changed meanwhile. So the sampler never waits: it overwrites the oldest
 * segment, and counts its samples as lost if the saver has not saved them.
 *
 * The saver (workers/history_file) copies segments to the file. The index shows readers which
 * segments of the file they need. The saver fills it from the file after the server has started,
 * and backends wait up to a second for that. The index has no lock: a reader that finds an entry
 * in the middle of a change may read a segment unnecessarily, or miss the segment that the saver
 * is overwriting. It does not miss the new segment, which is still in the ring.
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_iovec.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "storage/fd.h"
#include "storage/shmem.h"

#define MIN_RING_SEGMENTS 24

/* Bytes that a sample needs for each session: its row, and its part of the dictionaries. */
#define BYTES_PER_SESSION 128

/* How long a reader waits until the index is complete */
#define AWAIT_FILE_MS 1000

/* Minimum number of samples that fit into the ring if all sessions of the server are busy */
#define MIN_RING_SAMPLES 4

/* Maximum number of segments that a cached scan visits, and that the saver reads for it */
#define MAX_CACHED_SEGMENTS 256

/* "end" is the sequence number of a segment, shifted by this, plus the bytes in use. */
#define USED_BITS 17

/* The saver writes, or the postmaster at startup and shutdown. */
typedef struct IndexEntry
{
	pg_atomic_uint64 sequence;	/* 0: the slot is free, or the times are being changed */
	TimestampTz first;
	TimestampTz last;
} IndexEntry;

typedef struct SessionHistory
{
	/* The postmaster sets both at startup. */
	int			segments;		/* in the ring; 0: the history is off */
	int			slots;			/* in the file */
	pg_atomic_uint64 end;		/* the sampler writes it, and the postmaster at startup */
	pg_atomic_uint64 visible_from;	/* segments with lower sequence numbers are hidden; resets
									 * write it */
	pg_atomic_uint64 saved;		/* segments with lower sequence numbers need no save; the saver
								 * writes it, and the postmaster at startup and shutdown */
	pg_atomic_uint64 lost;		/* samples overwritten unsaved; the sampler writes it */

	/*
	 * The span that the saver is to read for the HTTP worker. The HTTP worker sets the times
	 * before is_wanted; the saver clears is_wanted before it reads them. If another request
	 * arrives while the saver reads the times, the saver may combine a time of each request. It
	 * then finds is_wanted set again, and reads the new span.
	 */
	pg_atomic_uint32 is_wanted;
	pg_atomic_uint64 wanted_since;	/* a TimestampTz */
	pg_atomic_uint64 wanted_until;
	pg_atomic_uint32 is_complete;	/* 1: the index has all segments of the file; the saver or the
									 * postmaster sets it */
	CpmHistoryFile file;		/* the saver uses it, or the postmaster at startup and shutdown */
} SessionHistory;

static SessionHistory *history;
static IndexEntry *index_entries;	/* by slot of the file */
static pg_atomic_uint64 *sequences; /* of the segment in each position of the ring; 0: none. The
									 * sampler writes, and the postmaster at startup */
static char *ring;				/* segment n is at n % segments; the same writers */

/* Return the number of segments in the ring; 0 if the history is off. */
static int
ring_segments(void)
{
	int64		sample = (int64) MaxBackends * BYTES_PER_SESSION;
	int			for_samples = (int) (MIN_RING_SAMPLES * (sample / CPM_SEGMENT_SIZE + 1));

	return cpm_session_history_size_mb > 0 ? Max(MIN_RING_SEGMENTS, for_samples) : 0;
}

/* Return the number of segments that fit into the file behind its headers. */
static int
file_slots(void)
{
	return Max(cpm_session_history_size_mb * (1024 * 1024 / CPM_SEGMENT_SIZE) - 1, 0);
}

static Size
ring_offset(void)
{
	Size		size = MAXALIGN(sizeof(SessionHistory));

	size = add_size(size, mul_size(file_slots(), sizeof(IndexEntry)));
	size = add_size(size, mul_size(ring_segments(), sizeof(pg_atomic_uint64)));
	return CACHELINEALIGN(size);
}

Size
cpm_session_history_size(void)
{
	return add_size(ring_offset(), mul_size(ring_segments(), CPM_SEGMENT_SIZE));
}

void
cpm_session_history_attach(void *memory, bool is_new)
{
	history = memory;
	index_entries = (IndexEntry *) ((char *) memory + MAXALIGN(sizeof(SessionHistory)));
	sequences = (pg_atomic_uint64 *) (index_entries + file_slots());
	ring = (char *) memory + ring_offset();
	if (!is_new)
		return;
	memset(memory, 0, ring_offset());
	history->segments = ring_segments();
	history->slots = file_slots();
	pg_atomic_init_u64(&history->end, 0);
	pg_atomic_init_u64(&history->visible_from, 0);
	pg_atomic_init_u64(&history->saved, 0);
	pg_atomic_init_u64(&history->lost, 0);
	pg_atomic_init_u32(&history->is_wanted, 0);
	pg_atomic_init_u64(&history->wanted_since, 0);
	pg_atomic_init_u64(&history->wanted_until, 0);
	pg_atomic_init_u32(&history->is_complete, 0);
	for (int i = 0; i < history->slots; i++)
		pg_atomic_init_u64(&index_entries[i].sequence, 0);
	for (int i = 0; i < history->segments; i++)
		pg_atomic_init_u64(&sequences[i], 0);
}

bool
cpm_session_history_is_on(void)
{
	return history != NULL && history->segments > 0;
}

CpmHistoryEnd
cpm_session_history_end(void)
{
	uint64		packed = pg_atomic_read_u64(&history->end);
	CpmHistoryEnd end = {
		.sequence = packed >> USED_BITS,
		.used = (uint32) (packed & ((UINT64CONST(1) << USED_BITS) - 1)),
	};

	pg_read_barrier();
	return end;
}

static char *
segment_of(uint64 sequence)
{
	return ring + sequence % history->segments * CPM_SEGMENT_SIZE;
}

static pg_atomic_uint64 *
sequence_at(uint64 sequence)
{
	return &sequences[sequence % history->segments];
}

char *
cpm_session_history_newest(void)
{
	return segment_of(cpm_session_history_end().sequence);
}

char *
cpm_session_history_next(uint64 sequence)
{
	char	   *bytes = segment_of(sequence);
	uint64		previous = pg_atomic_read_u64(sequence_at(sequence));

	/* the segment is there already if an earlier sampler began it but did not publish it */
	if (previous != 0 && previous != sequence &&
		previous >= pg_atomic_read_u64(&history->saved) &&
		previous >= pg_atomic_read_u64(&history->visible_from))
		pg_atomic_fetch_add_u64(&history->lost, ((CpmSegmentHeader *) bytes)->samples);
	pg_atomic_write_u64(sequence_at(sequence), 0);
	pg_write_barrier();
	((CpmSegmentHeader *) bytes)->used = 0;
	pg_write_barrier();
	pg_atomic_write_u64(sequence_at(sequence), sequence);
	return bytes;
}

void
cpm_session_history_publish(CpmHistoryEnd end)
{
	pg_write_barrier();
	pg_atomic_write_u64(&history->end, end.sequence << USED_BITS | end.used);
}

void
cpm_session_history_start(uint64 sequence, const char *bytes, uint32 used)
{
	CpmSegmentWriter writer;
	CpmHistoryEnd end = {.sequence = sequence};

	cpm_segment_init(&writer, segment_of(sequence), GetSystemIdentifier(), sequence);
	if (bytes != NULL)
		memcpy(segment_of(sequence), bytes, used);
	end.used = bytes != NULL ? used : writer.used;
	pg_atomic_write_u64(sequence_at(sequence), sequence);
	pg_atomic_write_u64(&history->saved, sequence);
	history->file.first = sequence;
	cpm_session_history_publish(end);
}

uint32
cpm_session_history_copy(uint64 sequence, CpmHistoryEnd end, char *buffer)
{
	const char *bytes = segment_of(sequence);
	uint32		used;

	if (sequence == 0 || sequence > end.sequence ||
		pg_atomic_read_u64(sequence_at(sequence)) != sequence)
		return 0;
	pg_read_barrier();
	used = sequence == end.sequence ? end.used : ((const CpmSegmentHeader *) bytes)->used;
	memcpy(buffer, bytes, Min(used, CPM_SEGMENT_SIZE));
	pg_read_barrier();
	return pg_atomic_read_u64(sequence_at(sequence)) == sequence ? used : 0;
}

uint64
cpm_session_history_visible_from(void)
{
	return pg_atomic_read_u64(&history->visible_from);
}

uint64
cpm_session_history_oldest(CpmHistoryEnd end)
{
	uint64		segments = history->segments;
	uint64		oldest = end.sequence >= segments ? end.sequence - segments + 1 : 1;

	return Max(oldest, cpm_session_history_visible_from());
}

int
cpm_history_slots(void)
{
	return history->slots;
}

CpmHistorySlot
cpm_history_slot(int slot)
{
	const IndexEntry *entry = &index_entries[slot];
	CpmHistorySlot content = {
		.sequence = pg_atomic_read_u64(&index_entries[slot].sequence),
	};

	pg_read_barrier();
	content.first = entry->first;
	content.last = entry->last;
	return content;
}

void
cpm_history_set_slot(int slot, CpmHistorySlot content)
{
	IndexEntry *entry = &index_entries[slot];

	pg_atomic_write_u64(&entry->sequence, 0);
	pg_write_barrier();
	entry->first = content.first;
	entry->last = content.last;
	pg_write_barrier();
	pg_atomic_write_u64(&entry->sequence, content.sequence);
}

void
cpm_history_clear_slots(void)
{
	static const CpmHistorySlot free_slot;	/* zeros */

	for (int i = 0; i < history->slots; i++)
		cpm_history_set_slot(i, free_slot);
}

CpmHistoryFile *
cpm_history_file(void)
{
	return &history->file;
}

void
cpm_history_set_complete(void)
{
	pg_atomic_write_u32(&history->is_complete, 1);
}

bool
cpm_history_is_complete(void)
{
	return pg_atomic_read_u32(&history->is_complete) != 0;
}

void
cpm_session_history_set_saved(uint64 before)
{
	pg_atomic_write_u64(&history->saved, before);
}

uint64
cpm_session_history_saved(void)
{
	return pg_atomic_read_u64(&history->saved);
}

uint64
cpm_session_history_lost(void)
{
	return history != NULL ? pg_atomic_read_u64(&history->lost) : 0;
}

void
cpm_session_history_reset(void)
{
	if (cpm_session_history_is_on())
		pg_atomic_write_u64(&history->visible_from, cpm_session_history_end().sequence + 1);
}

int
cpm_history_open(int flags, const char **problem)
{
	struct stat found = {0};
	int			file = OpenTransientFile(CPM_HISTORY_FILE, flags | O_NONBLOCK | PG_BINARY);
	int			open_errno = errno;

	*problem = NULL;
	if (file >= 0 && fstat(file, &found) == 0 && S_ISREG(found.st_mode) && found.st_size > 0)
		return file;
	if (file >= 0)
	{
		CloseTransientFile(file);
		open_errno = S_ISREG(found.st_mode) ? ENOENT : 0;
	}
	/* open() fails with EISDIR to write to a directory, and with ENXIO for a socket */
	else if (open_errno == EISDIR || open_errno == ENXIO)
		open_errno = 0;
	if (open_errno == 0)
		*problem = "is not a regular file";
	else if (open_errno != ENOENT)
		*problem = psprintf("cannot be opened: %s", strerror(open_errno));
	errno = open_errno;
	return -1;
}

void
cpm_session_history_await_file(void)
{
	const char *problem;
	int			file;

	for (int i = 0; i < AWAIT_FILE_MS && !cpm_history_is_complete(); i += 10)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10 * 1000);
	}
	file = cpm_history_open(O_RDONLY, &problem);
	if (file >= 0)
		CloseTransientFile(file);
	if (file >= 0 && !cpm_history_is_complete())
		problem = "has not been read completely since the server started";
	if (problem != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("connpool_monitor: file \"%s\" %s", CPM_HISTORY_FILE, problem),
				 errdetail("The result lacks samples.")));
}

/* A segment to visit. */
typedef struct Candidate
{
	uint64		sequence;
	int			slot;			/* of the file; -1: the segment may be in the ring */
} Candidate;

static int
compare_segments(const void *a, const void *b)
{
	uint64		first = ((const Candidate *) a)->sequence;
	uint64		second = ((const Candidate *) b)->sequence;

	return first < second ? -1 : first > second;
}

/* Return the slot of the file that has the segment; -1 if none has it. */
static int
find_slot(uint64 sequence)
{
	for (int i = 0; i < history->slots; i++)
		if (pg_atomic_read_u64(&index_entries[i].sequence) == sequence)
			return i;
	return -1;
}

/* List the segments to visit, oldest first; some may be listed twice. */
static Candidate *
list_segments(TimestampTz since, TimestampTz until, CpmHistoryEnd end, int *count)
{
	Candidate  *list = palloc_extended((history->slots + history->segments) * sizeof(Candidate),
									   MCXT_ALLOC_HUGE);
	uint64		visible_from = cpm_session_history_visible_from();

	*count = 0;
	for (int i = 0; i < history->slots; i++)
	{
		CpmHistorySlot slot = cpm_history_slot(i);

		if (slot.sequence == 0 || slot.sequence < visible_from || slot.sequence > end.sequence ||
			slot.last < since || slot.first > until)
			continue;
		list[*count].sequence = slot.sequence;
		list[(*count)++].slot = i;
	}
	for (uint64 i = cpm_session_history_oldest(end); i <= end.sequence; i++)
	{
		list[*count].sequence = i;
		list[(*count)++].slot = -1;
	}
	qsort(list, *count, sizeof(Candidate), compare_segments);
	return list;
}

/* The open file of the session history, and how it is read */
typedef struct OpenFile
{
	int			descriptor;		/* negative: the file could not be opened */
	bool		may_wait;		/* for the disk */
	int			max_visits;		/* segments after which a scan ends */
	bool		has_missed;		/* a segment was not in the cache */
} OpenFile;

/*
 * Read up to size bytes like pread(), but fail with EAGAIN if any of them are not in the cache of
 * the operating system.
 */
static ssize_t
read_cached(int descriptor, char *buffer, size_t size, off_t offset)
{
#ifdef RWF_NOWAIT
	size_t		done = 0;

	while (done < size)
	{
		struct iovec part = {.iov_base = buffer + done, .iov_len = size - done};
		ssize_t		length = preadv2(descriptor, &part, 1, offset + (off_t) done, RWF_NOWAIT);

		if (length < 0 && errno == EOPNOTSUPP)
			break;
		if (length < 0)
			return length;
		if (length == 0)
			return (ssize_t) done;
		done += length;
	}
	if (done == size)
		return (ssize_t) done;
#endif
	/* the system or the file system cannot read without waiting */
	return pg_pread(descriptor, buffer, size, offset);
}

/*
 * Read a segment of the file. Returns the bytes in use; 0 if the slot has another segment or a
 * damaged one. If the scan may not wait and the segment is not in the cache, sets has_missed and
 * returns 0.
 */
static uint32
read_slot(OpenFile *file, int slot, uint64 sequence, char *buffer)
{
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) buffer;
	off_t		offset = CPM_HISTORY_SLOT_OFFSET(slot);
	ssize_t		size;

	if (file->descriptor < 0 || slot < 0)
		return 0;
	size = file->may_wait ? pg_pread(file->descriptor, buffer, CPM_SEGMENT_SIZE, offset) :
		read_cached(file->descriptor, buffer, CPM_SEGMENT_SIZE, offset);
	if (size < 0 && errno == EAGAIN)
		file->has_missed = true;
	if (size <= 0 || !cpm_segment_is_valid(buffer, size, GetSystemIdentifier()) ||
		header->sequence != sequence)
		return 0;
	return header->used;
}

/*
 * Visit the segments as cpm_session_history_scan() does. If the scan may not wait, it ends at the
 * first segment that is not in the cache, or after MAX_CACHED_SEGMENTS visits. These are enough
 * for the span of ten samples that the HTTP worker requests, unless sample_interval was much
 * shorter at that time or the clock was set back many times.
 */
static void
scan_segments(OpenFile *file, TimestampTz since, TimestampTz until, CpmSegmentVisitor visit,
			  void *arg)
{
	CpmHistoryEnd end = cpm_session_history_end();
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) buffer;
	int			count;
	Candidate  *list = list_segments(since, until, end, &count);
	uint64		visited = 0;
	int			visits = 0;

	for (int i = 0; i < count && !file->has_missed; i++)
	{
		uint64		sequence = list[i].sequence;
		uint32		used;

		CHECK_FOR_INTERRUPTS();
		if (sequence == visited)
			continue;
		if (visits == file->max_visits)
			break;
		used = cpm_session_history_copy(sequence, end, buffer);
		if (used == 0)
			used = read_slot(file, list[i].slot, sequence, buffer);
		/* the sampler may have overwritten the segment since the list was made */
		if (used == 0 && !file->has_missed)
			used = read_slot(file, find_slot(sequence), sequence, buffer);
		if (used == 0)
			continue;
		visited = sequence;
		if (header->samples == 0 || header->first > until || header->last < since)
			continue;
		visit(buffer, used, arg);
		visits++;
	}
	pfree(list);
	pfree(buffer);
}

static OpenFile
open_history_file(bool may_wait, int max_visits)
{
	const char *problem;
	OpenFile	file = {.may_wait = may_wait, .max_visits = max_visits};

	file.descriptor = cpm_history_open(O_RDONLY, &problem);
	return file;
}

static void
close_history_file(const OpenFile *file)
{
	if (file->descriptor >= 0)
		CloseTransientFile(file->descriptor);
}

void
cpm_session_history_scan(TimestampTz since, TimestampTz until, CpmSegmentVisitor visit, void *arg)
{
	OpenFile	file = open_history_file(true, INT_MAX);

	scan_segments(&file, since, until, visit, arg);
	close_history_file(&file);
}

bool
cpm_session_history_scan_cached(TimestampTz since, TimestampTz until, CpmSegmentVisitor visit,
								void *arg)
{
	OpenFile	file;

	if (!cpm_history_is_complete())
		return false;
	file = open_history_file(false, MAX_CACHED_SEGMENTS);
	scan_segments(&file, since, until, visit, arg);
	close_history_file(&file);
	if (!file.has_missed)
		return true;
	pg_atomic_write_u64(&history->wanted_since, (uint64) since);
	pg_atomic_write_u64(&history->wanted_until, (uint64) until);
	pg_write_barrier();
	pg_atomic_write_u32(&history->is_wanted, 1);
	cpm_worker_wake(CPM_WORKER_SAVER);
	return false;
}

/* A CpmSegmentVisitor that does nothing, because reading a segment has put it into the cache. */
static void
ignore_segment(const char *bytes, uint32 used, void *arg)
{
	(void) bytes;
	(void) used;
	(void) arg;
}

void
cpm_session_history_read_wanted(void)
{
	OpenFile	file;

	if (!cpm_session_history_is_on() || pg_atomic_exchange_u32(&history->is_wanted, 0) == 0)
		return;
	/* reading more segments than the cached scan visits would only delay the saver */
	file = open_history_file(true, MAX_CACHED_SEGMENTS);
	scan_segments(&file, (TimestampTz) pg_atomic_read_u64(&history->wanted_since),
				  (TimestampTz) pg_atomic_read_u64(&history->wanted_until), ignore_segment, NULL);
	close_history_file(&file);
}

TimestampTz
cpm_session_history_since(void)
{
	TimestampTz oldest = 0;
	CpmHistoryEnd end;
	uint64		visible_from;

	if (!cpm_session_history_is_on())
		return 0;
	end = cpm_session_history_end();
	visible_from = cpm_session_history_visible_from();
	for (int i = 0; i < history->slots; i++)
	{
		CpmHistorySlot slot = cpm_history_slot(i);

		if (slot.sequence != 0 && slot.sequence >= visible_from &&
			(oldest == 0 || slot.first < oldest))
			oldest = slot.first;
	}
	for (uint64 i = cpm_session_history_oldest(end); i <= end.sequence; i++)
	{
		const CpmSegmentHeader *header = (const CpmSegmentHeader *) segment_of(i);

		if (pg_atomic_read_u64(sequence_at(i)) == i && header->samples > 0 &&
			(oldest == 0 || header->first < oldest))
			oldest = header->first;
	}
	return oldest;
}
