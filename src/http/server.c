/* SPDX-License-Identifier: PostgreSQL */
/*
 * server.c
 *		The HTTP server, which uses libmicrohttpd.
 *
 * The server runs without threads: the worker's WaitEventSet includes libmicrohttpd's epoll
 * instance. The library parses requests and calls on_request(), which computes the answer without
 * waiting for I/O, in a memory context that is reset after each request. A callback must not raise
 * an error, because a longjmp through the library's stack frames would leave its state
 * inconsistent.
 */
#include "postgres.h"

#include <microhttpd.h>

#include "base/clock.h"
#include "http/answer.h"
#include "http/clients.h"
#include "http/server.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#define MAX_CONNECTIONS 256
#define MAX_HEADER_BYTES (16 * 1024)	/* memory for a request's first line and headers */
#define IDLE_SECONDS 20
#define HTTP_SCHEME "http://"

static struct MHD_Daemon *http_daemon;
static MemoryContext request_context;

/*
 * True if the last MHD_run() has closed a connection. libmicrohttpd removes its listening socket
 * from the epoll instance when it cannot accept more connections or lacks file descriptors. It
 * adds the socket again at the start of the MHD_run() after the one that closed a connection. So
 * the worker must call MHD_run() again without waiting: if no connection is left, nothing else
 * would wake the worker.
 */
static bool has_closed_connection;

static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void) MHD_add_response_header(response, name, value);
}

static void
add_security_policy(struct MHD_Response *response, const char *nonce)
{
	char		policy[512];

	snprintf(policy, sizeof(policy),
			 "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; "
			 "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
			 "frame-ancestors 'none'", nonce, nonce);
	add_header(response, "Content-Security-Policy", policy);
	add_header(response, "X-Frame-Options", "DENY");
	add_header(response, "Referrer-Policy", "no-referrer");
}

static enum MHD_Result
send_answer(struct MHD_Connection *connection, const CpmAnswer *answer)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	response = MHD_create_response_from_buffer(answer->body.len, answer->body.data,
											   MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	add_header(response, "Content-Type", answer->type);
	add_header(response, "Cache-Control", "no-store");
	add_header(response, "X-Content-Type-Options", "nosniff");
	add_header(response, "Vary", "Accept, Authorization");
	if (answer->retry)
		add_header(response, "Retry-After", "1");
	if (answer->status == 405)
		add_header(response, "Allow", "GET, HEAD");
	if (answer->status == 401)
	{
		add_header(response, "WWW-Authenticate", "Bearer realm=\"connpool_monitor\"");

		/*
		 * Offer "Basic" for the page only, because it makes a browser ask the user for a
		 * password. The page's script must not cause such a dialog, because it would receive no
		 * answer until the user has closed the dialog.
		 */
		if (answer->prompts_user)
			add_header(response, "WWW-Authenticate", "Basic realm=\"connpool_monitor\"");
	}
	if (answer->nonce[0] != '\0')
		add_security_policy(response, answer->nonce);
	result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

/* Return true for methods whose requests have no body. */
static bool
is_bodiless(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static enum MHD_Result
count_host(void *hosts, enum MHD_ValueKind kind, const char *key, const char *value)
{
	(void) kind;
	(void) value;
	*(int *) hosts += pg_strcasecmp(key, "Host") == 0;
	return MHD_YES;
}

/* Return the field for the argument with that name; NULL if no path has such an argument. */
static const char **
argument_field(CpmRequest *request, const char *name)
{
	if (strcmp(name, "metric") == 0)
		return &request->metric;
	if (strcmp(name, "at") == 0)
		return &request->at;
	if (strcmp(name, "since") == 0)
		return &request->since;
	if (strcmp(name, "until") == 0)
		return &request->until;
	return NULL;
}

static enum MHD_Result
read_argument(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
	CpmRequest *request = arg;
	const char **field = argument_field(request, key);

	(void) kind;
	if (field != NULL)
	{
		request->repeats_argument |= *field != NULL;
		*field = value != NULL ? value : "";
	}
	else if (key[0] != '\0')	/* "?&" has an argument without a name */
		request->has_unknown_argument = true;
	return MHD_YES;
}

/*
 * Read a request target in absolute form, such as "http://host:9188/metrics", which every server
 * must accept. Its host replaces that of the Host header (RFC 9112, section 3.2.2). An invalid
 * target, without a host or with user information, is left unchanged, so that no route matches.
 */
static void
read_absolute_target(CpmRequest *request)
{
	const char *host;
	size_t		length;

	if (pg_strncasecmp(request->path, HTTP_SCHEME, strlen(HTTP_SCHEME)) != 0)
		return;
	host = request->path + strlen(HTTP_SCHEME);
	length = strcspn(host, "/");
	if (length == 0 || memchr(host, '@', length) != NULL)
		return;
	request->host = host;
	request->path = host[length] == '/' ? host + length : "/";
}

/*
 * Return the address of a connection's client; NULL if it is unknown. Since libmicrohttpd 1.0 all
 * calls of MHD_get_connection_info() for a connection may return the same union, so read it before
 * the next call.
 */
static const struct sockaddr *
client_address(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info ? info->client_addr : NULL;
}

static pgsocket
client_socket(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* Return the handle that cpm_client_connected() returned for a connection; NULL if none. */
static void *
client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static CpmRequest
make_request(struct MHD_Connection *connection, const char *url, const char *method,
			 const char *version)
{
	CpmRequest	request = {
		.peer = client_address(connection),
		.method = method,
		.path = url,
		.accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept"),
		.authorization = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
													 "Authorization"),
		.host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host"),
		.needs_host = strcmp(version, MHD_HTTP_VERSION_1_1) == 0,
		.now_us = cpm_monotonic_us(),
	};

	(void) MHD_get_connection_values(connection, MHD_HEADER_KIND, count_host, &request.hosts);
	(void) MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, read_argument, &request);
	read_absolute_target(&request);
	return request;
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
		   const char *version, const char *upload_data, size_t *upload_data_size, void **state)
{
	static char headers_seen;	/* *state points here after the call for the headers */
	CpmRequest	request;
	CpmAnswer	answer;
	MemoryContext old_context;
	enum MHD_Result result;

	(void) upload_data;

	/*
	 * libmicrohttpd calls this function after the headers and again at the end of the request. It
	 * closes the connection after an answer to the first call, because a body may be unread.
	 * Answer GET and HEAD in the last call, so that the client can reuse the connection. Answer
	 * other methods, which no path supports, in the first call, so that libmicrohttpd reads no
	 * body.
	 */
	if (is_bodiless(method) && (*state == NULL || *upload_data_size > 0))
	{
		*state = &headers_seen;
		*upload_data_size = 0;
		return MHD_YES;
	}
	request = make_request(connection, url, method, version);
	old_context = MemoryContextSwitchTo(request_context);
	cpm_answer(arg, &request, &answer);
	cpm_client_requested(client_of(connection), answer.is_authorized);
	result = send_answer(connection, &answer);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(request_context);
	return result;
}

static void
on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	(void) arg;
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		*socket_context = cpm_client_connected(client_socket(connection),
											   client_address(connection), cpm_monotonic_us());
	else
	{
		cpm_client_disconnected(*socket_context);
		has_closed_connection = true;
	}
}

