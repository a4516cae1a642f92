# SPDX-License-Identifier: PostgreSQL
# PgBouncer joined in: three real ones, in session, transaction and statement mode,
# under load; their numbers, their sessions, their queues.
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
$node->append_conf('postgresql.conf',
	"connpool_monitor.pgbouncer = '$setting'\nconnpool_monitor.pgbouncer_interval = '200ms'\nconnpool_monitor.alert_after = 0\n"
);
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
	'with their settings');
like($node->safe_psql('postgres', 'SELECT version FROM connpool_pgbouncer LIMIT 1'),
	qr/^1\.\d+\.\d+$/, 'and version');

# Load: twelve clients of each, of which four get a connection at a time, and two that come directly.
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

poll_ok($node, <<~'SQL', 'every session of theirs is marked');
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
	'with the one through which it comes');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'and no direct one is');
	SELECT DISTINCT pooled_by IS NULL FROM connpool_sessions WHERE application_name = 'direct'
	SQL
poll_ok($node, <<~'SQL', 'direct connections are counted');
	SELECT current_value >= 2 AND current_value <= 3 AND max_value = 57
	FROM get_connection_stats()
	WHERE metric_name = 'direct_connections'
	SQL
is($node->safe_psql('postgres', q{SELECT connpool_health() -> 'stats' ->> 'pooledConnections'}),
	'12', 'and pooled ones, in health');
my $fresh = $node->safe_psql('postgres', <<~'SQL');
	SELECT pooled_by IS NULL, (SELECT current_value FROM get_connection_stats()
	       WHERE metric_name = 'direct_connections')
	FROM connpool_sessions
	WHERE pid = pg_backend_pid()
	SQL
is($fresh, 't|2', 'a session that has just opened is neither');

# Numbers as the console has them at the same moment.
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
	my ($same, $tries, $here, $there) = (0, 100, '', '');
	while (!$same && $tries--)
	{
		my @rows = grep { /^postgres\|/ } split /\n/, console($mode, 'SHOW POOLS');
		my @columns = split /\|/, $rows[0];
		# database, user, cl_active, cl_waiting, …, sv_active: the 7th since 1.18
		$there = join '|', @columns[ 2, 3, 6 ];
		$here = $node->safe_psql('postgres', <<~"SQL");
			SELECT cl_active, cl_waiting, sv_active
			FROM connpool_pgbouncer_pools
			WHERE pooler = '$mode' AND database = 'postgres'
			SQL
		$same = $here eq $there;
	}
	is($here, $there, "$mode: clients and servers as SHOW POOLS has them");
	is($node->safe_psql('postgres', <<~"SQL"), "$mode|t", "$mode: its mode, and how old that is");
		SELECT pool_mode, age < '5 s'
		FROM connpool_pgbouncer_pools
		WHERE pooler = '$mode' AND database = 'postgres'
		SQL
}
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT cl_active, cl_waiting
		FROM connpool_pgbouncer_pools
		WHERE pooler = 'session' AND database = 'postgres'
		SQL
	'4|0',
	'in session mode four clients have four connections');
poll_ok($node, <<~'SQL', 'statistics, in microseconds');
	SELECT total_xact_count > 10 AND total_query_time > 1000000 AND age < '5 s'
	FROM connpool_pgbouncer_stats
	WHERE pooler = 'transaction' AND database = 'postgres'
	SQL

# The queue: eight of twelve wait, in both modes that share.
poll_ok($node, <<~'SQL', 'clients that wait are counted');
	SELECT current_value BETWEEN 14 AND 16 AND status = 'CRITICAL'
	FROM get_connection_stats()
	WHERE metric_name = 'pool_waiting_clients'
	SQL
poll_ok($node, <<~'SQL', 'and for how long, in milliseconds');
	SELECT wait_time BETWEEN 1 AND 2000 AND wait_time >= maxwait * 1000
	FROM connpool_pgbouncer_pools
	WHERE pooler = 'transaction' AND database = 'postgres'
	SQL
poll_ok($node, <<~"SQL", 'the alert says where, and for how long');
	SELECT status = 'CRITICAL' AND culprit ~
	       '^Waiting for postgres of $user at (transaction|statement): \\d+ clients, the first for \\d+ ms'
	FROM connpool_alerts
	WHERE metric_name = 'pool_waiting_clients'
	SQL
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() -> 'checks' -> 'pool_waiting_clients' ->> 'status'}
	),
	'CRITICAL',
	'health knows');

