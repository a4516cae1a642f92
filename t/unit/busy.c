/*
 * busy.c
 *		Prints the bucket of base/busy for every number of sessions, and the most
 *		sessions of that bucket. t/027_advice.pl looks through them.
 */
#include "postgres.h"

#include "base/busy.h"

/* the server's printf is not linked here */
#undef printf
#include <stdio.h>

int
main(void)
{
	for (uint32 sessions = 0; sessions < 262144; sessions++)
	{
		int			bucket = cpm_busy_bucket(sessions);

		printf("%u %d %u\n", sessions, bucket, cpm_busy_upper(bucket));
	}
	return 0;
}
