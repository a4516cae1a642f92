# SPDX-License-Identifier: PostgreSQL
# The numbers, sessions and queues of three real PgBouncers, in session, transaction and statement
# mode under load, agree with their consoles and with the sessions of the server. Needs PgBouncer.
# scripts/test: slow, 13 s
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

my $node = new_node('pooled', "max_connections = 60\n", no_extension => 1);
my $user = getpwuid($<);
my %pooler = map {
	$_ => start_pooler($node, pool_mode => $_, default_pool_size => 4, max_client_conn => 200)
} qw(session transaction statement);
my $setting = join '; ',
  map { "$_=host=" . $pooler{$_}->host . ' port=' . $pooler{$_}->port . " user=$user" }
  sort keys %pooler;
$node->append_conf('postgresql.conf', <<"CONF");
connpool_monitor.pgbouncer = '$setting'
connpool_monitor.pgbouncer_interval = '200ms'
connpool_monitor.alert_after = 0
CONF
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
poll_ok($node, 'SELECT count(*) = 3 FROM connpool_pgbouncer WHERE up', 'three consoles answer');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT pooler, pool_mode, default_pool_size, max_client_conn, last_error IS NULL,
		       retry_at IS NULL
		FROM connpool_pgbouncer
		ORDER BY 1
		SQL
	join("\n", map { "$_|$_|4|200|t|t" } qw(session statement transaction)),
	'connpool_pgbouncer has the settings of each pooler');
like($node->safe_psql('postgres', 'SELECT version FROM connpool_pgbouncer LIMIT 1'),
	qr/^1\.\d+\.\d+$/, 'connpool_pgbouncer shows the version of PgBouncer');

# Load: twelve clients (in session mode four) share four connections of each pooler, and two
# sessions are direct.
my $script = "$PostgreSQL::Test::Utils::tmp_check/hold.sql";
append_to_file($script, "SELECT pg_sleep(0.4)\n");
my @direct = map { session($node, 'direct') } 1 .. 2;
my @loads;
foreach my $mode (sort keys %pooler)
{
	local $ENV{PGAPPNAME} = "through_$mode";
	my $pid = fork() // die 'cannot fork';
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec 'pgbench', '-n', '-M', 'simple', '-f', $script, '-c', ($mode eq 'session' ? 4 : 12),
		  '-j', 1, '-T', 300, '-h', $pooler{$mode}->host, '-p', $pooler{$mode}->port, 'postgres';
	}
	push @loads, $pid;
}
END { kill 'KILL', @loads if @loads; }

poll_ok($node, <<~'SQL', 'each session through a pooler has pooled_by');
	SELECT count(*) = 12
	FROM connpool_sessions
	WHERE application_name LIKE 'through%' AND pooled_by IS NOT NULL
	SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT application_name, pooled_by, count(*)
		FROM connpool_sessions
		WHERE application_name LIKE 'through%'
		GROUP BY 1, 2
		ORDER BY 1
		SQL
	join("\n", map { "through_$_|$_|4" } qw(session statement transaction)),
	'pooled_by names the pooler of the session');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'a direct session has no pooled_by');
	SELECT DISTINCT pooled_by IS NULL FROM connpool_sessions WHERE application_name = 'direct'
	SQL
poll_ok($node, <<~'SQL', 'direct_connections counts the direct sessions');
	SELECT current_value >= 2 AND current_value <= 3 AND max_value = 57
	FROM get_connection_stats()
	WHERE metric_name = 'direct_connections'
	SQL
is($node->safe_psql('postgres', q{SELECT connpool_health() -> 'stats' ->> 'pooledConnections'}),
	'12', 'pooledConnections of connpool_health() counts the sessions through poolers');
# Repeat until no console is polled while this psql runs, and no session of another psql is left.
my $fresh;
wait_until(
	sub {
		$fresh = $node->safe_psql('postgres', <<~'SQL');
			SELECT pooled_by IS NULL,
			       (SELECT current_value FROM get_connection_stats()
			        WHERE metric_name = 'direct_connections')
			FROM connpool_sessions
			WHERE pid = pg_backend_pid()
			SQL
		return $fresh eq 't|2';
	});
is($fresh, 't|2', 'a session that has just opened counts neither as pooled nor as direct');

