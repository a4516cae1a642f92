/* SPDX-License-Identifier: PostgreSQL */
/*
 * stats_file.c
 *		The file that preserves counters, history and alerts across restarts.
 *
 * The postmaster loads the file whenever it creates shared memory, also after a crash, before it
 * starts any other process. While the server runs, the saver saves the file (workers/saver). At
 * shutdown the postmaster saves it after the last session has added its counters.
 *
 * The file is written under a temporary name and renamed, so that it is always complete. It is
 * not synced, because that may take long on a busy disk. A crash of PostgreSQL cannot damage the
 * file; a crash of the machine may, and the checksum detects that.
 *
 * The whole file is validated before anything is loaded. An unusable file is renamed with a
 * warning, and everything starts empty. If a standby finds a file that its primary wrote, because
 * it came with the base backup, it loads only the history.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/file_header.h"
#include "base/ring.h"
#include "base/stream.h"
#include "counters/counter_transfer.h"
#include "counters/minute_counters.h"
#include "counters/monotonic_counters.h"
#include "counters/pool_file.h"
#include "counters/session_counters.h"
#include "counters/stat_windows.h"
#include "events/errors.h"
#include "events/leak_log.h"
#include "events/rejections.h"
#include "events/slow_statements.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "rules/catalogue.h"
#include "samples/alert_state.h"
#include "samples/rollups.h"
#include "samples/sample_ring.h"
#include "samples/take_sample.h"
#include "samples/worker_status.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "workers/incident_recorder.h"
#include "workers/stats_file.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/connpool_monitor.stat"
#define TEMPORARY_NAME FILE_NAME ".tmp"
#define UNUSABLE_NAME FILE_NAME ".unusable"

/*
 * A marker file, whose existence means that the statistics file contains everything that was
 * counted. It is created at a clean shutdown and removed at startup. So it is missing after a
 * crash, which loses the counts since the last save, and at the first start.
 */
#define COMPLETE_NAME FILE_NAME ".complete"

#define METRICS_PART "metrics"	/* the names of the metrics */
#define MAX_COLUMNS 1000		/* a file with more metrics is invalid */

/* More than a file can have with the largest settings: 65,535 pools, a million slow statements. */
#define MAX_BYTES (INT64CONST(2) * 1024 * 1024 * 1024)

static shmem_startup_hook_type previous_startup_hook;

/*
 * The metrics of the file that is being loaded, by their position in it, which is the
 * CpmMetricId they had when it was saved: the present id, or -1 if a metric no longer exists.
 */
static int	metric_of[MAX_COLUMNS];
static int	columns;

/*
 * The parts of the file, in the order in which they are saved and loaded. The names of the metrics
 * precede them.
 */
static const CpmFilePart *const parts[] = {
	&cpm_samples_part,
	&cpm_rollups_part,
	&cpm_alerts_part,
	&cpm_alert_log_part,
	&cpm_errors_part,
	&cpm_rejection_counts_part,
	&cpm_rejection_log_part,
	&cpm_slow_statements_part,
	&cpm_session_counters_part,
	&cpm_stat_windows_part,
	&cpm_leak_counts_part,
	&cpm_prepared_leaks_part,
	&cpm_leak_log_part,
	&cpm_pool_totals_part,
	&cpm_retained_databases_part,
	&cpm_pools_part,
};

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
put_contents(CpmSink *sink)
{
	CpmFileHeader header = {
		.magic = CPM_FILE_MAGIC,
		.format = CPM_FILE_FORMAT,
		.system_identifier = GetSystemIdentifier(),
		.saved_at = sink->now,
		.on_standby = is_standby(),
	};
	pg_crc32c	crc;

	INIT_CRC32C(sink->crc);
	cpm_put_bytes(sink, &header, sizeof(header));
	put_metric_names(sink);
	for (int i = 0; i < (int) lengthof(parts); i++)
		put_part(sink, parts[i]);

	crc = sink->crc;
	FIN_CRC32C(crc);
	cpm_put_bytes(sink, &crc, sizeof(crc));
}

/* Write the file and rename it; returns the errno of the first failure, or 0. */
static int
write_file(TimestampTz now)
{
	CpmSink		sink = {.file = AllocateFile(TEMPORARY_NAME, PG_BINARY_W), .now = now};

	if (sink.file == NULL)
		return errno;
	put_contents(&sink);
	if (FreeFile(sink.file) != 0 && sink.error == 0)
		sink.error = errno;
	if (sink.error == 0 && rename(TEMPORARY_NAME, FILE_NAME) != 0)
		sink.error = errno;
	if (sink.error != 0)
		(void) unlink(TEMPORARY_NAME);
	return sink.error;
}

bool
cpm_stats_file_save(char *error, size_t size)
{
	TimestampTz now = GetCurrentTimestamp();
	int			problem = write_file(now);

	if (problem == 0)
	{
		cpm_worker_completed_round(CPM_WORKER_SAVER, now, 0, 0);
		return true;
	}
	errno = problem;
	snprintf(error, size, "could not write file \"%s\": %s", TEMPORARY_NAME, strerror(problem));
	cpm_worker_report_problem(CPM_WORKER_SAVER, error);
	return false;
}

/*
 * Create the marker file, unless a backend died in the middle of a transfer, or the monotonic
 * counters were restarted after a crash. The baseline of that restart is not saved, so the
 * counters must restart at the next start as well.
 */
static void
mark_complete(void)
{
	uint64		transfers;
	bool		is_complete = !cpm_monotonic_was_restarted() && cpm_transfers_are_done(&transfers);
	FILE	   *file = is_complete ? AllocateFile(COMPLETE_NAME, PG_BINARY_W) : NULL;

	if (file != NULL)
		FreeFile(file);
}

