/* SPDX-License-Identifier: PostgreSQL */
/*
 * saved_file.c
 *		Writes and loads a file that preserves data across restarts.
 *
 * The file is written under a temporary name and renamed, so that it is always complete. It is
 * not synced, because that may take long on a busy disk. A crash of PostgreSQL cannot damage the
 * file; a crash of the machine may, and the checksum detects that.
 *
 * The whole file is validated before anything is loaded. An unusable file is renamed with a
 * warning, and everything in it starts empty. If a standby finds a file that its primary wrote,
 * because it came with the base backup, it loads only the history.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/file_header.h"
#include "base/ring.h"
#include "base/set_back.h"
#include "port/pg_crc32c.h"
#include "rules/catalogue.h"
#include "storage/fd.h"
#include "utils/timestamp.h"
#include "workers/saved_file.h"

#define TEMPORARY_SUFFIX ".tmp"
#define METRICS_PART "metrics"	/* the names of the metrics */
#define MAX_COLUMNS 1000		/* a file with more metrics is invalid */

/* More than a file can have with the largest settings: 65,535 pools, a million slow statements. */
#define MAX_BYTES (INT64CONST(2) * 1024 * 1024 * 1024)

/*
 * The current CpmMetricId of each metric of the file that is being loaded; -1 if the metric no
 * longer exists. The index is the CpmMetricId that the metric had when the file was saved.
 */
static int	metric_of[MAX_COLUMNS];
static int	columns;

/*
 * Return true if the server is a standby or recovers from an archive. RecoveryInProgress() cannot
 * be used, because the postmaster loads the file before recovery begins.
 */
static bool
is_standby(void)
{
	struct stat found;

	return stat(STANDBY_SIGNAL_FILE, &found) == 0 || stat(RECOVERY_SIGNAL_FILE, &found) == 0;
}

/* Write the names of the metrics, by CpmMetricId. */
static void
put_metric_names(CpmSink *sink)
{
	cpm_begin_part(sink, METRICS_PART, NAMEDATALEN);
	for (int i = 0; i < CPM_METRICS; i++)
	{
		char		name[NAMEDATALEN] = {0};

		strlcpy(name, cpm_catalogue[i].name, sizeof(name));
		cpm_put(sink, name);
	}
	cpm_end_part(sink);
}

static void
put_part(CpmSink *sink, const CpmFilePart *part)
{
	cpm_begin_part(sink, part->name, part->size + part->cell * CPM_METRICS);
	if (part->save != NULL)
		part->save(sink);
	else
		cpm_ring_save(*part->ring, sink);
	cpm_end_part(sink);
}

static void
put_contents(const CpmSavedFile *file, CpmSink *sink)
{
	CpmFileHeader header = {
		.magic = CPM_FILE_MAGIC,
		.format = CPM_FILE_FORMAT,
		.system_identifier = GetSystemIdentifier(),
		.saved_at = sink->now,
		.setback_us = cpm_total_setback_us(),
		.on_standby = is_standby(),
	};
	pg_crc32c	crc;

	INIT_CRC32C(sink->crc);
	cpm_put_bytes(sink, &header, sizeof(header));
	put_metric_names(sink);
	for (int i = 0; i < file->parts; i++)
		put_part(sink, file->part[i]);

	crc = sink->crc;
	FIN_CRC32C(crc);
	cpm_put_bytes(sink, &crc, sizeof(crc));
}

/* Write the file and rename it; returns the errno of the first failure, or 0. */
static int
write_file(const CpmSavedFile *file, const char *temporary)
{
	CpmSink		sink = {0};

	/* read both clocks together, because opening the file may take long */
	sink.now = GetCurrentTimestamp();
	sink.now_us = cpm_monotonic_us();
	sink.file = AllocateFile(temporary, PG_BINARY_W);
	if (sink.file == NULL)
		return errno;
	put_contents(file, &sink);
	if (FreeFile(sink.file) != 0 && sink.error == 0)
		sink.error = errno;
	if (sink.error == 0 && rename(temporary, file->name) != 0)
		sink.error = errno;
	if (sink.error != 0)
		(void) unlink(temporary);
	return sink.error;
}

