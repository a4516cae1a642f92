/* SPDX-License-Identifier: PostgreSQL */
/*
 * busy.c
 *		Prints the results of base/busy and counters/pool_busy for t/027_advice.pl to check.
 *
 * Prints a line for each number of sessions: the number, its bucket and the largest number in that
 * bucket. The next line is the distribution after two months with five busy sessions and one
 * month with two. For the last line, a session leaves a pool, and then two samplers, one after the
 * other, take a sample each. The line has the number of samples that found the pool in use.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/busy.h"
#include "base/settings.h"
#include "counters/pool_busy.h"
#include "counters/pool_table.h"
#include "storage/shmem.h"

/* this program does not link the server's printf */
#undef printf
#include <stdio.h>

/* Stubs for counters/pool_busy: besides "(other)", one pool, which its only session has left. */
int			cpm_max_pools = 1;

int
cpm_pool_slots(void)
{
	return cpm_max_pools + 1;
}

uint64
cpm_pool_last_left_us(int index)
{
	return index == CPM_OTHER_POOL ? 0 : 1;
}

bool
cpm_pool_generation(int index, uint32 *generation, uint32 *connections)
{
	*generation = 1;
	*connections = 0;
	return true;
}

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	return a * b;
}

/* Print the number of samples, taken by two successive samplers, that found the pool in use. */
static void
print_restart(void)
{
	void	   *memory = mmap(NULL, cpm_pool_busy_size(), PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32		busy[2] = {0, 0};

	cpm_pool_busy_attach(memory, true);
	for (int i = 0; i < 2; i++)
	{
		if (fork() == 0)
		{
			cpm_pool_busy_sample(busy, 10);
			_exit(0);
		}
		wait(NULL);
	}
	printf("restart %d\n", (int) cpm_pool_busy_use(CPM_OTHER_POOL + 1).samples);
}

/* Print samples, weight in days, observed days, the median, the 99th percentile and the mean. */
static void
print_months(void)
{
	static CpmBusy busy;

	for (int minute = 0; minute < 90 * 24 * 60; minute++)
		cpm_busy_add(&busy, minute < 60 * 24 * 60 ? 5 : 2, 600);
	printf("months %u %.2f %.2f %u %u %.4f\n",
		   busy.samples, busy.weight / 864000.0, busy.observed_tenths / 864000.0,
		   cpm_busy_percentile(&busy, 0.5), cpm_busy_percentile(&busy, 0.99),
		   cpm_busy_mean(&busy));
}

int
main(void)
{
	for (uint32 sessions = 0; sessions < 262144; sessions++)
	{
		int			bucket = cpm_busy_bucket(sessions);

		printf("%u %d %u\n", sessions, bucket, cpm_busy_upper(bucket));
	}
	print_months();
	fflush(stdout);
	print_restart();
	return 0;
}
