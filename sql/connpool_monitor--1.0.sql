-- SPDX-License-Identifier: PostgreSQL
/* connpool_monitor--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION connpool_monitor CASCADE" to load this file. \quit

-- The calls in views and functions are bound when this script creates them. If another role has
-- created a function or operator in the schema of the extension, or in that of pg_stat_statements,
-- whose argument types match a call better than those of the built-in one, the call would run that
-- role's code with the privileges of every reader. So create all objects in a new schema, in which
-- no other role can create anything. The end of the script moves them to the extension's schema.
DO $$
BEGIN
    CREATE SCHEMA _connpool_install;
EXCEPTION WHEN duplicate_schema OR unique_violation THEN
    RAISE duplicate_schema USING
        MESSAGE = 'schema "_connpool_install" already exists',
        DETAIL = 'CREATE EXTENSION connpool_monitor creates a schema of this name and drops it again.',
        HINT = 'Drop that schema, or rename it: ALTER SCHEMA _connpool_install RENAME TO other_name;';
END
$$;
SET LOCAL search_path = _connpool_install, pg_temp;

-- Users may have created objects with names of this extension: the guide to database connections
-- on which it is based suggests get_connection_stats() and slow_queries. Such an object could make
-- a command of this script fail, or make calls ambiguous. So fail with a hint before anything is
-- created, if the schema has one of these:
-- - a function with the name of one that users call
-- - a function that has the name of a view's function, and that accepts no argument or a bigint
-- - a function connpool_live_sessions that accepts a text
-- - a function whose name begins with _connpool_
-- - a relation or type with the name of a view, or with that of its array type
CREATE FUNCTION _connpool_refuse(schema name, object text) RETURNS void
AS 'MODULE_PATHNAME', 'connpool_refuse_1_0' LANGUAGE C STRICT;
WITH own AS (
    SELECT '{get_connection_stats, connpool_audit, connpool_health, connpool_history,
             connpool_incident_report, connpool_info, connpool_load, connpool_load_history,
             connpool_load_plot, connpool_metrics, connpool_plot, connpool_report, connpool_reset,
             connpool_session_history}'::name[] AS functions,
           '{slow_queries, connpool_alert_log, connpool_alerts, connpool_batch_candidates,
             connpool_blocked_queries, connpool_cache_candidates, connpool_clients,
             connpool_connection_states, connpool_deadlocks, connpool_errors,
             connpool_incident_sessions, connpool_incidents, connpool_leak_log,
             connpool_leak_stats, connpool_leaks, connpool_load_stats, connpool_lock_log,
             connpool_pgbouncer, connpool_pgbouncer_pools, connpool_pgbouncer_stats,
             connpool_pool_advice, connpool_pools, connpool_query_histogram,
             connpool_query_stats, connpool_rejection_log, connpool_rejections,
             connpool_running_queries, connpool_session_features, connpool_session_stats,
             connpool_sessions, connpool_slow_statements, _connpool_view_pass}'::name[] AS views
), taken AS (
    SELECT pg_catalog.concat('function ', pg_catalog.quote_ident(p.proname), '(',
                             pg_catalog.oidvectortypes(p.proargtypes), ')') AS object,
           p.pronamespace AS schema
    FROM own, pg_proc p
    WHERE p.proname = ANY (own.functions)
       OR (p.proname = ANY (own.views)
           AND (p.pronargs = p.pronargdefaults OR p.proargtypes[0] = 'bigint'::regtype::oid))
       OR (p.proname = 'connpool_live_sessions' AND p.proargtypes[0] = 'text'::regtype::oid)
       OR pg_catalog.starts_with(p.proname::text, '_connpool_')
    UNION ALL
    SELECT pg_catalog.concat('relation ', c.relname), c.relnamespace
    FROM own, pg_class c WHERE c.relname = ANY (own.views)
    UNION ALL
    SELECT pg_catalog.concat(CASE t.typtype WHEN 'c' THEN 'relation ' ELSE 'type ' END, t.typname),
           t.typnamespace
    FROM own, pg_catalog.unnest(own.views) AS v (name), pg_type t
    WHERE (t.typname = v.name AND t.typtype <> 'c')
       OR (t.typname::text = pg_catalog.concat('_', v.name)
           AND (t.typcategory <> 'A' OR t.typtype = 'd'))
)
SELECT _connpool_refuse(n.nspname, t.object)
FROM taken t JOIN pg_namespace n ON n.oid = t.schema
             JOIN pg_extension e ON e.extnamespace = t.schema
WHERE e.extname = 'connpool_monitor';
DROP FUNCTION _connpool_refuse(name, text);

-- Present values

CREATE FUNCTION get_connection_stats() RETURNS TABLE (
    metric_name text,
    current_value integer,
    max_value integer,
    status text
)
AS 'MODULE_PATHNAME', 'get_connection_stats_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 17;
COMMENT ON FUNCTION get_connection_stats() IS
    'the current value of every metric, its maximum and its status: OK, WARNING or CRITICAL';

-- The privileges on a view determine which roles may read it, as they do for pg_stat_activity. But
-- PostgreSQL checks EXECUTE on the functions in a view against the reader, so EXECUTE on the
-- functions behind the views is granted to PUBLIC. Such a function returns rows only if its caller
-- passes it the value in this foreign table (the pass), or has SELECT on the whole view. The table
-- has its row only for views that a superuser owns, and is empty for all other queries.
CREATE FUNCTION _connpool_view_pass() RETURNS fdw_handler
AS 'MODULE_PATHNAME', 'connpool_view_pass_1_0' LANGUAGE C STRICT;
COMMENT ON FUNCTION _connpool_view_pass() IS
    'handler of the foreign-data wrapper of the same name';
CREATE FOREIGN DATA WRAPPER _connpool_view_pass HANDLER _connpool_view_pass;
COMMENT ON FOREIGN DATA WRAPPER _connpool_view_pass IS
    'serves only the foreign table of the same name';
CREATE SERVER _connpool_view_pass FOREIGN DATA WRAPPER _connpool_view_pass;
COMMENT ON SERVER _connpool_view_pass IS 'serves only the foreign table of the same name';
CREATE FOREIGN TABLE _connpool_view_pass (pass bigint) SERVER _connpool_view_pass;
COMMENT ON FOREIGN TABLE _connpool_view_pass IS
    'contains the value by which functions recognize a call from a view of the extension; empty for every other query';

CREATE FUNCTION connpool_live_sessions(
    for_view text,
    pass bigint DEFAULT NULL,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT visible boolean,
    OUT is_long_query boolean,
    OUT client_addr inet,
    OUT state text,
    OUT connected_at timestamptz,
    OUT session_age interval,
    OUT state_age interval,
    OUT xact_age interval,
    OUT query_age interval,
    OUT wait_event_type text,
    OUT wait_event text,
    OUT queryid bigint,
    OUT query text,
    OUT queries bigint,
    OUT failed_queries bigint,
    OUT transactions bigint,
    OUT pooled_by text,
    OUT violations text[]
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_live_sessions_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_live_sessions(text, bigint) IS
    'returns the sessions for the view named for_view; fails unless a view of the extension calls it or the caller may read that view';

CREATE VIEW connpool_sessions AS
    SELECT s.pid, s.database, s.role, s.application_name, s.client_addr, s.state,
           s.connected_at, s.state_age, s.xact_age,
           s.queries, s.failed_queries, s.transactions,
           s.pooled_by,
           s.violations
    FROM connpool_live_sessions('connpool_sessions', (SELECT pass FROM _connpool_view_pass)) s;
COMMENT ON VIEW connpool_sessions IS
    'one row per client connection: its database, role, application and address, its state and the age of that state, and its counters';

CREATE VIEW connpool_running_queries AS
    SELECT s.pid, s.database, s.role, s.application_name, s.client_addr,
           s.query_age AS running, s.wait_event_type, s.wait_event, s.queryid, s.query
    FROM connpool_live_sessions('connpool_running_queries', (SELECT pass FROM _connpool_view_pass)) s
    WHERE s.is_long_query
    ORDER BY s.query_age DESC NULLS LAST, s.pid;
COMMENT ON VIEW connpool_running_queries IS
    'statements that have been running for longer than connpool_monitor.slow_statement_time, longest first';

CREATE VIEW connpool_connection_states AS
    SELECT s.database, s.role, s.application_name, s.state,
           count(*) AS connections, max(s.state_age) AS longest
    FROM connpool_live_sessions('connpool_connection_states', (SELECT pass FROM _connpool_view_pass)) s
    GROUP BY s.database, s.role, s.application_name, s.state
    ORDER BY connections DESC, s.database, s.role, s.application_name, s.state;
COMMENT ON VIEW connpool_connection_states IS
    'number of connections by database, role, application and state, and the longest time that one of them has been in the state';

CREATE VIEW connpool_clients AS
    SELECT s.client_addr, s.database, s.role,
           count(*) AS connections,
           CASE WHEN s.visible THEN count(*) FILTER (WHERE s.state IN ('active', 'fastpath function call')) END AS active,
           CASE WHEN s.visible THEN count(*) FILTER (WHERE s.state = 'idle') END AS idle,
           CASE WHEN s.visible THEN count(*) FILTER (WHERE s.state IN ('idle in transaction', 'idle in transaction (aborted)')) END AS idle_in_transaction,
           max(s.session_age) AS oldest_session
    FROM connpool_live_sessions('connpool_clients', (SELECT pass FROM _connpool_view_pass)) s
    GROUP BY s.client_addr, s.database, s.role, s.visible
    ORDER BY connections DESC, s.client_addr, s.database, s.role;
COMMENT ON VIEW connpool_clients IS
    'number of connections by client address, database and role; client_addr is NULL for Unix sockets';

CREATE FUNCTION connpool_blocked_queries(
    pass bigint DEFAULT NULL,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT waiting interval,
    OUT lock_type text,
    OUT relation text,
    OUT blocked_by integer[],
    OUT root_blocker integer,
    OUT query text,
    OUT root_query text,
    OUT lock_mode text,
    OUT root_state text,
    OUT root_wait_event text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_blocked_queries_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION connpool_blocked_queries(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_blocked_queries AS
    SELECT * FROM connpool_blocked_queries((SELECT pass FROM _connpool_view_pass)) b
    ORDER BY b.waiting DESC NULLS LAST, b.pid;
COMMENT ON VIEW connpool_blocked_queries IS
    'sessions that wait for a heavyweight lock, the processes that block each of them, and the root blocker, which does not wait itself';

CREATE FUNCTION connpool_lock_log(
    pass bigint DEFAULT NULL,
    OUT started_at timestamptz,
    OUT waited interval,
    OUT outcome text,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT queryid bigint,
    OUT query text,
    OUT lock_type text,
    OUT lock_mode text,
    OUT relation text,
    OUT root_pid integer,
    OUT root_database text,
    OUT root_role text,
    OUT root_application_name text,
    OUT root_state text,
    OUT root_queryid bigint,
    OUT root_query text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_lock_log_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_lock_log(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_lock_log AS
    SELECT * FROM connpool_lock_log((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_lock_log IS
    'the last 1000 waits for a lock that lasted longer than blocked_age, newest first, with the root blocker as it was then; outcome is "granted", "cancelled", "deadlock", "ended" (the session ended) or NULL (still waiting)';

CREATE FUNCTION connpool_deadlocks(
    pass bigint DEFAULT NULL,
    OUT at timestamptz,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT pid integer,
    OUT queryid bigint,
    OUT query text,
    OUT detail text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_deadlocks_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_deadlocks(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_deadlocks AS
    SELECT * FROM connpool_deadlocks((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_deadlocks IS
    'the last 100 statements that failed because of a deadlock that PostgreSQL detected, newest first, with the processes and locks that it reported';

CREATE FUNCTION connpool_leaks(
    pass bigint DEFAULT NULL,
    OUT kind text,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr inet,
    OUT state text,
    OUT held interval,
    OUT xact_age interval,
    OUT blocks integer,
    OUT query text,
    OUT queries bigint,
    OUT holds text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_leaks_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION connpool_leaks(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_leaks AS
    SELECT * FROM connpool_leaks((SELECT pass FROM _connpool_view_pass)) l
    ORDER BY l.held DESC NULLS LAST, l.pid;
COMMENT ON VIEW connpool_leaks IS
    'sessions and prepared transactions that look forgotten: how long each has been idle, waiting or prepared, how many sessions it blocks, how many statements it has run (0: never used), its locks and the ages of its xmin and xid';

CREATE FUNCTION connpool_leak_log(
    pass bigint DEFAULT NULL,
    OUT at timestamptz,
    OUT kind text,
    OUT outcome text,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT held interval
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_leak_log_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_leak_log(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_leak_log AS
    SELECT * FROM connpool_leak_log((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_leak_log IS
    'the last 1000 former leak suspects, newest first; outcome is "released" if the session resumed work or the prepared transaction was finished, "ended" if the session ended';

CREATE FUNCTION connpool_leak_stats(
    pass bigint DEFAULT NULL,
    OUT kind text,
    OUT suspects integer,
    OUT detected bigint,
    OUT released bigint,
    OUT ended bigint,
    OUT last_detected timestamptz,
    OUT longest_held interval
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_leak_stats_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 4;
COMMENT ON FUNCTION connpool_leak_stats(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_leak_stats AS
    SELECT * FROM connpool_leak_stats((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_leak_stats IS
    'leak suspects by kind: how many there are now, and how many were detected, released and ended since the reset; each suspect counts once';

CREATE FUNCTION slow_queries(
    pass bigint DEFAULT NULL,
    OUT query text,
    OUT mean_time double precision,
    OUT calls bigint,
    OUT total_time double precision,
    OUT max_time double precision,
    OUT stddev_time double precision,
    OUT rows bigint,
    OUT role text,
    OUT database text,
    OUT queryid bigint
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'slow_queries_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION slow_queries(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW slow_queries AS
    SELECT * FROM slow_queries((SELECT pass FROM _connpool_view_pass)) s
    ORDER BY s.mean_time DESC, s.queryid;
COMMENT ON VIEW slow_queries IS
    'statements of pg_stat_statements with a mean time over connpool_monitor.slow_query_mean_time, slowest first';

-- History and alerts

CREATE FUNCTION connpool_history(
    metric text DEFAULT NULL,
    since timestamptz DEFAULT now() - interval '1 hour',
    until timestamptz DEFAULT now(),
    resolution interval DEFAULT NULL
) RETURNS TABLE (
    sample_time timestamptz,
    resolution interval,
    metric_name text,
    avg_value double precision,
    max_value double precision
)
AS 'MODULE_PATHNAME', 'connpool_history_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 3600;
COMMENT ON FUNCTION connpool_history(text, timestamptz, timestamptz, interval) IS
    'the values of one metric, or of every metric if metric is NULL, from since to until, with the whole minute or hour that contains since; times without samples have no rows';

CREATE FUNCTION connpool_load_history(
    since timestamptz DEFAULT now() - interval '1 hour',
    until timestamptz DEFAULT now(),
    resolution interval DEFAULT NULL
) RETURNS TABLE (
    sample_time timestamptz,
    resolution interval,
    wait_class text,
    avg_sessions double precision
)
AS 'MODULE_PATHNAME', 'connpool_load_history_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 30000;
COMMENT ON FUNCTION connpool_load_history(timestamptz, timestamptz, interval) IS
    'the average number of busy sessions of the whole server, by wait class, from since to until, with the whole minute or hour that contains since; times without samples have no rows';

CREATE FUNCTION connpool_plot(
    metric text,
    since interval DEFAULT interval '1 hour',
    width integer DEFAULT 72,
    height integer DEFAULT 12
) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'connpool_plot_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 16;
COMMENT ON FUNCTION connpool_plot(text, interval, integer, integer) IS
    'the history of a metric as a text chart, with its current thresholds';

CREATE FUNCTION connpool_session_history(
    since timestamptz DEFAULT now() - interval '5 minutes',
    until timestamptz DEFAULT now()
) RETURNS TABLE (
    sample_time timestamptz,
    pid integer,
    database text,
    role text,
    application_name text,
    client_addr inet,
    state text,
    wait_event_type text,
    wait_event text,
    state_age interval,
    xact_age interval,
    queryid bigint,
    query text,
    root_blocker integer
)
AS 'MODULE_PATHNAME', 'connpool_session_history_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 3000;
COMMENT ON FUNCTION connpool_session_history(timestamptz, timestamptz) IS
    'the sessions that were not idle in each sample from since to until: their clients, states, waits, statements and ages';

CREATE FUNCTION connpool_load(
    since timestamptz DEFAULT now() - interval '5 minutes',
    until timestamptz DEFAULT now()
) RETURNS TABLE (
    database text,
    role text,
    application_name text,
    wait_class text,
    wait_event text,
    queryid bigint,
    query text,
    avg_sessions double precision,
    share double precision
)
AS 'MODULE_PATHNAME', 'connpool_load_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_load(timestamptz, timestamptz) IS
    'the average number of busy sessions from since to until, by pool, wait and statement, the largest first; avg_sessions adds up to the average of the whole server';

CREATE FUNCTION connpool_load_plot(
    since interval DEFAULT interval '1 hour',
    width integer DEFAULT 72,
    height integer DEFAULT 16
) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'connpool_load_plot_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION connpool_load_plot(interval, integer, integer) IS
    'the busy sessions of the whole server by wait class as a stacked text chart, with a line at the number of processors';

CREATE FUNCTION connpool_alerts(
    pass bigint DEFAULT NULL,
    OUT metric_name text,
    OUT status text,
    OUT since timestamptz,
    OUT current_value double precision,
    OUT max_value double precision,
    OUT warning double precision,
    OUT critical double precision,
    OUT peak_value double precision,
    OUT message text,
    OUT culprit text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_alerts_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 17;
COMMENT ON FUNCTION connpool_alerts(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_alerts AS
    SELECT * FROM connpool_alerts((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_alerts IS
    'the alert of each metric: its status and when it began, the values and thresholds of the metric, and the main contributor (culprit)';

CREATE FUNCTION connpool_alert_log(
    pass bigint DEFAULT NULL,
    OUT at timestamptz,
    OUT metric_name text,
    OUT from_status text,
    OUT to_status text,
    OUT value double precision,
    OUT message text,
    OUT culprit text,
    OUT seq bigint
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_alert_log_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_alert_log(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_alert_log AS
    SELECT * FROM connpool_alert_log((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_alert_log IS
    'the last 1000 status changes of alerts, newest first; seq is the number of the change, which its notification contains too; numbers can repeat after a crash';

CREATE FUNCTION connpool_incidents(
    pass bigint DEFAULT NULL,
    OUT id bigint,
    OUT started_at timestamptz,
    OUT ended_at timestamptz,
    OUT status text,
    OUT metrics text[],
    OUT message text,
    OUT peak_connections integer,
    OUT peak_blocked integer,
    OUT refused bigint,
    OUT failed_queries bigint,
    OUT snapshots integer
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_incidents_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION connpool_incidents(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_incidents AS
    SELECT * FROM connpool_incidents((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_incidents IS
    'the last 50 incidents, newest first: periods in which an alert was not OK or connections were refused because no slot was free; ended_at is NULL while an incident is in progress';

CREATE FUNCTION connpool_incident_sessions(
    pass bigint DEFAULT NULL,
    OUT incident_id bigint,
    OUT snapshot integer,
    OUT at timestamptz,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr inet,
    OUT state text,
    OUT wait_event_type text,
    OUT wait_event text,
    OUT state_age interval,
    OUT xact_age interval,
    OUT queryid bigint,
    OUT query text,
    OUT root_blocker integer,
    OUT blocks integer,
    OUT sessions integer,
    OUT opened_10s integer,
    OUT opened_1min integer,
    OUT opened_10min integer
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_incident_sessions_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION connpool_incident_sessions(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_incident_sessions AS
    SELECT * FROM connpool_incident_sessions((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_incident_sessions IS
    'the sessions in up to 8 snapshots of each incident, newest incident first: one row for each of up to 200 sessions that were busy or blocked others; all other sessions are counted by pool and state, in rows with pid NULL';

-- Counters of statements, sessions and failures

CREATE FUNCTION connpool_query_stats(
    pass bigint DEFAULT NULL,
    OUT period text,
    OUT since timestamptz,
    OUT total_queries bigint,
    OUT successful_queries bigint,
    OUT failed_queries bigint,
    OUT success_rate double precision,
    OUT avg_time double precision,
    OUT p50_time double precision,
    OUT p95_time double precision,
    OUT p99_time double precision,
    OUT max_time double precision,
    OUT queries_per_second double precision
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_query_stats_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 3;
COMMENT ON FUNCTION connpool_query_stats(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_query_stats AS
    SELECT * FROM connpool_query_stats((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_query_stats IS
    'client statements in the last minute, in the last hour and since the reset: their number, the number that failed, and their times in milliseconds';

CREATE FUNCTION connpool_query_histogram(
    pass bigint DEFAULT NULL,
    OUT lower_time double precision,
    OUT upper_time double precision,
    OUT queries bigint
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_query_histogram_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_query_histogram(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_query_histogram AS
    SELECT * FROM connpool_query_histogram((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_query_histogram IS
    'number of statements since the reset that took from lower_time up to upper_time, in milliseconds; empty buckets have no row';

CREATE FUNCTION connpool_slow_statements(
    pass bigint DEFAULT NULL,
    OUT finished_at timestamptz,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT elapsed_time double precision,
    OUT queryid bigint,
    OUT sqlstate text,
    OUT query text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_slow_statements_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_slow_statements(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_slow_statements AS
    SELECT * FROM connpool_slow_statements((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_slow_statements IS
    'the last statements that took longer than connpool_monitor.slow_statement_time, newest first, with their text from pg_stat_statements';

CREATE FUNCTION connpool_pools(
    pass bigint DEFAULT NULL,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT connections integer,
    OUT active integer,
    OUT idle integer,
    OUT idle_in_transaction integer,
    OUT peak_connections integer,
    OUT peak_busy integer,
    OUT sessions_opened bigint,
    OUT sessions_closed bigint,
    OUT sessions_abandoned bigint,
    OUT sessions_failed bigint,
    OUT sessions_killed bigint,
    OUT avg_session_seconds double precision,
    OUT queries bigint,
    OUT failed_queries bigint,
    OUT transactions bigint,
    OUT avg_time double precision,
    OUT p95_time double precision,
    OUT busy_time double precision,
    OUT pool_max integer,
    OUT pool_min integer,
    OUT pool_idle_timeout interval,
    OUT pool_max_lifetime interval,
    OUT pool_max_uses integer,
    OUT pool_connection_timeout interval,
    OUT violations text[],
    OUT avg_setup_time double precision,
    OUT database_oid oid,
    OUT role_oid oid
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pools_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION connpool_pools(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pools AS
    SELECT p.database, p.role, p.application_name, p.connections, p.active, p.idle,
           p.idle_in_transaction, p.peak_connections, p.peak_busy,
           p.sessions_opened, p.sessions_closed, p.sessions_abandoned, p.sessions_failed,
           p.sessions_killed, p.avg_session_seconds,
           p.queries, p.failed_queries, p.transactions, p.avg_time, p.p95_time, p.busy_time,
           p.pool_max, p.pool_min, p.pool_idle_timeout, p.pool_max_lifetime, p.pool_max_uses,
           p.pool_connection_timeout, p.violations, p.avg_setup_time
    FROM connpool_pools((SELECT pass FROM _connpool_view_pass)) p
    ORDER BY p.connections DESC, p.queries DESC, p.database, p.role, p.application_name;
COMMENT ON VIEW connpool_pools IS
    'one row per pool, that is, per database, role and application (grouped by connpool_monitor.application_grouping): its connections, how its sessions have ended since the reset, and its statements and their times in milliseconds since the reset';

CREATE FUNCTION connpool_load_stats(
    pass bigint DEFAULT NULL,
    OUT period text,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT wait_class text,
    OUT avg_sessions double precision,
    OUT share double precision
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_load_stats_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION connpool_load_stats(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_load_stats AS
    SELECT * FROM connpool_load_stats((SELECT pass FROM _connpool_view_pass)) l
    ORDER BY array_position(ARRAY['last_minute', 'last_hour', 'since_reset'], l.period),
             l.avg_sessions DESC, l.database, l.role, l.application_name, l.wait_class;
COMMENT ON VIEW connpool_load_stats IS
    'the average number of busy sessions of each pool in each wait class, and its share (0 to 1) of all busy sessions, in the last minute, in the last hour and since the reset; wait class cpu means that a session is active and does not wait';

CREATE FUNCTION connpool_pool_advice(
    pass bigint DEFAULT NULL,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT observed interval,
    OUT connections integer,
    OUT busy_p50 integer,
    OUT busy_p95 integer,
    OUT busy_p99 integer,
    OUT busy_max integer,
    OUT recommended_size integer,
    OUT recommended_mode text,
    OUT session_features text[],
    OUT reasons text[]
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pool_advice_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION connpool_pool_advice(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pool_advice AS
    SELECT * FROM connpool_pool_advice((SELECT pass FROM _connpool_view_pass)) a
    ORDER BY a.connections DESC, a.database, a.role, a.application_name;
COMMENT ON VIEW connpool_pool_advice IS
    'for each pool: how many connections were busy at once, the recommended size, whether transaction pooling is possible, and the reasons';

CREATE FUNCTION connpool_session_features(
    pass bigint DEFAULT NULL,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT feature text,
    OUT uses bigint,
    OUT last_seen timestamptz
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_session_features_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION connpool_session_features(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_session_features AS
    SELECT * FROM connpool_session_features((SELECT pass FROM _connpool_view_pass)) f
    ORDER BY f.database, f.role, f.application_name, f.feature;
COMMENT ON VIEW connpool_session_features IS
    'for each pool: the session features that transaction pooling breaks and that the pool has used since the reset, how often and when last';

CREATE FUNCTION connpool_session_stats(
    pass bigint DEFAULT NULL,
    OUT since timestamptz,
    OUT connections integer,
    OUT sessions_opened bigint,
    OUT sessions_closed bigint,
    OUT sessions_abandoned bigint,
    OUT sessions_failed bigint,
    OUT sessions_killed bigint,
    OUT p50_setup_time double precision,
    OUT p95_setup_time double precision,
    OUT p99_setup_time double precision,
    OUT p50_session_seconds double precision,
    OUT p95_session_seconds double precision,
    OUT p99_session_seconds double precision
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_session_stats_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION connpool_session_stats(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_session_stats AS
    SELECT * FROM connpool_session_stats((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_session_stats IS
    'one row: the sessions opened and ended since the reset, and percentiles of their setup time (milliseconds) and duration (seconds)';

CREATE FUNCTION connpool_errors(
    pass bigint DEFAULT NULL,
    OUT sqlstate text,
    OUT condition_name text,
    OUT errors bigint,
    OUT retryable boolean,
    OUT last_seen timestamptz
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_errors_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION connpool_errors(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_errors AS
    SELECT * FROM connpool_errors((SELECT pass FROM _connpool_view_pass)) e
    ORDER BY e.errors DESC, e.sqlstate;
COMMENT ON VIEW connpool_errors IS
    'errors of client sessions and of refused connections by SQLSTATE, most frequent first, and whether a retry can succeed';

CREATE FUNCTION connpool_rejections(
    pass bigint DEFAULT NULL,
    OUT reason text,
    OUT rejections bigint,
    OUT last_seen timestamptz
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_rejections_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION connpool_rejections(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_rejections AS
    SELECT * FROM connpool_rejections((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_rejections IS
    'number of connection attempts that the server refused, by reason';

CREATE FUNCTION connpool_rejection_log(
    pass bigint DEFAULT NULL,
    OUT at timestamptz,
    OUT reason text,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr inet,
    OUT attempts bigint,
    OUT first_at timestamptz
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_rejection_log_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION connpool_rejection_log(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_rejection_log AS
    SELECT * FROM connpool_rejection_log((SELECT pass FROM _connpool_view_pass)) r ORDER BY r.at DESC;
COMMENT ON VIEW connpool_rejection_log IS
    'up to 500 rows of refused connection attempts for each reason, newest first, with the names that the clients sent; repeated attempts less than a minute apart share a row, from first_at to at';

-- PgBouncer, with the column names of its console

CREATE FUNCTION connpool_pgbouncer(
    pass bigint DEFAULT NULL,
    OUT pooler text,
    OUT up boolean,
    OUT version text,
    OUT last_success timestamptz,
    OUT last_error text,
    OUT retry_at timestamptz,
    OUT polls bigint,
    OUT pool_mode text,
    OUT default_pool_size bigint,
    OUT min_pool_size bigint,
    OUT reserve_pool_size bigint,
    OUT max_client_conn bigint,
    OUT max_db_connections bigint,
    OUT query_wait_timeout bigint,
    OUT server_idle_timeout bigint,
    OUT server_lifetime bigint,
    OUT max_prepared_statements bigint,
    OUT rows_dropped bigint
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pgbouncer_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 2;
COMMENT ON FUNCTION connpool_pgbouncer(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pgbouncer AS
    SELECT * FROM connpool_pgbouncer((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_pgbouncer IS
    'one row per monitored PgBouncer console: whether it is up, its last error, when it is retried, and its settings';

CREATE FUNCTION connpool_pgbouncer_pools(
    pass bigint DEFAULT NULL,
    OUT pooler text,
    OUT database text,
    OUT role text,
    OUT cl_active bigint,
    OUT cl_waiting bigint,
    OUT cl_cancel_req bigint,
    OUT cl_active_cancel_req bigint,
    OUT cl_waiting_cancel_req bigint,
    OUT sv_active bigint,
    OUT sv_active_cancel bigint,
    OUT sv_being_canceled bigint,
    OUT sv_idle bigint,
    OUT sv_used bigint,
    OUT sv_tested bigint,
    OUT sv_login bigint,
    OUT maxwait bigint,
    OUT maxwait_us bigint,
    OUT pool_mode text,
    OUT load_balance_hosts text,
    OUT wait_time double precision,
    OUT age interval
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pgbouncer_pools_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION connpool_pgbouncer_pools(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pgbouncer_pools AS
    SELECT * FROM connpool_pgbouncer_pools((SELECT pass FROM _connpool_view_pass)) p
    ORDER BY p.cl_waiting DESC, p.pooler, p.database, p.role;
COMMENT ON VIEW connpool_pgbouncer_pools IS
    'SHOW POOLS of each PgBouncer, pools with the most waiting clients first; wait_time is the longest wait in milliseconds, age is the age of the answer';

CREATE FUNCTION connpool_pgbouncer_stats(
    pass bigint DEFAULT NULL,
    OUT pooler text,
    OUT database text,
    OUT total_server_assignment_count bigint,
    OUT total_xact_count bigint,
    OUT total_query_count bigint,
    OUT total_received bigint,
    OUT total_sent bigint,
    OUT total_xact_time bigint,
    OUT total_query_time bigint,
    OUT total_wait_time bigint,
    OUT total_client_parse_count bigint,
    OUT total_server_parse_count bigint,
    OUT total_bind_count bigint,
    OUT total_client_login_count bigint,
    OUT avg_server_assignment_count bigint,
    OUT avg_xact_count bigint,
    OUT avg_query_count bigint,
    OUT avg_recv bigint,
    OUT avg_sent bigint,
    OUT avg_xact_time bigint,
    OUT avg_query_time bigint,
    OUT avg_wait_time bigint,
    OUT avg_client_parse_count bigint,
    OUT avg_server_parse_count bigint,
    OUT avg_bind_count bigint,
    OUT avg_client_login_count bigint,
    OUT age interval
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pgbouncer_stats_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION connpool_pgbouncer_stats(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pgbouncer_stats AS
    SELECT * FROM connpool_pgbouncer_stats((SELECT pass FROM _connpool_view_pass)) s
    ORDER BY s.pooler, s.database;
COMMENT ON VIEW connpool_pgbouncer_stats IS
    'SHOW STATS of each PgBouncer: totals since it started and averages of its last stats_period; times are in microseconds, age is the age of the answer';

-- Health, metrics, candidates, the extension itself, and the audit

CREATE FUNCTION connpool_health() RETURNS jsonb
AS 'MODULE_PATHNAME', 'connpool_health_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION connpool_health() IS
    'the health of the server: healthy, degraded, or unhealthy if ordinary roles cannot connect; with the numbers of connections and the result of every check';

CREATE FUNCTION connpool_metrics() RETURNS text
AS 'MODULE_PATHNAME', 'connpool_metrics_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION connpool_metrics() IS
    'all metrics in the Prometheus text format 0.0.4, as /metrics serves them over HTTP';

CREATE FUNCTION connpool_batch_candidates(
    pass bigint DEFAULT NULL,
    OUT database text,
    OUT role text,
    OUT queryid bigint,
    OUT query text,
    OUT calls bigint,
    OUT rows_per_call double precision,
    OUT mean_time double precision,
    OUT total_time double precision,
    OUT calls_per_transaction double precision,
    OUT confidence text,
    OUT evidence text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_batch_candidates_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION connpool_batch_candidates(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_batch_candidates AS
    SELECT * FROM connpool_batch_candidates((SELECT pass FROM _connpool_view_pass)) c
    ORDER BY c.confidence, c.total_time DESC, c.queryid;
COMMENT ON VIEW connpool_batch_candidates IS
    'statements of pg_stat_statements that look like loops over single rows (N+1), with the evidence; confidence is low if independent requests would look the same';

CREATE FUNCTION connpool_cache_candidates(
    pass bigint DEFAULT NULL,
    OUT database text,
    OUT role text,
    OUT queryid bigint,
    OUT query text,
    OUT calls bigint,
    OUT rows_per_call double precision,
    OUT mean_time double precision,
    OUT total_time double precision,
    OUT evidence text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_cache_candidates_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION connpool_cache_candidates(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_cache_candidates AS
    SELECT * FROM connpool_cache_candidates((SELECT pass FROM _connpool_view_pass)) c
    ORDER BY c.total_time DESC, c.queryid;
COMMENT ON VIEW connpool_cache_candidates IS
    'statements of pg_stat_statements that repeatedly read the same small result, with the evidence';

CREATE FUNCTION connpool_info(
    OUT version text,
    OUT preloaded boolean,
    OUT sampler_running boolean,
    OUT last_sample timestamptz,
    OUT sample_time double precision,
    OUT samples bigint,
    OUT samples_missed bigint,
    OUT shared_memory_bytes bigint,
    OUT refusals_counted boolean,
    OUT failures_exact boolean,
    OUT pools_used integer,
    OUT pools_folded bigint,
    OUT notifications_dropped bigint,
    OUT stats_reset timestamptz,
    OUT last_saved timestamptz,
    OUT last_save_error text,
    OUT problem text,
    OUT session_history_since timestamptz,
    OUT session_history_lost bigint
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_info_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION connpool_info() IS
    'the status of the extension itself: whether it is preloaded, whether the sampler runs, the cost of a sample in milliseconds, and problems to fix';

CREATE FUNCTION connpool_reset(what text DEFAULT 'all') RETURNS void
AS 'MODULE_PATHNAME', 'connpool_reset_1_0'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION connpool_reset(text) IS
    'resets "counters" (with their logs), "history", "alerts" or "all" of them';

CREATE FUNCTION _connpool_server_setting(name text) RETURNS integer
AS 'MODULE_PATHNAME', 'connpool_server_setting_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION _connpool_server_setting(text) IS
    'the server''s value of a setting that a role, a database or the session may override';

-- Rate seven practices for database connections by the contents of the views. The function reads
-- with the privileges of its caller, which must include those of pg_monitor.
--
-- All names are bound when the extension is created, so the caller's search_path has no effect.
-- Constants in a UNION have names, because otherwise PostgreSQL adds names when pg_upgrade restores
-- the function, which changes its definition.
CREATE FUNCTION connpool_audit() RETURNS TABLE (
    practice text,
    status text,
    evidence text,
    advice text
)
LANGUAGE SQL VOLATILE PARALLEL RESTRICTED ROWS 7
BEGIN ATOMIC
WITH info AS (
    SELECT i.samples, i.samples_missed, i.failures_exact,
           -- the column may list several problems; each one about the sampler contains these words
           coalesce(i.problem NOT LIKE '%the sampler %', true) AS is_sampling,
           greatest(extract(epoch FROM clock_timestamp() - i.stats_reset), 0) AS seconds
    FROM connpool_info() i
), health AS (
    SELECT connpool_health() AS document
), metric AS (
    SELECT m.metric_name, m.current_value, m.status,
           -- connpool_health() omits silent metrics; a threshold that is off is null
           coalesce(c.metric ->> 'warning', c.metric ->> 'critical') IS NOT NULL AS raises_alerts
    FROM health, get_connection_stats() m,
         LATERAL (SELECT health.document -> 'checks' -> m.metric_name AS metric) c
), pool AS (
    SELECT p.*,
           pg_catalog.format(
               '%s (%I in %I)',
               CASE p.application_name
                   WHEN '' THEN '(no application name)' ELSE quote_ident(p.application_name)
               END, p.role, p.database) AS label,
           p.sessions_opened >= 50 AND p.transactions < 5 * p.sessions_opened AS churns
    FROM connpool_pools(NULL::bigint) p
), pools AS (
    SELECT coalesce(sum(p.sessions_opened)::bigint, 0) AS opened,
           coalesce(sum(p.transactions)::bigint, 0) AS transactions,
           count(*) FILTER (WHERE p.churns) AS churning,
           coalesce(sum(p.sessions_abandoned)::bigint, 0) AS abandoned,
           coalesce(sum(p.sessions_closed + p.sessions_abandoned
                        + p.sessions_failed + p.sessions_killed)::bigint, 0) AS ended
    FROM pool p
), leaks AS (
    SELECT sum(l.suspects) AS suspects, sum(l.detected)::bigint AS detected,
           sum(l.released) AS released,
           sum(l.detected) FILTER (WHERE l.kind = 'idle_in_transaction')::bigint
               AS idle_in_transaction
    FROM connpool_leak_stats l
), error AS (
    SELECT e.* FROM connpool_errors e
),

pooling AS (
    SELECT pg_catalog.concat(
               pg_catalog.format(
                   '%s sessions opened in %s s ran %s transactions each', p.opened,
                   round(i.seconds),
                   coalesce(round(p.transactions::numeric / nullif(p.opened, 0)::numeric, 1), 0.0)),
               CASE WHEN c.pooled IS NOT NULL THEN
                   pg_catalog.format('; %s connections come through PgBouncer, %s directly',
                                     c.pooled, c.direct)
               END,
               CASE WHEN w.label IS NOT NULL THEN
                   pg_catalog.format(
                       '; %s pool%s sessions for fewer than 5 transactions, most of them %s: '
                       '%s sessions with %s',
                       p.churning, CASE p.churning WHEN 1 THEN ' opens' ELSE 's open' END,
                       w.label, w.sessions_opened,
                       round(w.transactions::numeric / w.sessions_opened::numeric, 1))
               END) AS evidence,
           CASE
               WHEN w.label IS NOT NULL THEN ARRAY[
                   CASE WHEN c.opens_too_fast OR w.sessions_opened::numeric >= i.seconds
                       THEN 'WARNING' ELSE 'ADVICE' END,
                   'Let that application reuse its connections: use a pool in its driver, or '
                   'PgBouncer in front of the server. connpool_pool_advice shows how many '
                   'connections it needs, and in which mode.']
               WHEN c.direct >= 10 AND c.direct > c.pooled THEN ARRAY['ADVICE',
                   'Most connections bypass the pooler: see connpool_sessions where pooled_by is '
                   'NULL.']
               WHEN c.opens_too_fast THEN ARRAY['WARNING',
                   'Connections are opened faster than connections_per_second allows: see '
                   'sessions_opened in connpool_pools.']
               WHEN p.transactions < 100 THEN ARRAY['UNKNOWN', NULL]
               ELSE ARRAY['OK', NULL]
           END AS verdict
    FROM info i, pools p,
         (SELECT (health.document #>> '{stats,pooledConnections}')::integer AS pooled,
                 (SELECT m.current_value FROM metric m
                  WHERE m.metric_name = 'direct_connections') AS direct,
                 EXISTS (SELECT FROM metric m
                         WHERE m.metric_name = 'connections_per_second' AND m.status <> 'OK')
                     AS opens_too_fast
          FROM health) c
         LEFT JOIN (SELECT label, sessions_opened, transactions FROM pool
                    WHERE churns ORDER BY sessions_opened DESC LIMIT 1) w ON true
),

retries AS (
    SELECT CASE WHEN count(*) > 0 THEN
               pg_catalog.format(
                   'errors that a retry could resolve: %s (%s)', sum(e.errors),
                   left(string_agg(pg_catalog.format('%s %s: %s', e.sqlstate,
                                                     e.condition_name, e.errors), ', '), 400))
               ELSE pg_catalog.format('no error that a retry could resolve in %s s',
                                      (SELECT round(i.seconds) FROM info i))
           END AS evidence,
           CASE WHEN count(*) > 0 THEN ARRAY['UNKNOWN',
               'The server cannot see whether clients retry. They should, a few times and with '
               'growing pauses: the whole transaction after 40001 and 40P01, the connection after '
               '53300 and 57P03. They should never retry a refused password.']
               ELSE ARRAY['OK', NULL]
           END AS verdict
    FROM error e
    WHERE e.retryable
),

monitoring AS (
    SELECT pg_catalog.format(
               '%s samples taken and %s missed since the start; %s of %s metrics raise alerts; '
               'statements are %s%s', i.samples, i.samples_missed, m.alerting, m.metrics,
               CASE WHEN t.is_on THEN 'counted' ELSE 'not counted' END,
               CASE WHEN NOT i.failures_exact
                   THEN '; log_min_messages hides some failures' END) AS evidence,
           CASE
               WHEN NOT i.is_sampling THEN ARRAY['WARNING',
                   'The sampler does not run: see problem in connpool_info().']
               WHEN m.alerting = 0 THEN ARRAY['WARNING',
                   'No metric raises an alert: every threshold is off or silent. Set some, or '
                   'nobody is warned.']
               WHEN NOT t.is_on THEN ARRAY['ADVICE', 'Turn connpool_monitor.track_queries on.']
               WHEN NOT i.failures_exact THEN ARRAY['ADVICE',
                   'Let log_min_messages show ERROR, so that every failure is counted.']
               ELSE ARRAY['OK', NULL]
           END AS verdict
    FROM info i,
         (SELECT count(*) AS metrics, count(*) FILTER (WHERE raises_alerts) AS alerting
          FROM metric) m,
         (SELECT _connpool_server_setting('connpool_monitor.track_queries') <> 0 AS is_on) t
),

-- The timeouts that a new session would have, for each pair of a role and a database that has had
-- sessions. Excludes superusers, because they can change any setting.
role_database AS (
    SELECT DISTINCT p.role_oid, r.rolname, p.database_oid, d.datname,
           pg_catalog.format('%I in %I', p.role, p.database) AS label
    FROM pool p
    -- join by OID, because the names in the view have "?" in place of characters that the client's
    -- encoding lacks
    JOIN pg_roles r ON r.oid = p.role_oid AND NOT r.rolsuper
    JOIN pg_database d ON d.oid = p.database_oid
    WHERE p.sessions_opened > 0 OR p.connections > 0
), timeout (position, name, sqlstate, note) AS (
    -- The practice requires the first three. A note names another cause of the SQLSTATE: a cancel
    -- request raises 57014, too, and NOWAIT raises 55P03.
    VALUES (1, 'statement_timeout', '57014', ' (cancelled statements included)'),
           (2, 'lock_timeout', '55P03', ' (NOWAIT included)'),
           (3, 'idle_in_transaction_session_timeout', '25P03', ''),
           (4, 'idle_session_timeout', '57P05', ''),
           (5, 'tcp_keepalives_idle', NULL, NULL)
), effective AS (
    -- The most specific entry of pg_db_role_setting applies: first that of the role in the
    -- database, then those of the role, of the database and of all roles. Without an entry, the
    -- server's value applies. A keepalive setting of 0 selects the operating system's value.
    -- The pattern matches a zero with or without a unit, such as 0, '0 s' or '0.0ms'.
    SELECT p.*, t.position, t.name,
           coalesce(own.value, _connpool_server_setting(t.name)::text)
               !~* '^\s*[-+]?(0x)?[0.]+(e[-+]?[0-9]+)?\s*[a-z]*\s*$' AS is_set
    FROM role_database p
    CROSS JOIN timeout t
    LEFT JOIN LATERAL (
        SELECT substr(c, length(t.name) + 2) AS value
        FROM pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS c
        WHERE s.setdatabase IN (0::oid, p.database_oid)
          AND s.setrole IN (0::oid, p.role_oid)
          AND starts_with(c, t.name || '=')
        ORDER BY s.setrole = 0::oid, s.setdatabase = 0::oid
        LIMIT 1) own ON true
), lacking AS (
    SELECT left(string_agg(p.label, ', ' ORDER BY p.rolname, p.datname), 400) AS labels,
           bool_or(p.lacks_idle_in_transaction) AS lacks_idle_in_transaction
    FROM (SELECT e.label, e.rolname, e.datname,
                 bool_or(e.position = 3) AS lacks_idle_in_transaction
          FROM effective e
          WHERE e.position <= 3 AND NOT e.is_set
          GROUP BY e.label, e.rolname, e.datname) p
), timeouts AS (
    SELECT CASE WHEN n.pairs = 0 THEN 'no ordinary role has had a session yet' ELSE
               (SELECT string_agg(
                           pg_catalog.format('%s is set for %s of %s', t.name, t.is_set, n.pairs)
                           || CASE WHEN t.sqlstate IS NULL THEN '' ELSE
                                  pg_catalog.format(' and fired %s times%s',
                                                    coalesce(e.errors, 0), t.note) END,
                           ', ' ORDER BY t.position)
                FROM (SELECT t.*, (SELECT count(*) FROM effective e
                                   WHERE e.position = t.position AND e.is_set) AS is_set
                      FROM timeout t) t
                LEFT JOIN error e ON e.sqlstate = t.sqlstate)
           END AS evidence,
           CASE
               WHEN n.pairs = 0 THEN ARRAY['UNKNOWN', NULL]
               WHEN l.labels IS NULL THEN ARRAY['OK', NULL]
               ELSE ARRAY[
                   CASE WHEN l.lacks_idle_in_transaction AND leaks.idle_in_transaction > 0
                       THEN 'WARNING' ELSE 'ADVICE' END,
                   'Set statement_timeout, lock_timeout and idle_in_transaction_session_timeout '
                   'by role or database, as in ALTER ROLE app SET statement_timeout = ''30s''. At '
                   'least one of the three is missing for ' || l.labels || '.']
           END AS verdict
    FROM (SELECT count(*) AS pairs FROM role_database) n, lacking l, leaks
),

-- The views of candidates fail if pg_stat_statements cannot be read, so check that first.
statements AS (
    SELECT EXISTS (SELECT FROM pg_settings s WHERE s.name = 'pg_stat_statements.max')
           AND EXISTS (
               SELECT FROM pg_extension e
               JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass::oid
                    AND d.refobjid = e.oid
                    AND d.classid = 'pg_proc'::regclass::oid AND d.deptype = 'e'
               JOIN pg_proc p ON p.oid = d.objid
               WHERE e.extname = 'pg_stat_statements' AND p.proname = 'pg_stat_statements'
                 AND has_function_privilege(p.oid, 'EXECUTE')) AS can_be_read
), candidates (practice, statements, total_time, pattern, advice) AS (
    SELECT 'caching', count(*), sum(c.total_time), 'repeated reads of data that hardly changes',
           'See connpool_cache_candidates: the application could cache their results for a while.'
    FROM connpool_cache_candidates c
    WHERE (SELECT s.can_be_read FROM statements s)
    UNION ALL
    SELECT 'batching' AS practice, count(*), sum(c.total_time),
           'loops over single rows (with confidence high)' AS pattern,
           'See connpool_batch_candidates: replace each loop by one statement that handles many '
           'rows.' AS advice
    FROM connpool_batch_candidates c
    WHERE c.confidence = 'high' AND (SELECT s.can_be_read FROM statements s)
), of_statements AS (
    SELECT c.practice,
           CASE WHEN s.can_be_read THEN
               pg_catalog.format('%s statement%s like %s, %s ms in all', c.statements,
                                 CASE c.statements WHEN 1 THEN ' looks' ELSE 's look' END,
                                 c.pattern, coalesce(round(c.total_time::numeric), 0))
               ELSE 'pg_stat_statements is not available'
           END AS evidence,
           CASE
               WHEN NOT s.can_be_read THEN ARRAY['UNKNOWN',
                   'Add pg_stat_statements to shared_preload_libraries, and CREATE EXTENSION '
                   'pg_stat_statements in this database.']
               WHEN c.statements > 0 THEN ARRAY['ADVICE', c.advice]
               ELSE ARRAY['OK', NULL]
           END AS verdict
    FROM candidates c, statements s
),

clean_up AS (
    SELECT pg_catalog.format(
               'leak suspects: %s in %s s, of which %s resumed work, and %s now; '
               'clients abandoned %s of %s sessions that ended',
               l.detected, round(i.seconds), l.released, l.suspects, p.abandoned, p.ended)
               AS evidence,
           CASE
               WHEN l.suspects > 0 THEN ARRAY['WARNING',
                   'connpool_leaks lists them, and how many sessions wait for each. End a session '
                   'with pg_terminate_backend(), a prepared transaction with ROLLBACK PREPARED.']
               WHEN l.detected > 0 THEN ARRAY['ADVICE',
                   'connpool_leak_log lists the applications that forgot a connection, and for '
                   'how long. Release connections in a finally block, or at the end of a scope '
                   'if the language supports that.']
               WHEN p.abandoned >= 10 AND 10 * p.abandoned > p.ended THEN ARRAY['ADVICE',
                   'Clients disappear without closing their connections: see sessions_abandoned '
                   'in connpool_pools. Close pools when the application stops.']
               WHEN p.opened = 0 THEN ARRAY['UNKNOWN', NULL]
               ELSE ARRAY['OK', NULL]
           END AS verdict
    FROM info i, pools p, leaks l
)

SELECT 'connection pooling' AS practice, verdict[1], evidence, verdict[2] FROM pooling
UNION ALL
SELECT 'retries' AS practice, verdict[1], evidence, verdict[2] FROM retries
UNION ALL
SELECT 'monitoring' AS practice, verdict[1], evidence, verdict[2] FROM monitoring
UNION ALL
SELECT 'timeouts' AS practice, verdict[1], evidence, verdict[2] FROM timeouts
UNION ALL
SELECT practice, verdict[1], evidence, verdict[2] FROM of_statements
UNION ALL
SELECT 'resource clean-up' AS practice, verdict[1], evidence, verdict[2] FROM clean_up;
END;
COMMENT ON FUNCTION connpool_audit() IS
    'seven practices for database connections, each rated by what this server has measured: OK, ADVICE, WARNING or UNKNOWN';

-- Reports on a span of time, as Markdown
--
-- A report is the concatenation of sections, each a query over the views above. The functions run
-- with the caller's privileges. Their bodies are parsed when they are created, so neither
-- search_path nor objects of other users affect them.

CREATE FUNCTION _connpool_hint(metric text) RETURNS text
AS 'MODULE_PATHNAME', 'connpool_hint_1_0'
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _connpool_hint(text) IS
    'the HINT of the warnings of a metric; NULL if there is no such metric';

CREATE FUNCTION _connpool_processors() RETURNS integer
AS 'MODULE_PATHNAME', 'connpool_processors_1_0'
LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION _connpool_processors() IS
    'the number of processors of the machine that are online';

CREATE FUNCTION _connpool_application(application_name text) RETURNS text
AS 'MODULE_PATHNAME', 'connpool_application_1_0'
LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION _connpool_application(text) IS
    'the application of the pool to which sessions with that application_name belong, by '
    'application_grouping';

CREATE FUNCTION _connpool_runbook(entry text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE entry
    WHEN 'cpu_load' THEN
        'More sessions compute than the machine has processors, or one statement computes for '
        'long. See the statements of class cpu in connpool_load(): add the index that the '
        'largest one lacks, or make its pool smaller.'
    WHEN 'lock_load' THEN
        'Sessions wait for locks. See "Who blocked whom", and connpool_blocked_queries while it '
        'lasts: end the session at the head of the queue, and run DDL with lock_timeout.'
    WHEN 'lwlock_load' THEN
        'Sessions wait for each other inside PostgreSQL. See wait_event in connpool_load(): '
        'WALWrite means that the disk of the WAL is slow or that transactions are too small; '
        'for most others, let fewer sessions of the busiest pool run at once.'
    WHEN 'io_load' THEN
        'Sessions wait for the disk. See wait_event and the statements of class io in '
        'connpool_load(): if they read more than before, look for a lost index or a changed '
        'plan; if not, examine the disk.'
    WHEN 'client_load' THEN
        'Statements wait for their clients, which read their results or send data slowly. See '
        'the pools of class client in connpool_load(), and the network and processors of their '
        'machines.'
    WHEN 'ipc_load' THEN
        'Sessions wait for other processes of the server. See wait_event in connpool_load(): '
        'SyncRep means that a synchronous standby is slow or unavailable, BufferIO that the disk '
        'is slow.'
    WHEN 'timeout_load' THEN
        'Sessions sleep inside statements. See the statements of class timeout in '
        'connpool_load(): an application calls pg_sleep(), or a setting delays them.'
    WHEN 'other_load' THEN
        'Sessions wait for something that PostgreSQL does not classify. See wait_event in '
        'connpool_load(); extensions name their own.'
    WHEN 'idle_in_transaction_load' THEN
        'Applications keep transactions open while they do other work. See the pools of class '
        'idle_in_transaction in connpool_load(), and set idle_in_transaction_session_timeout '
        'for their roles.'
    WHEN 'deadlocks' THEN
        'Transactions took the same locks in different orders. See detail in '
        'connpool_deadlocks: change the statements so that all take them in one order, for '
        'instance ordered by key, and let the application retry SQLSTATE 40P01.'
    WHEN 'new_connections' THEN
        'Many connections of one pool opened shortly before. If none is older, its application '
        'or its pooler restarted; if there are old ones too, a second set of instances runs. '
        'See connpool_clients and the log of the deployment: limit the pool of each instance, '
        'or let a pooler limit them together.'
END;
COMMENT ON FUNCTION _connpool_runbook(text) IS
    'short advice on a finding that no alert reports; the runbook in doc/incident.md has an entry '
    'of the same name';

CREATE FUNCTION _connpool_code(value text) RETURNS text
LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.format(
    '`%s`', translate(regexp_replace(value, '\s+', ' ', 'g'), '`', ''''));
COMMENT ON FUNCTION _connpool_code(text) IS
    'the text in one line, as code in Markdown; NULL for NULL';

-- Set text as code if Markdown or GitHub would interpret it. Escapes do not suffice, because GitHub
-- replaces @names, issue numbers, hashes of commits, addresses and :emoji: even if they are escaped.
-- The pattern finds addresses by "://", by "www." in upper or lower case, or by an @. GitHub
-- recognizes no other addresses. An underscore within a word has no effect, so it is allowed.
CREATE FUNCTION _connpool_escape(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value ~* ('[`*~<&@#$\\[]|://|www\.|gh-[0-9]|:[a-z0-9_+-]*[a-z+-][a-z0-9_+-]*:'
                   '|(^|[^[:alnum:]])_|_([^[:alnum:]]|$)|\m(?=[0-9]*[a-f])[0-9a-f]{7,40}\M')
        THEN _connpool_code(value)
    ELSE regexp_replace(value, '\s+', ' ', 'g')
END;
COMMENT ON FUNCTION _connpool_escape(text) IS
    'the text in one line, as code if it contains anything that Markdown or GitHub interprets';

CREATE FUNCTION _connpool_statement(query text) RETURNS text
LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE
RETURN _connpool_code(left(regexp_replace(left(query, 4000), '\s+', ' ', 'g'), 300));
COMMENT ON FUNCTION _connpool_statement(text) IS
    'the beginning of a statement in one line, as code in Markdown; NULL for NULL';

CREATE FUNCTION _connpool_pool(application_name text, role text, database text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN _connpool_escape(pg_catalog.format('%s (%s in %s)',
    coalesce(quote_ident(nullif(application_name, '')), 'an unnamed application'),
    quote_ident(role), quote_ident(database)));
COMMENT ON FUNCTION _connpool_pool(text, text, text) IS
    'the name of a pool, formatted as in the messages of the extension';

CREATE FUNCTION _connpool_root(
    pid integer, application_name text, role text, database text, state text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN pid = 0 THEN 'A prepared transaction of '
        || _connpool_escape(pg_catalog.format('%s in %s', quote_ident(role),
                                              quote_ident(database)))
    WHEN pid IS NULL THEN 'An unknown session'
    WHEN role IS NULL THEN pg_catalog.format('Pid %s, which is not a client session', pid)
    ELSE pg_catalog.format('Pid %s of %s%s', pid, _connpool_pool(application_name, role, database),
                           ', ' || state)
END;
COMMENT ON FUNCTION _connpool_root(integer, text, text, text, text) IS
    'a description of the session at the head of a lock queue';

CREATE FUNCTION _connpool_table(rows json) RETURNS text
LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT string_agg(line, E'\n' ORDER BY position)
    FROM (
        SELECT 0 AS position,
               pg_catalog.format(
                   E'| %s |\n|%s',
                   string_agg(replace(key, '_', ' '), ' | ' ORDER BY number),
                   repeat('---|', count(*)::integer)) AS line
        FROM json_each_text(rows -> 0) WITH ORDINALITY AS names (key, value, number)
        UNION ALL
        SELECT position,
               pg_catalog.format(
                   '| %s |',
                   (SELECT string_agg(coalesce(replace(_connpool_escape(value), '|', '\|'), ''),
                                      ' | ' ORDER BY number)
                    FROM json_each_text(fields)
                         WITH ORDINALITY AS cells (key, value, number)))
        FROM json_array_elements(rows) WITH ORDINALITY AS list (fields, position)
    ) lines);
COMMENT ON FUNCTION _connpool_table(json) IS
    'an array of objects as a Markdown table; NULL for an empty array';

CREATE FUNCTION _connpool_load(
    since timestamptz,
    until timestamptz,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT wait_class text,
    OUT wait_event text,
    OUT queryid bigint,
    OUT query text,
    OUT avg_sessions double precision,
    OUT share double precision
) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    -- connpool_load() fails if the history is off. So its arguments come from a subquery that
    -- returns a row only if the history is on. OFFSET keeps the planner from flattening the
    -- subquery, which would let it call the function in any case.
    SELECT l.*
    FROM (SELECT _connpool_load.since AS from_time, _connpool_load.until AS to_time
          WHERE current_setting('connpool_monitor.session_history_size') <> '0' OFFSET 0) s,
         LATERAL connpool_load(s.from_time, s.to_time) l;
END;
COMMENT ON FUNCTION _connpool_load(timestamptz, timestamptz) IS
    'the rows of connpool_load(), or none if session_history_size is 0';

CREATE FUNCTION _connpool_is_recorded(since timestamptz, until timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT current_setting('connpool_monitor.session_history_size') <> '0'
       AND (SELECT i.session_history_since < until FROM connpool_info() i)
       AND EXISTS (SELECT FROM connpool_history('total_connections', since, until) h
                   WHERE h.sample_time < until);
END;
COMMENT ON FUNCTION _connpool_is_recorded(timestamptz, timestamptz) IS
    'true if the server was sampled between the two times and the session history covers a part '
    'of that time; if false, a load of zero means "unknown"';

CREATE FUNCTION _connpool_is_recorded_before(since timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    -- a minute or hour that contains since may have been sampled only after it
    SELECT _connpool_is_recorded(since - interval '10 minutes', since)
       AND (EXISTS (SELECT FROM connpool_history('total_connections',
                                                 since - interval '10 minutes', since) h
                    WHERE h.sample_time >= since - interval '10 minutes'
                      AND h.sample_time + h.resolution <= since)
            OR EXISTS (SELECT FROM _connpool_load(since - interval '10 minutes', since)));
END;
COMMENT ON FUNCTION _connpool_is_recorded_before(timestamptz) IS
    'true if the server was sampled in the ten minutes before that time and the session history '
    'covers a part of them; if false, a load of zero means "unknown"';

CREATE FUNCTION _connpool_worst_snapshot(incident bigint, OUT snapshot integer, OUT at timestamptz)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT s.snapshot, min(s.at) FROM connpool_incident_sessions s
    WHERE s.incident_id = incident
    GROUP BY s.snapshot
    ORDER BY count(*) FILTER (WHERE s.root_blocker IS NOT NULL) DESC,
             sum(coalesce(s.sessions, 1)) FILTER (WHERE s.state <> 'idle') DESC NULLS LAST,
             s.snapshot
    LIMIT 1;
END;
COMMENT ON FUNCTION _connpool_worst_snapshot(bigint) IS
    'the snapshot of the incident with the most blocked sessions or, if none was blocked, with '
    'the most busy ones';

CREATE FUNCTION _connpool_snapshot_pools(
    incident bigint,
    snapshot integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT connections bigint,
    OUT active bigint,
    OUT idle_in_transaction bigint,
    OUT idle bigint,
    OUT blocked bigint,
    OUT opened_10min bigint
) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT p.database, p.role, p.application_name, p.connections,
           CASE WHEN p.is_visible THEN coalesce(p.active, 0) END,
           CASE WHEN p.is_visible THEN coalesce(p.idle_in_transaction, 0) END,
           CASE WHEN p.is_visible THEN coalesce(p.idle, 0) END,
           CASE WHEN p.is_visible THEN p.blocked END,
           p.opened_10min
    FROM (SELECT s.database, s.role, _connpool_application(s.application_name) AS application_name,
                 sum(s.sessions) AS connections,
                 sum(s.sessions) FILTER (WHERE s.state = 'active') AS active,
                 sum(s.sessions) FILTER (WHERE s.state LIKE 'idle in transaction%')
                     AS idle_in_transaction,
                 sum(s.sessions) FILTER (WHERE s.state = 'idle') AS idle,
                 count(s.root_blocker) AS blocked, sum(s.opened_10min) AS opened_10min,
                 count(s.state) > 0 AS is_visible
          FROM connpool_incident_sessions s
          WHERE s.incident_id = incident AND s.snapshot = _connpool_snapshot_pools.snapshot
          GROUP BY 1, 2, 3) p
    ORDER BY p.connections DESC, p.database, p.role, p.application_name;
END;
COMMENT ON FUNCTION _connpool_snapshot_pools(bigint, integer) IS
    'the pools in a snapshot of the incident, the largest first; what their sessions did is NULL '
    'if the caller may not see it';

CREATE FUNCTION _connpool_finding_locks(since timestamptz, until timestamptz) RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format(
                  '- **%s, held up %s session%s from %s to %s**, the longest for %s.%s%s',
                  _connpool_root(r.root_pid, r.root_application_name, r.root_role,
                                 r.root_database, r.state),
                  r.victims, CASE WHEN r.victims = 1 THEN '' ELSE 's' END,
                  to_char(r.first, 'HH24:MI:SS'), to_char(r.last, 'HH24:MI:SS'),
                  date_trunc('milliseconds', r.longest),
                  ' Among them was a request for ' || r.request
                  || '; later requests queue behind it.',
                  ' Last statement: ' || _connpool_statement(r.query))
    FROM (
        SELECT w.root_pid, w.root_database, w.root_role, w.root_application_name,
               (pg_catalog.array_agg(w.root_state ORDER BY w.started_at))[1] AS state,
               (pg_catalog.array_agg(left(w.root_query, 4000) ORDER BY w.started_at)
                    FILTER (WHERE w.root_query IS NOT NULL))[1] AS query,
               count(DISTINCT w.pid) AS victims,
               min(w.started_at) AS first, max(w.started_at + w.waited) AS last,
               max(w.waited) AS longest,
               min(pg_catalog.format('%s on %s by %s', w.lock_mode, _connpool_escape(w.relation),
                          _connpool_pool(w.application_name, w.role, w.database)))
                   FILTER (WHERE w.lock_mode = 'AccessExclusiveLock' AND w.relation IS NOT NULL)
                   AS request
        FROM connpool_lock_log w
        WHERE w.started_at <= until AND w.started_at + w.waited >= since
        GROUP BY w.root_pid, w.root_database, w.root_role, w.root_application_name
        ORDER BY victims DESC, first
        LIMIT 3
    ) r;
END;
COMMENT ON FUNCTION _connpool_finding_locks(timestamptz, timestamptz) IS
    'a line for each of the three sessions that blocked the most others';

CREATE FUNCTION _connpool_finding_refusals(since timestamptz, until timestamptz, incident bigint)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format('- **%s connection attempt%s refused because no slot was free.**%s',
                  sum(r.attempts), CASE WHEN sum(r.attempts) = 1 THEN ' was' ELSE 's were' END,
                  (SELECT pg_catalog.format(
                              ' In the snapshot with the most connections, %s of %s belonged to '
                              '%s: %s idle, %s idle in transaction.',
                              p.connections, p.all_connections,
                              _connpool_pool(p.application_name, p.role, p.database),
                              coalesce(p.idle::text, 'an unknown number'),
                              coalesce(p.idle_in_transaction::text, 'an unknown number'))
                   FROM (SELECT pools.*, sum(pools.connections) OVER () AS all_connections
                         FROM (SELECT s.snapshot FROM connpool_incident_sessions s
                               WHERE s.incident_id = incident GROUP BY s.snapshot
                               ORDER BY sum(coalesce(s.sessions, 1)) DESC, s.snapshot
                               LIMIT 1) fullest,
                              _connpool_snapshot_pools(incident, fullest.snapshot) pools
                         ORDER BY pools.connections DESC LIMIT 1) p))
    FROM connpool_rejection_log r
    WHERE r.reason IN ('too_many', 'reserved') AND r.at >= since AND r.first_at <= until
    HAVING sum(r.attempts) > 0;
END;
COMMENT ON FUNCTION _connpool_finding_refusals(timestamptz, timestamptz, bigint) IS
    'a line on the refused connections and the pool that held most slots; no row if none was '
    'refused';

CREATE FUNCTION _connpool_finding_deadlocks(since timestamptz, until timestamptz)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format('- **%s deadlock%s.** The cancelled statements belonged to %s.',
                  sum(d.victims),
                  CASE WHEN sum(d.victims) = 1 THEN '' ELSE 's' END,
                  string_agg(pg_catalog.format('%s (%s)', d.pool, d.victims), ', '
                             ORDER BY d.victims DESC, d.pool))
    FROM (SELECT _connpool_pool(_connpool_application(l.application_name), l.role, l.database)
                     AS pool,
                 count(*) AS victims
          FROM connpool_deadlocks l WHERE l.at BETWEEN since AND until GROUP BY 1) d
    HAVING sum(d.victims) > 0;
END;
COMMENT ON FUNCTION _connpool_finding_deadlocks(timestamptz, timestamptz) IS
    'a line on the deadlocks; no row if there was none';

CREATE FUNCTION _connpool_finding_load(since timestamptz, until timestamptz) RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH during AS MATERIALIZED (
        SELECT * FROM _connpool_load(since, until)
    ), class AS (
        SELECT d.wait_class, sum(d.avg_sessions) AS sessions
        FROM during d GROUP BY d.wait_class ORDER BY 2 DESC LIMIT 1
    ), pool AS (
        -- if the caller may not see a session, wait_class is NULL, and query is not a statement
        -- but '<insufficient privilege>'
        SELECT d.database, d.role, d.application_name, sum(d.avg_sessions) AS sessions,
               (pg_catalog.array_agg(left(d.query, 4000) ORDER BY d.avg_sessions DESC)
                    FILTER (WHERE d.query IS NOT NULL AND d.wait_class IS NOT NULL))[1] AS query
        FROM during d JOIN class c ON d.wait_class IS NOT DISTINCT FROM c.wait_class
        GROUP BY d.database, d.role, d.application_name ORDER BY 4 DESC LIMIT 1
    ), event AS (
        SELECT d.wait_event
        FROM during d JOIN class c USING (wait_class)
             -- compare columns, because pg_dump would print a comparison of rows in another form
             JOIN pool p ON d.database IS NOT DISTINCT FROM p.database
                            AND d.role IS NOT DISTINCT FROM p.role
                            AND d.application_name IS NOT DISTINCT FROM p.application_name
        WHERE d.wait_event IS NOT NULL
        GROUP BY d.wait_event ORDER BY sum(d.avg_sessions) DESC LIMIT 1
    )
    SELECT pg_catalog.format(
                  '- On average %s sessions were busy (in the ten minutes before: %s). Of these, %s '
                  '%s%s. Most of them belonged to %s (%s%s).%s',
                  (SELECT round(sum(d.avg_sessions)::numeric, 1) FROM during d),
                  CASE WHEN _connpool_is_recorded_before(since)
                       THEN (SELECT coalesce(round(sum(b.avg_sessions)::numeric, 1), 0.0)::text
                             FROM _connpool_load(since - interval '10 minutes', since) b)
                       ELSE 'an unknown number' END,
                  round(c.sessions::numeric, 1),
                  coalesce('were in class ' || c.wait_class,
                           'did something that your role may not see'),
                  CASE WHEN c.wait_class = 'cpu' AND c.sessions > _connpool_processors()
                       THEN pg_catalog.format(': **more than the %s processors**',
                                              _connpool_processors()) END,
                  _connpool_pool(p.application_name, p.role, p.database),
                  round(p.sessions::numeric, 1),
                  (SELECT ', most often ' || _connpool_escape(e.wait_event) FROM event e),
                  ' Their statement with the largest share: ' || _connpool_statement(p.query))
    FROM class c, pool p;
END;
COMMENT ON FUNCTION _connpool_finding_load(timestamptz, timestamptz) IS
    'a line on the busy sessions, their most frequent wait class and the pool with the most '
    'sessions in that class';

CREATE FUNCTION _connpool_raised_load(
    since timestamptz, until timestamptz, OUT wait_class text, OUT sessions double precision)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT during.wait_class, during.sessions
    FROM (SELECT l.wait_class, sum(l.avg_sessions) AS sessions
          FROM _connpool_load(since, until) l GROUP BY l.wait_class) during
         LEFT JOIN (SELECT l.wait_class, sum(l.avg_sessions) AS sessions
                    FROM _connpool_load(since - interval '10 minutes', since) l
                    GROUP BY l.wait_class) before USING (wait_class)
    WHERE during.wait_class IS NOT NULL
      AND during.sessions >= 2 AND during.sessions >= 2 * coalesce(before.sessions, 0);
END;
COMMENT ON FUNCTION _connpool_raised_load(timestamptz, timestamptz) IS
    'the wait classes with a load of at least two sessions, and at least twice their load in the '
    'ten minutes before; an unknown load counts as 0';

CREATE FUNCTION _connpool_finding_opened(since timestamptz, until timestamptz)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format('- **%s of the %s connections of %s at %s had opened in the last '
                             '%s.**',
                             n.opened, n.connections,
                             _connpool_pool(n.application, n.role, n.database),
                             to_char(n.at, 'HH24:MI:SS'), n.span)
    FROM (SELECT DISTINCT ON (p.database, p.role, p.application) p.*, w.*
          FROM (SELECT s.at, s.database, s.role,
                       _connpool_application(s.application_name) AS application,
                       sum(s.sessions) AS connections, sum(s.opened_10s) AS opened_10s,
                       sum(s.opened_1min) AS opened_1min, sum(s.opened_10min) AS opened_10min
                FROM connpool_incident_sessions s
                WHERE s.at >= since AND s.at <= until AND s.role IS NOT NULL
                GROUP BY s.incident_id, s.snapshot, 1, 2, 3, 4) p,
               LATERAL (VALUES (p.opened_10s, '10 seconds', 1), (p.opened_1min, 'minute', 2),
                               (p.opened_10min, 'ten minutes', 3)) w (opened, span, rank)
          WHERE w.opened >= 5 AND w.opened >= p.connections / 3.0
          ORDER BY p.database, p.role, p.application, w.rank, w.opened DESC, p.at) n
    ORDER BY n.rank, n.opened DESC, n.at LIMIT 3;
END;
COMMENT ON FUNCTION _connpool_finding_opened(timestamptz, timestamptz) IS
    'a line for each of up to three pools with many new connections (at least five, and at least '
    'a third of the pool) in a snapshot of that time; the pools whose connections are newest come '
    'first';

CREATE FUNCTION _connpool_history_text(
    metric text, is_peak boolean, since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    -- A minute or hour that is only partly in that time may contain its peak, but the rest of that
    -- minute or hour must not change the mean. connpool_history() also returns a row that starts at
    -- "until". At a whole minute, that row may cover the time after it, so omit it.
    SELECT trim_scale(round(CASE WHEN is_peak THEN max(h.max_value)
                                 ELSE avg(h.avg_value)
                                      FILTER (WHERE h.sample_time >= since
                                                AND h.sample_time + h.resolution <= until)
                            END::numeric, 1))::text
    FROM connpool_history(metric, since, until) h
    WHERE h.sample_time < until OR until > date_trunc('minute', until);
END;
COMMENT ON FUNCTION _connpool_history_text(text, boolean, timestamptz, timestamptz) IS
    'the highest value of a metric in the samples, minutes or hours that overlap that time, or the '
    'mean of those that lie in it, with at most one decimal; NULL if the history has none';

CREATE FUNCTION _connpool_finding_connections(since timestamptz, until timestamptz)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format(
               '- Connections: up to %s; in the ten minutes before, %s on average. '
               'New connections a second: up to %s; before, %s on average.%s',
               coalesce(_connpool_history_text('total_connections', true, since, until),
                        'an unknown number'),
               coalesce(_connpool_history_text('total_connections', false,
                                               since - interval '10 minutes', since),
                        'an unknown number'),
               coalesce(_connpool_history_text('connections_per_second', true, since, until),
                        'an unknown number'),
               coalesce(_connpool_history_text('connections_per_second', false,
                                               since - interval '10 minutes', since),
                        'an unknown number'),
               -- absent without PgBouncer
               ' Clients that waited in PgBouncer: up to '
               || nullif(_connpool_history_text('pool_waiting_clients', true, since, until), '0')
               || '; before, '
               || coalesce(_connpool_history_text('pool_waiting_clients', false,
                                                  since - interval '10 minutes', since)
                           || ' on average', 'an unknown number') || '.');
END;
COMMENT ON FUNCTION _connpool_finding_connections(timestamptz, timestamptz) IS
    'a line on the number of connections, the rate of new ones and the clients that waited in '
    'PgBouncer';

CREATE FUNCTION _connpool_blocking_tree(since timestamptz, until timestamptz) RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH waits AS MATERIALIZED (
        SELECT l.*, _connpool_application(l.application_name) AS application,
               _connpool_root(l.root_pid, l.root_application_name, l.root_role,
                              l.root_database, NULL) AS root
        FROM connpool_lock_log l
        WHERE l.started_at <= until AND l.started_at + l.waited >= since
    ), roots AS (
        SELECT w.root, min(w.started_at) AS first,
               pg_catalog.format(
                   '- %s%s', w.root,
                   ', ' || (pg_catalog.array_agg(w.root_state ORDER BY w.started_at))[1]) AS line,
               row_number() OVER (ORDER BY count(DISTINCT w.pid) DESC, min(w.started_at)) AS rank
        FROM waits w GROUP BY w.root
    ), waiters AS (
        SELECT w.root, min(w.started_at) AS first,
               pg_catalog.format(
                   '  - %s of %s waited for %s%s, up to %s: %s', count(DISTINCT w.pid),
                   _connpool_pool(w.application, w.role, w.database), w.lock_mode,
                   coalesce(' on ' || _connpool_escape(w.relation),
                            pg_catalog.format(' (%s)', w.lock_type)),
                   date_trunc('milliseconds', max(w.waited)),
                   (SELECT string_agg(pg_catalog.format('%s %s', o.times,
                                                        coalesce(o.outcome, 'still waiting')),
                                      ', ' ORDER BY o.outcome)
                    FROM (SELECT u.outcome, count(*) AS times
                          FROM pg_catalog.unnest(pg_catalog.array_agg(w.outcome)) u (outcome)
                          GROUP BY u.outcome) o)) AS line
        FROM waits w
        GROUP BY w.root, w.database, w.role, w.application, w.lock_type, w.lock_mode, w.relation
    )
    SELECT tree.line
    FROM (SELECT r.rank, 0 AS level, r.first, r.line FROM roots r WHERE r.rank <= 10
          UNION ALL
          SELECT r.rank, 1, w.first, w.line
          FROM waiters w JOIN roots r USING (root)
          WHERE r.rank <= 10) tree
    ORDER BY tree.rank, tree.level, tree.first, tree.line;
END;
COMMENT ON FUNCTION _connpool_blocking_tree(timestamptz, timestamptz) IS
    'the root blockers, and below each the sessions that waited behind it, by pool and lock';

CREATE FUNCTION _connpool_section(heading text, note text, contents text, nothing text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.concat_ws(E'\n\n', E'\n## ' || heading, note, coalesce(contents, nothing))
       || E'\n';
COMMENT ON FUNCTION _connpool_section(text, text, text, text) IS
    'a section of a report: its heading, its note, which may be NULL, and its contents; if these '
    'are NULL, the text in the argument "nothing"';

CREATE FUNCTION _connpool_findings(since timestamptz, until timestamptz, incident bigint)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Findings', NULL, string_agg(f.line, E'\n'), NULL)
    FROM (SELECT * FROM _connpool_finding_locks(since, until)
          UNION ALL SELECT * FROM _connpool_finding_refusals(since, until, incident)
          UNION ALL SELECT * FROM _connpool_finding_deadlocks(since, until)
          UNION ALL SELECT * FROM _connpool_finding_opened(since, until)
          UNION ALL SELECT * FROM _connpool_finding_load(since, until)
          UNION ALL SELECT * FROM _connpool_finding_connections(since, until)) f (line);
END;
COMMENT ON FUNCTION _connpool_findings(timestamptz, timestamptz, bigint) IS
    'the section of a report that summarizes the other sections';

CREATE FUNCTION _connpool_timeline(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Timeline',
        (SELECT pg_catalog.format('The alert log begins at %s; earlier changes are unknown.',
                       min(a.at))
         FROM connpool_alert_log a HAVING count(*) >= 1000 AND min(a.at) > since),
        _connpool_table(pg_catalog.json_agg(t)), 'No alert changed its status.')
    FROM (SELECT to_char(a.at, 'HH24:MI:SS') AS time, a.metric_name AS metric,
                 pg_catalog.format('%s to %s', a.from_status, a.to_status) AS change, a.message,
                 a.culprit
          FROM connpool_alert_log a
          WHERE a.at BETWEEN since AND until ORDER BY a.seq LIMIT 100) t;
END;
COMMENT ON FUNCTION _connpool_timeline(timestamptz, timestamptz) IS
    'the section of a report with the first 100 status changes of alerts';

CREATE FUNCTION _connpool_worst_moment(since timestamptz, incident bigint) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Connections at the worst moment',
        (SELECT pg_catalog.format(
                       'At %s. "Opened 10min" counts the connections that had opened within the '
                       'ten minutes before; the others are older. "Busy before" is the average '
                       'number of busy sessions in the ten minutes before the incident. '
                       'An empty cell means unknown.',
                       to_char(w.at, 'HH24:MI:SS'))
         FROM _connpool_worst_snapshot(incident) w WHERE w.at IS NOT NULL),
        _connpool_table(pg_catalog.json_agg(t)),
        CASE WHEN EXISTS (SELECT FROM connpool_incidents i
                          WHERE i.id = incident AND i.snapshots > 0)
             THEN 'No client was connected when the snapshots were taken.'::text
             ELSE 'The snapshots of this incident are not kept any more.' END)
    FROM (SELECT p.database, p.role, p.application_name, p.connections, p.active,
                 p.idle_in_transaction, p.idle, p.blocked, p.opened_10min,
                 -- sessions without names belong to no pool, or to several
                 CASE WHEN p.database IS NOT NULL AND p.role IS NOT NULL
                       AND _connpool_is_recorded_before(since)
                      THEN coalesce(b.busy, 0.0) END AS busy_before
          FROM _connpool_snapshot_pools(
                   incident, (SELECT w.snapshot FROM _connpool_worst_snapshot(incident) w)) p
               LEFT JOIN (SELECT l.database, l.role, l.application_name,
                                 round(sum(l.avg_sessions)::numeric, 1) AS busy
                          FROM _connpool_load(since - interval '10 minutes', since) l
                          GROUP BY l.database, l.role, l.application_name) b
                    USING (database, role, application_name)
          ORDER BY p.connections DESC, p.database, p.role, p.application_name
          LIMIT 20) t;
END;
COMMENT ON FUNCTION _connpool_worst_moment(timestamptz, bigint) IS
    'the section of a report with the 20 largest pools in the worst snapshot of the incident';

CREATE FUNCTION _connpool_blocking(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Who blocked whom',
        (SELECT pg_catalog.format('The lock log begins at %s; earlier waits are unknown.',
                       min(l.started_at))
         FROM connpool_lock_log l HAVING count(*) >= 1000 AND min(l.started_at) > since),
        string_agg(b.line, E'\n'),
        pg_catalog.format('No session%s waited for a lock for longer than blocked_age (%s).',
               -- the lock log hides the times of other roles' waits
               (SELECT ' that your role may see'::text
                WHERE EXISTS (SELECT FROM connpool_lock_log h WHERE h.started_at IS NULL)),
               current_setting('connpool_monitor.blocked_age')))
    FROM _connpool_blocking_tree(since, until) b (line);
END;
COMMENT ON FUNCTION _connpool_blocking(timestamptz, timestamptz) IS
    'the section of a report with the lock waits that were longer than blocked_age';

CREATE FUNCTION _connpool_load_by_class(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Load',
        'The average number of busy sessions, by wait class. An empty cell means unknown.',
        _connpool_table(pg_catalog.json_agg(t)),
        CASE WHEN _connpool_is_recorded(since, until) THEN 'No session was busy at a sample.'
             ELSE 'Unknown: the session history is off, or the server was not sampled.' END)
    FROM (SELECT wait_class AS class,
                 CASE WHEN _connpool_is_recorded_before(since)
                      THEN coalesce(before.sessions, 0.00) END AS ten_minutes_before,
                 CASE WHEN _connpool_is_recorded(since, until)
                      THEN coalesce(during.sessions, 0.00) END AS in_this_time
          FROM (SELECT coalesce(l.wait_class, 'not visible to your role') AS wait_class,
                       round(sum(l.avg_sessions)::numeric, 2) AS sessions
                FROM _connpool_load(since, until) l GROUP BY l.wait_class) during
               FULL JOIN (SELECT coalesce(l.wait_class, 'not visible to your role') AS wait_class,
                                 round(sum(l.avg_sessions)::numeric, 2) AS sessions
                          FROM _connpool_load(since - interval '10 minutes', since) l
                          GROUP BY l.wait_class) before
                    USING (wait_class)
          ORDER BY during.sessions DESC NULLS LAST, wait_class) t;
END;
COMMENT ON FUNCTION _connpool_load_by_class(timestamptz, timestamptz) IS
    'the section of a report with the load by wait class, compared with the ten minutes before';

CREATE FUNCTION _connpool_load_by_statement(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Largest loads', NULL, _connpool_table(pg_catalog.json_agg(t)),
                             'None is recorded.')
    FROM (SELECT l.database, l.role, l.application_name, l.wait_class AS class, l.wait_event,
                 round(l.avg_sessions::numeric, 2) AS sessions, left(l.query, 200) AS statement
          FROM _connpool_load(since, until) l
          ORDER BY l.avg_sessions DESC LIMIT 10) t;
END;
COMMENT ON FUNCTION _connpool_load_by_statement(timestamptz, timestamptz) IS
    'the section of a report with the ten largest loads by pool, wait and statement';

CREATE FUNCTION _connpool_refusals(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Refused connections',
        (SELECT string_agg(pg_catalog.format(
                       'The log of connections refused for %s begins at %s; earlier ones are '
                       'unknown.', f.reason, f.first), ' ' ORDER BY f.reason)
         FROM (SELECT r.reason, min(r.at) AS first
               FROM connpool_rejection_log r
               GROUP BY r.reason
               HAVING count(*) >= 500 AND min(r.at) > since) f),
        _connpool_table(pg_catalog.json_agg(t)), 'None is recorded.')
    FROM (SELECT r.reason, r.database, r.role, r.application_name, r.client_addr, r.attempts,
                 to_char(r.first_at, 'HH24:MI:SS') AS first, to_char(r.at, 'HH24:MI:SS') AS last
          FROM connpool_rejection_log r
          WHERE r.at >= since AND r.first_at <= until
          ORDER BY r.attempts DESC, r.at LIMIT 20) t;
END;
COMMENT ON FUNCTION _connpool_refusals(timestamptz, timestamptz) IS
    'the section of a report with the 20 most frequent refusals';

CREATE FUNCTION _connpool_failures(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Errors',
        'The SQLSTATEs whose last error was in this time; those with a later error are missing. '
        '"Since reset" counts all errors since the counters were reset.',
        _connpool_table(pg_catalog.json_agg(t)), 'None is recorded.')
    FROM (SELECT e.sqlstate, e.condition_name AS condition, e.errors AS since_reset,
                 to_char(e.last_seen, 'HH24:MI:SS') AS last
          FROM connpool_errors e
          WHERE e.last_seen BETWEEN since AND until
          ORDER BY e.last_seen DESC LIMIT 20) t;
END;
COMMENT ON FUNCTION _connpool_failures(timestamptz, timestamptz) IS
    'the section of a report with errors by SQLSTATE';

CREATE FUNCTION _connpool_deadlock_list(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Deadlocks',
        (SELECT pg_catalog.format('The log of deadlocks begins at %s; earlier ones are unknown.',
                       min(d.at))
         FROM connpool_deadlocks d HAVING count(*) >= 100 AND min(d.at) > since),
        _connpool_table(pg_catalog.json_agg(t)), 'None is recorded.')
    FROM (SELECT to_char(d.at, 'HH24:MI:SS') AS time, d.database, d.role, d.application_name,
                 d.pid, d.detail
          FROM connpool_deadlocks d
          WHERE d.at BETWEEN since AND until ORDER BY d.at LIMIT 20) t;
END;
COMMENT ON FUNCTION _connpool_deadlock_list(timestamptz, timestamptz) IS
    'the section of a report with the first 20 deadlocks';

CREATE FUNCTION _connpool_slowest(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('Slow statements',
        (SELECT pg_catalog.format('The log of slow statements begins at %s; earlier ones are '
                       'unknown.', min(s.finished_at))
         FROM connpool_slow_statements s
         HAVING count(*) >= current_setting('connpool_monitor.slow_statements_kept')::bigint
            AND min(s.finished_at) > since),
        _connpool_table(pg_catalog.json_agg(t)), 'None is recorded.')
    FROM (SELECT s.database, s.role, s.application_name, count(*) AS statements,
                 round(max(s.elapsed_time)::numeric) AS longest_ms,
                 left(s.query, 200) AS statement
          FROM connpool_slow_statements s
          WHERE s.finished_at >= since
            AND s.finished_at - s.elapsed_time * interval '1 millisecond' <= until
          GROUP BY s.database, s.role, s.application_name, s.queryid, left(s.query, 200)
          ORDER BY max(s.elapsed_time) DESC LIMIT 10) t;
END;
COMMENT ON FUNCTION _connpool_slowest(timestamptz, timestamptz) IS
    'the section of a report with the ten slowest statements';

CREATE FUNCTION _connpool_hints(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT _connpool_section('What to examine next', NULL,
        string_agg(pg_catalog.format('- **%s**: %s', h.entry, h.hint), E'\n'
                   ORDER BY h.kind, h.rank),
        pg_catalog.format('No alert began in this time, %s, and no deadlock occurred.',
               CASE WHEN _connpool_is_recorded(since, until) THEN 'no load rose'::text
                    ELSE 'the load is unknown' END))
    FROM (SELECT 1 AS kind, min(a.seq)::double precision AS rank, a.metric_name AS entry,
                 _connpool_hint(a.metric_name) AS hint
          FROM connpool_alert_log a
          WHERE a.at >= since AND a.at <= until AND a.to_status <> 'OK'
          GROUP BY a.metric_name
          UNION ALL
          SELECT 2, -l.sessions, l.wait_class || '_load',
                 _connpool_runbook(l.wait_class || '_load')
          FROM _connpool_raised_load(since, until) l
          UNION ALL
          SELECT 3, 0, 'deadlocks' AS entry, _connpool_runbook('deadlocks')
          WHERE EXISTS (SELECT FROM connpool_deadlocks d WHERE d.at BETWEEN since AND until)
          UNION ALL
          SELECT 4, 0, 'new_connections' AS entry, _connpool_runbook('new_connections')
          WHERE EXISTS (SELECT FROM _connpool_finding_opened(since, until))) h;
END;
COMMENT ON FUNCTION _connpool_hints(timestamptz, timestamptz) IS
    'the section of a report with advice: the HINT of each metric that left OK, and the runbook '
    'entries for each load that rose, for deadlocks and for new connections';

CREATE FUNCTION _connpool_sections(since timestamptz, until timestamptz, incident bigint)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.concat(
        (SELECT pg_catalog.format(
                    E'\nThe counters and logs begin at %s. Earlier lock waits, deadlocks, refusals, '
                    'errors and slow statements are unknown.\n',
                    to_char(i.stats_reset, 'YYYY-MM-DD HH24:MI:SS'))
         FROM connpool_info() i WHERE i.stats_reset > since),
        (SELECT E'\nThe system clock was set back. Samples of the load and of connections that were '
                'taken before that have times in the future, so they are missing here.\n'::text
         WHERE EXISTS (SELECT FROM connpool_history('total_connections',
                                                    now() + interval '1 minute',
                                                    'infinity'::timestamptz,
                                                    interval '1 minute') h
                       WHERE h.sample_time > now() + interval '1 minute')),
        CASE WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE')
             THEN E'\nThis report omits what your role may not see. So a section that lists nothing '
                  'does not mean that nothing happened.\n'
             END,
        _connpool_findings(since, until, incident),
        _connpool_timeline(since, until),
        CASE WHEN incident IS NOT NULL THEN _connpool_worst_moment(since, incident) END,
        _connpool_blocking(since, until),
        _connpool_load_by_class(since, until),
        _connpool_load_by_statement(since, until),
        _connpool_refusals(since, until),
        _connpool_failures(since, until),
        _connpool_deadlock_list(since, until),
        _connpool_slowest(since, until),
        _connpool_hints(since, until));
END;
COMMENT ON FUNCTION _connpool_sections(timestamptz, timestamptz, bigint) IS
    'the sections of a report about an incident or, if that is NULL, about a span of time';

CREATE FUNCTION connpool_report(
    since timestamptz DEFAULT now() - interval '1 hour',
    until timestamptz DEFAULT now()
) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    -- to_char() returns NULL for infinity
    SELECT pg_catalog.format(E'# %s to %s\n\nTime zone %s.\n',
                  CASE s.since WHEN '-infinity' THEN 'The beginning'
                      ELSE coalesce(to_char(s.since, 'YYYY-MM-DD HH24:MI:SS'), s.since::text) END,
                  CASE s.until WHEN 'infinity' THEN 'now'
                      ELSE coalesce(to_char(s.until, 'YYYY-MM-DD HH24:MI:SS'), s.until::text) END,
                  _connpool_escape(current_setting('TimeZone')))
           || CASE WHEN s.since >= s.until
                   THEN E'\nThis span is empty, because its start is not before its end.\n'
                   ELSE _connpool_sections(s.since, s.until, NULL::bigint) END
    -- Nothing is recorded before 1970. Without this limit, since - interval '10 minutes', which
    -- several sections compute, could be before the first valid timestamp.
    FROM (SELECT CASE WHEN connpool_report.since >= '1970-01-01 00:00:00+00'
                      THEN connpool_report.since ELSE '-infinity' END AS since,
                 CASE WHEN connpool_report.until < '1970-01-01 00:00:00+00' THEN '-infinity'
                      ELSE coalesce(connpool_report.until, 'infinity') END AS until) s;
END;
COMMENT ON FUNCTION connpool_report(timestamptz, timestamptz) IS
    'what happened from since to until, as Markdown; omits data that the caller may not see';

CREATE FUNCTION connpool_incident_report(id bigint DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT pg_catalog.format(E'# Incident %s: %s\n\n%s to %s (%s), time zone %s.\n\n',
                       i.id, i.status,
                       to_char(i.started_at, 'YYYY-MM-DD HH24:MI:SS'),
                       coalesce(to_char(i.ended_at, 'YYYY-MM-DD HH24:MI:SS'),
                                'now, still in progress'),
                       date_trunc('second', greatest(coalesce(i.ended_at, now()), i.started_at)
                                            - i.started_at),
                       _connpool_escape(current_setting('TimeZone')))
                || pg_catalog.format(E'- Began with: %s\n- Metrics that left OK: %s\n',
                          _connpool_escape(i.message),
                          coalesce(nullif(pg_catalog.array_to_string(i.metrics, ', '), ''),
                                   'none'))
                || pg_catalog.format(E'- Peak: %s connection%s, %s blocked session%s\n',
                          i.peak_connections,
                          CASE WHEN i.peak_connections = 1 THEN '' ELSE 's' END,
                          i.peak_blocked, CASE WHEN i.peak_blocked = 1 THEN '' ELSE 's' END)
                || pg_catalog.format(E'- Refused because no slot was free: %s; failed statements: %s\n',
                          i.refused, i.failed_queries)
                -- begin one sample earlier: the first sample of the incident shows the effects of
                -- events since the previous sample
                || _connpool_sections(
                       i.started_at - current_setting('connpool_monitor.sample_interval')::interval,
                       coalesce(i.ended_at, now()), i.id)
         FROM connpool_incidents i
         WHERE i.id = coalesce(connpool_incident_report.id,
                               (SELECT max(last.id) FROM connpool_incidents last))),
        CASE WHEN connpool_incident_report.id IS NULL THEN 'No incident is recorded.'
             ELSE pg_catalog.format('Incident %s is not recorded. '
                         'connpool_incidents lists the last 50.',
                         connpool_incident_report.id) END);
END;
COMMENT ON FUNCTION connpool_incident_report(bigint) IS
    'what happened in an incident, by default the last one, as Markdown; omits data that the '
    'caller may not see';

-- Everybody may read counts, through get_connection_stats() and connpool_health(). Names and
-- statements are for pg_monitor. connpool_reset() is for superusers and the roles to which they
-- grant it. Functions whose names begin with an underscore are parts of the reports and of the
-- audit, which run with the privileges of their caller; _connpool_view_pass() is the exception.

REVOKE ALL ON FUNCTION
    connpool_reset(text),
    connpool_info(), connpool_audit(), connpool_metrics(),
    connpool_history(text, timestamptz, timestamptz, interval),
    connpool_plot(text, interval, integer, integer),
    connpool_session_history(timestamptz, timestamptz), connpool_load(timestamptz, timestamptz),
    connpool_load_history(timestamptz, timestamptz, interval),
    connpool_load_plot(interval, integer, integer), connpool_report(timestamptz, timestamptz),
    connpool_incident_report(bigint),
    _connpool_hint(text), _connpool_processors(), _connpool_application(text),
    _connpool_server_setting(text),
    _connpool_runbook(text), _connpool_code(text), _connpool_escape(text),
    _connpool_statement(text), _connpool_pool(text, text, text),
    _connpool_root(integer, text, text, text, text), _connpool_table(json),
    _connpool_load(timestamptz, timestamptz), _connpool_is_recorded(timestamptz, timestamptz),
    _connpool_is_recorded_before(timestamptz),
    _connpool_worst_snapshot(bigint), _connpool_snapshot_pools(bigint, integer),
    _connpool_finding_locks(timestamptz, timestamptz),
    _connpool_finding_refusals(timestamptz, timestamptz, bigint),
    _connpool_finding_deadlocks(timestamptz, timestamptz),
    _connpool_finding_load(timestamptz, timestamptz),
    _connpool_raised_load(timestamptz, timestamptz),
    _connpool_finding_opened(timestamptz, timestamptz),
    _connpool_finding_connections(timestamptz, timestamptz),
    _connpool_blocking_tree(timestamptz, timestamptz),
    _connpool_history_text(text, boolean, timestamptz, timestamptz),
    _connpool_section(text, text, text, text),
    _connpool_findings(timestamptz, timestamptz, bigint),
    _connpool_timeline(timestamptz, timestamptz), _connpool_worst_moment(timestamptz, bigint),
    _connpool_blocking(timestamptz, timestamptz),
    _connpool_load_by_class(timestamptz, timestamptz),
    _connpool_load_by_statement(timestamptz, timestamptz),
    _connpool_refusals(timestamptz, timestamptz), _connpool_failures(timestamptz, timestamptz),
    _connpool_deadlock_list(timestamptz, timestamptz), _connpool_slowest(timestamptz, timestamptz),
    _connpool_hints(timestamptz, timestamptz), _connpool_sections(timestamptz, timestamptz, bigint)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    connpool_info(), connpool_audit(), connpool_metrics(),
    connpool_history(text, timestamptz, timestamptz, interval),
    connpool_plot(text, interval, integer, integer),
    connpool_session_history(timestamptz, timestamptz), connpool_load(timestamptz, timestamptz),
    connpool_load_history(timestamptz, timestamptz, interval),
    connpool_load_plot(interval, integer, integer), connpool_report(timestamptz, timestamptz),
    connpool_incident_report(bigint),
    _connpool_hint(text), _connpool_processors(), _connpool_application(text),
    _connpool_server_setting(text),
    _connpool_runbook(text), _connpool_code(text), _connpool_escape(text),
    _connpool_statement(text), _connpool_pool(text, text, text),
    _connpool_root(integer, text, text, text, text), _connpool_table(json),
    _connpool_load(timestamptz, timestamptz), _connpool_is_recorded(timestamptz, timestamptz),
    _connpool_is_recorded_before(timestamptz),
    _connpool_worst_snapshot(bigint), _connpool_snapshot_pools(bigint, integer),
    _connpool_finding_locks(timestamptz, timestamptz),
    _connpool_finding_refusals(timestamptz, timestamptz, bigint),
    _connpool_finding_deadlocks(timestamptz, timestamptz),
    _connpool_finding_load(timestamptz, timestamptz),
    _connpool_raised_load(timestamptz, timestamptz),
    _connpool_finding_opened(timestamptz, timestamptz),
    _connpool_finding_connections(timestamptz, timestamptz),
    _connpool_blocking_tree(timestamptz, timestamptz),
    _connpool_history_text(text, boolean, timestamptz, timestamptz),
    _connpool_section(text, text, text, text),
    _connpool_findings(timestamptz, timestamptz, bigint),
    _connpool_timeline(timestamptz, timestamptz), _connpool_worst_moment(timestamptz, bigint),
    _connpool_blocking(timestamptz, timestamptz),
    _connpool_load_by_class(timestamptz, timestamptz),
    _connpool_load_by_statement(timestamptz, timestamptz),
    _connpool_refusals(timestamptz, timestamptz), _connpool_failures(timestamptz, timestamptz),
    _connpool_deadlock_list(timestamptz, timestamptz), _connpool_slowest(timestamptz, timestamptz),
    _connpool_hints(timestamptz, timestamptz), _connpool_sections(timestamptz, timestamptz, bigint)
    TO pg_monitor;
GRANT SELECT ON
    connpool_sessions, connpool_running_queries, connpool_connection_states, connpool_clients,
    connpool_blocked_queries, connpool_lock_log, connpool_deadlocks, connpool_leaks,
    connpool_leak_log, connpool_leak_stats, slow_queries, connpool_alerts, connpool_alert_log,
    connpool_incidents, connpool_incident_sessions, connpool_errors, connpool_rejections,
    connpool_rejection_log, connpool_query_stats, connpool_query_histogram,
    connpool_slow_statements, connpool_pools, connpool_session_stats, connpool_load_stats,
    connpool_pool_advice, connpool_session_features, connpool_batch_candidates,
    connpool_cache_candidates, connpool_pgbouncer, connpool_pgbouncer_pools,
    connpool_pgbouncer_stats
    TO pg_monitor;

-- Default privileges of the role that creates the extension may have granted EXECUTE on
-- connpool_reset(), which erases what is recorded, to roles that should only read.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %s', p.oid::regprocedure,
                                 a.grantee::regrole)
        FROM pg_proc p, aclexplode(p.proacl) a
        WHERE p.oid = 'connpool_reset(text)'::regprocedure AND a.grantee <> p.proowner
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;

-- The functions behind views check their callers themselves. Grant EXECUTE explicitly, because
-- ALTER DEFAULT PRIVILEGES may have removed the default.
GRANT EXECUTE ON FUNCTION
    get_connection_stats(), connpool_health(), connpool_live_sessions(text, bigint),
    connpool_blocked_queries(bigint), connpool_lock_log(bigint), connpool_deadlocks(bigint),
    connpool_leaks(bigint), connpool_leak_log(bigint), connpool_leak_stats(bigint),
    slow_queries(bigint), connpool_alerts(bigint), connpool_alert_log(bigint),
    connpool_query_stats(bigint), connpool_incidents(bigint), connpool_incident_sessions(bigint),
    connpool_query_histogram(bigint), connpool_slow_statements(bigint), connpool_pools(bigint),
    connpool_load_stats(bigint), connpool_pool_advice(bigint), connpool_session_features(bigint),
    connpool_session_stats(bigint), connpool_errors(bigint), connpool_rejections(bigint),
    connpool_rejection_log(bigint), connpool_pgbouncer(bigint), connpool_pgbouncer_pools(bigint),
    connpool_pgbouncer_stats(bigint), connpool_batch_candidates(bigint),
    connpool_cache_candidates(bigint)
    TO PUBLIC;

-- ALTER VIEW can make an ordinary role the owner of a view. If that role could not read this
-- table, the view would fail. With the privilege, the view finds the table empty, and its function
-- checks the reader's privileges.
GRANT SELECT ON _connpool_view_pass TO PUBLIC;

-- Move all objects to the extension's schema.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT pg_catalog.format('ALTER %s %s SET SCHEMA %I', o.kind, o.name, n.nspname)
        FROM (SELECT 'FUNCTION', p.oid::regprocedure::text
              FROM pg_proc p WHERE p.pronamespace = '_connpool_install'::regnamespace
              UNION ALL
              SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'FOREIGN TABLE' END,
                     c.oid::regclass::text
              FROM pg_class c WHERE c.relnamespace = '_connpool_install'::regnamespace)
             AS o (kind, name),
             pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'connpool_monitor'
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;
DROP SCHEMA _connpool_install;