bool
cpm_saved_file_write(const CpmSavedFile *file, char *error, size_t size)
{
	char		temporary[MAXPGPATH];
	int			problem;

	snprintf(temporary, sizeof(temporary), "%s" TEMPORARY_SUFFIX, file->name);
	problem = write_file(file, temporary);
	errno = problem;
	if (problem != 0)
		snprintf(error, size, "could not write file \"%s\": %s", temporary, strerror(problem));
	return problem == 0;
}

/* Set metric_of and columns; returns false if the source is invalid. */
static bool
get_metric_names(CpmSource *source)
{
	char		name[NAMEDATALEN];

	columns = 0;
	(void) cpm_get_part(source, METRICS_PART, sizeof(name));
	while (columns < MAX_COLUMNS && cpm_get(source, name, sizeof(name)))
	{
		name[sizeof(name) - 1] = '\0';
		metric_of[columns++] = cpm_metric_by_name(name);
	}
	return !source->failed;
}

static bool
is_valid_record(const CpmFilePart *part, const char *record)
{
	for (int i = 0; i < (int) lengthof(part->text); i++)
		if (part->text[i].size > 0 &&
			memchr(record + part->text[i].offset, '\0', part->text[i].size) == NULL)
			return false;
	for (int i = 0; i < (int) lengthof(part->below); i++)
		if (part->below[i].size > 0 &&
			*(const uint32 *) (record + part->below[i].offset) >= part->below[i].size)
			return false;
	return part->metric == 0 || *(const uint32 *) (record + part->metric) < (uint32) columns;
}

/*
 * Copy each cell of a saved record to the position of its metric's current CpmMetricId. If the
 * record itself contains a CpmMetricId, replace that by the current one. Returns false if the
 * metric of the record no longer exists.
 */
static bool
renumber_metrics(const CpmFilePart *part, const char *saved, char *record)
{
	uint32	   *metric = (uint32 *) (record + part->metric);

	memset(record + part->size, 0xFF, part->cell * CPM_METRICS);
	for (int i = 0; i < columns; i++)
		if (metric_of[i] >= 0)
			memcpy(record + part->size + metric_of[i] * part->cell,
				   saved + part->size + i * part->cell, part->cell);
	if (part->metric == 0)
		return true;
	if (metric_of[*metric] < 0)
		return false;
	*metric = (uint32) metric_of[*metric];
	return true;
}

/* Read a part, and check or load its records. Returns false if the source is invalid. */
static bool
get_part(CpmSource *source, const CpmFilePart *part, bool is_loading)
{
	Size		size = part->size + part->cell * columns;
	char	   *saved = palloc(size);
	char	   *record = palloc0(MAXALIGN(part->size + part->cell * CPM_METRICS));

	(void) cpm_get_part(source, part->name, size);
	while (cpm_get(source, saved, size))
	{
		memcpy(record, saved, part->size);
		if (!is_valid_record(part, record))
			source->failed = true;
		if (source->failed || !renumber_metrics(part, saved, record) || !is_loading)
			continue;
		cpm_correct_loaded_times(record, part->time);
		if (part->load != NULL)
			part->load(record);
		else
			(void) cpm_ring_add(*part->ring, record);
	}
	pfree(record);
	pfree(saved);
	return !source->failed;
}

/*
 * Check all parts, and load them if is_loading; with only_history, load only those of the history.
 * Returns false if the source is invalid.
 */
static bool
get_parts(const CpmSavedFile *file, CpmSource source, bool is_loading, bool only_history)
{
	for (int i = 0; i < file->parts; i++)
	{
		const CpmFilePart *part = file->part[i];

		if (!get_part(&source, part, is_loading && (!only_history || part->is_history)))
			return false;
	}
	return source.next == source.end;
}

/*
 * Validate and load the file. Returns NULL and sets *loaded, or returns the problem as a phrase
 * that continues the message "file is not used: it ...".
 */
