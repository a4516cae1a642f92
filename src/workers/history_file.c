/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_file.c
 *		The file that preserves the session history.
 *
 * The file has two copies of a header and an array of slots of CPM_SEGMENT_SIZE bytes. A new
 * segment goes to a free slot or replaces the oldest one, so segments are in any order and the
 * file grows up to session_history_size. If the disk is full, a save fails and is retried; the
 * rest of the file stays valid.
 *
 * A segment is saved before it is complete, and again with its new entries. The entries are
 * written before the segment's header, whose checksum covers them, so a process that ends between
 * the two leaves the previous state valid. The file is not synced, like the statistics file.
 *
 * At startup the postmaster reads the file's header and the newest segment, and the saver then
 * reads the other segments, between saves. Each save first checks that the file was not replaced.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/history_segment.h"
#include "base/settings.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "workers/history_file.h"

#define UNUSABLE_NAME CPM_HISTORY_FILE ".unusable"

/* A file with more slots is not ours, because the largest session_history_size has 262,143. */
#define MAX_SLOTS (1024 * 1024)

#define CHECK_US (50 * 1000)	/* after which cpm_history_file_check() returns */

/* A segment in a slot beyond session_history_size, which has been reduced */
typedef struct ExcessSegment
{
	uint64		sequence;
	int			slot;
} ExcessSegment;

static shmem_startup_hook_type previous_startup_hook;

static const CpmHistorySlot free_slot;	/* zeros */

/* The segment that this process saved last, and how much of it; 0 after a failure */
static CpmHistoryEnd saved_part;

/* The highest sequence that the current save has written to the file's header; 0: none */
static uint64 written_newest;

/* The progress of cpm_history_file_check() in this process */
static int	next_to_check;		/* slot */
static int	damaged;			/* number of damaged segments found */
static ExcessSegment *excess;	/* NULL: none found; otherwise with room for MAX_SLOTS */
static int	excess_count;
static int	next_to_move;		/* index into excess, which is sorted before the first move */

/* Write bytes to the file; returns false and sets errno if that fails. */
static bool
write_at(int file, const char *bytes, size_t size, off_t offset)
{
	while (size > 0)
	{
		ssize_t		written;

		errno = 0;
		written = pg_pwrite(file, bytes, size, offset);
		if (written <= 0)
		{
			if (errno == EINTR)
				continue;
			errno = errno ? errno : ENOSPC;
			return false;
		}
		bytes += written;
		size -= written;
		offset += written;
	}
	return true;
}

static bool
write_slot(int file, int slot, uint32 from, const char *bytes, size_t size)
{
	return write_at(file, bytes, size, CPM_HISTORY_SLOT_OFFSET(slot) + from);
}

/*
 * Set *header to the intact copy of the file's header or, if both copies are intact, to the one
 * with the higher sequence. That sequence is the number of the newest segment. Returns NULL or, if
 * neither copy is intact, the problem of the first one.
 */
static const char *
read_file_header(int file, CpmSegmentHeader *header)
{
	const char *problem = NULL;

	header->sequence = 0;
	for (int i = 0; i < CPM_HISTORY_HEADERS; i++)
	{
		CpmSegmentHeader copy = {0};
		const char *copy_problem = CPM_SEGMENT_DAMAGED;

		if (pg_pread(file, &copy, sizeof(copy), CPM_HISTORY_HEADER_OFFSET(i)) == sizeof(copy))
			copy_problem = cpm_segment_header_problem(&copy, GetSystemIdentifier());
		if (copy_problem == NULL && copy.sequence > header->sequence)
			*header = copy;
		else if (problem == NULL)
			problem = copy_problem;
	}
	return header->sequence > 0 ? NULL : problem;
}

/* Write a copy of the file's header; returns false and sets errno if that fails. */
static bool
write_file_header(int file, uint64 newest, int slot)
{
	CpmHistoryFile *known = cpm_history_file();
	CpmSegmentHeader header;
	CpmSegmentWriter writer;

	cpm_segment_init(&writer, (char *) &header, GetSystemIdentifier(), newest);
	header.slot = slot;
	cpm_segment_seal((char *) &header, sizeof(header));
	if (!write_at(file, (char *) &header, sizeof(header),
				  CPM_HISTORY_HEADER_OFFSET(newest % CPM_HISTORY_HEADERS)))
		return false;
	written_newest = Max(written_newest, newest);
	if (newest >= known->newest)
	{
		known->newest = newest;
		known->newest_slot = slot;
	}
	return true;
}