/*
 * Exit callback of the postmaster, which runs when no other process is left. Saves the file after
 * a clean shutdown, that is, with exit code 0.
 */
static void
save_at_shutdown(int code, Datum argument)
{
	char		error[CPM_WORKER_PROBLEM_SIZE];

	(void) argument;
	if (code == 0 && cpm_stats_file_save(error, sizeof(error)))
		mark_complete();
	else if (code == 0)
		ereport(WARNING,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("connpool_monitor: %s", error),
				 errdetail("Everything counted since the last save is lost.")));
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
 * Copy the cells of a record to the present ids of their metrics, and replace its CpmMetricId by
 * the present one. Returns false if that metric no longer exists.
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
		else if (!renumber_metrics(part, saved, record) || !is_loading)
			continue;
		else if (part->load != NULL)
			part->load(record);
		else
			(void) cpm_ring_add(*part->ring, record);
	}
	pfree(record);
	pfree(saved);
	return !source->failed;
}

/* Check all parts, or load them; with only_history, those of the history only. */
static bool
get_parts(CpmSource source, bool is_loading, bool only_history)
{
	for (int i = 0; i < (int) lengthof(parts); i++)
		if (!get_part(&source, parts[i], is_loading && (!only_history || parts[i]->is_history)))
			return false;
	return source.next == source.end;
}

/*
 * Validate and load the file. Returns NULL, or the problem as a phrase that continues the message
 * "file is not used: it ...".
 */
static const char *
load_bytes(const char *bytes, size_t size)
{
	const char *problem = cpm_file_problem(bytes, size, GetSystemIdentifier());
	CpmSource	source = {
		.next = bytes + sizeof(CpmFileHeader),
		.end = bytes + size - sizeof(pg_crc32c),
	};
	CpmFileHeader header;
	bool		only_history;

	if (problem != NULL)
		return problem;
	memcpy(&header, bytes, sizeof(header));
	only_history = !header.on_standby && is_standby();
	if (!get_metric_names(&source) || !get_parts(source, false, only_history))
		return "has a content that this version cannot read";
	(void) get_parts(source, true, only_history);
	if (!only_history)
		cpm_stat_windows_resume();
	cpm_worker_completed_round(CPM_WORKER_SAVER, header.saved_at, 0, 0);
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

/* Read and load the file; returns NULL or the problem, as load_bytes() does. */
static const char *
read_file(FILE *file)
{
	struct stat found;
	char	   *bytes;
	const char *problem;

	if (fstat(fileno(file), &found) != 0)
		return psprintf("cannot be read: %s", strerror(errno));
	if (!may_be_ours(file))
		return CPM_FILE_WRONG_MAGIC;
	if (found.st_size > MAX_BYTES)
		return "is too large for a file of connpool_monitor";
	bytes = palloc_extended(found.st_size + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (bytes == NULL)
		return "does not fit into memory";
	errno = 0;
	if (fread(bytes, 1, found.st_size, file) != (size_t) found.st_size)
		problem = psprintf("cannot be read: %s",
						   errno ? strerror(errno) : "it was truncated meanwhile");
	else
		problem = load_bytes(bytes, found.st_size);
	pfree(bytes);
	return problem;
}

/* Rename the file, so that the next save does not overwrite it, and log a warning. */
static void
rename_unusable_file(const char *problem)
{
	bool		is_renamed = rename(FILE_NAME, UNUSABLE_NAME) == 0;

	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("connpool_monitor: file \"%s\" is not used: it %s", FILE_NAME, problem),
			 is_renamed ? errdetail("It is kept as \"%s\".", UNUSABLE_NAME) :
			 errdetail("It could not be renamed to \"%s\": %m.", UNUSABLE_NAME),
			 errhint("Counters, history and alerts start empty. The server is not affected.")));
}

/* Load the file if it exists; rename it if it is unusable. */
static void
load(void)
{
	struct stat found;
	FILE	   *file;
	const char *problem;

	if (stat(FILE_NAME, &found) != 0)
	{
		if (errno == ENOENT)
			return;
		problem = psprintf("cannot be opened: %s", strerror(errno));
	}
	/* Open only a regular file, because to open a pipe would wait for a writer. */
	else if (!S_ISREG(found.st_mode))
		problem = "is no regular file";
	else if ((file = AllocateFile(FILE_NAME, PG_BINARY_R)) == NULL)
		problem = psprintf("cannot be opened: %s", strerror(errno));
	else
	{
		problem = read_file(file);
		FreeFile(file);
	}
	if (problem != NULL)
		rename_unusable_file(problem);
}

/* shmem_startup_hook. With EXEC_BACKEND it runs in every process; only the postmaster loads. */
static void
cpm_stats_file_startup(void)
{
	CpmCounters counters;

	if (previous_startup_hook)
		previous_startup_hook();
	if (IsUnderPostmaster || IsBinaryUpgrade)
		return;
	(void) unlink(TEMPORARY_NAME);
	load();
	/* Without the marker file, a crash has lost counters, or this is the first start. */
	if (unlink(COMPLETE_NAME) != 0)
		cpm_monotonic_restart();
	counters = cpm_minute_counters_now(GetCurrentTimestamp());
	cpm_minute_counters_init(&counters);
	cpm_incidents_start();
	on_shmem_exit(save_at_shutdown, (Datum) 0);
}

void
cpm_stats_file_install(void)
{
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = cpm_stats_file_startup;
}
