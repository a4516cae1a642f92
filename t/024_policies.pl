# SPDX-License-Identifier: PostgreSQL
# Roles and databases have policies that limit pools. The extension reports a violation for each
# pool of a real application (node-postgres) that exceeds a limit, and for no other pool. Needs
# applications with connection pools.
# scripts/test: slow, 18 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use Application;
use Connpool;

my $node = new_node('policies', <<'CONF');
max_connections = 60
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
CONF

# One role for each limit. Pools that observe a limit of time stay nearly two seconds below it, so
# that a delay of the machine does not violate it.
my %limits = (
	most => 'pool_max = 3',
	least => 'pool_min = 2',
	idle => q{pool_idle_timeout = '2200ms'},
	lived => q{pool_max_lifetime = '2500ms'},
	used => 'pool_max_uses = 5',
	slow => q{pool_connection_timeout = '2s'});
$node->safe_psql('postgres',
	"CREATE ROLE $_ LOGIN; ALTER ROLE $_ SET connpool_monitor.$limits{$_}")
  foreach sort keys %limits;

sub violations
{
	my ($role, $application) = @_;
	return <<~"SQL";
		SELECT violations
		FROM connpool_pools
		WHERE role = '$role' AND application_name = '$application'
		SQL
}

# the violation of each limit, a pool that exceeds it, and a pool that does not
my %busy = (clients => 2, pause => 20, pool => { max => 2 });
my %compared = (
	most => [
		'over_max',
		{ %busy, clients => 5, pool => { max => 5 } },
		{ %busy, clients => 3, pool => { max => 3 } }
	],
	least => [ 'under_min', { %busy, clients => 1, pool => { max => 1 } }, {%busy} ],
	# one client that pauses: a pool that keeps its idle connection, and one that closes it
	idle => [
		'idle_too_long',
		{ %busy, clients => 1, pause => 10_000, pool => { max => 1, idleTimeoutMillis => 0 } },
		{ %busy, clients => 1, pause => 300, pool => { max => 1, idleTimeoutMillis => 100 } }
	],
	lived =>
	  [ 'lived_too_long', {%busy}, { %busy, pool => { max => 2, maxLifetimeSeconds => 0.5 } } ],
	used => [ 'used_too_often', {%busy}, { %busy, pool => { max => 2, maxUses => 5 } } ],
	slow => [ 'slow_to_connect', { slow => 3000 }, {%busy} ]);

# Start the pools of all roles in one application.
sub start_pools
{
	my ($which, $name) = @_;
	return application_start(
		$node,
		{
			at_once => JSON::PP::true(),
			jobs => [
				map {
					{ %{ $compared{$_}[$which] }, as => { user => $_, name => $name } }
				  }
				  sort keys %compared
			]
		});
}

# pools that exceed their limits
my $app = start_pools(1, 'bad');
foreach my $role (sort keys %compared)
{
	my ($violation) = @{ $compared{$role} };
	poll_ok(
		$node,
		"SELECT ARRAY['$violation'] = (" . violations($role, 'bad') . ')',
		"$violation: a pool that exceeds the limit has the violation");
	next if $violation =~ /^(over_max|under_min)$/;
	poll_ok($node, <<~"SQL", "$violation: a session that exceeds the limit has the violation");
		SELECT count(*) > 0
		FROM connpool_sessions
		WHERE role = '$role' AND violations = '{$violation}'
		SQL
}
application_end($app);
poll_ok(
	$node,
	"SELECT count(*) = 0 FROM connpool_sessions WHERE role = '$_'",
	"$compared{$_}[0]: the sessions of the pool end") foreach sort keys %compared;