static const char *
load_bytes(const CpmSavedFile *file, const char *bytes, size_t size, CpmLoadedFile *loaded)
{
	const char *problem = cpm_file_problem(bytes, size, GetSystemIdentifier());
	CpmSource	source = {
		.next = bytes + sizeof(CpmFileHeader),
		.end = bytes + size - sizeof(pg_crc32c),
	};
	CpmFileHeader header;

	if (problem != NULL)
		return problem;
	memcpy(&header, bytes, sizeof(header));
	loaded->saved_at = header.saved_at;
	cpm_set_loaded_file_time(header.saved_at, header.setback_us);
	loaded->only_history = !header.on_standby && is_standby();
	if (!get_metric_names(&source) || !get_parts(file, source, false, loaded->only_history))
		return "has contents that this version cannot read";
	(void) get_parts(file, source, true, loaded->only_history);
	return NULL;
}

/*
 * Return false if the file begins with another magic number, so that the caller does not read the
 * rest, which may be large. Returns true for a file without a whole header, which load_bytes()
 * rejects.
 */
static bool
may_be_ours(FILE *file)
{
	CpmFileHeader header;
	bool		is_ours = fread(&header, 1, sizeof(header), file) != sizeof(header) ||
		header.magic == CPM_FILE_MAGIC;

	rewind(file);
	return is_ours;
}

/* Read the file into memory and load it; returns NULL or the problem, as load_bytes() does. */
static const char *
read_file(const CpmSavedFile *file, FILE *stream, CpmLoadedFile *loaded)
{
	struct stat found;
	char	   *bytes;
	const char *problem;

	if (fstat(fileno(stream), &found) != 0)
		return psprintf("cannot be read: %s", strerror(errno));
	if (!may_be_ours(stream))
		return CPM_FILE_WRONG_MAGIC;
	if (found.st_size > MAX_BYTES)
		return "is too large for a file of connpool_monitor";
	bytes = palloc_extended(found.st_size + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (bytes == NULL)
		return "does not fit into memory";
	errno = 0;
	if (fread(bytes, 1, found.st_size, stream) != (size_t) found.st_size)
		problem = psprintf("cannot be read: %s",
						   errno ? strerror(errno) : "it was truncated meanwhile");
	else
		problem = load_bytes(file, bytes, found.st_size, loaded);
	pfree(bytes);
	return problem;
}

/* Rename the file, so that the next save does not overwrite it, and log a warning. */
static void
rename_unusable_file(const CpmSavedFile *file, const char *problem)
{
	char		unusable[MAXPGPATH];
	bool		is_renamed;

	snprintf(unusable, sizeof(unusable), "%s.unusable", file->name);
	is_renamed = rename(file->name, unusable) == 0;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("connpool_monitor: file \"%s\" is not used: it %s", file->name, problem),
			 is_renamed ?
			 errdetail("It is kept as \"%s\". %s start empty; everything else works.",
					   unusable, file->contents) :
			 errdetail("It could not be renamed to \"%s\": %m. %s start empty; everything else "
					   "works.", unusable, file->contents)));
}

bool
cpm_saved_file_load(const CpmSavedFile *file, CpmLoadedFile *loaded)
{
	struct stat found;
	FILE	   *stream;
	const char *problem;

	(void) unlink(psprintf("%s" TEMPORARY_SUFFIX, file->name));
	if (stat(file->name, &found) != 0)
	{
		if (errno == ENOENT)
			return false;
		problem = psprintf("cannot be opened: %s", strerror(errno));
	}
	/* Open only a regular file, because opening a pipe would wait for a writer. */
	else if (!S_ISREG(found.st_mode))
		problem = "is not a regular file";
	else if ((stream = AllocateFile(file->name, PG_BINARY_R)) == NULL)
		problem = psprintf("cannot be opened: %s", strerror(errno));
	else
	{
		problem = read_file(file, stream, loaded);
		FreeFile(stream);
	}
	if (problem != NULL)
		rename_unusable_file(file, problem);
	return problem == NULL;
}
