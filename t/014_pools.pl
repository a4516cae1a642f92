# SPDX-License-Identifier: PostgreSQL
# Pools by database, role and application: sessions that change their application
# in the middle, more pools than fit, peaks between two samples, and a reset
# while sessions are open.
# scripts/test: slow, 12 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('pools', <<'CONF');
connpool_monitor.max_pools = 8
connpool_monitor.failed_query_percent_warning = -1
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');

# what the tests themselves do is in a pool of its own, which keeps a session
my $watcher = session($node, 'watcher');
sub watch { return $watcher->query_safe($_[0]) }

sub wait_until
{
	my ($condition) = @_;
	my $answer = watch("SELECT true WHERE ($condition)");
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while ($answer ne 't' && time < $deadline)
	{
		watch('SELECT pg_sleep(0.02)');
		$answer = watch("SELECT true WHERE ($condition)");
	}
	is($answer, 't', "comes true: $condition") if $answer ne 't';
	return;
}

sub pool
{
	my ($application, $columns) = @_;
	return watch("SELECT $columns FROM connpool_pools WHERE application_name = '$application'");
}

# A session that changes its application_name, as PgBouncer makes it at every checkout.
my $wire = Wire->connect_to($node, 'first', user => $user);
$wire->query('SELECT 1');
$wire->query("SET application_name = 'second'");
$wire->query('SELECT 1') foreach 1 .. 3;
is(pool('first', 'connections, queries, sessions_opened'),
	'0|1|1', 'it opened in its first pool and has left it');
is(pool('second', 'connections, queries, sessions_opened, idle'),
	'1|4|0|1', 'what it has done since is in the second, with the statement that took it there');
$wire->query("SET application_name = 'first'");
$wire->query("SET application_name = 'second'");
is(pool('first', 'connections, queries, peak_connections'), '0|2|1', 'back to the first');
is(pool('second', 'connections, queries, peak_connections'), '1|5|1', 'and to the second again');
$wire->query("BEGIN; SET LOCAL application_name = 'first'; SELECT 1");
is(pool('first', 'connections, queries'), '1|4', 'a name for one transaction');
$wire->query('COMMIT');
$wire->query('SELECT 1');
is(pool('second', 'connections, queries'), '1|7', 'is given back after it');
$wire->query(
	q{DO $$ BEGIN PERFORM set_config('application_name', 'first', false); PERFORM set_config('application_name', 'second', false); END $$}
);
is(pool('second', 'connections, queries'), '1|8', 'there and back in one statement');
$wire->query(q{SELECT set_config('application_name', 'first', false)});
is(pool('first', 'connections, queries'), '1|6', 'by a function');

foreach my $request (1 .. 3)
{
	$wire->query("SELECT set_config('application_name', 'req$request', true); SELECT 1");
	is(pool("req$request", 'queries'), '2', "a name for one message, $request");
}
$wire->query('SELECT 1');
$wire->query(q{SELECT set_config('application_name', 'bbbb', false); SELECT 1/0});
$wire->query(q{SELECT set_config('application_name', 'cccc', false)});
is(pool('cccc', 'connections, queries'), '1|1', 'a name after one that an error took back');
$wire->query(q{SELECT set_config('application_name', 'first', false)});
is(pool('first', 'connections, queries'), '1|8', 'and back');
$wire->query('SELECT 1/0');
is(pool('first', 'queries, failed_queries'), '9|1', 'a failure is counted where it happens');
$wire->end;
wait_until(q{(SELECT connections = 0 FROM connpool_pools WHERE application_name = 'first')});
is(pool('first', 'sessions_opened, sessions_closed'), '1|1', 'it ends in the pool that it is in');
is(pool('first', 'avg_session_seconds > 0 AND avg_setup_time > 0'), 't', 'after some time');

# More applications than fit: the longest unused makes room, and nothing is lost.
my $total =
  q{SELECT sum(queries) - (SELECT queries FROM connpool_pools WHERE application_name = 'watcher'), sum(sessions_opened), sum(sessions_closed) FROM connpool_pools WHERE application_name <> 'psql'};
my ($queries, $opened, $closed) = split /\|/, watch($total);
foreach my $i (1 .. 10)
{
	my $client = Wire->connect_to($node, "app $i", user => $user);
	$client->query('SELECT 1') foreach 1 .. $i;
	$client->end;
	wait_until(qq{NOT EXISTS (SELECT FROM connpool_sessions WHERE application_name = 'app $i')});
}
is(watch('SELECT pools_used, pools_folded > 0 FROM connpool_info()'),
	'8|t', 'no more pools than max_pools');
