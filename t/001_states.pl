# SPDX-License-Identifier: PostgreSQL
# The metrics count every type of process and every state of a session as pg_stat_activity shows
# them. Needs several sessions at once, among them a walsender, a parallel query and a fast-path
# call that waits. A regression test cannot open these.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('states', <<'CONF', allows_streaming => 1);
max_connections = 40
max_prepared_transactions = 5
connpool_monitor.blocked_age = '50ms'
connpool_monitor.long_transaction_age = '100ms'
connpool_monitor.leak_age = '100ms'
connpool_monitor.slow_statement_time = '100ms'
CONF

$node->safe_psql('postgres', 'CREATE TABLE t (i int); INSERT INTO t VALUES (1)');
my $large_object = $node->safe_psql('postgres', 'SELECT lo_create(0)');

my $usable = sql($node, <<'SQL');
SELECT sum(CASE WHEN name = 'max_connections' THEN setting::int ELSE -setting::int END)
FROM pg_settings
WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
SQL
poll_stat($node, 'total_connections', "1|$usable|OK",
	'total_connections counts the calling session and no other process');
poll_stat(
	$node, 'idle_connections',
	'0|' . int($usable / 2) . '|OK',
	'the maximum of idle_connections is half the usable slots, rounded down');

# one session for each state
my $idle = session($node, 'idler');
my $open = session($node, 'opener');
$open->query_safe("BEGIN; UPDATE t SET i = 2; SELECT lo_unlink($large_object)");
my $failed = session($node, 'failer');
$failed->query('BEGIN; SELECT 1/0');
my $active = session($node, 'sleeper');
$active->query_until(qr/started/, "\\echo started\nSELECT pg_sleep(600);\n");
my $blocked = session($node, 'waiter');
$blocked->query_until(qr/started/, "\\echo started\nUPDATE t SET i = 3;\n");
my $fastpath = session($node, 'fastpath');
$fastpath->query_until(qr/started/, "\\echo started\n\\lo_unlink $large_object\n");
my $untracked = session($node, 'untracked');
$untracked->query_safe('SET track_activities = off');

# processes that take no slot of max_connections
my $walsender = $node->background_psql('postgres', replication => 'database');
$walsender->query_safe('IDENTIFY_SYSTEM');
my $parallel = session($node, 'parallel');
$parallel->query_safe(
	'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;
	SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	CREATE FUNCTION snooze(int) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE COST 1e8
	AS $$ BEGIN PERFORM pg_sleep(600); RETURN true; END $$;
	CREATE TABLE wide AS SELECT g FROM generate_series(1, 5000) g');
$parallel->query_until(qr/started/,
	"\\echo started\nSELECT count(*) FROM wide WHERE snooze(g);\n");

ok($node->poll_query_until('postgres', <<'SQL'), 'each session and process reaches its state')
SELECT count(*) FILTER (WHERE application_name = 'waiter' AND wait_event_type = 'Lock') = 1
   AND count(*) FILTER (WHERE state = 'fastpath function call' AND wait_event_type = 'Lock') = 1
   AND count(*) FILTER (WHERE backend_type = 'walsender') = 1
   AND count(*) FILTER (WHERE backend_type = 'parallel worker') = 2
   AND count(*) FILTER (WHERE application_name = 'sleeper' AND state = 'active') = 1
FROM pg_stat_activity
SQL
  or diag $node->safe_psql('postgres', 'table pg_stat_activity');

# compare each metric with pg_stat_activity in one statement
my $agreement = <<'SQL';
WITH a AS MATERIALIZED (SELECT * FROM pg_stat_activity WHERE backend_type = 'client backend'),
     s AS MATERIALIZED (SELECT * FROM get_connection_stats())
SELECT s.metric_name, s.current_value, e.expected
FROM s JOIN (VALUES
    ('active_connections',
     (SELECT count(*) FROM a WHERE state IN ('active', 'fastpath function call'))),
    ('idle_connections', (SELECT count(*) FROM a WHERE state = 'idle')),
    ('idle_in_transaction', (SELECT count(*) FROM a WHERE state LIKE 'idle in transaction%')),
    ('total_connections', (SELECT count(*) FROM a))
) e (metric_name, expected) USING (metric_name)
SQL
poll_is(
	$node,
	$agreement,
	"active_connections|5|5\nidle_connections|1|1\ntotal_connections|9|9\nidle_in_transaction|2|2",
	'the metrics count the client backends of pg_stat_activity in each state, and no other process'
);

poll_ok(
	$node,
	q{SELECT current_value = 2 FROM get_connection_stats() WHERE metric_name = 'blocked_sessions'},
	'blocked_sessions counts waits of an UPDATE and of a fast-path call');
poll_ok(
	$node,
	q{SELECT current_value = 2 FROM get_connection_stats() WHERE metric_name = 'leak_suspects'},
	'leak_suspects counts open and failed transactions');
poll_ok(
	$node,
	q{SELECT current_value = 4 FROM get_connection_stats() WHERE metric_name = 'long_queries'},
	'long_queries counts statements that sleep, wait, run in parallel or on the fast path');
poll_ok(
	$node, <<~'SQL',
			SELECT current_value = 5 AND status = 'CRITICAL'
			FROM get_connection_stats()
			WHERE metric_name = 'long_transactions'
			SQL
	'long_transactions counts transactions in any state but failed ones, which have no start time'
);

is( $node->safe_psql(
		'postgres', q{SELECT state FROM connpool_sessions WHERE application_name = 'fastpath'}),
	'fastpath function call',
	'connpool_sessions shows the state of a fast-path call');
is( $node->safe_psql(
		'postgres', q{SELECT state FROM connpool_sessions WHERE application_name = 'untracked'}),
	'disabled',
	'connpool_sessions shows a session without track_activities as disabled');
poll_is($node, <<'SQL', '', 'connpool_sessions agrees with pg_stat_activity in shared columns');
SELECT s.pid FROM connpool_sessions s FULL JOIN
    (SELECT * FROM pg_stat_activity WHERE backend_type = 'client backend') a USING (pid)
WHERE pid <> pg_backend_pid() AND
    (s.database, s.role, s.application_name, s.state, s.connected_at) IS DISTINCT FROM
    (a.datname::text, a.usename::text, a.application_name, a.state, a.backend_start)
SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT lock_mode, root_state, root_wait_event
		FROM connpool_blocked_queries
		WHERE application_name = 'waiter'
		SQL
	'ShareLock|idle in transaction|ClientRead',
	'connpool_blocked_queries shows the lock mode of the waiter and the state of the root blocker'
);
is( $node->safe_psql(
		'postgres', q{SELECT kind, application_name, blocks FROM connpool_leaks ORDER BY 2}),
	"idle_in_transaction|failer|0\nidle_in_transaction|opener|2",
	'connpool_leaks counts the sessions that each suspect blocks');

