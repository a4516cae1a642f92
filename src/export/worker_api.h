/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker_api.h
 *		What the library that is preloaded offers to those that its workers load.
 *
 * A table of functions behind a rendezvous variable: symbols of an extension are
 * hidden since PostgreSQL 16, and the libraries of workers link what a backend
 * must not.
 */
#ifndef CPM_WORKER_API_H
#define CPM_WORKER_API_H

#include "base/listen.h"
#include "base/pooler.h"
#include "base/session.h"
#include "base/worker.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

#define CPM_WORKER_API_VARIABLE "connpool_monitor entry"
#define CPM_WORKER_API_VERSION 3	/* raised with every change of the table */

/* Can clients be served, and what does health say? */
typedef enum CpmReadiness
{
	CPM_FIT,					/* healthy or degraded */
	CPM_UNFIT,					/* nobody could connect now */
	CPM_NOT_READY				/* starting, or in crash recovery: nothing can be told */
} CpmReadiness;

typedef struct CpmWorkerApi
{
	int			version;

	/* live/backends: one pass over all client sessions, with details */
	int			(*scan_sessions) (bool with_details,
								  void (*visit) (const CpmSession *session, void *arg), void *arg);

	/* base/settings */
	const CpmPoolerList *(*poolers) (void);
	int			(*pgbouncer_interval_ms) (void);

	/* samples/worker_status: the calling worker's own status */
	void		(*worker_started) (CpmWorker worker);
	void		(*worker_ended) (CpmWorker worker);
	void		(*worker_has_problem) (CpmWorker worker, const char *problem);

	/* samples/pooler_state; the worker of PgBouncer only */
	void		(*pooler_answered) (int pooler, const CpmPoolerAnswer *answer);
	void		(*pooler_claim_session) (int pooler, int proc_number, const CpmSession *session);
	void		(*pooler_failed) (int pooler, const char *error, TimestampTz retry_at);

	/* base/settings; the worker of HTTP only, here and below */
	const CpmListen *(*http_listen) (void);
	const char *(*http_token_file) (void);

	/* serve/: documents, appended; all but fitness raise what palloc does */
	CpmReadiness (*fitness) (void);
	CpmReadiness (*write_health) (StringInfo json);
	void		(*write_metrics) (StringInfo text, bool openmetrics);
	void		(*write_status) (StringInfo json);
	void		(*write_pools) (StringInfo json);
	void		(*write_alerts) (StringInfo json);
	void		(*write_poolers) (StringInfo json);

	/* false, with an error for the caller in the text, when there is no such metric or moment */
	bool		(*write_history) (StringInfo json, const char *metric, const char *since, const char *until);
} CpmWorkerApi;

/* Publish the table behind the rendezvous variable. Called by _PG_init() in the postmaster. */
extern void cpm_worker_api_publish(void);

/* The table, for a library that a worker has loaded; FATAL when there is none that fits. */
static inline const CpmWorkerApi *
cpm_worker_api_find(const char *library)
{
	const CpmWorkerApi *entry = *find_rendezvous_variable(CPM_WORKER_API_VARIABLE);

	if (entry == NULL || entry->version != CPM_WORKER_API_VERSION)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs connpool_monitor of the same version to be preloaded", library),
				 errhint("Add connpool_monitor to shared_preload_libraries, and restart the server after it was updated.")));
	return entry;
}

#endif							/* CPM_WORKER_API_H */