/* Record that the file is empty, so that all segments in shared memory are written to it. */
static void
forget_file(void)
{
	CpmHistoryFile *known = cpm_history_file();

	memset(&saved_part, 0, sizeof(saved_part));
	known->newest = 0;
	known->closed = 0;
	known->removed_before = cpm_session_history_visible_from();
	cpm_history_clear_slots();
	cpm_session_history_set_saved(cpm_session_history_oldest(cpm_session_history_end()));
	cpm_history_set_complete();
}

/*
 * Open the file if it is still the one that the server last read or wrote. The sequence in its
 * header may be any from "closed" to "newest", because writes after the last successful close()
 * may be lost. If it is another file, returns -1, sets *problem to a phrase that continues
 * "it ..." and errno to 0. After another failure, returns -1 with *problem and errno from
 * cpm_history_open().
 */
static int
open_known_file(const char **problem)
{
	const CpmHistoryFile *known = cpm_history_file();
	CpmSegmentHeader header;
	int			file = cpm_history_open(O_RDWR, problem);

	if (file < 0)
		return -1;
	*problem = read_file_header(file, &header);
	if (*problem == NULL && header.sequence >= known->closed && header.sequence <= known->newest)
		return file;
	if (*problem == NULL)
		*problem = "was replaced while the server ran";
	CloseTransientFile(file);
	errno = 0;
	return -1;
}

/* Rename an unusable file and log a warning; returns false and sets errno if renaming fails. */
static bool
set_aside(const char *problem)
{
	if (rename(CPM_HISTORY_FILE, UNUSABLE_NAME) != 0)
		return false;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("connpool_monitor: file \"%s\" is not used: it %s", CPM_HISTORY_FILE, problem),
			 errdetail("It is kept as \"%s\". The session history starts empty; everything else "
					   "works.", UNUSABLE_NAME)));
	return true;
}

/*
 * Open the file to write to it. If it is not the known one, rename it. If there is none, create
 * it. Logs a warning if the known file is gone. Returns -1 and sets error on failure.
 */
static int
open_for_save(char *error, size_t size)
{
	const char *problem;
	int			file = open_known_file(&problem);

	if (file >= 0)
		return file;
	if (problem != NULL && errno != 0)
	{
		snprintf(error, size, "file \"%s\" %s", CPM_HISTORY_FILE, problem);
		return -1;
	}
	if (problem != NULL && !set_aside(problem))
	{
		snprintf(error, size, "file \"%s\" is not used: it %s; could not rename it: %s",
				 CPM_HISTORY_FILE, problem, strerror(errno));
		return -1;
	}
	if (problem == NULL && cpm_history_file()->closed != 0)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("connpool_monitor: file \"%s\" was removed or emptied while the "
						"server ran", CPM_HISTORY_FILE),
				 errdetail("It is created again. The session history has only the samples that "
						   "were in shared memory.")));
	forget_file();
	file = OpenTransientFile(CPM_HISTORY_FILE, O_RDWR | O_CREAT | PG_BINARY);
	if (file < 0)
		snprintf(error, size, "could not create file \"%s\": %s", CPM_HISTORY_FILE,
				 strerror(errno));
	return file;
}

/* Return a free slot or, if there is none, that of the oldest segment. */
static int
oldest_slot(void)
{
	int			oldest = 0;

	for (int i = 1; i < cpm_history_slots(); i++)
		if (cpm_history_slot(i).sequence < cpm_history_slot(oldest).sequence)
			oldest = i;
	return oldest;
}

/* Return the slot that has the segment; -1 if none has it. */
static int
slot_of(uint64 sequence)
{
	for (int i = 0; i < cpm_history_slots(); i++)
		if (cpm_history_slot(i).sequence == sequence)
			return i;
	return -1;
}

/* Free a slot in the file, and then in the index; returns false and sets errno if that fails. */
static bool
clear_slot(int file, int slot)
{
	static const char nothing[sizeof(CpmSegmentHeader)];

	if (!write_slot(file, slot, 0, nothing, sizeof(nothing)))
		return false;
	cpm_history_set_slot(slot, free_slot);
	return true;
}

/*
 * Return the slot for a new segment. While the index is incomplete, the slot of the oldest segment
 * is unknown. Then choose the slot after that of the newest segment, because it probably is free
 * or has the oldest segment.
 */