is( watch(
		q{SELECT string_agg(application_name, ',' ORDER BY application_name) FROM connpool_pools}),
	'(other),app 10,app 4,app 5,app 6,app 7,app 8,app 9,watcher',
	'the last ones, and the one that has a session');
my ($queries_now, $opened_now, $closed_now) = split /\|/,
  watch($total =~ s/ WHERE application_name <> 'psql'//r);
# psql, which made the extension, is in the other by now
my $psql = watch(q{SELECT queries FROM connpool_pools WHERE application_name = '(other)'});
cmp_ok($psql, '>=', 6 + $queries, 'what was folded is in the other');
is($opened_now - $closed_now, 1, 'sessions add up');

# All pools have sessions: a further one is counted in the other.
my @open = map { Wire->connect_to($node, "open $_", user => $user) } 1 .. 10;
$_->query('SELECT 1') foreach @open;
is(watch(q{SELECT connections FROM connpool_pools WHERE application_name = '(other)'}),
	'3', 'three of ten find no place');
is(watch('SELECT pools_used FROM connpool_info()'), '8', 'which are eight with the watcher');
is(watch('SELECT sum(connections) FROM connpool_pools'), '11', 'all sessions are there');
is( watch(
		'SELECT sum(queries) - (SELECT total_queries FROM connpool_query_stats WHERE period = $$since_reset$$) FROM connpool_pools'
	),
	'0',
	'all statements too');
$_->end foreach @open;
wait_until(q{(SELECT sum(connections) FROM connpool_pools) = 1});

# A burst between two samples shows in the history, and in the pool.
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.sample_interval = '2s'});
$node->reload;
my $samples = watch('SELECT samples FROM connpool_info()');
wait_until("(SELECT samples FROM connpool_info()) >= $samples + 2");
my $since = watch('SELECT clock_timestamp()');
$samples = watch('SELECT samples FROM connpool_info()');
my @burst = map { Wire->connect_to($node, 'burst', user => $user) } 1 .. 12;
$_->end foreach @burst;
wait_until(q{(SELECT sum(connections) FROM connpool_pools) = 1});
is(watch('SELECT samples FROM connpool_info()'), $samples, 'no sample was taken meanwhile');
wait_until("(SELECT samples FROM connpool_info()) > $samples");
is( watch(
		qq{SELECT max(max_value) >= 13, max(avg_value) < 13 FROM connpool_history('total_connections', '$since', clock_timestamp())}
	),
	't|t',
	'its peak is in the history');
is(pool('burst', 'peak_connections, connections, sessions_opened, sessions_closed'),
	'12|0|12|12', 'and in its pool');
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.sample_interval = '100ms'});
$node->reload;

# Busy sessions, as the sampler sees them.
my @busy = map { Wire->connect_to($node, 'busy', user => $user) } 1 .. 3;
$_->query('BEGIN') foreach @busy[ 0, 1 ];
wait_until(q{(SELECT peak_busy = 2 FROM connpool_pools WHERE application_name = 'busy')});
is(pool('busy', 'connections, active, idle, idle_in_transaction, peak_busy'),
	'3|0|1|2|2', 'two of three are busy');

# A reset starts counts and peaks anew; what is open counts as opened.
$_->query('SELECT 1') foreach @busy;
watch(q{SELECT connpool_reset('counters')});
is(pool('busy', 'connections, peak_connections, sessions_opened, queries, transactions'),
	'3|3|3|0|0', 'after a reset');
is(watch('SELECT count(*) FROM connpool_pools'), '2', 'pools with nothing to tell are not shown');
$_->query('SELECT 1') foreach @busy[ 0, 1 ];
$busy[0]->end;
wait_until(q{(SELECT connections = 2 FROM connpool_pools WHERE application_name = 'busy')});
is(pool('busy', 'peak_connections, sessions_opened, sessions_closed, queries, transactions'),
	'3|3|1|2|1', 'counts go on from there');
is( watch('SELECT sum(sessions_opened) - sum(sessions_closed + connections) FROM connpool_pools'),
	'0', 'sessions still add up');
is( watch(
		q{SELECT total_queries BETWEEN 2 AND 12 FROM connpool_query_stats WHERE period = 'last_minute'}
	),
	't',
	'the last minute does not reach behind it');
