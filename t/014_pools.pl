# SPDX-License-Identifier: PostgreSQL
# Pools by database, role and application have correct counts when sessions change their
# application, with more pools or databases than max_pools, for peaks between two samples, and
# after a reset while sessions are open. Needs several sessions at once and messages that psql
# cannot send.
# scripts/test: slow, 12 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util qw(sum0);
use Test::More;
use Connpool;
use Http;
use Wire;

my $node = new_node('pools', <<'CONF');
connpool_monitor.max_pools = 8
connpool_monitor.failed_query_percent_warning = -1
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');

# runs the test's own queries, and stays open so that its pool is not evicted
my $watcher = session($node, 'watcher');

sub wait_for
{
	my ($condition) = @_;
	return poll_session($watcher, "SELECT true WHERE ($condition)");
}

sub pool
{
	my ($application, $columns) = @_;
	return sql($watcher,
		"SELECT $columns FROM connpool_pools WHERE application_name = '$application'");
}

# a session that changes its application_name, as PgBouncer does at each checkout
my $wire = Wire->connect_to($node, 'first', user => $user);
$wire->query('SELECT 1');
$wire->query("SET application_name = 'second'");
$wire->query('SELECT 1') foreach 1 .. 3;
is(pool('first', 'connections, queries, sessions_opened'),
	'0|1|1', 'a session that renames itself leaves its first pool, which still counts it as opened');
is(pool('second', 'connections, queries, sessions_opened, idle'),
	'1|4|0|1', 'the statement that renames a session and later ones count in the new pool');
$wire->query("SET application_name = 'first'");
$wire->query("SET application_name = 'second'");
is(pool('first', 'connections, queries, peak_connections'),
	'0|2|1', 'a session that renames itself back counts in its first pool again');
is(pool('second', 'connections, queries, peak_connections'),
	'1|5|1', 'the connection of a renamed session counts in the last pool only');
$wire->query("BEGIN; SET LOCAL application_name = 'first'; SELECT 1");
is(pool('first', 'connections, queries'),
	'1|4', 'SET LOCAL application_name counts in the new pool during its transaction');
$wire->query('COMMIT');
$wire->query('SELECT 1');
is(pool('second', 'connections, queries'),
	'1|7', 'a session is back in its former pool after SET LOCAL');
$wire->query(<<~'SQL');
	DO $$ BEGIN
	  PERFORM set_config('application_name', 'first', false);
	  PERFORM set_config('application_name', 'second', false);
	END $$
	SQL
is(pool('second', 'connections, queries'),
	'1|8', 'a statement that renames its session twice counts in the last pool');
$wire->query(q{SELECT set_config('application_name', 'first', false)});
is(pool('first', 'connections, queries'), '1|6', 'set_config() renames a session like SET');

foreach my $request (1 .. 3)
{
	$wire->query("SELECT set_config('application_name', 'req$request', true); SELECT 1");
	is( pool("req$request", 'queries'),
		'2',
		"a name that lasts for one message has a pool with both statements of message $request");
}
$wire->query('SELECT 1');
$wire->query(q{SELECT set_config('application_name', 'bbbb', false); SELECT 1/0});
$wire->query(q{SELECT set_config('application_name', 'cccc', false)});
is(pool('cccc', 'connections, queries'),
	'1|1', 'a session can change its name after an error rolled back an earlier change');
$wire->query(q{SELECT set_config('application_name', 'first', false)});
is(pool('first', 'connections, queries'), '1|8', 'the session returns to its first pool');
$wire->query('SELECT 1/0');
is(pool('first', 'queries, failed_queries'),
	'9|1', 'a failed statement counts in the pool of its session');
$wire->end;
wait_for(q{(SELECT connections = 0 FROM connpool_pools WHERE application_name = 'first')});
is(pool('first', 'sessions_opened, sessions_closed'), '1|1', 'a session ends in its last pool');
is(pool('first', 'avg_session_seconds > 0 AND avg_setup_time > 0'),
	't', 'the pool has the duration of the session and of its setup');

# With more applications than max_pools, a new pool evicts the longest unused pool into "(other)"
# with all its counts.
my $sums = <<~'SQL';
	SELECT sum(queries) - (SELECT queries FROM connpool_pools
	                       WHERE application_name = 'watcher'),
	       sum(sessions_opened), sum(sessions_closed)
	FROM connpool_pools
	SQL
