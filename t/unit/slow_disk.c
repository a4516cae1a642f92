/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_disk.c
 *		Delays reads of files below a directory, as a slow disk would.
 *
 * Only root can slow down a real disk. LD_PRELOAD loads this library into a server, whose sessions
 * then wait where they would wait for a slow disk. The environment variable SLOW_DISK names the
 * directory; reads take 20 ms longer while it contains a file named "slow". Linux only.
 * t/054_report.pl uses it.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void
delay(int fd)
{
	const char *directory = getenv("SLOW_DISK");
	char		link[64];
	char		path[PATH_MAX];
	char		marker[PATH_MAX];
	ssize_t		length;

	if (directory == NULL)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return;
	path[length] = '\0';
	snprintf(marker, sizeof(marker), "%s/slow", directory);
	if (strncmp(path, directory, strlen(directory)) == 0 && access(marker, F_OK) == 0)
		usleep(20 * 1000);
}

ssize_t
pread(int fd, void *buffer, size_t size, off_t offset)
{
	delay(fd);
	return syscall(SYS_pread64, fd, buffer, size, offset);
}

ssize_t
pread64(int fd, void *buffer, size_t size, off64_t offset)
{
	delay(fd);
	return syscall(SYS_pread64, fd, buffer, size, offset);
}

/* preadv(2) passes the offset in two words, of which the second one is the high half */
ssize_t
preadv(int fd, const struct iovec *vector, int count, off_t offset)
{
	delay(fd);
	return syscall(SYS_preadv, fd, vector, count, (unsigned long) offset, 0UL);
}

ssize_t
preadv64(int fd, const struct iovec *vector, int count, off64_t offset)
{
	delay(fd);
	return syscall(SYS_preadv, fd, vector, count, (unsigned long) offset, 0UL);
}
