/* SPDX-License-Identifier: PostgreSQL */
/*
 * ring.c
 *		Looks up entries of a ring without a server.
 *
 * Prints a line for each state of the ring: for each ticket the entry, or "-" if there is none.
 * The last ticket is CPM_NO_TICKET. t/052_lock_log.pl checks the output.
 */
#include "postgres.h"

#include "base/ring.h"

/* this program does not link the server's functions */
#undef printf
#include <stdio.h>
#include <stdlib.h>

static void
print_entries(CpmRing *ring)
{
	static const uint64 tickets[] = {0, 1, 2, 3, 4, 5, CPM_NO_TICKET};

	for (int i = 0; i < (int) lengthof(tickets); i++)
	{
		const int  *entry = cpm_ring_entry(ring, tickets[i]);

		if (i > 0)
			printf(" ");
		if (entry != NULL)
			printf("%d", *entry);
		else
			printf("-");
	}
	printf("\n");
}

int
main(void)
{
	CpmRing    *ring = malloc(cpm_ring_size(4, sizeof(int)));

	cpm_ring_init(ring, 4, sizeof(int));
	print_entries(ring);
	for (int i = 0; i < 6; i++)
	{
		int			entry = 10 + i;

		(void) cpm_ring_add(ring, &entry);
		if (i == 2 || i == 5)
			print_entries(ring);
	}
	cpm_ring_reset(ring);
	print_entries(ring);
	return 0;
}
