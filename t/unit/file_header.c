/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.c
 *		A file as connpool_monitor wrote it, damaged in every way that a number can
 *		say: cut off at every length, and so many times a byte of it changed. Prints
 *		how often each problem was found; "taken" is a damage that nobody noticed.
 *
 * Usage: file_header FILE SYSTEM_IDENTIFIER CHANGES
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file_header.h"

static int	cut;
static int	changed;
static int	taken;

static void
count(int *counter, const char *bytes, size_t size, uint64 identifier)
{
	if (cpm_file_problem(bytes, size, identifier) == NULL)
		taken++;
	else
		(*counter)++;
}

int
main(int argc, char **argv)
{
	static char bytes[1 << 24];
	FILE	   *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
	size_t		size = file ? fread(bytes, 1, sizeof(bytes), file) : 0;
	uint64		identifier = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;

	if (size == 0 || size == sizeof(bytes))
		return 1;
	printf("whole: %s\n", cpm_file_problem(bytes, size, identifier) ? cpm_file_problem(bytes, size, identifier) : "taken");
	printf("foreign: %s\n", cpm_file_problem(bytes, size, identifier + 1) ? cpm_file_problem(bytes, size, identifier + 1) : "taken");
	for (size_t length = 0; length < size; length++)
		count(&cut, bytes, length, identifier);
	srand(1);
	for (int i = 0; i < atoi(argv[3]); i++)
	{
		size_t		place = ((size_t) rand() << 16 ^ (size_t) rand()) % size;
		char		change = (char) (1 + rand() % 255);

		bytes[place] ^= change;
		count(&changed, bytes, size, identifier);
		bytes[place] ^= change;
	}
	printf("cut: %d of %zu\nchanged: %d\ntaken: %d\n", cut, size, changed, taken);
	return 0;
}