# Pools within their limits. Read their violations without pause, until all have been seen several
# times and the pools have run for longer than any limit of time.
$app = start_pools(2, 'good');
my ($reads, %seen, %violated) = (0);
my $started = time;
my $watcher = session($node, 'watcher');
my $is_complete = sub {
	$reads++;
	foreach (split /\n/, sql($watcher, <<~'SQL'))
		SELECT role, connections, violations
		FROM connpool_pools
		WHERE application_name = 'good' AND connections > 0
		SQL
	{
		my ($role, $connections, $violations) = split /\|/;
		# a pool that opens its connections is below its minimum
		next if $connections < $compared{$role}[2]{clients};
		$seen{$role}++;
		$violated{$role}{$violations}++;
	}
	return time - $started > 3.5 && $reads > 100 && !grep { ($seen{$_} // 0) < 10 } keys %compared;
};
wait_until($is_complete) or die 'a pool within its limit was not seen often enough';
foreach my $role (sort keys %compared)
{
	is(join(' ', keys %{ $violated{$role} }),
		'{}', "$compared{$role}[0]: a pool within the limit never has a violation");
}
application_end($app);
leave($watcher);

# under_min also applies without a session, with the policy of the last session
poll_is($node, violations('least', 'good'),
	'{under_min}', 'a pool without a session is under its minimum');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT pool_min, pool_max
		FROM connpool_pools
		WHERE role = 'least' AND application_name = 'good'
		SQL
	'2|',
	'connpool_pools shows the policy of a pool, and NULL for a limit that is not set');
poll_is($node, violations('most', 'good'),
	'{}', 'a pool without a session is not over its maximum');
$node->restart;
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without a session is under its minimum after a restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without a session is under its minimum after a reset');

# pool_max limits all connections of a role to a database together, whatever their application
my @sessions = map { session($node, "part_$_", role => 'most') } 1 .. 2;
is($node->safe_psql('postgres', violations('most', 'part_1')),
	'{}', 'two connections of three are within the maximum');
push @sessions, map { session($node, "part_$_", role => 'most') } 3 .. 4;
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT array_agg(DISTINCT violations)
		FROM connpool_pools
		WHERE application_name LIKE 'part_%'
		SQL
	'{{over_max}}',
	'four connections of four applications of a role are over its maximum');

# the alert names pools that violate their policy
$node->append_conf('postgresql.conf', 'connpool_monitor.total_connections_warning = 1');
$node->reload;
poll_ok($node, <<~'SQL', 'the alert names the pool that is over its maximum');
	SELECT culprit LIKE '%Against their policy: %(most in postgres) over_max%'
	FROM connpool_alerts
	WHERE metric_name = 'total_connections'
	SQL
leave($_) foreach @sessions;

# for databases and for roles in a database, the more specific setting counts
$node->safe_psql('postgres', <<~'SQL');
	CREATE DATABASE shop;
	ALTER DATABASE shop SET connpool_monitor.pool_max = 7;
	CREATE ROLE tenant LOGIN;
	ALTER ROLE tenant IN DATABASE shop SET connpool_monitor.pool_max = 9
	SQL
is($node->safe_psql('shop', 'SHOW connpool_monitor.pool_max'),
	'7', 'a limit of a database applies to sessions in it');
$node->safe_psql('shop', 'SELECT 1', extra_params => [ '-U', 'tenant' ]);
is($node->safe_psql('postgres', q{SELECT pool_max FROM connpool_pools WHERE role = 'tenant'}),
	'9', 'a limit of a role in a database overrides that of the database');
my ($status, $out, $err) =
  $node->psql('shop', 'SET connpool_monitor.pool_max = 0', extra_params => [ '-U', 'tenant' ]);
like($err, qr/permission denied to set parameter/, 'an ordinary role cannot change a limit');
($status, $out, $err) =
  $node->psql('postgres', 'ALTER ROLE tenant SET connpool_monitor.pool_max = -1');
like($err, qr/outside the valid range/, 'a limit below 0 is refused');

# a role that may not see a session does not see its times
$node->safe_psql('postgres',
	q{CREATE ROLE viewer LOGIN; GRANT SELECT ON connpool_sessions, connpool_pools TO viewer});
# open all sessions that must be idle or open for some time, also those of later checks
my $idle = session($node, 'hidden', role => 'idle');
my $lived = session($node, 'report', role => 'lived');
$lived->query_safe('BEGIN');
$node->safe_psql('postgres', 'ALTER ROLE lived SET track_activities = off');
my $untracked = session($node, 'untracked', role => 'lived');
$untracked->query_safe('BEGIN');
poll_ok($node, <<~'SQL', 'an idle session has a violation');
	SELECT violations = '{idle_too_long}'
	FROM connpool_sessions
	WHERE application_name = 'hidden'
	SQL
is( $node->safe_psql(
		'postgres',
		q{SELECT violations IS NULL FROM connpool_sessions WHERE application_name = 'hidden'},
		extra_params => [ '-U', 'viewer' ]),
	't',
	'a role that may not see the session does not see its violation');