# PostgreSQL leaves the start time of a wait in shared memory after the wait failed
my $impatient = session($node, 'impatient');
$impatient->query_safe(q{SET lock_timeout = '100ms'});
$impatient->query('UPDATE t SET i = 4') foreach 1 .. 2;
wait_samples($node, 2);
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_blocked_queries WHERE application_name = 'impatient'}),
	'0',
	'connpool_blocked_queries leaves out a session that gave up waiting');
poll_ok($node, <<~'SQL', 'blocked_sessions leaves out a session that gave up waiting');
	SELECT current_value = 2
	FROM get_connection_stats(), pg_sleep(0.1)
	WHERE metric_name = 'blocked_sessions'
	SQL
leave($impatient);

# an exempt application has no long transactions, long queries or leak suspects
$node->safe_psql('postgres', <<~'SQL');
	ALTER SYSTEM SET connpool_monitor.exempt_applications =
	  'opener, failer, sleeper, "waiter", fastpath, parallel'
	SQL
$node->reload;
poll_ok(
	$node,
	q{SELECT current_value = 0 FROM get_connection_stats() WHERE metric_name = 'leak_suspects'},
	'leak_suspects leaves out exempt applications');
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_leaks}),
	'0', 'connpool_leaks leaves out exempt applications');
poll_stat($node, 'long_queries', '0|10|OK', 'long_queries leaves out exempt applications');

# Any client can set an exempt application_name, so an entry without a role applies only to roles
# that can read all data anyway, and every exemption ends.
$node->safe_psql('postgres',
	'CREATE ROLE app LOGIN; CREATE ROLE dumper LOGIN IN ROLE pg_read_all_data');
$node->safe_psql('postgres', <<~'SQL');
	ALTER SYSTEM SET connpool_monitor.exempt_applications =
	  'opener, failer, pg_dump, "app/night job"'
	SQL
$node->reload;
my %exempt =
  map { my ($role, $name) = @$_; ("$role $name" => Wire->connect_to($node, $name, user => $role)) }
  [ 'app', 'pg_dump' ], [ 'dumper', 'pg_dump' ], [ 'app', 'night job' ],
  [ 'dumper', 'night job' ];
$_->query('BEGIN; SELECT 1') foreach values %exempt;
my $suspected = <<~'SQL';
	SELECT string_agg(role || ' ' || application_name, ', ' ORDER BY role, application_name)
	FROM connpool_leaks
	WHERE kind = 'idle_in_transaction'
	SQL
