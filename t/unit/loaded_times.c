/* SPDX-License-Identifier: PostgreSQL */
/*
 * loaded_times.c
 *		Corrects, without a server, the times of a file that was saved after the system clock was
 *		set back.
 *
 * The file was saved at 10:00, after the clock was set back by an hour, and is loaded at 12:00.
 * Prints for each saved time the loaded time, in seconds since 10:00: first by cpm_loaded_time(),
 * then by cpm_correct_loaded_times(). t/056_clock.pl checks the output.
 */
#include "postgres.h"

#include "base/stream.h"
#include "utils/timestamp.h"

/* this program does not link the server's functions */
#undef printf
#include <stdio.h>

#define SAVED_AT (10 * USECS_PER_HOUR)

TimestampTz
GetCurrentTimestamp(void)
{
	return 12 * USECS_PER_HOUR;
}

int
main(void)
{
	/* in milliseconds since SAVED_AT */
	static const int saved_ms[] = {-5000, 0, 500, 10000, 3600000};
	static const CpmFileField time[2] = {{0, sizeof(TimestampTz)}};

	cpm_set_loaded_file_time(SAVED_AT, USECS_PER_HOUR);
	for (int i = 0; i < (int) lengthof(saved_ms); i++)
	{
		TimestampTz saved = SAVED_AT + saved_ms[i] * INT64CONST(1000);
		TimestampTz record = saved;

		cpm_correct_loaded_times(&record, time);
		printf("%d %d\n", (int) ((cpm_loaded_time(saved) - SAVED_AT) / USECS_PER_SEC),
			   (int) ((record - SAVED_AT) / USECS_PER_SEC));
	}
	return 0;
}
