-- get_connection_stats() of the source document, verbatim. bench/connection-stats
-- measures the extension's function of the same name against it.
CREATE OR REPLACE FUNCTION get_connection_stats()
RETURNS TABLE(
    metric_name TEXT,
    current_value INTEGER,
    max_value INTEGER,
    status TEXT
) AS $$
BEGIN
    -- Active connections
    RETURN QUERY
    SELECT
        'active_connections'::TEXT,
        COUNT(*)::INTEGER,
        100::INTEGER,  -- Assumed max connections
        CASE WHEN COUNT(*) < 80 THEN 'OK'
             WHEN COUNT(*) < 95 THEN 'WARNING'
             ELSE 'CRITICAL' END::TEXT
    FROM pg_stat_activity
    WHERE state = 'active';

    -- Idle connections
    RETURN QUERY
    SELECT
        'idle_connections'::TEXT,
        COUNT(*)::INTEGER,
        50::INTEGER,
        CASE WHEN COUNT(*) < 40 THEN 'OK' ELSE 'WARNING' END::TEXT
    FROM pg_stat_activity
    WHERE state = 'idle';

    -- Long-running transactions
    RETURN QUERY
    SELECT
        'long_transactions'::TEXT,
        COUNT(*)::INTEGER,
        5::INTEGER,
        CASE WHEN COUNT(*) = 0 THEN 'OK'
             WHEN COUNT(*) < 3 THEN 'WARNING'
             ELSE 'CRITICAL' END::TEXT
    FROM pg_stat_activity
    WHERE state = 'active'
    AND query_start < NOW() - INTERVAL '30 seconds';
END;
$$ LANGUAGE plpgsql;