poll_ok(
	$node,
	"SELECT ($suspected) = 'app pg_dump, dumper night job'",
	'an exemption without a role applies to roles with the privileges of pg_read_all_data');
is(stat_of($node, 'leak_suspects'),
	'2|5|WARNING', 'get_connection_stats() counts the two leak suspects');
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.exempt_limit = '1s'});
$node->reload;
poll_ok(
	$node,
	"SELECT ($suspected) LIKE '%app night job, app pg_dump, dumper night job, dumper pg_dump%'",
	'after exempt_limit an exempt session becomes a leak suspect');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET connpool_monitor.exempt_limit');
$node->reload;
$_->end foreach values %exempt;
poll_ok(
	$node,
	q{SELECT current_value = 0 FROM get_connection_stats() WHERE metric_name = 'leak_suspects'},
	'sessions that ended are no longer leak suspects');

# a prepared transaction holds locks as a session does
$node->safe_psql('postgres', q{BEGIN; CREATE TABLE prep (); PREPARE TRANSACTION 'it''s';});
poll_ok(
	$node,
	q{SELECT current_value = 1 FROM get_connection_stats() WHERE metric_name = 'leak_suspects'},
	'a prepared transaction becomes a leak suspect');
is( $node->safe_psql('postgres', q{SELECT kind, pid, role, state, query FROM connpool_leaks}),
	'prepared||'
	  . $node->safe_psql('postgres', 'SELECT session_user')
	  . q{|prepared|PREPARE TRANSACTION 'it''s'},
	'connpool_leaks lists a prepared transaction with its name and owner');
# of two prepared transactions, each blocks only the sessions that wait for its own locks
$node->safe_psql('postgres',
	q{CREATE TABLE two (i int PRIMARY KEY); INSERT INTO two VALUES (1), (2)});
$node->safe_psql('postgres',
	qq{BEGIN; UPDATE two SET i = i WHERE i = $_; PREPARE TRANSACTION 'row $_'})
  foreach 1, 2;
my $behind = session($node, 'behind');
$behind->query_until(qr/started/, "\\echo started\nUPDATE two SET i = i WHERE i = 2;\n");
poll_ok($node, <<~'SQL', 'root_blocker is 0 for a session that waits for a prepared transaction');
	SELECT count(*) = 1 AND bool_and(root_blocker = 0)
	FROM connpool_blocked_queries
	WHERE application_name = 'behind'
	SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT root_state, root_wait_event
		FROM connpool_blocked_queries
		WHERE application_name = 'behind'
		SQL
	'prepared|',
	'root_state shows a prepared transaction as prepared');
poll_ok(
	$node,
	q{SELECT string_agg(blocks::text, ' ' ORDER BY query) = '0 0 1' FROM connpool_leaks},
	'connpool_leaks attributes a waiter to the prepared transaction that holds its lock');
$node->safe_psql('postgres', qq{ROLLBACK PREPARED 'row $_'}) foreach 1, 2;
poll_ok(
	$node,
	q{SELECT max(max_value) >= 1 FROM connpool_history('leak_suspects', now() - interval '1 s')},
	'the sampler, which cannot read catalogs, counts the prepared transaction');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'it''s'});
poll_ok($node, <<~'SQL', 'the sampler stops counting a prepared transaction that ended');
	SELECT (SELECT max_value
	        FROM connpool_history('leak_suspects', now() - interval '5 minutes')
	        ORDER BY sample_time DESC LIMIT 1) = 0
	SQL

# the age of a prepared transaction survives a restart, in the sampler and in SQL
$node->safe_psql('postgres',
	q{BEGIN; CREATE TABLE prep (); PREPARE TRANSACTION 'old'; SELECT pg_sleep(1.2)});
foreach my $mode ('fast', 'immediate')
{
	$node->safe_psql(
		'postgres', 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND backend_type IN (\'client backend\', \'walsender\')'
	) if $mode eq 'fast';
	$node->stop($mode);
	$node->start;
	wait_samples($node, 2);
	is( $node->safe_psql('postgres', <<~'SQL'),
			SELECT max(max_value) >= 1.2
			FROM connpool_history('oldest_transaction_seconds', pg_postmaster_start_time())
			SQL
		't',
		"the sampler records the age of a prepared transaction after a stop in mode $mode");
	is( $node->safe_psql('postgres', <<~'SQL'),
			SELECT current_value >= 1
			FROM get_connection_stats()
			WHERE metric_name = 'oldest_transaction_seconds'
			SQL
		't',
		"get_connection_stats() shows the age of a prepared transaction after a stop in mode $mode"
	);
}
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'old'});

$node->stop('fast');
done_testing();