is( watch(
		q{SELECT s.sessions_opened = p.opened, s.connections = p.connections, s.p50_setup_time IS NULL
	FROM connpool_session_stats s, (SELECT sum(sessions_opened) AS opened, sum(connections) AS connections FROM connpool_pools) p}
	),
	't|t|t',
	'all sessions in one row');
$_->end foreach @busy[ 1, 2 ];

# Databases and roles are told apart.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere; CREATE ROLE somebody LOGIN');
my @others = (
	Wire->connect_to($node, 'same', user => $user, database => 'elsewhere'),
	Wire->connect_to($node, 'same', user => 'somebody'),
	Wire->connect_to($node, 'same', user => $user));
$others[1]->query('SET ROLE none; SELECT 1');
is( watch(
		qq{SELECT string_agg(database || ' ' || replace(role, '$user', 'user') || ' ' || connections, ',' ORDER BY database, role = 'somebody')
	FROM connpool_pools WHERE application_name = 'same'}),
	'elsewhere user 1,postgres user 1,postgres somebody 1',
	'three pools of one application');
# states of others are for who may see them
$node->safe_psql('postgres', 'GRANT SELECT ON connpool_pools TO somebody');
is( $node->safe_psql(
		'postgres',
		q{SET ROLE somebody; SELECT role = 'somebody', idle IS NOT NULL, connections FROM connpool_pools WHERE application_name = 'same' AND database = 'postgres' ORDER BY 1}
	),
	"f|f|1\nt|t|1",
	'states as in pg_stat_activity');
$_->end foreach @others;

# A role that keeps renaming itself evicts its own pools, not those that others hold idle.
watch(q{SELECT connpool_reset('counters')});
$node->safe_psql('postgres',
	'CREATE ROLE victim LOGIN; CREATE ROLE intruder LOGIN; ALTER ROLE victim SET connpool_monitor.pool_max = 3'
);
$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'victim' ]);
my $intruder = Wire->connect_to($node, 'name 0', user => 'intruder');
$intruder->query("SET application_name = 'name $_'; SELECT 1") foreach 1 .. 30;
is(watch(q{SELECT queries, pool_max FROM connpool_pools WHERE role = 'victim'}),
	'1|3', 'an idle pool of another role keeps its place, counts and policy');
is(watch(q{SELECT count(*) <= 6 FROM connpool_pools WHERE role = 'intruder'}),
	't', 'a role that renames itself keeps at most six pools');
$intruder->end;

# The same if the role spreads its sessions over several databases.
foreach my $name ('a', 'b')
{
	my $wire = Wire->connect_to($node, $name, user => 'victim');
	$wire->query('SELECT 1');
	$wire->end;
}
foreach my $number (1 .. 4)
{
	$node->safe_psql('postgres', "CREATE DATABASE spread$number");
	my $wire =
	  Wire->connect_to($node, 'name 0', user => 'intruder', database => "spread$number");
	$wire->query("SET application_name = 'name $_'; SELECT 1") foreach 1 .. 3;
	$wire->end;
}
is(watch(q{SELECT count(*) FROM connpool_pools WHERE role = 'victim'}),
	'3', 'a role that connects to four databases evicts no pool of another role');

# A pool of users that is called as the sum of all others is part of it.
$node->safe_psql('postgres', 'CREATE DATABASE "(other)"; CREATE ROLE "(other)" LOGIN');
my $named = Wire->connect_to($node, '(other)', user => '(other)', database => '(other)');
$named->query('SELECT 1');
is( watch(
		q{SELECT count(*), sum(connections) FROM connpool_pools WHERE database = '(other)' AND role = '(other)' AND application_name = '(other)'}
	),
	'1|1',
	'no two pools have the same name');
$named->end;
$watcher->quit;
$node->restart;
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_pools WHERE database = '(other)' AND role = '(other)'}),
	'1',
	'after a restart there is still one pool named (other)');
$node->stop('fast');

# What is reserved is what is taken, also when that is much.
my $large = new_node(
	'large',
	"connpool_monitor.max_pools = 20000\nconnpool_monitor.slow_statements_kept = 200000\nmax_connections = 20\nmax_locks_per_transaction = 10\n",
	stopped => 1);
ok($large->start(fail_ok => 1), 'a server with twenty thousand pools starts');
$large->stop;

done_testing();