# Return the answer of a pooler's console to a question.
sub console
{
	my ($mode, $question) = @_;
	my $out = '';
	IPC::Run::run(
		[
			'psql', '-XAt', '-F', '|', '-h', $pooler{$mode}->host,
			'-p', $pooler{$mode}->port,
			'-c', $question, 'pgbouncer'
		],
		'>',
		\$out) or die 'no console';
	return $out;
}
foreach my $mode (sort keys %pooler)
{
	my ($here, $there);
	wait_until(
		sub {
			my @rows = grep { /^postgres\|/ } split /\n/, console($mode, 'SHOW POOLS');
			my @columns = split /\|/, $rows[0];
			# database, user, cl_active, cl_waiting, …, sv_active: the 7th since 1.18
			$there = join '|', @columns[ 2, 3, 6 ];
			$here = $node->safe_psql('postgres', <<~"SQL");
				SELECT cl_active, cl_waiting, sv_active
				FROM connpool_pgbouncer_pools
				WHERE pooler = '$mode' AND database = 'postgres'
				SQL
			return $here eq $there;
		});
	is($here, $there, "$mode: clients and servers agree with SHOW POOLS");
	poll_ok(
		$node, <<~"SQL",
				SELECT pool_mode = '$mode' AND age < '5 s'
				FROM connpool_pgbouncer_pools
				WHERE pooler = '$mode' AND database = 'postgres'
				SQL
		"$mode: connpool_pgbouncer_pools has the mode and a recent age");
}
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT cl_active, cl_waiting
		FROM connpool_pgbouncer_pools
		WHERE pooler = 'session' AND database = 'postgres'
		SQL
	'4|0',
	'four clients have four connections in session mode');
poll_ok($node, <<~'SQL', 'connpool_pgbouncer_stats has transactions, and times in microseconds');
	SELECT total_xact_count > 10 AND total_query_time > 1000000 AND age < '5 s'
	FROM connpool_pgbouncer_stats
	WHERE pooler = 'transaction' AND database = 'postgres'
	SQL

# the queue: eight of twelve clients wait in transaction and in statement mode
poll_ok($node, <<~'SQL', 'pool_waiting_clients counts the clients that wait');
	SELECT current_value BETWEEN 14 AND 16 AND status = 'CRITICAL'
	FROM get_connection_stats()
	WHERE metric_name = 'pool_waiting_clients'
	SQL
poll_ok($node, <<~'SQL', 'wait_time is how long the first client has waited, in milliseconds');
	SELECT wait_time BETWEEN 1 AND 2000 AND wait_time >= maxwait * 1000
	FROM connpool_pgbouncer_pools
	WHERE pooler = 'transaction' AND database = 'postgres'
	SQL
poll_ok($node, <<~"SQL", 'the alert names the pool and the time that clients wait');
	SELECT status = 'CRITICAL' AND culprit ~ ('^Waiting for postgres of $user at '
	       || '(transaction|statement): \\d+ clients, the first for \\d+ ms')
	FROM connpool_alerts
	WHERE metric_name = 'pool_waiting_clients'
	SQL
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() -> 'checks' -> 'pool_waiting_clients' ->> 'status'}
	),
	'CRITICAL',
	'connpool_health() has the status of pool_waiting_clients');

# advice and audit use the data of the poolers
like(
	$node->safe_psql('postgres', <<~'SQL'),
			SELECT array_to_string(reasons, '; ')
			FROM connpool_pool_advice
			WHERE application_name = 'through_transaction'
			SQL
	pattern(
		'4 of its 4 connections come through PgBouncer transaction:',
		'pool_mode transaction, default_pool_size 4, max_client_conn 200,',
		'query_wait_timeout 120 s'),
	'the advice has the settings of PgBouncer');
poll_ok($node, <<~'SQL', 'the audit counts pooled and direct connections');
	SELECT evidence ~ '12 connections come through PgBouncer, [23] directly'
	FROM connpool_audit()
	WHERE practice = 'connection pooling'
	SQL

# a pooler that is suspended: its last answer stays, with its age, and no session becomes direct
my ($pid) = slurp_file("$pooler{transaction}{directory}/pid") =~ /(\d+)/;
kill 'STOP', $pid;
poll_ok($node, <<~'SQL', 'a pooler that does not answer is down');
	SELECT NOT up AND last_error ~ '^no (complete answer|connection) within the time limit$'
	       AND retry_at > now()
	FROM connpool_pgbouncer
	WHERE pooler = 'transaction'
	SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT cl_active + cl_waiting, age > '900 ms'
		FROM connpool_pgbouncer_pools
		WHERE pooler = 'transaction' AND database = 'postgres'
		SQL
	'12|t', 'the last answer of a pooler that is down is shown with its age');
