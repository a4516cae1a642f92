# SPDX-License-Identifier: PostgreSQL
# Without the library in shared_preload_libraries, live views and functions work and all others
# report how to enable them. LOAD and CREATE EXTENSION work too. Needs a server with other
# preloaded libraries than the regression tests.
# scripts/test: slow, 13 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node(
	'not_preloaded', "max_prepared_transactions = 2\nconnpool_monitor.leak_age = '50ms'",
	preload => '',
	no_extension => 1);

$node->safe_psql('postgres', q{LOAD 'connpool_monitor'});
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
pass('LOAD and CREATE EXTENSION work without preloading');

is( $node->safe_psql(
		'postgres', 'SELECT string_agg(metric_name, \' \') FROM get_connection_stats()'),
	'active_connections idle_connections long_transactions total_connections idle_in_transaction '
	  . 'leak_suspects blocked_sessions oldest_transaction_seconds long_queries',
	'get_connection_stats() returns the live metrics, and none that needs samples or counters');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT preloaded, sampler_running, samples, shared_memory_bytes, problem
		FROM connpool_info()
		SQL
	'f|f|0|0|connpool_monitor is not in shared_preload_libraries: no history, no alerts',
	'connpool_info() reports that the library is not preloaded');
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() ->> 'status', connpool_health() -> 'sampler'}),
	'healthy|{"running": false, "lastSampleAgeMs": null}',
	'connpool_health() uses live metrics and reports that no sampler runs');

foreach my $view (
	qw(connpool_sessions connpool_running_queries connpool_connection_states connpool_clients
	connpool_blocked_queries connpool_leaks))
{
	my ($status) = $node->psql('postgres', "TABLE $view");
	is($status, 0, "$view works without preloading");
}
$node->safe_psql('postgres', q{BEGIN; CREATE TABLE p (); PREPARE TRANSACTION 'p'});
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM connpool_leaks WHERE kind = 'prepared'},
	'connpool_leaks lists prepared transactions');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT connpool_health() ->> 'status',
		       connpool_health() -> 'checks' -> 'leak_suspects' ->> 'status'
		SQL
	'degraded|WARNING',
	'a prepared transaction degrades health at once, because alerts do not delay it');
like(
	$node->safe_psql('postgres', q{SELECT queries IS NULL, holds FROM connpool_leaks}),
	qr/^t\|AccessExclusiveLock on relation \d+, .*; xid \d+ transactions? old$/,
	'connpool_leaks shows the locks and the xid of a prepared transaction');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'p'});

# connpool_leaks needs samples to find waits for clients, and no sampler runs
{
	my $loader = Wire->connect_to($node, 'loader',
		user => $node->safe_psql('postgres', 'SELECT current_user'));
	my $holder = session($node, 'holder');
	$loader->query('CREATE TEMP TABLE t (a int)');
	$loader->send_message('Q', "COPY t FROM STDIN\0")->read_until('G');
	$holder->query_safe('BEGIN; LOCK TABLE pg_class IN ACCESS SHARE MODE');
	poll_ok(
		$node,
		q{SELECT count(*) = 1 FROM connpool_leaks WHERE application_name = 'holder'},
		'an idle transaction becomes a suspect');
	is( $node->safe_psql(
			'postgres',
			q{SELECT application_name, kind, queries IS NULL, holds FROM connpool_leaks}),
		'holder|idle_in_transaction|t|AccessShareLock on pg_catalog.pg_class',
		'connpool_leaks shows the locks of the suspect, and no COPY that waits for its client');
	$loader->abandon;
	leave($holder);
}

foreach my $query (
	(   map { "TABLE connpool_$_" }
		qw(alerts alert_log errors rejections rejection_log query_stats query_histogram pools
		slow_statements incidents incident_sessions session_stats leak_log leak_stats lock_log
		deadlocks pool_advice
		session_features load_stats pgbouncer pgbouncer_pools pgbouncer_stats)),
	'SELECT connpool_reset()',
	'SELECT * FROM connpool_history()',
	'SELECT * FROM connpool_session_history()',
	'SELECT * FROM connpool_load()',
	'SELECT * FROM connpool_load_history()',
	'SELECT connpool_load_plot()',
	q{SELECT connpool_plot('total_connections')},
	'SELECT connpool_metrics()',
	'SELECT * FROM connpool_audit()')
{
	my (undef, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$query");
	like(
		$stderr,
		qr/ERROR:  55000: .*preloaded.*HINT:  Add connpool_monitor to shared_preload_libraries/s,
		"$query reports that it needs shared_preload_libraries");
}
my (undef, undef, $stderr) =
  $node->psql('postgres', "\\set VERBOSITY verbose\nTABLE slow_queries");
like(
	$stderr,
	qr/ERROR:  55000: slow_queries needs pg_stat_statements.*HINT:  .*shared_preload_libraries/s,
	'slow_queries reports that it needs pg_stat_statements');

# settings in postgresql.conf take effect as soon as a session loads the library
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM get_connection_stats(); SHOW connpool_monitor.leak_age}
	),
	"9\n50ms",
	'settings in postgresql.conf take effect without preloading');
my ($status) = $node->psql('postgres',
	"SELECT connpool_health(); ALTER SYSTEM SET connpool_monitor.sample_interval = 1");
isnt($status, 0, 'ALTER SYSTEM rejects an invalid setting without preloading');

$node->safe_psql('postgres', 'DROP EXTENSION connpool_monitor');
$node->stop('fast');

# preloaded, but without slots for the workers: views report the problem and live values still work
my $full = new_node('no_worker_slot', 'max_worker_processes = 0');
is( $full->safe_psql(
		'postgres', q{SELECT preloaded, sampler_running, samples, problem FROM connpool_info()}),
	't|f|0|the sampler has not started: if this persists, raise max_worker_processes and restart, or see the server log; '
	  . 'the saver is not running, so a crash would lose all statistics: if this persists, raise max_worker_processes and restart, or see the server log',
	'without worker slots connpool_info() names each worker that is missing');
cmp_ok(log_count($full, 'too many background workers'),
	'>=', 1, 'the server logs at startup that worker slots are missing');
is($full->safe_psql('postgres', q{SELECT count(*) FROM get_connection_stats()}),
	'15', 'get_connection_stats() returns all metrics without a sampler');
is($full->safe_psql('postgres', q{SELECT count(*) FROM connpool_history()}),
	'0', 'the history is empty without a sampler');
is( $full->safe_psql('postgres', <<~'SQL'),
		SELECT CASE WHEN clock_timestamp() - pg_postmaster_start_time() > interval '9 s'
		            THEN 'healthy'
		            ELSE connpool_health() ->> 'status' END
		SQL
	'healthy', 'health stays healthy while a sampler may still start, for ten seconds');
poll_ok(
	$full,
	q{SELECT connpool_health() ->> 'status' = 'degraded'},
	'health becomes degraded when a sampler has not started in time');
is($full->safe_psql('postgres', q{SELECT connpool_health() -> 'sampler' ->> 'running'}),
	'false', 'connpool_health() reports that the sampler does not run');
$full->stop('fast');
done_testing();