static int
choose_slot(void)
{
	if (cpm_history_is_complete())
		return oldest_slot();
	return (cpm_history_file()->newest_slot + 1) % cpm_history_slots();
}

/*
 * Write a segment or, if its beginning has been saved, the rest of it. Returns false and sets
 * errno if that fails.
 */
static bool
write_segment(int file, uint64 sequence, char *bytes, uint32 used)
{
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) bytes;
	CpmHistorySlot content = {.sequence = sequence};
	int			known_slot = slot_of(sequence);
	int			slot = known_slot >= 0 ? known_slot : choose_slot();
	bool		is_begun = saved_part.sequence == sequence;
	uint32		from = known_slot >= 0 && is_begun ? saved_part.used : sizeof(CpmSegmentHeader);

	/* Write the file's header first, so that its sequence is never below that of a segment. */
	if (!is_begun && !write_file_header(file, sequence, slot))
		return false;
	if (known_slot < 0 && !clear_slot(file, slot))
		return false;
	cpm_segment_seal(bytes, used);
	if (!write_slot(file, slot, from, bytes + from, used - from) ||
		!write_slot(file, slot, 0, bytes, sizeof(CpmSegmentHeader)))
		return false;
	content.first = header->first;
	content.last = header->last;
	cpm_history_set_slot(slot, content);
	saved_part.sequence = sequence;
	saved_part.used = used;
	return true;
}

/*
 * Remove all segments from the file if there was a reset since the last save. Returns false and
 * sets errno on failure.
 */
static bool
truncate_hidden(int file)
{
	CpmHistoryFile *known = cpm_history_file();
	uint64		visible_from = cpm_session_history_visible_from();

	if (known->removed_before == visible_from)
		return true;
	/* Every segment in the file precedes the reset, because a save begins with this function. */
	if (ftruncate(file, CPM_HISTORY_SLOT_OFFSET(0)) != 0)
		return false;
	cpm_history_clear_slots();
	cpm_history_set_complete();
	known->removed_before = visible_from;
	return true;
}

/*
 * Write the complete segments before "end" that are not saved yet and, if is_all, the newest
 * segment up to "end". Sets *saved to the number below which all segments are saved if the writes
 * succeed. Returns false and sets errno on failure.
 */
static bool
write_segments(int file, CpmHistoryEnd end, bool is_all, uint64 *saved)
{
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	bool		is_written = truncate_hidden(file);
	uint64		sequence = Max(cpm_session_history_saved(), cpm_session_history_oldest(end));
	int			saved_errno;

	*saved = Max(sequence, end.sequence);
	for (; is_written && sequence < end.sequence + is_all; sequence++)
	{
		uint32		used = cpm_session_history_copy(sequence, end, buffer);

		/* 0: the sampler has overwritten the segment, and counted its samples as lost */
		if (used > 0)
			is_written = write_segment(file, sequence, buffer, used);
	}
	saved_errno = errno;
	pfree(buffer);
	errno = saved_errno;
	return is_written;
}

/* Return true if a save would write something. */
static bool
has_unsaved(CpmHistoryEnd end, bool is_all)
{
	if (cpm_session_history_saved() < Max(end.sequence, cpm_session_history_visible_from()))
		return true;
	return is_all && (saved_part.sequence != end.sequence || saved_part.used != end.used);
}

bool
cpm_history_file_save(bool is_all, char *error, size_t size)
{
	CpmHistoryEnd end;
	uint64		saved;
	int			file;
	int			problem = 0;

	if (!cpm_session_history_is_on())
		return true;
	end = cpm_session_history_end();
	if (!has_unsaved(end, is_all))
		return true;
	file = open_for_save(error, size);
	written_newest = 0;
	if (file >= 0)
	{
		if (!write_segments(file, end, is_all, &saved))
			problem = errno;
		if (CloseTransientFile(file) != 0 && problem == 0)
			problem = errno;
		if (problem == 0)
		{
			cpm_history_file()->closed = Max(cpm_history_file()->closed, written_newest);
			cpm_session_history_set_saved(saved);
			return true;
		}
		snprintf(error, size, "could not write file \"%s\": %s", CPM_HISTORY_FILE,
				 strerror(problem));
	}

	/*
	 * Make the next save write whole segments, because some file systems report only at close()
	 * that they have lost data.
	 */
	memset(&saved_part, 0, sizeof(saved_part));
	cpm_worker_report_problem(CPM_WORKER_SAVER, error);
	return false;
}

