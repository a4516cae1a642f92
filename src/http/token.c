/* SPDX-License-Identifier: PostgreSQL */
/*
 * token.c
 *		Reads the token of http_token_file and checks that requests carry it.
 *
 * The HTTP worker reads the file when it starts and on reload. The file must be regular, because
 * reading a pipe would block the worker, and other users must not be able to read it. If the file
 * cannot be used, the last token stays in force, because removing the file must not open access.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base64.h"
#include "http/token.h"

#define TOKEN_SIZE 256			/* with the terminating zero */
#define MAX_FILE_SIZE (TOKEN_SIZE + 1)	/* the longest token and "\r\n" */

#define PROBLEM_SIZE 128

static bool is_required;
static char file_problem[PROBLEM_SIZE]; /* why the file cannot be used; empty if it can */
static char token[TOKEN_SIZE];	/* padded with zeros; empty if none has been read */

/*
 * Read the token into buffer, which has MAX_FILE_SIZE + 1 bytes, and pad it with zeros to
 * TOKEN_SIZE bytes. Returns NULL, or the reason why the file cannot be used.
 */
static const char *
read_token(int file, char *buffer)
{
	struct stat found;
	ssize_t		length;
	bool		has_more;

	if (fstat(file, &found) != 0)
		return strerror(errno);
	if (!S_ISREG(found.st_mode))
		return "it is not a regular file";
	if (found.st_uid != geteuid() || (found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "it must belong to the server's owner, who alone may have access (mode 0600)";
	length = read(file, buffer, MAX_FILE_SIZE + 1);
	if (length < 0)
		return strerror(errno);
	has_more = length > MAX_FILE_SIZE;
	while (length > 0 && (buffer[length - 1] == '\n' || buffer[length - 1] == '\r'))
		length--;
	if (length == 0)
		return "it is empty";
	if (has_more || length >= TOKEN_SIZE)
		return "it has more than 255 bytes";
	memset(buffer + length, 0, TOKEN_SIZE - length);
	for (ssize_t i = 0; i < length; i++)
		if (buffer[i] <= ' ' || buffer[i] > '~')
			return "a token is one line of visible ASCII characters without spaces";
	return NULL;
}

void
cpm_token_reread(const char *path)
{
	char		buffer[MAX_FILE_SIZE + 1];
	const char *problem;
	int			file;

	is_required = path != NULL && path[0] != '\0';
	file_problem[0] = '\0';
	if (!is_required)
	{
		memset(token, 0, sizeof(token));
		return;
	}
	/* without O_NONBLOCK, opening a pipe would wait for a writer */
	file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	problem = file < 0 ? strerror(errno) : read_token(file, buffer);
	if (file >= 0)
		(void) close(file);
	if (problem == NULL)
		memcpy(token, buffer, TOKEN_SIZE);
	else
	{
		strlcpy(file_problem, problem, sizeof(file_problem));
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("connpool_monitor: the file of http_token_file cannot be used: %s",
						file_problem),
				 token[0] != '\0' ?
				 errdetail("The token that was read last stays in force.") :
				 errdetail("Without a token, only /health/database is served, "
						   "and nothing at all on an address that other machines can reach."),
				 errhint("Fix the file, then reload the configuration.")));
	}
	explicit_bzero(buffer, sizeof(buffer));
}

const char *
cpm_token_file_problem(void)
{
	return file_problem;
}

bool
cpm_token_is_required(void)
{
	return is_required;
}

bool
cpm_token_is_loaded(void)
{
	return token[0] != '\0';
}

/*
 * Return true if the candidate is the token. Compares all bytes, so that the duration does not
 * reveal how many of them are right.
 */
static bool
is_token(const char *candidate, size_t length)
{
	char		padded[TOKEN_SIZE] = {0};
	unsigned char difference = 0;

	if (length == 0 || length >= TOKEN_SIZE)
		return false;
	memcpy(padded, candidate, length);
	for (int i = 0; i < TOKEN_SIZE; i++)
		difference |= (unsigned char) padded[i] ^ (unsigned char) token[i];
	return difference == 0 && token[0] != '\0';
}

/*
 * Return true if the Basic credentials, the base64 encoding of a user name, a colon and a
 * password, contain the token as the password. Any user name is accepted.
 */
static bool
is_basic(const char *encoded)
{
	char		plain[TOKEN_SIZE * 2];
	int			length = (int) strlen(encoded);
	int			decoded;
	const char *colon;

	if (pg_b64_dec_len(length) > (int) sizeof(plain))
		return false;
	decoded = pg_b64_decode(encoded, length, (void *) plain, sizeof(plain));
	if (decoded <= 0)
		return false;
	colon = memchr(plain, ':', decoded);
	return colon != NULL && is_token(colon + 1, plain + decoded - (colon + 1));
}

bool
cpm_token_matches(const char *authorization)
{
	if (authorization == NULL)
		return false;
	if (pg_strncasecmp(authorization, "Bearer ", 7) == 0)
	{
		authorization += 7 + strspn(authorization + 7, " ");
		return is_token(authorization, strlen(authorization));
	}
	if (pg_strncasecmp(authorization, "Basic ", 6) == 0)
		return is_basic(authorization + 6 + strspn(authorization + 6, " "));
	return false;
}
