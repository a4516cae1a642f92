-- SPDX-License-Identifier: PostgreSQL
-- Defaults and ranges of all settings, and the errors for invalid values.
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'connpool\_monitor.%' ORDER BY name;
SELECT name FROM pg_settings WHERE name LIKE 'connpool\_monitor.%' AND (short_desc IS NULL OR short_desc !~ '\.$');
-- invalid values
ALTER SYSTEM SET connpool_monitor.silent_metrics = 'total_connections, nonsense';
ALTER SYSTEM SET connpool_monitor.silent_metrics = 'total_connections,,';
ALTER SYSTEM SET connpool_monitor.exempt_applications = 'two words';
ALTER SYSTEM SET connpool_monitor.exempt_applications = 'pg_dump, /app';
ALTER SYSTEM SET connpool_monitor.exempt_applications = 'app/, pg_dump';
ALTER SYSTEM SET connpool_monitor.exempt_applications = 'pg_dump, ""';
ALTER SYSTEM SET connpool_monitor.total_connections_warning = -0.5;
ALTER SYSTEM SET connpool_monitor.active_connections_max = 0;
-- the text of these errors depends on the version of PostgreSQL
\set VERBOSITY sqlstate
ALTER SYSTEM SET connpool_monitor.total_connections_warning = 1001;
ALTER SYSTEM SET connpool_monitor.sample_interval = '99ms';
ALTER SYSTEM SET connpool_monitor.leak_age = 0;
SET connpool_monitor.sample_interval = '2s';
SET connpool_monitor.nonsense = 1;
\set VERBOSITY default
-- values can have a unit
SET connpool_monitor.slow_statement_time = '1.5s';
SHOW connpool_monitor.slow_statement_time;
RESET connpool_monitor.slow_statement_time;
CREATE ROLE cpm_settings_plain;
SET ROLE cpm_settings_plain;
\set VERBOSITY sqlstate
SET connpool_monitor.slow_statement_time = '1ms';
SET connpool_monitor.slow_query_mean_time = '1ms';
RESET ROLE;
DROP ROLE cpm_settings_plain;
\set VERBOSITY default
ALTER SYSTEM RESET connpool_monitor.sample_interval;
ALTER SYSTEM RESET connpool_monitor.active_connections_max;
ALTER SYSTEM RESET connpool_monitor.idle_connections_max;
ALTER SYSTEM RESET connpool_monitor.leak_age;
ALTER SYSTEM RESET connpool_monitor.failed_query_percent_warning;
ALTER SYSTEM RESET connpool_monitor.failed_query_percent_critical;
SELECT pg_reload_conf();
