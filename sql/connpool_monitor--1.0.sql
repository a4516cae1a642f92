-- SPDX-License-Identifier: PostgreSQL
/* connpool_monitor--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION connpool_monitor CASCADE" to load this file. \quit

-- Users may have created get_connection_stats() and slow_queries themselves, as the document on
-- which this extension is based suggests. If so, fail before creating anything, with a hint.
CREATE FUNCTION _connpool_install_check() RETURNS void
AS 'MODULE_PATHNAME', 'connpool_install_check_1_0' LANGUAGE C STRICT;
SELECT _connpool_install_check();
DROP FUNCTION _connpool_install_check();

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
    'the present value of every metric, its maximum and its status: OK, WARNING or CRITICAL';

-- The privileges on a view decide who may read it, as they do for pg_stat_activity. But PostgreSQL
-- checks EXECUTE on the functions in a view against the reader, so EXECUTE on the functions behind
-- the views is granted to PUBLIC. These functions return rows to a caller that presents the pass,
-- or that has SELECT on the whole view. The pass is in this foreign table, which has a row only
-- for views that a superuser owns and is empty for all other queries.
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
    'holds the value by which functions recognize a call from a view of the extension; empty for every other query';

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
           clock_timestamp() - min(s.connected_at) AS oldest_session
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
    'sessions that wait for a heavyweight lock, the sessions that block each, and the one at the root of the chain';

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
    'sessions and prepared transactions that look forgotten, with how long each has been held, how many sessions it blocks, how many statements it has run (0: never used), its locks and the ages of its xmin and xid';

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
    'the last 1000 former leak suspects, newest first; outcome is "released" if the session resumed work, "ended" if it never did';

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
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 3;
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
    'the values of one metric, or of every metric, from since to until; there are no rows for times without samples';

CREATE FUNCTION connpool_plot(
    metric text,
    since interval DEFAULT interval '1 hour',
    width integer DEFAULT 72,
    height integer DEFAULT 12
) RETURNS SETOF text
AS 'MODULE_PATHNAME', 'connpool_plot_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 16;
COMMENT ON FUNCTION connpool_plot(text, interval, integer, integer) IS
    'the history of a metric as a text chart, with its present thresholds';

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
    'the alert of each metric: its status, since when, its values and thresholds, and the main contributor (culprit)';

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
    'the last 1000 status changes of alerts, newest first; seq numbers the changes and is part of each notification; numbers can repeat after a crash';

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
    'the last 50 incidents, newest first: periods in which an alert was not OK or connections were refused for want of a slot; ended_at is NULL while one is on';

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
    OUT sessions integer
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_incident_sessions_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION connpool_incident_sessions(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_incident_sessions AS
    SELECT * FROM connpool_incident_sessions((SELECT pass FROM _connpool_view_pass));
COMMENT ON VIEW connpool_incident_sessions IS
    'the sessions in up to 8 snapshots of each incident, newest incident first: one row for each session that was not idle, up to 200, and one for each pool and state of all others, with pid NULL and their number in sessions';

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
    'client statements in the last minute, in the last hour and since the reset: how many, how many failed, and their times in milliseconds';

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
    OUT avg_setup_time double precision
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_pools_1_0'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION connpool_pools(bigint) IS
    'returns the rows of the view of the same name; fails unless that view calls it or the caller may read the view';

CREATE VIEW connpool_pools AS
    SELECT * FROM connpool_pools((SELECT pass FROM _connpool_view_pass)) p
    ORDER BY p.connections DESC, p.queries DESC, p.database, p.role, p.application_name;
COMMENT ON VIEW connpool_pools IS
    'one row per pool, that is per database, role and application (grouped by connpool_monitor.application_grouping): its connections, and since the reset how its sessions ended, its statements and their times in milliseconds';

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
    'for each pool: the session features that transaction pooling breaks and that the pool has used, how often and when last';

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
    'one row: sessions opened and ended since the reset, percentiles of their setup time (milliseconds) and duration (seconds)';

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
    'the last 1000 refused connection attempts, newest first, with the names that the clients sent; repeated attempts less than a minute apart share a row, from first_at to at';

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
    'SHOW STATS of each PgBouncer: totals since it started and averages of its last stats_period; times in microseconds, age is the age of the answer';

-- Health, metrics, audit, and the extension itself

CREATE FUNCTION connpool_health() RETURNS jsonb
AS 'MODULE_PATHNAME', 'connpool_health_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION connpool_health() IS
    'whether an ordinary role can connect, and the result of every check: healthy, degraded or unhealthy, with the counts';

CREATE FUNCTION connpool_metrics() RETURNS text
AS 'MODULE_PATHNAME', 'connpool_metrics_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION connpool_metrics() IS
    'all metrics in the Prometheus text format 0.0.4, as /metrics serves them over HTTP';

CREATE FUNCTION connpool_audit() RETURNS TABLE (
    practice text,
    status text,
    evidence text,
    advice text
)
AS 'MODULE_PATHNAME', 'connpool_audit_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 7;
COMMENT ON FUNCTION connpool_audit() IS
    'seven practices for database connections, each rated by what this server has measured: OK, ADVICE, WARNING or UNKNOWN';

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
    'statements of pg_stat_statements that look like loops over single rows (N+1), with the evidence; low confidence where independent requests look the same';

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
    OUT problem text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'connpool_info_1_0'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION connpool_info() IS
    'status of the extension itself: whether it is preloaded and samples, the cost of a sample in milliseconds, and problems to fix';

CREATE FUNCTION connpool_reset(what text DEFAULT 'all') RETURNS void
AS 'MODULE_PATHNAME', 'connpool_reset_1_0'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION connpool_reset(text) IS
    'resets "counters", "history", "alerts" or "all" of them';

-- PUBLIC may read counts only, through get_connection_stats() and connpool_health(). pg_monitor
-- may read everything else, which includes names and statements. Only superusers and roles to
-- which they grant it may call connpool_reset().

REVOKE ALL ON FUNCTION connpool_history(text, timestamptz, timestamptz, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION connpool_metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION connpool_plot(text, interval, integer, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION connpool_audit() FROM PUBLIC;
REVOKE ALL ON FUNCTION connpool_info() FROM PUBLIC;
REVOKE ALL ON FUNCTION connpool_reset(text) FROM PUBLIC;

-- Grant EXECUTE to PUBLIC explicitly, because ALTER DEFAULT PRIVILEGES may have removed that
-- default. The functions behind views check their callers themselves.
GRANT EXECUTE ON FUNCTION
    get_connection_stats(), connpool_health(), connpool_live_sessions(text, bigint),
    connpool_blocked_queries(bigint), connpool_leaks(bigint), connpool_leak_log(bigint), connpool_leak_stats(bigint),
    slow_queries(bigint), connpool_alerts(bigint), connpool_alert_log(bigint), connpool_query_stats(bigint),
    connpool_incidents(bigint), connpool_incident_sessions(bigint),
    connpool_query_histogram(bigint), connpool_slow_statements(bigint), connpool_pools(bigint),
    connpool_pool_advice(bigint), connpool_session_features(bigint), connpool_session_stats(bigint),
    connpool_errors(bigint), connpool_rejections(bigint), connpool_rejection_log(bigint), connpool_pgbouncer(bigint),
    connpool_pgbouncer_pools(bigint), connpool_pgbouncer_stats(bigint), connpool_batch_candidates(bigint),
    connpool_cache_candidates(bigint)
    TO PUBLIC;

-- ALTER VIEW may make an ordinary role the owner of a view. Such a view may read this table and
-- finds it empty, so that its function checks the reader's privileges instead.
GRANT SELECT ON _connpool_view_pass TO PUBLIC;

GRANT EXECUTE ON FUNCTION connpool_history(text, timestamptz, timestamptz, interval) TO pg_monitor;
GRANT EXECUTE ON FUNCTION connpool_metrics() TO pg_monitor;
GRANT EXECUTE ON FUNCTION connpool_plot(text, interval, integer, integer) TO pg_monitor;
GRANT EXECUTE ON FUNCTION connpool_audit() TO pg_monitor;
GRANT EXECUTE ON FUNCTION connpool_info() TO pg_monitor;
GRANT SELECT ON
    connpool_sessions, connpool_running_queries, connpool_connection_states, connpool_clients,
    connpool_blocked_queries, connpool_leaks, connpool_leak_log, connpool_leak_stats, slow_queries,
    connpool_alerts, connpool_alert_log, connpool_incidents, connpool_incident_sessions,
    connpool_errors, connpool_rejections, connpool_rejection_log, connpool_query_stats,
    connpool_query_histogram, connpool_slow_statements, connpool_pools, connpool_session_stats,
    connpool_pool_advice, connpool_session_features,
    connpool_batch_candidates, connpool_cache_candidates,
    connpool_pgbouncer, connpool_pgbouncer_pools, connpool_pgbouncer_stats
    TO pg_monitor;
