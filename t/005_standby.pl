# SPDX-License-Identifier: PostgreSQL
# On a hot standby the extension works as on a primary, during recovery and after a promotion.
# Needs two servers.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $primary =
  new_node('primary', "wal_level = replica\nmax_prepared_transactions = 2", allows_streaming => 1);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', <<'CONF');
connpool_monitor.total_connections_warning = 2
connpool_monitor.alert_after = '200ms'
connpool_monitor.leak_age = '50ms'
connpool_monitor.blocked_age = '100ms'
connpool_monitor.blocked_sessions_warning = 2
max_standby_streaming_delay = -1
CONF
$standby->start;

is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'),
	't', 'the standby is in recovery');
wait_samples($standby, 3);
my $total =
  q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections'};
poll_is($standby, $total, '1', 'total_connections of the standby counts its own sessions only');
poll_is($primary, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'},
	'1', 'the primary has a walsender');
poll_is($primary, $total, '1', 'total_connections of the primary does not count the walsender');
is($standby->safe_psql('postgres', <<~'SQL'), 't', 'the sampler runs in recovery');
	SELECT count(*) >= 3
	FROM connpool_history('total_connections', now() - interval '5 minutes')
	SQL

my @sessions = map { session($standby, 'reader') } 1 .. 3;
poll_ok(
	$standby,
	q{SELECT status = 'WARNING' FROM connpool_alerts WHERE metric_name = 'total_connections'},
	'the sampler raises an alert in recovery');
is(log_count($standby, 'WARNING:  connpool_monitor: WARNING: total_connections'),
	1, 'the sampler of a standby logs an alert once');
is($standby->safe_psql('postgres', q{SELECT connpool_health() ->> 'status'}),
	'degraded', 'an alert degrades health in recovery');

foreach my $view (
	qw(connpool_sessions connpool_running_queries connpool_connection_states connpool_clients
	connpool_blocked_queries connpool_leaks slow_queries connpool_alerts connpool_alert_log
	connpool_incidents connpool_incident_sessions
	connpool_errors connpool_rejections connpool_rejection_log connpool_load_stats
	connpool_lock_log connpool_deadlocks))
{
	my ($status) = $standby->psql('postgres', "TABLE $view");
	is($status, 0, "$view works in recovery");
}

# the standby replays prepared transactions of the primary, whose locks its startup process holds
$primary->safe_psql('postgres', <<~'SQL');
	CREATE TABLE locked ();
	BEGIN;
	LOCK TABLE locked;
	PREPARE TRANSACTION 'p';
	SQL
$primary->wait_for_catchup($standby);
my $startup = $standby->safe_psql('postgres', <<~'SQL');
	SELECT a.pid
	FROM pg_locks l
	JOIN pg_stat_activity a USING (pid)
	WHERE l.relation = 'locked'::regclass AND l.mode = 'AccessExclusiveLock' AND l.granted
	AND a.backend_type = 'startup'
	SQL
like($startup, qr/^\d+$/, 'the startup process holds the lock of a prepared transaction');
$sessions[0]->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM locked;\n");
poll_ok($standby, <<~"SQL", "the startup process is the root of a prepared transaction's waiters");
	SELECT count(*) = 1
	   AND bool_and(relation = 'locked' AND lock_mode = 'AccessShareLock'
	                AND root_blocker = $startup AND blocked_by = ARRAY[$startup])
	FROM connpool_blocked_queries
	SQL
poll_ok($standby, <<~"SQL", 'the history of a standby has the startup process as root blocker');
	SELECT count(*) > 0 FROM connpool_session_history() WHERE root_blocker = $startup
	SQL
is( $standby->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_leaks WHERE kind = 'prepared'}),
	'0',
	'a prepared transaction of the primary is no leak of the standby');
$primary->safe_psql('postgres', q{COMMIT PREPARED 'p'});
$primary->wait_for_catchup($standby);
$sessions[0]->query_safe('SELECT 1');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM connpool_blocked_queries'),
	'0', 'no session waits after the prepared transaction was committed');

# if replay waits for a session, other sessions queue behind the startup process
my $holder = session($standby, 'holder');
my $holder_pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe('BEGIN; SELECT count(*) FROM locked');
$primary->safe_psql('postgres', 'BEGIN; LOCK TABLE locked; COMMIT');
poll_ok($standby, <<~'SQL', 'the startup process waits for a lock of a session');
	SELECT count(*) = 1
	FROM pg_locks l
	JOIN pg_stat_activity a USING (pid)
	WHERE NOT l.granted AND a.backend_type = 'startup'
	SQL
$_->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM locked;\n")
  foreach @sessions[ 1, 2 ];
poll_ok($standby, <<~"SQL", 'sessions that queue behind replay have the session as root blocker');
	SELECT count(*) = 2
	   AND bool_and(root_blocker = $holder_pid AND blocked_by = ARRAY[$startup])
	FROM connpool_blocked_queries
	SQL
poll_is(
	$standby, "SELECT blocks FROM connpool_leaks WHERE pid = $holder_pid",
	'2', 'connpool_leaks does not count the startup process as a blocked session');
poll_stat($standby, 'blocked_sessions', '2|10|WARNING',
	'blocked_sessions does not count the startup process');
poll_is($standby, <<~'SQL', 't', 'the alert does not count the startup process');
	SELECT culprit LIKE 'Pid % of holder % holds up 2 sessions'
	FROM connpool_alerts
	WHERE metric_name = 'blocked_sessions'
	SQL
poll_is($standby, <<~"SQL", '2', 'the snapshot of an incident does not count the startup process');
	SELECT DISTINCT s.blocks
	FROM connpool_incident_sessions s
	WHERE s.pid = $holder_pid
	  AND 2 = (SELECT count(*)
	           FROM connpool_incident_sessions w
	           WHERE (w.incident_id, w.snapshot, w.root_blocker)
	               = (s.incident_id, s.snapshot, s.pid))
	SQL
$holder->query_safe('COMMIT');
$primary->wait_for_catchup($standby);
$_->query_safe('SELECT 1') foreach @sessions[ 1, 2 ];
leave($holder);
$primary->safe_psql('postgres', q{BEGIN; LOCK TABLE locked; PREPARE TRANSACTION 'kept'});
$primary->wait_for_catchup($standby);

my $samples = $standby->safe_psql('postgres', 'SELECT samples FROM connpool_info()');
my $sampler = $standby->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'the standby is promoted');
wait_samples($standby, 3);
is( $standby->safe_psql(
		'postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'}),
	$sampler,
	'the sampler keeps its process through the promotion');
is($standby->safe_psql('postgres', "SELECT samples > $samples FROM connpool_info()"),
	't', 'the number of samples grows through the promotion');
is(alert_of($standby, 'total_connections'),
	'WARNING', 'the alert stays raised through the promotion');
poll_ok($standby, <<~'SQL', 'after the promotion a prepared transaction is a leak with its locks');
	SELECT count(*) = 1
	   AND bool_and(query = $$PREPARE TRANSACTION 'kept'$$
	                AND holds LIKE 'AccessExclusiveLock on public.locked%')
	FROM connpool_leaks
	WHERE kind = 'prepared'
	SQL

$standby->stop('fast');
$primary->stop('fast');
done_testing();
