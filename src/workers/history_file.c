/* SPDX-License-Identifier: PostgreSQL */
/*
 * history_file.c
 *		The file that preserves the session history.
 *
 * The file is an array of slots of CPM_SEGMENT_SIZE bytes. Each holds a segment, in any order. A
 * new segment goes to a free slot, or replaces the oldest one, so the file grows up to
 * session_history_size and no further. Nothing is preallocated: if the disk is full, a save fails,
 * is reported and retried, and the rest of the file stays valid.
 *
 * The newest segment is saved before it is complete, and later again with its new entries. The
 * entries are written before the header, whose checksum covers them, so a process that ends
 * between the two leaves the previous state valid. Like the statistics file, it is not synced.
 *
 * The postmaster reads only the headers, so that a large file does not delay the start of the
 * server, and the newest segment, which the sampler continues. The saver then checks everything
 * else. A segment of another cluster makes the whole file unusable, and it is renamed. A standby
 * keeps the segments that its primary recorded before the base backup.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/history_segment.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "samples/session_history.h"
#include "samples/worker_status.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "workers/history_file.h"

#define UNUSABLE_NAME CPM_HISTORY_FILE ".unusable"

/* A file with more slots is not ours, because the largest session_history_size has 262,144. */
#define MAX_SLOTS (1024 * 1024)

/* A valid header that was found at startup */
typedef struct Found
{
	CpmHistorySlot content;
	int			slot;
} Found;

static shmem_startup_hook_type previous_startup_hook;

static const CpmHistorySlot free_slot;	/* zeros */

/* The part of the newest segment that this process has saved */
static CpmHistoryEnd saved_part;

static off_t
offset_of(int slot)
{
	return (off_t) slot * CPM_SEGMENT_SIZE;
}

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

/* Return the slot that has the segment, or else the slot that it should be written to. */
static int
choose_slot(uint64 sequence, bool *is_there)
{
	int			chosen = 0;
	uint64		oldest = PG_UINT64_MAX;

	*is_there = true;
	for (int i = 0; i < cpm_history_slots(); i++)
	{
		uint64		other = cpm_history_slot(i).sequence;

		if (other == sequence)
			return i;
		if (other < oldest)
		{
			oldest = other;
			chosen = i;
		}
	}
	*is_there = false;
	return chosen;
}

/* Free a slot, also in the file, so that its segment does not reappear after a restart. */
static bool
clear_slot(int file, int slot)
{
	static const char nothing[sizeof(CpmSegmentHeader)];

	cpm_history_set_slot(slot, free_slot);
	return write_at(file, nothing, sizeof(nothing), offset_of(slot));
}

/* Free the slots of segments that a reset has hidden. */
static bool
clear_hidden_slots(int file)
{
	uint64		visible_from = cpm_session_history_visible_from();

	for (int i = 0; i < cpm_history_slots(); i++)
	{
		uint64		sequence = cpm_history_slot(i).sequence;

		if (sequence != 0 && sequence < visible_from && !clear_slot(file, i))
			return false;
	}
	return true;
}

/* Write a segment; returns false and sets errno if that fails. */
static bool
write_segment(int file, uint64 sequence, char *bytes, uint32 used)
{
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) bytes;
	CpmHistorySlot content = {.sequence = sequence};
	bool		is_there;
	int			slot = choose_slot(sequence, &is_there);
	uint32		from = is_there && saved_part.sequence == sequence ?
		saved_part.used : sizeof(CpmSegmentHeader);

	if (!is_there && !clear_slot(file, slot))
		return false;
	cpm_segment_seal(bytes, used);
	if (!write_at(file, bytes + from, used - from, offset_of(slot) + from) ||
		!write_at(file, bytes, sizeof(CpmSegmentHeader), offset_of(slot)))
		return false;
	content.first = header->first;
	content.last = header->last;
	cpm_history_set_slot(slot, content);
	saved_part.sequence = sequence;
	saved_part.used = used;
	return true;
}

