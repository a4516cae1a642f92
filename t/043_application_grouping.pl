# SPDX-License-Identifier: PostgreSQL
# application_grouping is the rule that groups application names into pools. By default it removes
# the address that PgBouncer appends. A reload can change the rule while sessions are open. Needs
# PgBouncer, and a program compiled from the code of the rule alone.
# scripts/test: slow, 8 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;
use Wire;

# Return the part of a name that PostgreSQL keeps.
sub cut { return substr($_[0], 0, 63) }

# name, pool with grouping by host, pool with grouping by numbers; undef: the same as the previous
my @names = (
	# without an address, and nothing that looks like one
	[''],
	['web'],
	['web -'],
	['web - '],
	['web - unix'],
	['web - backup'],
	['web - [backup]'],
	[ 'backup - 10:30', undef, 'backup - *:*' ],
	[ 'sales - 2.0', undef, 'sales - *.*' ],
	[ 'web-10.0.0.7:51234', undef, 'web-*.*.*.*:*' ],
	[ 'web 10.0.0.7:51234', undef, 'web *.*.*.*:*' ],
	[ 'web - 10.0.0.7:', undef, 'web - *.*.*.*:' ],
	[ 'web - 10.0.0.7:51234 again', undef, 'web - *.*.*.*:* again' ],
	[ 'web - 10.0.0.7', undef, 'web - *.*.*.*' ],
	# as PgBouncer writes it
	[ 'web - 10.0.0.7:51234', 'web' ],
	[ 'app - 192.168.100.200:1', 'app' ],
	[ ' - 10.0.0.7:51234', '' ],
	[ 'sales - west - 10.0.0.7:51234', 'sales - west' ],
	[ 'web - [::1]:51234', 'web' ],
	[ 'web - [2001:db8::a:1]:6', 'web' ],
	[ 'web - [::ffff:10.0.0.7]:51234', 'web' ],
	[ 'web - unix:6432', 'web' ],
	[ 'web - unix(4711@host.example.com):6432', 'web' ],
	[ 'web - unix(4711@):6432', undef, 'web - unix(*@):*' ],
	# two addresses, one behind the other
	[ 'web - 10.0.0.7:51234 - 10.0.0.8:40000', 'web' ],
	[ 'web - unix(1@a):6432 - [::1]:2', 'web' ],
	# PostgreSQL keeps 63 bytes, which may cut the address
	(map { [ cut('x' x $_ . ' - 10.0.0.7:51234'), cut('x' x $_) ] } 46 .. 64),
	(map { [ cut('x' x $_ . ' - [2001:db8::a:1]:51234'), cut('x' x $_) ] } 46 .. 64),
	(map { [ cut('x' x $_ . ' - unix(4711@host):6432'), cut('x' x $_) ] } 46 .. 64),
	[ cut('web - unix(4711@' . 'host.' x 20 . '):6432'), 'web' ],
	[ cut('web - 10.0.0.7:1 - unix(4711@' . 'host.' x 20), 'web' ],
	[ 'x' x 55 . ' - 10.0', undef, 'x' x 55 . ' - *.*' ],
	[ 'x' x 54 . ' - unixx' ],
	# numbers
	[ 'worker 17', undef, 'worker *' ],
	[ 'worker17a2', undef, 'worker*a*' ],
	[ '4711', undef, '*' ],
	[ 'python3.11 (pid 4711)', undef, 'python*.* (pid *)' ],
	[ 'web.1', undef, 'web.*' ],
	[ 'db-0', undef, 'db-*' ],
	[ 'worker-3 - 10.0.0.7:51234', 'worker-3', 'worker-*' ],
	[ 'ip-10-0-12-34', undef, 'ip-*-*-*-*' ],
	['pg_dump'],
	['PostgreSQL JDBC Driver'],
	['*'],
	# hexadecimal
	[ 'api-7f3a9c', undef, 'api-*' ],
	[ 'api_7F3A9C1234', undef, 'api_*' ],
	[ 'a1b2c3d4e5f6', undef, '*' ],
	[ 'run deadbeef1', undef, 'run *' ],
	[ 'api-7f3a9', undef, 'api-*f*a*' ],
	['facade'],
	['decade-deadbeef'],
	[ 'api-7f3a9cg', undef, 'api-*f*a*cg' ],
	[ '550e8400-e29b-41d4-a716-446655440000', undef, '*' ],
	[ 'job 550E8400-E29B-41D4-A716-446655440000 done', undef, 'job * done' ],
	[ 'job-abcdefab-abcd-abcd-abcd-abcdefabcdef', undef, 'job-*' ],
	[ 'job {550e8400-e29b-41d4-a716-446655440000}', undef, 'job {*}' ],
	[ 'job-550e8400-e29b-41d4-a716-44665544000', undef, 'job-*-e*b-*d*-a*-*' ],
	[ 'job-550e8400-e29b-41d4-a716-4466554400001', undef, 'job-*-e*b-*d*-a*-*' ],
	# pods: a Deployment, a DaemonSet, a CronJob
	[ 'api-7d4b9c6f5-x2x9z', undef, 'api-*-*' ],
	[ 'api-7d4b9c6f5-bcdfg', undef, 'api-*-*' ],
	[ 'api-6bzx7k4vqw-bcdfg', undef, 'api-*-*' ],
	[ 'api-7d4b9c6f5-x2x9z:8080', undef, 'api-*-*:*' ],
	[
		'api-7d4b9c6f5-x2x9z.shop.svc - 10.0.0.7:51234', 'api-7d4b9c6f5-x2x9z.shop.svc',
		'api-*-*.shop.svc'
	],
	[ 'api@api-7d4b9c6f5-x2x9z [12]', undef, 'api@api-*-* [*]' ],
	[ 'api-server-7d4b9c6f5-x2x9z', undef, 'api-server-*-*' ],
	[ 'fluentd-x2x9z', undef, 'fluentd-*' ],
	[ 'backup-28391040-bcdfg', undef, 'backup-*-*' ],
	# no suffix of a pod
	['api-server'],
	['web-front'],
	['web-https'],
	[ 'x2x9z', undef, 'x*x*z' ],
	['fluentd-bcdfg'],
	['fluentd-bcdfg-bcdfg'],
	[ 'api-7d4b9c6f5-abcde', undef, 'api-*-abcde' ],
	[ 'api-7d4b9c6f5-https-two', undef, 'api-*-https-two' ],
	[ 'api-mx425-server', undef, 'api-mx*-server' ],
	[ 'api-6bzx7k4vqwx-bcdfg', undef, 'api-*bzx*k*vqwx-bcdfg' ],
	[ 'api-6bzx7k4v', undef, 'api-*bzx*k*v' ],
	# a pod's name that PostgreSQL has cut
	(   map {
			my $app = 'x' x $_;
			[
				cut("$app-7d4b9c6f5-x2x9z"), undef,
				cut($app)
				  . ($_ < 52 ? '-*-*' : $_ == 52 ? '-*-' : $_ < 62 ? '-*' : $_ == 62 ? '-' : '')
			]
		} 46 .. 64),
	[ cut('x' x 51 . '-7d4b9c6f5-bcdfg'), undef, 'x' x 51 . '-*-*' ],
	[ cut('x' x 50 . '-550e8400-e29b-41d4'), undef, 'x' x 50 . '-*' ],
	[ 'x' x 58 . '-feed' ],
	[ 'x' x 57 . '-feed' ],
	[ 'x' x 58 . '-a7b2', undef, 'x' x 58 . '-*' ],
	[ 'x' x 57 . '-a7b2', undef, 'x' x 57 . '-a*b*' ],
	# characters of more than one byte, and as 16 writes them
	[ "caf\xc3\xa9 7 - 10.0.0.7:51234", "caf\xc3\xa9 7", "caf\xc3\xa9 *" ],
	[ "caf\xc3\xa9c4ab12", undef, "caf\xc3\xa9c*ab*" ],
	[ 'caf\xc3\xa9 7 - 10.0.0.7:51234', 'caf\xc3\xa9 7', 'caf\xc3\xa9 *' ],
	[ '\xd0\xbf1\xd1\x80', undef, '\xd0\xbf*\xd1\x80' ],
	[ 'C:\path2', undef, 'C:\path*' ]);