/* Record a segment beyond session_history_size, for move_next(). */
static void
add_excess(uint64 sequence, int slot)
{
	if (excess == NULL)
		excess = MemoryContextAllocHuge(TopMemoryContext, MAX_SLOTS * sizeof(ExcessSegment));
	excess[excess_count].sequence = sequence;
	excess[excess_count++].slot = slot;
}

/*
 * Read a slot. If it has an intact segment, add that to the index or, if the slot is beyond
 * session_history_size, to the segments to be moved.
 */
static void
check_slot(int file, int slot, char *buffer)
{
	CpmSegmentHeader *header = (CpmSegmentHeader *) buffer;
	bool		is_excess = slot >= cpm_history_slots();
	CpmHistorySlot content;
	ssize_t		size;

	/* in the index already: the newest segment at startup, or one that was saved since then */
	if (!is_excess && cpm_history_slot(slot).sequence != 0)
		return;
	memset(header, 0, sizeof(*header));
	size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, CPM_HISTORY_SLOT_OFFSET(slot));
	if (size >= 0 && header->magic == 0 && header->header_crc == 0)
		return;					/* a free slot */
	if (size < 0 || !cpm_segment_is_valid(buffer, size, GetSystemIdentifier()))
	{
		damaged++;
		return;
	}
	content.sequence = header->sequence;
	content.first = header->first;
	content.last = header->last;
	if (is_excess)
		add_excess(content.sequence, slot);
	else if (content.sequence < cpm_history_file()->first)
		cpm_history_set_slot(slot, content);
	else
		/* free the slot: a crash lost the header with this sequence, so a new segment reuses it */
		(void) clear_slot(file, slot);
}

/* Sort the newest segments first. */
static int
compare_excess(const void *a, const void *b)
{
	uint64		first = ((const ExcessSegment *) a)->sequence;
	uint64		second = ((const ExcessSegment *) b)->sequence;

	return first > second ? -1 : first < second;
}

/*
 * Take the newest of the remaining excess segments, and move it to a free slot or to that of an
 * older segment. Returns false if no excess segment remains, or if none is newer than the segments
 * in the slots within session_history_size.
 */
static bool
move_next(int file, char *buffer)
{
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) buffer;
	CpmHistorySlot content;
	const ExcessSegment *from;
	int			to = oldest_slot();
	ssize_t		size;

	if (next_to_move == 0 && excess_count > 0)
		qsort(excess, excess_count, sizeof(ExcessSegment), compare_excess);
	if (next_to_move == excess_count ||
		excess[next_to_move].sequence < cpm_history_slot(to).sequence)
		return false;
	from = &excess[next_to_move++];
	/* already moved by a server that stopped before it truncated the file */
	if (slot_of(from->sequence) >= 0)
		return true;
	size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, CPM_HISTORY_SLOT_OFFSET(from->slot));
	if (size <= 0 || !cpm_segment_is_valid(buffer, size, GetSystemIdentifier()) ||
		!clear_slot(file, to) || !write_slot(file, to, 0, buffer, header->used))
		return true;
	content.sequence = header->sequence;
	content.first = header->first;
	content.last = header->last;
	cpm_history_set_slot(to, content);
	return true;
}

/* Truncate the file to session_history_size, report damage, and mark the index as complete. */
static void
finish_check(int file, int slots_in_file)
{
	if (slots_in_file > cpm_history_slots() &&
		ftruncate(file, CPM_HISTORY_SLOT_OFFSET(cpm_history_slots())) != 0)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("connpool_monitor: could not truncate file \"%s\": %m",
						CPM_HISTORY_FILE)));
	if (damaged > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("connpool_monitor: file \"%s\" has damaged segments: %d", CPM_HISTORY_FILE,
						damaged),
				 errdetail("The session history lacks the samples in these segments. "
						   "All others are used.")));
	cpm_history_set_complete();
}

static void
free_excess(void)
{
	if (excess != NULL)
		pfree(excess);
	excess = NULL;
	excess_count = next_to_move = 0;
}

/* Return the number of slots in a file, the last of which may be incomplete. */
static int64
count_slots(int file)
{
	struct stat found = {0};

	(void) fstat(file, &found);
	return Max((found.st_size + CPM_SEGMENT_SIZE - 1) / CPM_SEGMENT_SIZE - 1, 0);
}

