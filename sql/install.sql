-- SPDX-License-Identifier: PostgreSQL
-- CREATE EXTENSION gives a hint if one of its names is taken. The extension can
-- change its schema, and leaves nothing behind when it is dropped.
SET client_min_messages = warning;
\set SHOW_CONTEXT never

-- All regression tests need these settings besides those that the README describes. The last test,
-- settings, resets them.
ALTER SYSTEM SET connpool_monitor.sample_interval = '100ms';
ALTER SYSTEM SET connpool_monitor.active_connections_max = 100;
ALTER SYSTEM SET connpool_monitor.idle_connections_max = 50;
ALTER SYSTEM SET connpool_monitor.leak_age = '100ms';
ALTER SYSTEM SET connpool_monitor.failed_query_percent_warning = -1;
ALTER SYSTEM SET connpool_monitor.failed_query_percent_critical = -1;
SELECT pg_reload_conf();

-- users of the source document (see doc/pools.md) already have a function of this name
CREATE FUNCTION get_connection_stats() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION get_connection_stats();
CREATE FUNCTION get_connection_stats(int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION get_connection_stats(int);
CREATE DOMAIN slow_queries AS int;
CREATE EXTENSION connpool_monitor CASCADE;
DROP DOMAIN slow_queries;
CREATE VIEW slow_queries AS SELECT 1;
CREATE EXTENSION connpool_monitor CASCADE;
DROP VIEW slow_queries;
CREATE TABLE connpool_sessions (a int);
CREATE EXTENSION connpool_monitor CASCADE;
DROP TABLE connpool_sessions;
-- a function with other arguments, beside which calls could be ambiguous
CREATE FUNCTION connpool_plot(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION connpool_plot(text);
CREATE FUNCTION connpool_report(timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION connpool_report(timestamptz);
CREATE FUNCTION connpool_metrics(text DEFAULT '') RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION connpool_metrics(text);
CREATE FUNCTION connpool_info(VARIADIC int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION connpool_info(int[]);
CREATE FUNCTION connpool_leaks(int DEFAULT 0) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION connpool_leaks(int);
CREATE FUNCTION _connpool_code(text, int DEFAULT 0) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION connpool_monitor CASCADE;
DROP FUNCTION _connpool_code(text, int);

-- an older pg_stat_statements can be updated while the extension is installed
DROP EXTENSION IF EXISTS pg_stat_statements;
CREATE EXTENSION pg_stat_statements VERSION '1.4';
CREATE SCHEMA "Odd schema";
CREATE EXTENSION connpool_monitor SCHEMA "Odd schema";
SET connpool_monitor.slow_query_mean_time = 0;
SELECT count(*) > 0 AS finds_statements, bool_and(mean_time > 0) AS have_times
FROM "Odd schema".slow_queries;
ALTER EXTENSION pg_stat_statements UPDATE;
SELECT count(*) > 0 AS finds_statements, bool_and(mean_time > 0) AS have_times
FROM "Odd schema".slow_queries;

-- pg_stat_statements moves to another schema, and is then dropped
CREATE SCHEMA elsewhere;
ALTER EXTENSION pg_stat_statements SET SCHEMA elsewhere;
SELECT count(*) > 0 AS finds_statements FROM "Odd schema".slow_queries;
DROP EXTENSION pg_stat_statements;
DROP EXTENSION pg_stat_statements CASCADE;
CREATE EXTENSION connpool_monitor SCHEMA "Odd schema" CASCADE;

-- after a change of schema the views still find their functions
ALTER EXTENSION connpool_monitor SET SCHEMA elsewhere;
SELECT count(*) > 0 AS has_rows FROM elsewhere.connpool_sessions;
ALTER EXTENSION connpool_monitor SET SCHEMA public;
SELECT count(*) > 0 AS has_rows FROM connpool_sessions;

-- every object has a comment
SELECT pg_describe_object(classid, objid, 0) AS undocumented
FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
  AND deptype = 'e' AND obj_description(objid, classid::regclass::name) IS NULL
  AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass);

-- names and types of all columns, arguments and results
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
GROUP BY c.relname ORDER BY c.relname;
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM pg_proc WHERE proname IN ('get_connection_stats', 'connpool_history', 'connpool_health', 'connpool_info',
                                         'connpool_session_history', 'connpool_load')
ORDER BY proname;

-- DROP EXTENSION leaves nothing behind
DROP EXTENSION pg_stat_statements CASCADE;
DROP SCHEMA elsewhere, "Odd schema";
SELECT count(*) FROM pg_proc WHERE probin LIKE '%connpool_monitor%';
CREATE EXTENSION connpool_monitor CASCADE;