static void
on_completed(void *arg, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode how)
{
	(void) arg;
	(void) state;
	if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		cpm_client_answered(client_of(connection), cpm_monotonic_us());
}

/*
 * Decode a path, or the name or value of an argument, in place, and return its length. Leave text
 * with an encoded zero byte as it is, so that it matches no path and is no valid argument. Decoded,
 * it would look like the part before that byte, because libmicrohttpd passes C strings.
 */
static size_t
unescape(void *arg, struct MHD_Connection *connection, char *text)
{
	(void) arg;
	(void) connection;
	return strstr(text, "%00") != NULL ? strlen(text) : MHD_http_unescape(text);
}

/* Discard libmicrohttpd's messages, because clients could flood the log with their mistakes. */
static void
discard_log(void *arg, const char *format, va_list arguments)
{
	(void) arg;
	(void) format;
	(void) arguments;
}

/*
 * Exit after libmicrohttpd has detected an internal error. By default libmicrohttpd calls abort(),
 * and the postmaster would then restart the whole server, as after the crash of any process.
 */
static void
on_panic(void *arg, const char *file, unsigned int line, const char *reason)
{
	(void) arg;
	ereport(LOG,
			(errmsg("connpool_monitor: libmicrohttpd failed at %s:%u: %s", file ? file : "?",
					line, reason ? reason : "no reason given")));
	proc_exit(1);
}

bool
cpm_server_start(const CpmWorkerApi *api, pgsocket listener)
{
	request_context = AllocSetContextCreate(TopMemoryContext, "connpool_monitor HTTP request",
											ALLOCSET_DEFAULT_SIZES);
	MHD_set_panic_func(on_panic, NULL);
	http_daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL,
								   on_request, unconstify(CpmWorkerApi *, api),
								   MHD_OPTION_EXTERNAL_LOGGER, discard_log, NULL,
								   MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
								   MHD_OPTION_LISTEN_SOCKET, listener,
								   MHD_OPTION_CONNECTION_LIMIT, (unsigned int) MAX_CONNECTIONS,
								   MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) MAX_HEADER_BYTES,
								   MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) IDLE_SECONDS,
								   MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
								   MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
								   MHD_OPTION_END);
	if (http_daemon == NULL)
	{
		closesocket(listener);
		MemoryContextDelete(request_context);
	}
	return http_daemon != NULL;
}

void
cpm_server_stop(void)
{
	if (http_daemon == NULL)
		return;
	MHD_stop_daemon(http_daemon);
	http_daemon = NULL;
	MemoryContextDelete(request_context);
}

pgsocket
cpm_server_socket(void)
{
	const union MHD_DaemonInfo *info;

	if (http_daemon == NULL)
		return PGINVALID_SOCKET;
	info = MHD_get_daemon_info(http_daemon, MHD_DAEMON_INFO_EPOLL_FD);
	return info ? info->epoll_fd : PGINVALID_SOCKET;
}

void
cpm_server_run(void)
{
	if (http_daemon == NULL)
		return;
	has_closed_connection = false;
	(void) MHD_run(http_daemon);
	cpm_clients_shut_down_overdue(cpm_monotonic_us());
}

long
cpm_server_timeout_ms(void)
{
	MHD_UNSIGNED_LONG_LONG library_ms;
	long		clients_ms;

	if (http_daemon == NULL)
		return -1;
	if (has_closed_connection)
		return 0;
	clients_ms = cpm_clients_timeout_ms(cpm_monotonic_us());
	if (MHD_get_timeout(http_daemon, &library_ms) != MHD_YES)
		return clients_ms;
	library_ms = Min(library_ms, 60 * 1000);
	return clients_ms < 0 ? (long) library_ms : Min(clients_ms, (long) library_ms);
}