bool
cpm_history_file_check(void)
{
	const char *problem;
	char	   *buffer;
	int			file;
	int			slots;
	int64		until_us = cpm_monotonic_us() + CHECK_US;
	bool		is_done = false;

	if (!cpm_session_history_is_on() || cpm_history_is_complete())
	{
		/* a reset, or the loss of the file, may have ended an earlier check */
		free_excess();
		return false;
	}
	file = open_known_file(&problem);
	if (file < 0)
		return false;			/* the next save reports it, or creates a new file */
	slots = (int) Min(count_slots(file), MAX_SLOTS);
	buffer = palloc(CPM_SEGMENT_SIZE);
	do
	{
		if (next_to_check < slots)
			check_slot(file, next_to_check++, buffer);
		else
			is_done = !move_next(file, buffer);
	} while (!is_done && cpm_monotonic_us() < until_us);
	if (is_done)
	{
		finish_check(file, slots);
		free_excess();
	}
	CloseTransientFile(file);
	pfree(buffer);
	return !is_done;
}

/*
 * Let the sampler continue the newest segment of the file. If that segment is damaged, or is in a
 * slot beyond session_history_size, from which the saver will move it, let the sampler begin the
 * next one.
 */
static void
continue_newest(int file, const CpmSegmentHeader *file_header)
{
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) buffer;
	uint64		sequence = file_header->sequence;
	int64		slot = file_header->slot;
	ssize_t		size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, CPM_HISTORY_SLOT_OFFSET(slot));

	if (slot < cpm_history_slots() && size > 0 &&
		cpm_segment_is_valid(buffer, size, GetSystemIdentifier()) &&
		header->sequence == sequence)
	{
		CpmHistorySlot content = {sequence, header->first, header->last};

		cpm_session_history_start(sequence, buffer, header->used);
		cpm_history_set_slot((int) slot, content);
	}
	else
		cpm_session_history_start(sequence + 1, NULL, 0);
	pfree(buffer);
}

/* Read the header of an open file; returns NULL, or the problem as read_file_header() does. */
static const char *
load_open_file(int file)
{
	CpmHistoryFile *known = cpm_history_file();
	CpmSegmentHeader header;
	const char *problem;

	if (count_slots(file) > MAX_SLOTS)
		return "is too large for a file of connpool_monitor";
	problem = read_file_header(file, &header);
	if (problem != NULL)
		return problem;
	known->newest = header.sequence;
	known->newest_slot = header.slot;
	known->closed = header.sequence;
	continue_newest(file, &header);
	return NULL;
}

/* Read the header and the newest segment of the file, if there is one; rename an unusable file. */
static void
load_history(void)
{
	const char *problem;
	int			file = cpm_history_open(O_RDWR, &problem);

	if (file >= 0)
	{
		problem = load_open_file(file);
		CloseTransientFile(file);
	}
	if (problem != NULL && !set_aside(problem))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("connpool_monitor: file \"%s\" is not used: it %s", CPM_HISTORY_FILE,
						problem),
				 errdetail("It could not be renamed to \"%s\": %m.", UNUSABLE_NAME),
				 errhint("Rename or remove the file. Until then the session history is not "
						 "saved.")));
	if (cpm_history_file()->newest == 0)
	{
		cpm_session_history_start(1, NULL, 0);
		cpm_history_set_complete();
	}
}

/* Exit callback of the postmaster, which runs when no other process is left. */
static void
save_history_at_shutdown(int code, Datum argument)
{
	char		error[CPM_WORKER_PROBLEM_SIZE];

	(void) argument;
	if (code == 0 && !cpm_history_file_save(true, error, sizeof(error)))
		ereport(WARNING,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("connpool_monitor: %s", error),
				 errdetail("The session history lacks the samples since the last save.")));
}

/* shmem_startup_hook. With EXEC_BACKEND it runs in every process; only the postmaster loads. */
static void
cpm_history_file_startup(void)
{
	if (previous_startup_hook)
		previous_startup_hook();
	if (IsUnderPostmaster || IsBinaryUpgrade || !cpm_session_history_is_on())
		return;
	load_history();
	on_shmem_exit(save_history_at_shutdown, (Datum) 0);
}

void
cpm_history_file_install(void)
{
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = cpm_history_file_startup;
}
