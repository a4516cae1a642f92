-- SPDX-License-Identifier: PostgreSQL
-- get_connection_stats() replaces a function of the same name from a set-up
-- guide, the source document (see doc/pools.md). Both return the same for the
-- same sessions, if the settings have the constants of that function
-- (active_connections_max = 100, idle_connections_max = 50).

-- the session of the previous test must have ended
DO $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN (SELECT current_value = 1 FROM get_connection_stats()
                   WHERE metric_name = 'total_connections');
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

CREATE FUNCTION source_document_stats()
RETURNS TABLE (metric_name text, current_value integer, max_value integer, status text) AS $$
BEGIN
    RETURN QUERY
    SELECT 'active_connections'::text, count(*)::integer, 100,
           CASE WHEN count(*) < 80 THEN 'OK' WHEN count(*) < 95 THEN 'WARNING' ELSE 'CRITICAL' END::text
    FROM pg_stat_activity a WHERE a.state = 'active' AND a.backend_type = 'client backend';
    RETURN QUERY
    SELECT 'idle_connections'::text, count(*)::integer, 50,
           CASE WHEN count(*) < 40 THEN 'OK' ELSE 'WARNING' END::text
    FROM pg_stat_activity a WHERE a.state = 'idle' AND a.backend_type = 'client backend';
    RETURN QUERY
    SELECT 'long_transactions'::text, count(*)::integer, 5,
           CASE WHEN count(*) = 0 THEN 'OK' WHEN count(*) < 3 THEN 'WARNING' ELSE 'CRITICAL' END::text
    FROM pg_stat_activity a WHERE a.xact_start < now() - interval '30 seconds' AND a.backend_type = 'client backend';
END;
$$ LANGUAGE plpgsql;

SELECT * FROM source_document_stats();
SELECT * FROM get_connection_stats() LIMIT 3;
SELECT metric_name, max_value, status FROM get_connection_stats();

-- each call reads the sessions again, also twice in one transaction
BEGIN;
SELECT count(*) AS sessions FROM connpool_sessions WHERE application_name = 'renamed within';
SET LOCAL application_name = 'renamed within';
SELECT count(*) AS sessions FROM connpool_sessions WHERE application_name = 'renamed within';
ROLLBACK;

-- a session that does not track its activities counts in the total only
SET track_activities = off;
SELECT metric_name, current_value FROM get_connection_stats()
WHERE metric_name IN ('active_connections', 'total_connections');
SELECT state FROM connpool_sessions WHERE pid = pg_backend_pid();
RESET track_activities;

-- the sum of connections in each view is the number of sessions
SELECT (SELECT count(*) FROM connpool_sessions) =
       (SELECT sum(connections) FROM connpool_connection_states) AS states_agree,
       (SELECT count(*) FROM connpool_sessions) =
       (SELECT sum(connections) FROM connpool_clients) AS clients_agree,
       (SELECT count(*) FROM connpool_sessions) =
       (SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections') AS total_agrees;

-- a statement counts as a long query only while it is running
SET connpool_monitor.slow_statement_time = '1s';
SELECT count(*) AS when_just_begun FROM connpool_running_queries;
WITH slept AS MATERIALIZED (SELECT pg_sleep(1.1) AS slept)
SELECT r.application_name, r.running >= interval '50 ms' AS has_run, r.query LIKE 'WITH slept%' AS is_query
FROM slept, LATERAL (SELECT *, slept.slept FROM connpool_running_queries) r;
-- the metric depends on the server's setting, not on the reader's
WITH slept AS MATERIALIZED (SELECT pg_sleep(1.1) AS slept)
SELECT s.metric_name, s.current_value, s.max_value, s.status
FROM slept, LATERAL (SELECT *, slept.slept FROM get_connection_stats()) s WHERE s.metric_name = 'long_queries';
RESET connpool_monitor.slow_statement_time;

DROP FUNCTION source_document_stats();
