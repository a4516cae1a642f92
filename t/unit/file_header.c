/* SPDX-License-Identifier: PostgreSQL */
/*
 * file_header.c
 *		Damages a statistics file in memory and counts how often base/file_header accepts it.
 *
 * Usage: file_header FILE SYSTEM_IDENTIFIER CHANGES
 *
 * Truncates the file to every length, and changes one random byte CHANGES times. Prints the number
 * of truncated files ("cut") and of changed files that base/file_header rejected, and the number
 * of damaged files that it accepted ("taken").
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

static void
print_problem(const char *file, const char *problem)
{
	printf("%s: %s\n", file, problem ? problem : "taken");
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
	print_problem("whole", cpm_file_problem(bytes, size, identifier));
	print_problem("foreign", cpm_file_problem(bytes, size, identifier + 1));
	for (size_t length = 0; length < size; length++)
		count(&cut, bytes, length, identifier);
	srand(1);
	for (int i = 0; i < atoi(argv[3]); i++)
	{
		size_t		offset = ((size_t) rand() << 16 ^ (size_t) rand()) % size;
		char		change = (char) (1 + rand() % 255);

		bytes[offset] ^= change;
		count(&changed, bytes, size, identifier);
		bytes[offset] ^= change;
	}
	printf("cut: %d of %zu\nchanged: %d\ntaken: %d\n", cut, size, changed, taken);
	return 0;
}