my $grouping = compile_unit('grouping', 'base/pool');
my $input = PostgreSQL::Test::Utils::tempdir() . '/names';

# Return the pool of each name. A name follows the number of its rule and a tab.
sub pools_of
{
	unlink $input;
	append_to_file($input, join '', map { "$_\n" } @_);
	my @pools = split /\n/, `$grouping < $input`, -1;
	is(pop @pools, '', 'the output ends with a newline');
	return @pools;
}
my @pools = pools_of(
	map {
		my $name = $_->[0];
		map { "$_\t$name" } 0 .. 2
	} @names);
foreach my $name (@names)
{
	my ($full, $host, $numbers) = @$name;
	$host    //= $full;
	$numbers //= $host;
	is( join(' / ', splice @pools, 0, 3),
		"$full / $host / $numbers",
		"the pools of \"$full\" with grouping off, by host and by numbers");
}
is("@pools", '', 'the program prints one line for each name and rule');

# wherever PostgreSQL cuts one or two addresses, and whatever precedes them
my @addresses =
  map { " - $_" } '10.0.0.7:51234', '[::ffff:10.0.0.7]:1', 'unix:6432',
  'unix(4711@a.example):6432';
foreach my $rule (1, 2)
{
	my (@direct, @pooled);
	foreach my $part ('x', 'my app ', 'a - b ', 'a - [', 'app - 10.', 'u - unix(', 'web-7f3a9c1 ')
	{
		foreach my $name (map { substr $part x 70, 0, $_ } 0 .. 66)
		{
			foreach my $first (@addresses)
			{
				push @direct, map { "$rule\t" . cut($name) } '', @addresses;
				push @pooled, map { "$rule\t" . cut("$name$first$_") } '', @addresses;
			}
		}
	}
	my @expected = pools_of(@direct);
	my @got = pools_of(@pooled);
	my @differing = grep { $got[$_] ne $expected[$_] } 0 .. $#expected;
	is(join(', ', map { $pooled[$_] } @differing),
		'', "rule $rule: clients of PgBouncer are in the pool of those that connect directly");
}