$node->safe_psql('postgres', $_)
  foreach 'ALTER SYSTEM SET connpool_monitor.pool_waiting_clients_critical = 5',
  q{ALTER SYSTEM SET connpool_monitor.alert_repeat = '1s'}, 'SELECT pg_reload_conf()';
poll_ok($node, <<~"SQL", 'a repeated alert names no queue of a pooler that is down');
	SELECT status = 'CRITICAL'
	       AND culprit ~ '^Waiting for postgres of $user at statement: \\d+ clients[^;]*\$'
	FROM connpool_alerts
	WHERE metric_name = 'pool_waiting_clients'
	SQL
my $late = session($node, 'late');
wait_samples($node, 15);
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT current_value IS NULL, status
		FROM get_connection_stats()
		WHERE metric_name = 'direct_connections'
		SQL
	't|OK', 'direct_connections is NULL while a pooler is down');
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() -> 'stats' ->> 'pooledConnections' IS NULL}),
	't',
	'pooledConnections is NULL while a pooler is down');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_sessions WHERE pooled_by = 'transaction'}),
	'4',
	'sessions keep their pooled_by while the pooler is down');
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_pgbouncer WHERE up}),
	'2', 'the other poolers are up');
ok(samples_on_time($node), 'ten samples in a row are on time while a pooler does not answer');
kill 'CONT', $pid;
poll_ok($node, <<~'SQL', 'the pooler is up again when it answers');
	SELECT up AND last_error IS NULL AND retry_at IS NULL
	FROM connpool_pgbouncer
	WHERE pooler = 'transaction'
	SQL
leave($late);

# a worker that is restarted between two requests does not report a pooler as down
my $log = -s $node->logfile;
console('session', 'SHOW VERSION');
kill 'TERM', @loads;
waitpid $_, 0 foreach @loads;
@loads = ();
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
$node->safe_psql('postgres', 'DROP DATABASE other');
my $polls = q{FROM pg_stat_activity WHERE backend_type = 'connpool_monitor pgbouncer'};
my $worker = $node->safe_psql('postgres', "SELECT pid $polls");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
poll_ok($node, <<~"SQL", 'the worker is restarted after it was terminated');
	SELECT count(*) = 3 AND min(last_success) > (SELECT backend_start $polls AND pid <> $worker)
	FROM connpool_pgbouncer
	WHERE up
	SQL
is(log_count($node, 'does not answer', $log), 0, 'a restart of the worker logs no pooler as down');

# privileges
$node->safe_psql('postgres',
	'CREATE ROLE viewer LOGIN; GRANT SELECT ON connpool_pgbouncer TO viewer');
is( $node->safe_psql(
		'postgres',
		'SELECT count(*) FROM connpool_pgbouncer',
		extra_params => [ '-U', 'viewer' ]),
	'3',
	'a role that was granted connpool_pgbouncer can read it');
my ($status, $out, $err) =
  $node->psql('postgres', 'SHOW connpool_monitor.pgbouncer', extra_params => [ '-U', 'viewer' ]);
like(
	$err,
	qr/permission denied to examine|must be superuser or have privileges of pg_read_all_settings/,
	'a role without privileges cannot read the setting');
($status, $out, $err) =
  $node->psql('postgres', 'TABLE connpool_pgbouncer_pools', extra_params => [ '-U', 'viewer' ]);
like(
	$err,
	qr/permission denied for view/,
	'a role that was granted one view is refused the others');

leave($_)       foreach @direct;
stop_pooler($_) foreach values %pooler;
poll_ok(
	$node,
	'SELECT count(*) = 3 FROM connpool_pgbouncer WHERE NOT up',
	'all poolers are down after they were stopped');
is($node->safe_psql('postgres', <<~'SQL', extra_params => []), '3', 'last_error has the reason');
	SELECT count(*)
	FROM connpool_pgbouncer
	WHERE last_error LIKE 'connection to server on socket%'
	SQL
is( $node->safe_psql(
		'postgres',
		'SELECT DISTINCT last_error FROM connpool_pgbouncer',
		extra_params => [ '-U', 'viewer' ]),
	'<insufficient privilege>',
	'last_error is hidden from roles that may not read the setting');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT current_value IS NULL
		FROM get_connection_stats()
		WHERE metric_name = 'pool_waiting_clients'
		SQL
	't', 'pool_waiting_clients is NULL while all poolers are down');
$node->stop('fast');
done_testing();