my ($queries, $opened, $closed) = split /\|/,
  sql($watcher, "$sums WHERE application_name <> 'psql'");
foreach my $i (1 .. 10)
{
	my $client = Wire->connect_to($node, "app $i", user => $user);
	$client->query('SELECT 1') foreach 1 .. $i;
	$client->end;
	wait_for(qq{NOT EXISTS (SELECT FROM connpool_sessions WHERE application_name = 'app $i')});
}
is(sql($watcher, 'SELECT pools_used, pools_folded > 0 FROM connpool_info()'),
	'8|t', 'no more pools are used than max_pools');
is( sql($watcher,
		q{SELECT string_agg(application_name, ',' ORDER BY application_name) FROM connpool_pools}),
	'(other),app 10,app 4,app 5,app 6,app 7,app 8,app 9,watcher',
	'evictions spare the pools used last and a pool that has a session');
my ($queries_now, $opened_now, $closed_now) = split /\|/, sql($watcher, $sums);
# by now another pool has evicted that of psql, which created the extension
my $psql = sql($watcher, q{SELECT queries FROM connpool_pools WHERE application_name = '(other)'});
cmp_ok($psql, '>=', 6 + $queries, 'the statements of evicted pools count in (other)');
is($opened_now - $closed_now,
	1, 'after evictions the sessions opened are those closed and the one that is open');

# if all pools have sessions, sessions of further pools count in (other)
my @open = map { Wire->connect_to($node, "open $_", user => $user) } 1 .. 10;
$_->query('SELECT 1') foreach @open;
is(sql($watcher, q{SELECT connections FROM connpool_pools WHERE application_name = '(other)'}),
	'3', 'three of ten sessions get no pool of their own');
$open[9]->query("SET application_name = 'open $_'") foreach 11 .. 13;
is( sql($watcher, <<~'SQL'),
		SELECT connections, peak_connections
		FROM connpool_pools
		WHERE application_name = '(other)'
		SQL
	'3|3',
	'a session that renames itself within (other) does not raise the peak of (other)');
is(sql($watcher, 'SELECT pools_used FROM connpool_info()'),
	'8', 'seven sessions and the watcher use all eight pools');
is(sql($watcher, 'SELECT sum(connections) FROM connpool_pools'),
	'11', 'the connections of the pools add up to all sessions');
is(sql($watcher, <<~'SQL'), '0', 'the statements of the pools add up to all statements');
	SELECT sum(queries) - (SELECT total_queries FROM connpool_query_stats
	                       WHERE period = 'since_reset')
	FROM connpool_pools
	SQL

# an exemption by role applies to sessions in (other), whose pool has no role
sql($watcher, $_)
  foreach (
	q{ALTER SYSTEM SET connpool_monitor.leak_age = '100ms'},
	"ALTER SYSTEM SET connpool_monitor.exempt_applications = '\"$user/open 9\"'",
	'SELECT pg_reload_conf()');
$open[$_]->query('BEGIN') foreach 7 .. 9;
poll_session($watcher, <<~'SQL');
	SELECT string_agg(application_name, ',' ORDER BY application_name) = 'open 13,open 8'
	FROM connpool_leaks
	WHERE kind = 'idle_in_transaction'
	SQL
pass('a session in (other) is exempt if its role and application are');
sql($watcher, "ALTER SYSTEM RESET connpool_monitor.$_") foreach qw(leak_age exempt_applications);
$_->end foreach @open;
wait_for(q{(SELECT sum(connections) FROM connpool_pools) = 1});

# The history and the pool have the peak of a burst between two samples. With the first burst, the
# sampler may not have applied the long interval yet; then another burst follows.
sql($watcher, q{ALTER SYSTEM SET connpool_monitor.sample_interval = '1min'});
$node->reload;
my ($samples, $since, $burst);
foreach my $try (1 .. 5)
{
	$burst = "burst $try";
	$samples = sql($watcher, 'SELECT samples FROM connpool_info()');
	$since = sql($watcher, 'SELECT clock_timestamp()');
	my @burst = map { Wire->connect_to($node, $burst, user => $user) } 1 .. 12;
	$_->end foreach @burst;
	wait_for(q{(SELECT sum(connections) FROM connpool_pools) = 1});
	last if sql($watcher, 'SELECT samples FROM connpool_info()') eq $samples;
}
is(sql($watcher, 'SELECT samples FROM connpool_info()'),
	$samples, 'the sampler takes no sample during the burst');