is( $node->safe_psql('postgres', violations('idle', 'hidden'), extra_params => [ '-U', 'viewer' ]),
	'{}',
	'a role that may not see the session does not see a violation of its pool');
leave($idle);

# a transaction may run longer than its session may live
poll_ok($node, <<~'SQL', 'a transaction runs for longer than pool_max_lifetime');
	SELECT clock_timestamp() - connected_at > interval '2.6 s'
	FROM connpool_sessions
	WHERE application_name = 'report'
	SQL
is( $node->safe_psql(
		'postgres', q{SELECT violations FROM connpool_sessions WHERE application_name = 'report'}),
	'{}',
	'a session has not lived too long while its transaction runs');
$lived->query_safe('COMMIT');
poll_ok(
	$node,
	q{SELECT violations = '{lived_too_long}' FROM connpool_sessions
	WHERE application_name = 'report'},
	'a session has lived too long when its transaction has ended');
leave($lived);

# SET changes the limits of a session
my $own = session($node, 'own');
$own->query_safe('SET connpool_monitor.pool_max_uses = 1; SELECT 1');
is( $own->query_safe(
		q{SELECT pool_max_uses, violations FROM connpool_pools WHERE application_name = 'own'}),
	'1|{used_too_often}',
	'a superuser sets a limit for its session');
$own->query_safe('RESET connpool_monitor.pool_max_uses');
is( $own->query_safe(
		q{SELECT pool_max_uses, violations FROM connpool_pools WHERE application_name = 'own'}),
	'|{}',
	'a superuser resets a limit of its session');
leave($own);

# the minimum of a role or database ends when it is dropped
$node->safe_psql('postgres', <<~'SQL');
	CREATE ROLE gone LOGIN;
	ALTER ROLE gone SET connpool_monitor.pool_min = 2;
	CREATE DATABASE gonedb;
	ALTER DATABASE gonedb SET connpool_monitor.pool_min = 2
	SQL
$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'gone' ]);
$node->safe_psql('gonedb', 'SELECT 1');
my $missed = <<~'SQL';
	SELECT count(*)
	FROM connpool_pools
	WHERE violations = '{under_min}' AND (role = 'gone' OR database = 'gonedb')
	SQL
is($node->safe_psql('postgres', $missed), '2', 'two pools are below their minimum');
$node->safe_psql('postgres', $_) foreach 'DROP ROLE gone', 'DROP DATABASE gonedb';
is($node->safe_psql('postgres', $missed),
	'0', 'pools of a dropped role or database are not below their minimum');

# the policy of the newest session applies to all pools of the role
$node->safe_psql('postgres', 'ALTER ROLE least RESET ALL');
$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'least' ]);
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*)
		FROM connpool_pools
		WHERE role = 'least' AND (violations <> '{}' OR pool_min IS NOT NULL)
		SQL
	'0',
	'a policy that was reset applies to no pool after the next session of the role');

# sessions whose pools were evicted count towards the limits of their role
my $small = new_node('small', 'connpool_monitor.max_pools = 4');
$small->safe_psql('postgres', <<~'SQL');
	CREATE ROLE many LOGIN;
	ALTER ROLE many SET connpool_monitor.pool_max = 6;
	ALTER ROLE many SET connpool_monitor.pool_min = 6
	SQL
my @many = map {
	local $ENV{PGAPPNAME} = "app_$_";
	$small->background_psql('postgres', extra_params => [ '-U', 'many' ])
} 1 .. 8;
poll_is(
	$small, q{SELECT DISTINCT violations FROM connpool_pools WHERE role = 'many'},
	'{over_max}', 'eight connections are over the maximum even if their pools were evicted');
leave($_) foreach @many;

# without track_activities the times of a session are unknown
poll_ok($node, <<~'SQL', 'a session does not track its activities');
	SELECT state = 'disabled' AND clock_timestamp() - connected_at > interval '2.6 s'
	FROM connpool_sessions
	WHERE application_name = 'untracked'
	SQL
is( $node->safe_psql(
		'postgres',
		q{SELECT violations FROM connpool_sessions WHERE application_name = 'untracked'}),
	'{}',
	'a session that does not track its activities has no violation');
leave($untracked);

done_testing();
