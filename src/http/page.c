/* SPDX-License-Identifier: PostgreSQL */
/*
 * page.c
 *		The page for browsers: page.html, with a nonce in place of each {{nonce}}.
 *
 * The Content-Security-Policy lets a browser apply only styles and run only scripts that carry the
 * nonce. A script in a name that a client chose does not run, because the client cannot know the
 * nonce.
 */
#include "postgres.h"

#include "http/page.h"

#define PLACEHOLDER "{{nonce}}"

static const char page[] = {
#include "http/page.inc"
	,'\0'
};

bool
cpm_page_write(StringInfo html, char nonce[CPM_NONCE_SIZE])
{
	unsigned char bytes[(CPM_NONCE_SIZE - 1) / 2];
	const char *rest = page;
	const char *next;

	if (!pg_strong_random(bytes, sizeof(bytes)))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
	while ((next = strstr(rest, PLACEHOLDER)) != NULL)
	{
		appendBinaryStringInfo(html, rest, (int) (next - rest));
		appendStringInfoString(html, nonce);
		rest = next + strlen(PLACEHOLDER);
	}
	appendStringInfoString(html, rest);
	return true;
}
