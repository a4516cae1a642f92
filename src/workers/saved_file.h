/* SPDX-License-Identifier: PostgreSQL */
/*
 * saved_file.h
 *		Writes and loads a file that preserves data across restarts.
 */
#ifndef CPM_SAVED_FILE_H
#define CPM_SAVED_FILE_H

#include "base/stream.h"
#include "datatype/timestamp.h"

typedef struct CpmSavedFile
{
	const char *name;			/* relative to the data directory */
	const char *contents;		/* plural noun for the data in the file; sentences in messages
								 * begin with it, as in "Incidents start empty" */
	const CpmFilePart *const *part; /* in the order of the file, which has the names of the
									 * metrics before its first part */
	int			parts;
} CpmSavedFile;

typedef struct CpmLoadedFile
{
	TimestampTz saved_at;
	bool		only_history;	/* only parts with is_history were loaded, because this server is
								 * a standby and its primary wrote the file */
} CpmLoadedFile;

/*
 * Write the file. If that fails, returns false, sets error and leaves the previous file in place.
 * Raises an error if memory runs out. The saver only, or the postmaster at shutdown.
 */
extern bool cpm_saved_file_write(const CpmSavedFile *file, char *error, size_t size);

/*
 * Load the file, and set *loaded. Returns false if there is no file. If the file is unusable,
 * renames it, logs a warning and returns false. Postmaster only, at startup.
 */
extern bool cpm_saved_file_load(const CpmSavedFile *file, CpmLoadedFile *loaded);

#endif							/* CPM_SAVED_FILE_H */
