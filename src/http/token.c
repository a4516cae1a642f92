/* SPDX-License-Identifier: PostgreSQL */
/*
 * token.c
 *		The token that requests must bear, and the file that it comes from.
 *
 * Read at start and on reload, by a worker that may be asked for it at any time: what
 * is no regular file, or could be read by others, is not used. What was known last
 * stays, for a file that vanishes must not open the door.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base64.h"
#include "http/token.h"

#define TOKEN_SIZE 256			/* with its end */

static bool is_demanded;
static char token[TOKEN_SIZE];	/* zeros behind its end; empty: none is known */

/* What is wrong with the file, or NULL when its token is in the buffer. */
static const char *
read_token(int file, char *buffer)
{
	struct stat found;
	ssize_t		length;

	if (fstat(file, &found) != 0)
		return strerror(errno);
	if (!S_ISREG(found.st_mode))
		return "it is no regular file";
	if (found.st_uid != geteuid() || (found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "others than the server's owner may have access: it must belong to it, with mode 0600";
	length = read(file, buffer, TOKEN_SIZE);
	if (length < 0)
		return strerror(errno);
	while (length > 0 && (buffer[length - 1] == '\n' || buffer[length - 1] == '\r'))
		length--;
	if (length == 0)
		return "it is empty";
	if (length >= TOKEN_SIZE)
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
	char		buffer[TOKEN_SIZE] = {0};
	const char *problem;
	int			file;

	is_demanded = path != NULL && path[0] != '\0';
	if (!is_demanded)
	{
		memset(token, 0, sizeof(token));
		return;
	}
	/* to open a pipe must not wait for who writes into it */
	file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	problem = file < 0 ? strerror(errno) : read_token(file, buffer);
	if (file >= 0)
		(void) close(file);
	if (problem == NULL)
		memcpy(token, buffer, sizeof(token));
	else
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("connpool_monitor: the file of http_token_file cannot be used: %s", problem),
				 token[0] != '\0' ? errdetail("The token that was read last stays in force.") :
				 errdetail("No token is known: /health/database is all that is answered, and on an address that other machines reach not even that."),
				 errhint("Mend the file and reload the configuration.")));
	memset(buffer, 0, sizeof(buffer));
}

bool
cpm_token_is_demanded(void)
{
	return is_demanded;
}

bool
cpm_token_is_known(void)
{
	return token[0] != '\0';
}

/* All bytes are looked at, however many are wrong. */
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

/* Basic: base64 of a user, whoever it is, a colon and the password. */
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
cpm_token_fits(const char *authorization)
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
