/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker_api.h
 *		The functions that the preloaded library offers to the libraries of its workers.
 *
 * The workers for PgBouncer and HTTP are in libraries of their own, so that no backend loads their
 * code, and in particular not libmicrohttpd, which the library of the HTTP worker links. They
 * cannot link to the preloaded library, because PostgreSQL 16 and later hide the symbols of an
 * extension. So the preloaded library publishes a table of functions in a rendezvous variable.
 */
#ifndef CPM_WORKER_API_H
#define CPM_WORKER_API_H

#include "base/listen.h"
#include "base/pooler.h"
#include "base/session.h"
#include "base/worker.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

#define CPM_WORKER_API_VARIABLE "connpool_monitor_worker_api"
#define CPM_WORKER_API_VERSION 7	/* increase with every change of the table */

typedef struct CpmWorkerApi
{
	int			version;

	/* live/backends: visit all client sessions, in one pass */
	int			(*scan_sessions) (CpmScan scan,
								  void (*visit) (const CpmSession *session, void *arg), void *arg);

	/* base/settings */
	const CpmPoolerList *(*poolers) (void);
	int			(*pgbouncer_interval_ms) (void);

	/* samples/worker_status: publish the calling worker's own status */
	void		(*worker_started) (CpmWorker worker);
	void		(*worker_ended) (CpmWorker worker);
	void		(*worker_report_problem) (CpmWorker worker, const char *problem);

	/* samples/pooler_state: only the PgBouncer worker calls these */
	void		(*pooler_record_answer) (int pooler, CpmPoolerAnswer *answer);
	void		(*pooler_claim_session) (int pooler, int proc_number, const CpmSession *session);
	void		(*pooler_record_failure) (int pooler, const char *error, int64 retry_us);

	/* Only the HTTP worker calls the functions from here on. */

	/* base/settings */
	const CpmListen *(*http_listen) (void);
	const char *(*http_token_file) (void);

	/*
	 * Return true if the server accepts clients and its sessions can be scanned. Until then only
	 * write_health() may be called.
	 */
	bool		(*is_ready) (void);

	/*
	 * Append the health document, even while the server starts. Returns false if the server is
	 * starting or unhealthy.
	 */
	bool		(*write_health) (StringInfo json);

	/* export/: append a document; raise an error only if memory runs out */
	void		(*write_metrics) (StringInfo text, bool openmetrics);
	void		(*write_status) (StringInfo json);
	void		(*write_pools) (StringInfo json);
	void		(*write_alerts) (StringInfo json);
	void		(*write_incidents) (StringInfo json);
	void		(*write_poolers) (StringInfo json);

	/* export/: if an argument is invalid, appends an error document and returns false */
	bool		(*write_history) (StringInfo json, const char *metric, const char *since,
								  const char *until);
	bool		(*write_load) (StringInfo json, const char *at, const char *since,
							   const char *until, bool *is_pending);
} CpmWorkerApi;

/* Publish the table. Called by _PG_init() in the postmaster. */
extern void cpm_worker_api_publish(void);

/*
 * Return the table. Raises a FATAL error, which names the library of the calling worker, if
 * connpool_monitor is not preloaded, or if the preloaded library has another version of the table
 * because the server was not restarted after an update.
 */
static inline const CpmWorkerApi *
cpm_worker_api_find(const char *library)
{
	const CpmWorkerApi *api = *find_rendezvous_variable(CPM_WORKER_API_VARIABLE);

	if (api == NULL || api->version != CPM_WORKER_API_VERSION)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 api == NULL ?
				 errmsg("%s needs connpool_monitor to be preloaded", library) :
				 errmsg("%s does not match the preloaded connpool_monitor", library),
				 api == NULL ?
				 errhint("Add connpool_monitor to shared_preload_libraries "
						 "and restart the server.") :
				 errhint("Restart the server, so that it loads the installed version.")));
	return api;
}

#endif							/* CPM_WORKER_API_H */