sql($watcher, q{ALTER SYSTEM SET connpool_monitor.sample_interval = '100ms'});
$node->reload;
wait_for("(SELECT samples FROM connpool_info()) > $samples");
is(sql($watcher, <<~"SQL"), 't|t', 'the history has the peak of a burst between two samples');
	SELECT max(max_value) >= 13, max(avg_value) < 13
	FROM connpool_history('total_connections', '$since', clock_timestamp())
	SQL
is(pool($burst, 'peak_connections, connections, sessions_opened, sessions_closed'),
	'12|0|12|12', 'the pool has the peak of a burst between two samples');

# busy sessions, as the sampler counts them
my @busy = map { Wire->connect_to($node, 'busy', user => $user) } 1 .. 3;
$_->query('BEGIN') foreach @busy[ 0, 1 ];
wait_for(q{(SELECT peak_busy = 2 FROM connpool_pools WHERE application_name = 'busy')});
is(pool('busy', 'connections, active, idle, idle_in_transaction, peak_busy'),
	'3|0|1|2|2', 'peak_busy counts sessions in a transaction');

# a reset clears counts and peaks; sessions that are open count as opened again
$_->query('SELECT 1') foreach @busy;
sql($watcher, q{SELECT connpool_reset('counters')});
is(pool('busy', 'connections, peak_connections, sessions_opened, queries, transactions'),
	'3|3|3|0|0', 'a reset clears counts and counts open sessions as opened');
is(sql($watcher, 'SELECT count(*) FROM connpool_pools'),
	'2', 'connpool_pools leaves out pools without sessions or counts after a reset');
$_->query('SELECT 1') foreach @busy[ 0, 1 ];
$busy[0]->end;
wait_for(q{(SELECT connections = 2 FROM connpool_pools WHERE application_name = 'busy')});
is(pool('busy', 'peak_connections, sessions_opened, sessions_closed, queries, transactions'),
	'3|3|1|2|1', 'counts continue after a reset');
is( sql($watcher,
		'SELECT sum(sessions_opened) - sum(sessions_closed + connections) FROM connpool_pools'),
	'0',
	'sessions add up after a reset');
is(sql($watcher, <<~'SQL'), 't', 'the last minute does not include the time before the reset');
	SELECT total_queries BETWEEN 2 AND (SELECT sum(queries) FROM connpool_pools)
	FROM connpool_query_stats
	WHERE period = 'last_minute'
	SQL
is(sql($watcher, <<~'SQL'), 't|t|t', 'connpool_session_stats has the sums of all pools');
	SELECT s.sessions_opened = p.opened, s.connections = p.connections, s.p50_setup_time IS NULL
	FROM connpool_session_stats s,
	     (SELECT sum(sessions_opened) AS opened, sum(connections) AS connections
	      FROM connpool_pools) p
	SQL
$_->end foreach @busy[ 1, 2 ];

# each database and each role has pools of its own
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere; CREATE ROLE somebody LOGIN');
my @others = (
	Wire->connect_to($node, 'same', user => $user, database => 'elsewhere'),
	Wire->connect_to($node, 'same', user => 'somebody'),
	Wire->connect_to($node, 'same', user => $user));
$others[1]->query('SET ROLE none; SELECT 1');
is( sql($watcher, <<~"SQL"),
		SELECT string_agg(database || ' ' || replace(role, '$user', 'user') || ' ' || connections,
		                  ',' ORDER BY database, role = 'somebody')
		FROM connpool_pools
		WHERE application_name = 'same'
		SQL
	'elsewhere user 1,postgres user 1,postgres somebody 1',
	'one application has a pool for each database and role');
