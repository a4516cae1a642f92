/* SPDX-License-Identifier: PostgreSQL */
/*
 * broken_disk.c
 *		Makes access to the file of the session history fail, or reads of it slow.
 *
 * LD_PRELOAD loads this library into a server. BROKEN_DISK names a directory. While the directory
 * contains a file with one of these names, that effect occurs:
 *
 * eio			writes fail with EIO
 * unwritten	writes seem to succeed, but close() fails with ENOSPC
 * slow			reading a segment takes a second longer
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "/connpool_monitor.sessions"
#define SEGMENT_SIZE 65536

/* Return true if the file is that of the session history and this effect is to occur. */
static bool
fails(int file, const char *how)
{
	char		link[64];
	char		name[4096];
	ssize_t		length;

	if (getenv("BROKEN_DISK") == NULL)
		return false;
	snprintf(name, sizeof(name), "%s/%s", getenv("BROKEN_DISK"), how);
	if (access(name, F_OK) != 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, name, sizeof(name) - 1);
	if (length < (ssize_t) strlen(NAME))
		return false;
	name[length] = '\0';
	return strcmp(name + length - strlen(NAME), NAME) == 0;
}

ssize_t
pwrite(int file, const void *bytes, size_t size, off_t offset)
{
	static ssize_t (*next) (int, const void *, size_t, off_t);

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "pwrite");
	if (fails(file, "unwritten"))
		return (ssize_t) size;
	if (!fails(file, "eio"))
		return next(file, bytes, size, offset);
	errno = EIO;
	return -1;
}

ssize_t
pread(int file, void *bytes, size_t size, off_t offset)
{
	static ssize_t (*next) (int, void *, size_t, off_t);

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "pread");
	if (size == SEGMENT_SIZE && fails(file, "slow"))
		sleep(1);
	return next(file, bytes, size, offset);
}

int
close(int file)
{
	static int	(*next) (int);
	int			saved_errno = errno;
	bool		is_unwritten = fails(file, "unwritten");
	int			result;

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "close");
	errno = saved_errno;
	result = next(file);
	if (!is_unwritten)
		return result;
	errno = ENOSPC;
	return -1;
}