# clients of a real PgBouncer, over TCP and Unix sockets
my $user = getpwuid($<);
my $node = new_node('grouped', <<'CONF');
connpool_monitor.alert_after = 0
connpool_monitor.slow_statement_time = '20ms'
connpool_monitor.failed_query_percent_warning = -1
connpool_monitor.leak_idle_age = '100ms'
connpool_monitor.leak_age = '100ms'
CONF

my $pooler = start_pooler(
	$node,
	listen_addr => '127.0.0.1',
	application_name_add_host => 1,
	default_pool_size => 4);
my $script = "$PostgreSQL::Test::Utils::tmp_check/meet.sql";
append_to_file($script, "SELECT meet()\n");

# A call of meet() does not return before the function has been called four times. So the first
# four calls run at the same time, each over a server connection of its own.
sql($node, <<'SQL');
CREATE SEQUENCE calls;
CREATE FUNCTION meet() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	WHILE (SELECT last_value FROM calls) < 4 LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	PERFORM pg_sleep(0.03);
END $$;
SQL

# Run four clients of an application with three statements each.
sub run_clients
{
	my ($application, $host) = @_;
	sql($node, q{SELECT setval('calls', 1, false)});
	local $ENV{PGAPPNAME} = $application;
	command_ok(
		[
			'pgbench', '-n', '-M', 'simple', '-f', $script, '-c', 4, '-t', 3, '-h', $host, '-p',
			$pooler->port, 'postgres'
		],
		"clients of $application connect at $host");
	return;
}

