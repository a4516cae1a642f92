-- SPDX-License-Identifier: PostgreSQL
-- The history of a running sampler: its rows agree with the sessions, times without
-- samples have no rows, and invalid arguments raise an error.
DO $$
BEGIN
    FOR i IN 1..600 LOOP
        PERFORM pg_sleep(0.11);
        EXIT WHEN (SELECT samples >= 3 FROM connpool_info());
    END LOOP;
END $$;
SELECT preloaded, sampler_running, samples >= 3 AS has_sampled, sample_time > 0 AS has_cost,
       shared_memory_bytes > 0 AS has_memory, problem
FROM connpool_info();

SELECT metric_name, count(*) >= 3 AS has_rows, bool_and(avg_value <= max_value) AS avg_below_max
FROM connpool_history(since => now() - interval '5 minutes') GROUP BY metric_name ORDER BY metric_name;
-- this session was open while at least one sample was taken
SELECT max(max_value) >= 1 AS counts_this_session FROM connpool_history('total_connections', now() - interval '5 minutes');
SELECT count(*) FROM connpool_history('total_connections', now() - interval '1 day', now() - interval '23 hours');
SELECT count(*) FROM connpool_history('total_connections', now(), now() - interval '1 hour');
SELECT DISTINCT resolution = (current_setting('connpool_monitor.sample_interval'))::interval AS is_interval
FROM connpool_history(resolution => current_setting('connpool_monitor.sample_interval')::interval);
SELECT count(*) > 0 AS all_of_it FROM connpool_history(NULL, NULL, NULL, NULL);

SELECT * FROM connpool_history('nonsense');
SELECT * FROM connpool_history('total_connections', resolution => '7 minutes');

-- this session was asleep in a statement when the samples were taken
SELECT state, wait_event, bool_or(query IS NOT NULL) AS has_query, bool_and(state_age < '1 min') AS has_age
FROM connpool_session_history(until => clock_timestamp())
WHERE pid = pg_backend_pid() AND wait_event = 'PgSleep' GROUP BY 1, 2;
SELECT wait_class, wait_event, avg_sessions > 0 AS has_load, share BETWEEN 0 AND 1 AS has_share
FROM connpool_load(until => clock_timestamp()) WHERE wait_event = 'PgSleep' LIMIT 1;
SELECT count(*) FROM connpool_session_history(now(), now() - interval '1 hour');
SELECT count(*) FROM connpool_load(now(), now() - interval '1 hour');

-- load by wait class: this session sleeps until a sample counts it
DO $$
BEGIN
    FOR i IN 1..600 LOOP
        PERFORM pg_sleep(0.11);
        EXIT WHEN (SELECT count(*) > 0 FROM connpool_load_stats
                   WHERE period = 'last_minute' AND wait_class = 'timeout' AND database = current_database());
    END LOOP;
END $$;
SELECT period, bool_and(avg_sessions > 0) AS has_load, round(sum(share)::numeric, 6) AS shares
FROM connpool_load_stats GROUP BY period ORDER BY period;
SELECT wait_class, max(avg_sessions) > 0 OR wait_class <> 'timeout' AS has_slept
FROM connpool_load_history(now() - interval '5 minutes', clock_timestamp()) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM connpool_load_history(now() - interval '1 day', now() - interval '23 hours');
SELECT count(*) > 0 AS all_of_it FROM connpool_load_history(NULL, NULL, NULL);
SELECT * FROM connpool_load_history(resolution => '7 minutes');

-- health agrees with the counts and has the time at which it was evaluated
SELECT h ->> 'status' AS status, (h ->> 'timestamp') ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$' AS is_iso,
       abs(extract(epoch FROM clock_timestamp() - (h ->> 'timestamp')::timestamptz)) < 60 AS is_now,
       (h -> 'stats' ->> 'totalConnections')::int = (SELECT count(*) FROM connpool_sessions) AS total_agrees,
       h -> 'stats' -> 'pooledConnections' AS pooled, h -> 'sampler' ->> 'running' AS running, h -> 'error' AS error
FROM connpool_health() h;
SELECT k AS checked FROM jsonb_object_keys(connpool_health() -> 'checks') k ORDER BY 1;
SELECT jsonb_object_keys(connpool_health() -> 'checks' -> 'total_connections') ORDER BY 1;

SELECT metric_name, status, since IS NOT NULL AS has_since, message, culprit FROM connpool_alerts;
SELECT * FROM connpool_alert_log;

-- A reset removes all earlier rows, and the history continues. The query reads samples, because a
-- minute's row has the start of the minute as its time, which may be before the reset.
SELECT clock_timestamp() - interval '100 ms' AS before_reset \gset
SELECT connpool_reset('history');
SELECT count(*) = 0 AS is_gone FROM connpool_history(resolution => current_setting('connpool_monitor.sample_interval')::interval) WHERE sample_time < :'before_reset';
SELECT count(*) = 0 AS is_gone FROM connpool_session_history(now() - interval '1 day', clock_timestamp()) WHERE sample_time < :'before_reset';
DO $$
BEGIN
    FOR i IN 1..600 LOOP
        PERFORM pg_sleep(0.05);
        EXIT WHEN (SELECT count(*) >= 2 FROM connpool_history('total_connections', now() - interval '5 minutes', until => clock_timestamp()));
    END LOOP;
END $$;
SELECT min(sample_time) > now() - interval '1 min' AS goes_on FROM connpool_history('total_connections', now() - interval '5 minutes');
SELECT connpool_reset('alerts');
SELECT connpool_reset('counters');
SELECT connpool_reset('everything');
SELECT connpool_reset(NULL);

-- size and arguments of charts; t/017_history.pl checks what they show
SELECT count(*) AS lines FROM connpool_plot('total_connections', width => 60, height => 5);
SELECT connpool_plot('nonsense');
SELECT connpool_plot('total_connections', width => 19);
SELECT count(*) AS lines FROM connpool_plot('average_query_time_ms', width => 20, height => 3);
SELECT connpool_plot('total_connections', interval '-1 hour');
SELECT count(*) AS lines FROM connpool_load_plot(width => 60, height => 5);
SELECT connpool_load_plot(height => 2);
SELECT connpool_load_plot(interval '-1 hour');