/* Write the segments up to "end" that are not saved; returns false and sets errno on failure. */
static bool
write_segments(int file, CpmHistoryEnd end, bool is_all)
{
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	uint64		sequence = Max(cpm_session_history_saved(), cpm_session_history_oldest(end));
	bool		is_written = clear_hidden_slots(file);

	if (is_written)
		cpm_session_history_set_saved(sequence);
	for (; is_written && sequence < end.sequence + is_all; sequence++)
	{
		uint32		used = cpm_session_history_copy(sequence, end, buffer);

		/* 0: the sampler has overwritten the segment, and counted its samples as lost */
		if (used > 0)
			is_written = write_segment(file, sequence, buffer, used);
		if (is_written && sequence < end.sequence)
			cpm_session_history_set_saved(sequence + 1);
	}
	pfree(buffer);
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
	int			file;
	int			problem = 0;

	if (!cpm_session_history_is_on())
		return true;
	end = cpm_session_history_end();
	if (!has_unsaved(end, is_all))
		return true;
	file = OpenTransientFile(CPM_HISTORY_FILE, O_RDWR | O_CREAT | PG_BINARY);
	if (file < 0 || !write_segments(file, end, is_all))
		problem = errno;
	if (file >= 0 && CloseTransientFile(file) != 0 && problem == 0)
		problem = errno;
	if (problem == 0)
		return true;
	snprintf(error, size, "could not write file \"%s\": %s", CPM_HISTORY_FILE, strerror(problem));
	cpm_worker_report_problem(CPM_WORKER_SAVER, error);
	return false;
}

void
cpm_history_file_check(void)
{
	int			damaged;
	char	   *buffer;
	int			file;

	if (!cpm_session_history_is_on() || !cpm_session_history_take_damaged(&damaged))
		return;
	buffer = palloc(CPM_SEGMENT_SIZE);
	file = OpenTransientFile(CPM_HISTORY_FILE, O_RDONLY | PG_BINARY);
	for (int i = 0; file >= 0 && i < cpm_history_slots() && !ShutdownRequestPending; i++)
	{
		ssize_t		size;

		if (cpm_history_slot(i).sequence == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, offset_of(i));
		if (size > 0 && cpm_segment_is_valid(buffer, size, GetSystemIdentifier()))
			continue;
		damaged++;
		cpm_history_set_slot(i, free_slot);
	}
	if (file >= 0)
		CloseTransientFile(file);
	pfree(buffer);
	if (damaged > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("connpool_monitor: file \"%s\" has damaged segments: %d", CPM_HISTORY_FILE,
						damaged),
				 errdetail("The session history lacks the samples in these segments. "
						   "All others are used.")));
}

/*
 * Read the headers in all slots of the file. Returns NULL or the problem, as a phrase that
 * continues "file is not used: it ...". Sets the number of valid segments, and that of damaged
 * ones.
 */
static const char *
read_headers(int file, int slots, Found *found, int *count, int *damaged)
{
	for (int i = 0; i < slots; i++)
	{
		CpmSegmentHeader header = {0};
		ssize_t		size = pg_pread(file, &header, sizeof(header), offset_of(i));
		const char *problem;

		if (size < 0)
			return psprintf("cannot be read: %s", strerror(errno));
		if (header.magic == 0 && header.header_crc == 0)
			continue;			/* a free slot */
		problem = cpm_segment_header_problem(&header, GetSystemIdentifier());
		if (problem == NULL)
		{
			found[*count].content.sequence = header.sequence;
			found[*count].content.first = header.first;
			found[*count].content.last = header.last;
			found[(*count)++].slot = i;
		}
		else if (strcmp(problem, CPM_SEGMENT_DAMAGED) == 0)
			(*damaged)++;
		else
			return problem;
	}
	return *count == 0 && *damaged > 0 ? CPM_SEGMENT_DAMAGED : NULL;
}

/* Sort the newest segments first. */
static int
compare_found(const void *a, const void *b)
{
	uint64		first = ((const Found *) a)->content.sequence;
	uint64		second = ((const Found *) b)->content.sequence;

	return first > second ? -1 : first < second;
}

/* Remove segments that are in the file twice, because a crash interrupted fill_index(). */
static void
remove_duplicates(Found *found, int *count)
{
	int			kept = 0;

	for (int i = 0; i < *count; i++)
		if (i == 0 || found[i].content.sequence != found[i - 1].content.sequence)
			found[kept++] = found[i];
	*count = kept;
}

/* Copy a segment to another slot of the file; returns false if that fails. */
static bool
move_segment(int file, int from, int to)
{
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	ssize_t		size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, offset_of(from));
	bool		is_moved = size > 0 && write_at(file, buffer, size, offset_of(to));

	pfree(buffer);
	return is_moved;
}

/*
 * Enter the newest segments into the index. If session_history_size was reduced, move those beyond
 * the new end of the file to the slots of older segments, and truncate the file.
 */