# Set the rule. The next session has it, because the postmaster reloads before it starts a session.
sub group_by
{
	my ($rule) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.application_grouping = '$rule'");
	sql($node, 'SELECT pg_reload_conf()');
	poll_ok(
		$node,
		"SELECT current_setting('connpool_monitor.application_grouping') = '$rule'",
		"the rule is $rule");
	return;
}

sub pool
{
	my ($application, $columns) = @_;
	return sql($node,
		"SELECT $columns FROM connpool_pools WHERE application_name = '$application'");
}

sub nothing_lost
{
	my ($when) = @_;
	is(sql($node, <<~'SQL'), '0|0', "the pools have every statement and session $when");
		SELECT (SELECT sum(queries) FROM connpool_pools) - total_queries,
		       (SELECT sum(sessions_opened - sessions_closed - sessions_abandoned
		                   - sessions_failed - sessions_killed - connections)
		        FROM connpool_pools)
		FROM connpool_query_stats WHERE period = 'since_reset'
		SQL
	return;
}
my $pools_of_web = q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'web%'};

run_clients('web', $_) foreach '127.0.0.1', $pooler->host;
is(sql($node, $pools_of_web), '1', 'clients at several addresses are one pool');
is(pool('web', 'connections, peak_connections, queries >= 24'),
	'4|4|t', 'the pool has the connections and statements of all clients');
is( sql($node,
		q{SELECT count(*) FROM connpool_sessions WHERE application_name LIKE 'web - unix(%'}),
	'4',
	'connpool_sessions shows the full name of a session');
is(sql($node, <<~'SQL'), '5', 'connpool_slow_statements shows full names: four ports and one pid');
	SELECT count(DISTINCT application_name)
	FROM connpool_slow_statements
	WHERE application_name ~ '^web - (127.0.0.1:|unix\()\d+'
	SQL
sql($node, 'ALTER SYSTEM SET connpool_monitor.slow_statements_warning = 1');
sql($node, 'SELECT pg_reload_conf()');
poll_ok($node, <<~"SQL", 'the culprit of an alert is the pool');
	SELECT culprit ~ ' web \\d+ \\($user in postgres\\)'
	FROM connpool_alerts
	WHERE metric_name = 'slow_statements'
	SQL
my $name = 'n' x 55;
run_clients($name, '127.0.0.1');
is( sql($node,
		q{SELECT DISTINCT application_name FROM connpool_pools WHERE application_name LIKE 'nnn%'}
	),
	$name,
	'an address that PostgreSQL has truncated is removed too');
nothing_lost('by host');

# Sessions are open while the rule changes. A statement counts in the pool in which its session is
# when the statement ends.
my %wire = map { $_ => Wire->connect_to($node, "$_ - 10.0.0.7:51234", user => $user) }
  qw(busy failing idle);
$_->query('SELECT 1') foreach values %wire;
group_by('off');
is(pool('busy', 'connections, queries'),
	'1|1', 'a session stays in its pool until its next statement');
$wire{busy}->query('SELECT 1');
is(pool('busy', 'connections, queries'),
	'0|1', 'a session leaves its pool with the first statement under the new rule');
is(pool('busy - 10.0.0.7:51234', 'connections, queries, sessions_opened'),
	'1|1|0', 'the first statement under the new rule counts in the pool of the full name');
$wire{failing}->query('SELECT 1/0');
is(pool('failing', 'connections, queries, failed_queries'),
	'1|2|1', 'a statement that fails does not move its session');
$wire{failing}->query('SELECT 1');
is(pool('failing - 10.0.0.7:51234', 'connections, queries'),
	'1|1', 'a statement after a failure moves its session');
$wire{idle}->end;
poll_ok(
	$node,
	q{SELECT connections = 0 FROM connpool_pools WHERE application_name = 'idle'},
	'a session that runs no further statement leaves its pool when it ends');