# Advice and audit have both sides.
like(
	$node->safe_psql('postgres', <<~'SQL'),
		SELECT array_to_string(reasons, '; ')
		FROM connpool_pool_advice
		WHERE application_name = 'through_transaction'
		SQL
	qr/4 of its 4 connections come through PgBouncer transaction: pool_mode transaction, default_pool_size 4, max_client_conn 200, query_wait_timeout 120 s/,
	'advice has the settings of PgBouncer');
like(
	$node->safe_psql(
		'postgres', q{SELECT evidence FROM connpool_audit() WHERE practice = 'connection pooling'}
	),
	qr/12 connections come through PgBouncer, [23] directly/,
	'so does the audit');

# One that is stopped: what it said last stays, with its age, and nothing is taken for direct.
my ($pid) = slurp_file("$pooler{transaction}{directory}/pid") =~ /(\d+)/;
my $before = $node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()');
kill 'STOP', $pid;
poll_ok($node, <<~'SQL', 'one that hangs is down');
	SELECT NOT up AND last_error = 'no whole answer within its time' AND retry_at > now()
	FROM connpool_pgbouncer
	WHERE pooler = 'transaction'
	SQL
is($node->safe_psql('postgres', <<~'SQL'), '12|t', 'what it said last is shown, with its age');
	SELECT cl_active + cl_waiting, age > '900 ms'
	FROM connpool_pgbouncer_pools
	WHERE pooler = 'transaction' AND database = 'postgres'
	SQL
my $late = session($node, 'late');
wait_samples($node, 15);
is($node->safe_psql('postgres', <<~'SQL'), 't|OK', 'who is direct is not known now');
	SELECT current_value IS NULL, status
	FROM get_connection_stats()
	WHERE metric_name = 'direct_connections'
	SQL
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() -> 'stats' ->> 'pooledConnections' IS NULL}),
	't',
	'nor how many are pooled');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_sessions WHERE pooled_by = 'transaction'}),
	'4',
	'but whose a session is does not change');
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_pgbouncer WHERE up}),
	'2', 'the others answer on');
is($node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()'),
	$before, 'no sample was late');
kill 'CONT', $pid;
poll_ok($node, <<~'SQL', 'it answers again');
	SELECT up AND last_error IS NULL AND retry_at IS NULL
	FROM connpool_pgbouncer
	WHERE pooler = 'transaction'
	SQL
leave($late);

# Restarted between two questions, it was never down; the worker does not hold up anything.
my $log = -s $node->logfile;
console('session', 'SHOW VERSION');
kill 'TERM', @loads;
waitpid $_, 0 foreach @loads;
@loads = ();
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', <<~'SQL');
	SELECT pg_terminate_backend(pid)
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor pgbouncer'
	SQL
poll_ok($node, <<~'SQL', 'a worker that was ended is started again');
	SELECT count(*) = 3 AND min(last_success) > now() - interval '3 s'
	FROM connpool_pgbouncer
	WHERE up
	SQL
is(log_count($node, 'does not answer', $log), 0, 'and nobody was woken for that');

# Who may see what.
$node->safe_psql('postgres',
	'CREATE ROLE viewer LOGIN; GRANT SELECT ON connpool_pgbouncer TO viewer');
is( $node->safe_psql(
		'postgres',
		'SELECT count(*) FROM connpool_pgbouncer',
		extra_params => [ '-U', 'viewer' ]),
	'3',
	'a view that was granted');
my ($status, $out, $err) =
  $node->psql('postgres', 'SHOW connpool_monitor.pgbouncer', extra_params => [ '-U', 'viewer' ]);
like(
	$err,
	qr/permission denied to examine|must be superuser or have privileges of pg_read_all_settings/,
	'but not the setting');
($status, $out, $err) =
  $node->psql('postgres', 'TABLE connpool_pgbouncer_pools', extra_params => [ '-U', 'viewer' ]);
like($err, qr/permission denied for view/, 'nor another view');

leave($_)       foreach @direct;
stop_pooler($_) foreach values %pooler;
poll_ok($node, 'SELECT count(*) = 3 FROM connpool_pgbouncer WHERE NOT up', 'all are gone');
is($node->safe_psql('postgres', <<~'SQL', extra_params => []), '3', 'and why');
	SELECT count(*)
	FROM connpool_pgbouncer
	WHERE last_error LIKE 'connection to server on socket%'
	SQL
is( $node->safe_psql(
		'postgres',
		'SELECT DISTINCT last_error FROM connpool_pgbouncer',
		extra_params => [ '-U', 'viewer' ]),
	'<insufficient privilege>',
	'which names hosts, and is for who may see the setting');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'nobody knows who waits');
	SELECT current_value IS NULL
	FROM get_connection_stats()
	WHERE metric_name = 'pool_waiting_clients'
	SQL
$node->stop('fast');
done_testing();