static void
fill_index(int file, int slots_in_file, const Found *found, int count)
{
	int			slots = cpm_history_slots();
	int			kept = Min(count, slots);
	int			target = 0;

	for (int i = 0; i < kept; i++)
		if (found[i].slot < slots)
			cpm_history_set_slot(found[i].slot, found[i].content);
	for (int i = 0; i < kept; i++)
	{
		if (found[i].slot < slots)
			continue;
		while (cpm_history_slot(target).sequence != 0)
			target++;
		if (move_segment(file, found[i].slot, target))
			cpm_history_set_slot(target, found[i].content);
	}
	if (slots_in_file > slots && ftruncate(file, offset_of(slots)) != 0)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("connpool_monitor: could not truncate file \"%s\": %m",
						CPM_HISTORY_FILE)));
}

/* Let the sampler continue the newest segment of the file, if it is intact. */
static void
continue_newest(int file)
{
	char	   *buffer = palloc(CPM_SEGMENT_SIZE);
	const CpmSegmentHeader *header = (const CpmSegmentHeader *) buffer;
	int			newest = 0;
	uint64		sequence;
	ssize_t		size;

	for (int i = 1; i < cpm_history_slots(); i++)
		if (cpm_history_slot(i).sequence > cpm_history_slot(newest).sequence)
			newest = i;
	sequence = cpm_history_slot(newest).sequence;
	size = pg_pread(file, buffer, CPM_SEGMENT_SIZE, offset_of(newest));
	if (sequence > 0 && size > 0 && cpm_segment_is_valid(buffer, size, GetSystemIdentifier()) &&
		header->sequence == sequence)
		cpm_session_history_start(sequence, buffer, header->used);
	else
		cpm_session_history_start(sequence + 1, NULL, 0);
	pfree(buffer);
}

/* Read the index of an open file; returns NULL or the problem, as read_headers() does. */
static const char *
read_index(int file)
{
	struct stat found_file;
	Found	   *found;
	const char *problem;
	int64		slots;
	int			count = 0;
	int			damaged = 0;

	if (fstat(file, &found_file) != 0)
		return psprintf("cannot be read: %s", strerror(errno));
	slots = (found_file.st_size + CPM_SEGMENT_SIZE - 1) / CPM_SEGMENT_SIZE;
	if (slots > MAX_SLOTS)
		return "is too large for a file of connpool_monitor";
	found = palloc_extended((slots + 1) * sizeof(Found), MCXT_ALLOC_HUGE);
	problem = read_headers(file, (int) slots, found, &count, &damaged);
	if (problem == NULL)
	{
		qsort(found, count, sizeof(Found), compare_found);
		remove_duplicates(found, &count);
		fill_index(file, (int) slots, found, count);
		continue_newest(file);
		cpm_session_history_set_damaged(damaged);
	}
	pfree(found);
	return problem;
}

/* Rename the file, so that it is not overwritten, and log a warning. */
static void
rename_unusable(const char *problem)
{
	bool		is_renamed = rename(CPM_HISTORY_FILE, UNUSABLE_NAME) == 0;

	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("connpool_monitor: file \"%s\" is not used: it %s", CPM_HISTORY_FILE, problem),
			 is_renamed ? errdetail("It is kept as \"%s\".", UNUSABLE_NAME) :
			 errdetail("It could not be renamed to \"%s\": %m.", UNUSABLE_NAME),
			 errhint("The session history starts empty. The server is not affected.")));
}

/* Read the index of the file if it exists; rename the file if it is unusable. */
static void
load_history(void)
{
	struct stat found;
	const char *problem;
	int			file;

	if (stat(CPM_HISTORY_FILE, &found) != 0)
		problem = errno == ENOENT ? NULL : psprintf("cannot be opened: %s", strerror(errno));
	/* Open only a regular file, because opening a pipe would wait for a writer. */
	else if (!S_ISREG(found.st_mode))
		problem = "is no regular file";
	else if ((file = OpenTransientFile(CPM_HISTORY_FILE, O_RDWR | PG_BINARY)) < 0)
		problem = psprintf("cannot be opened: %s", strerror(errno));
	else
	{
		problem = read_index(file);
		CloseTransientFile(file);
	}
	if (problem != NULL)
		rename_unusable(problem);
	if (cpm_session_history_end().sequence == 0)
		cpm_session_history_start(1, NULL, 0);
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