# only roles that may see the states of sessions in pg_stat_activity see them here
$node->safe_psql('postgres', 'GRANT SELECT ON connpool_pools TO somebody');
is( $node->safe_psql('postgres', <<~'SQL'),
		SET ROLE somebody;
		SELECT role = 'somebody', idle IS NOT NULL, connections
		FROM connpool_pools
		WHERE application_name = 'same' AND database = 'postgres'
		ORDER BY 1
		SQL
	"f|f|1\nt|t|1", 'a role sees the states of its own pools, and the number of connections of all'
);
$_->end foreach @others;

# a role that keeps renaming its session evicts its own pools, not idle pools of other roles
sql($watcher, q{SELECT connpool_reset('counters')});
$node->safe_psql('postgres', <<~'SQL');
	CREATE ROLE victim LOGIN;
	CREATE ROLE intruder LOGIN;
	ALTER ROLE victim SET connpool_monitor.pool_max = 3
	SQL
$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'victim' ]);
my $intruder = Wire->connect_to($node, 'name 0', user => 'intruder');
$intruder->query("SET application_name = 'name $_'; SELECT 1") foreach 1 .. 30;
is(sql($watcher, q{SELECT queries, pool_max FROM connpool_pools WHERE role = 'victim'}),
	'1|3', 'an idle pool of another role keeps its slot, counts and policy');
is(sql($watcher, q{SELECT count(*) <= 6 FROM connpool_pools WHERE role = 'intruder'}),
	't', 'a role that renames itself has at most six pools');
$intruder->end;

# the same if the role spreads its sessions over several databases
my $victim = Wire->connect_to($node, 'another', user => 'victim');
$victim->query('SELECT 1');
$victim->end;
foreach my $number (1 .. 4)
{
	$node->safe_psql('postgres', "CREATE DATABASE spread$number");
	my $wire = Wire->connect_to($node, 'name 0', user => 'intruder', database => "spread$number");
	$wire->query("SET application_name = 'name $_'; SELECT 1") foreach 1 .. 3;
	$wire->end;
}
is(sql($watcher, q{SELECT count(*) FROM connpool_pools WHERE role = 'victim'}),
	'2', 'a role that connects to four databases evicts no pool of another role');

# A role gets the name of another one, whose pool thus gets sessions of both, also after a reset.
sql($watcher, 'CREATE ROLE heir LOGIN');
Wire->connect_to($node, 'inherited', user => 'heir')->end;
wait_for(q{NOT EXISTS (SELECT FROM connpool_sessions WHERE role = 'heir')});
sql($watcher, <<~'SQL');
	ALTER ROLE heir RENAME TO testator;
	CREATE ROLE heir LOGIN;
	GRANT SELECT ON connpool_pools TO heir;
	SQL
foreach my $case ([ 'inherited', 'hidden' ], [ 'inherited', 'hidden' ], [ 'own', '1' ])
{
	my ($application, $seen) = @$case;
	my $heir = Wire->connect_to($node, $application, user => 'heir');
	wait_for(q{EXISTS (SELECT FROM connpool_sessions WHERE role = 'heir' AND state = 'idle')});
	sql($watcher, 'SET ROLE heir');
	is(pool($application, q{coalesce(idle::text, 'hidden')}),
		$seen, "$application: a role sees the states of a pool unless another one was in it");
	sql($watcher, 'RESET ROLE');
	$heir->end;
	wait_for(q{NOT EXISTS (SELECT FROM connpool_sessions WHERE role = 'heir')});
	sql($watcher, q{SELECT connpool_reset('counters')});
}

# More databases than max_pools run statements, and evict the pools of each other. Each database
# counts either under its own name or in (other), so no counter falls or disappears.
my ($fell, $differ, %last) = ('', '');

# Return the sum over each database of the series of a family.
sub by_database
{
	my ($text, $family) = @_;
	my $series = series($text, $family);
	my %sum;
	/database="([^"]*)"/ and $sum{$1} += $series->{$_} foreach keys %$series;
	return %sum;
}

