/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock.c
 *		Shows a system clock that differs from the true time by a number of seconds.
 *
 * Setting the real clock would affect the whole machine. LD_PRELOAD loads this library into a
 * server. The file that the environment variable CLOCK_FILE names contains the offset, a number of
 * 64 bits. All processes that the server forks share a mapping of the file, so that a change of
 * the file sets the clock of all of them at once. A signal handler can read the mapping too. The
 * monotonic clock remains true, as it does when somebody sets a real clock. Linux only.
 * t/017_history.pl and t/056_clock.pl use it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset;

static void __attribute__((constructor))
map_offset(void)
{
	const char *path = getenv("CLOCK_FILE");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *memory;

	if (fd < 0)
		return;
	memory = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (memory != MAP_FAILED)
		offset = memory;
}

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, id, now);

	if (result == 0 && offset != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += *offset;
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	(void) clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
