-- SPDX-License-Identifier: PostgreSQL
-- Every role can read counts, and members of pg_monitor everything else. If
-- another role is granted a view, the view hides the same details of other roles'
-- sessions as pg_stat_activity does.
CREATE ROLE cpm_plain;
CREATE ROLE cpm_monitor IN ROLE pg_monitor;
CREATE ROLE cpm_reader;

SELECT relname, pg_get_userbyid(acl.grantee) AS grantee, acl.privilege_type
FROM pg_class c, aclexplode(c.relacl) acl
WHERE (relname LIKE 'connpool%' OR relname = 'slow_queries') AND acl.grantee <> c.relowner
ORDER BY 1, 2;
SELECT proname, CASE acl.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(acl.grantee) END AS grantee
FROM pg_proc p, aclexplode(p.proacl) acl
WHERE proname LIKE 'connpool%' AND acl.grantee <> p.proowner
ORDER BY 1, 2;

SET ROLE cpm_plain;
SELECT current_value > 0 AS counts FROM get_connection_stats() WHERE metric_name = 'total_connections';
SELECT connpool_health() -> 'stats' ->> 'maxConnections' = current_setting('max_connections') AS counts;
SELECT * FROM connpool_sessions;
SELECT * FROM connpool_running_queries;
SELECT * FROM connpool_connection_states;
SELECT * FROM connpool_clients;
SELECT * FROM connpool_blocked_queries;
SELECT * FROM connpool_leaks;
SELECT * FROM slow_queries;
SELECT * FROM connpool_batch_candidates;
SELECT * FROM connpool_cache_candidates;
SELECT * FROM connpool_alerts;
SELECT * FROM connpool_alert_log;
SELECT * FROM connpool_history();
SELECT * FROM connpool_session_history();
SELECT * FROM connpool_load();
SELECT connpool_report(now());
SELECT connpool_incident_report();
SELECT * FROM connpool_load_stats;
SELECT * FROM connpool_load_history();
SELECT * FROM connpool_info();
-- the functions behind the views are refused as well
SELECT * FROM connpool_live_sessions('connpool_sessions');
SELECT * FROM connpool_live_sessions('pg_stat_statements');
SELECT * FROM connpool_blocked_queries();
SELECT * FROM connpool_leaks();
SELECT * FROM slow_queries();
SELECT * FROM connpool_batch_candidates();
SELECT * FROM connpool_cache_candidates();
SELECT * FROM connpool_alerts();
SELECT * FROM connpool_alert_log();
SELECT * FROM connpool_errors();
SELECT * FROM connpool_rejections();
SELECT * FROM connpool_rejection_log();
SELECT * FROM connpool_load_stats();
SELECT connpool_reset();

-- a grant on a view suffices to read it, and shows no more than pg_stat_activity
RESET ROLE;
GRANT SELECT ON connpool_sessions, connpool_clients TO cpm_reader;
SET ROLE cpm_reader;
SELECT role = session_user AS same_role, client_addr, state, connected_at, state_age, xact_age
FROM connpool_sessions WHERE pid = pg_backend_pid();
SELECT state IS NULL AND backend_start IS NULL AND query = '<insufficient privilege>' AS so_does_pg_stat_activity
FROM pg_stat_activity WHERE pid = pg_backend_pid();
SELECT connections > 0 AS counted, active, idle, idle_in_transaction, oldest_session
FROM connpool_clients WHERE role = session_user;
SELECT DISTINCT query FROM connpool_live_sessions('connpool_sessions') WHERE role = session_user;

-- a member of pg_monitor sees every session
SET ROLE cpm_monitor;
SELECT state, connected_at IS NOT NULL AS connected_at, xact_age IS NOT NULL AS xact_age
FROM connpool_sessions WHERE pid = pg_backend_pid();
SELECT count(*) > 0 AS has_rows FROM connpool_alerts;
SELECT preloaded FROM connpool_info();
RESET ROLE;

DROP OWNED BY cpm_plain, cpm_monitor, cpm_reader;
DROP ROLE cpm_plain, cpm_monitor, cpm_reader;