# Record counters of databases that fell or disappeared, and databases whose sessions have a series
# and whose statements have none, or vice versa. Return by how many statements the counters of all
# databases are less than those of all pools.
sub compare_databases
{
	my ($where) = @_;
	my ($sum, $text) = split /\n/, sql($where, <<~'SQL'), 2;
		SELECT (SELECT sum(queries) FROM connpool_pools) || E'\n' || connpool_metrics()
		SQL
	my $now = series($text, 'queries_total');
	foreach (grep { ($now->{$_} // 0) < $last{$_} } keys %last)
	{
		$fell .= "$_ from $last{$_} to " . ($now->{$_} // 'nothing') . '; ';
	}
	%last = %$now;
	my %sessions = by_database($text, 'connections');
	my %queries = by_database($text, 'queries_total');
	$differ .= "$_; "
	  foreach grep { $_ ne '(other)' && exists $sessions{$_} != exists $queries{$_} }
	  keys %{ { %sessions, %queries } };
	return $sum - sum0(values %last);
}
sql($watcher, q{SELECT connpool_reset('counters')});
$node->safe_psql('postgres', join '', map { "CREATE DATABASE spread$_;\n" } 5 .. 9);
my $missing = 0;
foreach my $application (qw(a b c))
{
	foreach my $number (1 .. 9)
	{
		my $wire =
		  Wire->connect_to($node, $application, user => $user, database => "spread$number");
		$wire->query('SELECT 1') foreach 1 .. 3;
		$wire->end;
		$missing += abs compare_databases($watcher);
	}
}
is($fell, '', 'no counter of a database falls or disappears when its pools are evicted');
is($missing, 0, 'the counters of databases add up to the statements of all pools');
is(scalar keys %last,
	9, 'after a reset the first max_pools databases have counters, and the rest is (other)');
is($differ, '',
	'exactly the databases with counters have series of their sessions, also without sessions');
my @spread =
  map { Wire->connect_to($node, 'open', user => $user, database => "spread$_") } 1 .. 9;
wait_for('(SELECT count(*) FROM connpool_sessions) = 10');
my %sessions = by_database(sql($watcher, 'SELECT connpool_metrics()'), 'connections');
is(sum0(values %sessions), 10, 'the series of databases add up to all sessions');
cmp_ok(scalar keys %sessions, '<=', 9, 'at most max_pools databases and (other) have such series');
$_->end foreach @spread;

# a pool that users name "(other)" is merged into the pool of evicted pools
$node->safe_psql('postgres', 'CREATE DATABASE "(other)"; CREATE ROLE "(other)" LOGIN');
my $named = Wire->connect_to($node, '(other)', user => '(other)', database => '(other)');
$named->query('SELECT 1');
is(sql($watcher, <<~'SQL'), '1|1', 'no two pools have the same name');
	SELECT count(*), sum(connections)
	FROM connpool_pools
	WHERE database = '(other)' AND role = '(other)' AND application_name = '(other)'
	SQL
$named->end;
leave($watcher);
$node->restart;
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_pools WHERE database = '(other)' AND role = '(other)'}),
	'1',
	'after a restart only one pool is named (other)');
is(compare_databases($node), 0, 'the counters of databases add up after a restart');
is($fell, '', 'no counter of a database falls or disappears at a restart');
is(scalar keys %last, 9, 'no further database has a counter after a restart');
my ($without) = grep { !exists $last{"{database=\"$_\"}"} } map { "spread$_" } 1 .. 9;
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
$node->safe_psql($without, 'SELECT 1');
%last = ();
compare_databases($node);
is($last{"{database=\"$without\"}"}, 1, 'after a reset another database has a counter');
$node->stop('fast');

# without the server: the cost of an eviction, under a lock, does not depend on the number of pools
my $owners = compile_unit('owners');
my @searched = split /\n/, `$owners`;
is(scalar @searched, 3, 'the searches find the only unused pool, for each of three numbers of pools');
foreach (@searched)
{
	my ($pools, $examined, $searches) = split / /;
	cmp_ok($examined, '<=', 256, "with $pools pools a search examines at most 256");
	cmp_ok(
		$searches, '<=',
		1 + $pools / 64,
		"with $pools pools a bounded number of searches finds the only unused pool");
}

# shared memory requested at startup is enough for the largest settings
my $large = new_node('large', <<'CONF', stopped => 1);
connpool_monitor.max_pools = 20000
connpool_monitor.slow_statements_kept = 200000
max_connections = 20
max_locks_per_transaction = 10
CONF
ok($large->start(fail_ok => 1), 'a server with twenty thousand pools starts');
$large->stop;

done_testing();