is(pool('idle', 'queries, sessions_opened, sessions_closed'),
	'1|1|0', 'the statements of an ended session count in the pool in which it ran them');
is(pool('idle - 10.0.0.7:51234', 'queries, sessions_opened, sessions_closed'),
	'0|0|1', 'the end of a session counts in the pool of its full name');
run_clients('web', '127.0.0.1');
is(sql($node, $pools_of_web), '5', 'each client is a pool with grouping off');
nothing_lost('after a change of the rule');

group_by('numbers');
$wire{busy}->query('SELECT 1');
is(pool('busy', 'connections, queries, sessions_opened'),
	'1|2|1', 'a session returns to the pool it came from');
$wire{busy}->query("SET application_name = 'busy - 10.0.0.8:4'");
is(pool('busy', 'connections, queries, peak_connections'),
	'1|3|1', 'a session stays in its pool if only its address changes');
run_clients("api-7d4b9c6f5-$_", $pooler->host) foreach 'x2x9z', 'bcdfg';
is(sql($node, <<~'SQL'), 'api-*-*|4|t', 'all pods of a deployment are one pool');
	SELECT application_name, connections, queries >= 24
	FROM connpool_pools
	WHERE application_name LIKE 'api%'
	SQL
# a pool gets a series after 30 samples
poll_ok($node, <<'SQL', 'the series of the pool has the grouped name');
SELECT connpool_metrics() LIKE '%connpool_pool_queries_total{%,application="api-*-*"}%'
SQL
nothing_lost('by numbers');

# an idle session is a suspect when its pool opens another, and is listed with its full name
my @job = Wire->connect_to($node, 'job-1', user => $user);
$job[0]->query('SELECT 1');
$node->safe_psql('postgres', 'SELECT pg_sleep(0.2)');
is(sql($node, q{SELECT count(*) FROM connpool_leaks WHERE application_name LIKE 'job%'}),
	'0', 'a pool that opens no session has no suspect');
push @job, Wire->connect_to($node, 'job-2', user => $user);
$job[1]->query('SELECT 1');
poll_ok(
	$node,
	q{SELECT string_agg(application_name, ',') = 'job-1' FROM connpool_leaks WHERE kind = 'idle'},
	'an idle session is a suspect after its pool opened a session of another name');
$job[1]->query('BEGIN');
my $suspects = <<~'SQL';
	SELECT string_agg(application_name, ',')
	FROM connpool_leaks
	WHERE kind = 'idle_in_transaction'
	SQL
poll_ok($node, "$suspects" =~ s/string_agg.*'\)/count(*) = 1/r,
	'an idle transaction is a suspect');

foreach my $case ([ 'job-*', 'job-2' ], [ 'job-2', '' ])
{
	my ($exempt, $left) = @$case;
	sql($node, "ALTER SYSTEM SET connpool_monitor.exempt_applications = '$user/$exempt'");
	sql($node, 'SELECT pg_reload_conf()');
	poll_ok(
		$node,
		"SELECT current_setting('connpool_monitor.exempt_applications') = '$user/$exempt'",
		"$exempt is exempt");
	is(sql($node, $suspects), $left, "an exemption of $exempt applies to the full name");
}
$_->end foreach @job, @wire{qw(busy failing)};

# pools keep their names over a restart, because the rule applies to sessions
stop_pooler($pooler);
my $before = sql($node, <<~'SQL');
	SELECT string_agg(application_name || queries, ',' ORDER BY application_name)
	FROM connpool_pools
	WHERE application_name ~ '^(web|api|busy|n)'
	SQL
group_by('host');
$node->restart;
is(sql($node, <<~'SQL'), $before, 'a restart changes no pool');
	SELECT string_agg(application_name || queries, ',' ORDER BY application_name)
	FROM connpool_pools
	WHERE application_name ~ '^(web|api|busy|n)'
	SQL
nothing_lost('after a restart');
$node->stop('fast');
done_testing();
