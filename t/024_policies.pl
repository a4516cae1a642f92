# SPDX-License-Identifier: PostgreSQL
# Limits of pool policies, set for roles and databases, are reported as violated for the pools of a
# real application (node-postgres) that exceed them, and not for other pools. Needs applications
# with connection pools.
# scripts/test: slow, 41 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

my $node = new_node('policies', <<'CONF');
max_connections = 60
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
CONF

# one role for each limit
my %limits = (
	most => 'pool_max = 3',
	least => 'pool_min = 2',
	idle => q{pool_idle_timeout = '400ms'},
	lived => q{pool_max_lifetime = '900ms'},
	used => 'pool_max_uses = 5',
	slow => q{pool_connection_timeout = '300ms'});
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

# Run a pool that exceeds a limit, then one that does not, and compare their violations. The
# second is checked all the time that it runs.
sub compare
{
	my ($role, $violation, $bad, $good) = @_;
	my $app = application_start($node, $bad, user => $role, name => 'bad');
	poll_ok(
		$node,
		'SELECT ARRAY[' . quote($violation) . '] = (' . violations($role, 'bad') . ')',
		"$violation: a pool that exceeds the limit has the violation");
	if ($violation !~ /^(over_max|under_min)$/)
	{
		poll_ok($node, <<~"SQL", "$violation: a session that exceeds the limit has the violation");
			SELECT count(*) > 0
			FROM connpool_sessions
			WHERE role = '$role' AND violations = '{$violation}'
			SQL
	}
	application_end($app);
	poll_ok(
		$node,
		"SELECT count(*) = 0 FROM connpool_sessions WHERE role = '$role'",
		"$violation: the sessions of the pool end");

	$app = application_start($node, $good, user => $role, name => 'good');
	my %seen;
	while (application_runs($app))
	{
		my $shown = $node->safe_psql('postgres',
			violations($role, 'good') . " AND connections >= $good->{clients}");
		$seen{$shown}++ if $shown ne '';
	}
	application_end($app);
	is(join(' ', keys %seen), '{}', "$violation: a pool within the limit never has a violation");
	return;
}

sub quote { return "'$_[0]'"; }

my %busy = (clients => 2, for => 2500, pause => 20);
compare(
	'most', 'over_max',
	{ %busy, clients => 5, pool => { max => 5 } },
	{ %busy, clients => 3, pool => { max => 3 } });
compare(
	'least', 'under_min',
	{ %busy, clients => 1, pool => { max => 1 } },
	{ %busy, pool => { max => 2 } });
# one client that pauses: a pool that keeps its idle connection, and one that closes it
compare(
	'idle', 'idle_too_long',
	{ %busy, clients => 1, pause => 900, pool => { max => 1, idleTimeoutMillis => 0 } },
	{ %busy, clients => 1, pool => { max => 1, idleTimeoutMillis => 100 } });
compare(
	'lived', 'lived_too_long',
	{ %busy, pool => { max => 2 } },
	{ %busy, for => 4000, pool => { max => 2, maxLifetimeSeconds => 0.5 } });
compare(
	'used', 'used_too_often',
	{ %busy, pool => { max => 2 } },
	{ %busy, pool => { max => 2, maxUses => 5 } });
compare('slow', 'slow_to_connect', { slow => 600, for => 1500 }, { %busy, pool => { max => 2 } });

# under_min also applies without a session, with the policy of the last session
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without a session is under its minimum');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT pool_min, pool_max
		FROM connpool_pools
		WHERE role = 'least' AND application_name = 'good'
		SQL
	'2|',
	'connpool_pools shows the policy of a pool, and NULL for a limit that is not set');
is($node->safe_psql('postgres', violations('most', 'good')),
	'{}', 'a pool without a session is not over its maximum');
$node->restart;
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without a session is under its minimum after a restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without a session is under its minimum after a reset');

# the total counts the role in the database, over all of its applications
my @sessions = map {
	my $psql = $node->background_psql('postgres', extra_params => [ '-U', 'most' ]);
	$psql->query_safe("SET application_name = 'part_$_'");
	$psql
} 1 .. 2;
is($node->safe_psql('postgres', violations('most', 'part_1')),
	'{}', 'two connections of three are within the maximum');
push @sessions, map {
	my $psql = $node->background_psql('postgres', extra_params => [ '-U', 'most' ]);
	$psql->query_safe("SET application_name = 'part_$_'");
	$psql
} 3 .. 4;
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
	'7', 'a limit of a database is in force in it');
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
my $idle = $node->background_psql('postgres', extra_params => [ '-U', 'idle' ]);
$idle->query_safe("SET application_name = 'hidden'");
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
my $lived = $node->background_psql('postgres', extra_params => [ '-U', 'lived' ]);
$lived->query_safe("BEGIN; SET application_name = 'report'");
poll_ok($node, <<~'SQL', 'a transaction runs for longer than pool_max_lifetime');
	SELECT clock_timestamp() - connected_at > interval '1 s'
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
	q{SELECT violations = '{lived_too_long}' FROM connpool_sessions WHERE role = 'lived'},
	'a session has lived too long when its transaction has ended');
leave($lived);

# limits that are changed by SET
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

# pools of a role or database that was dropped have no minimum
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

# sessions whose pools were evicted count for their role
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
is( $small->safe_psql(
		'postgres', q{SELECT DISTINCT violations FROM connpool_pools WHERE role = 'many'}),
	'{over_max}',
	'eight connections are over the maximum even if their pools were evicted');
leave($_) foreach @many;

# without track_activities the times of a session are unknown
$node->safe_psql('postgres', 'ALTER ROLE lived SET track_activities = off');
my $untracked = $node->background_psql('postgres', extra_params => [ '-U', 'lived' ]);
$untracked->query_safe("SET application_name = 'untracked'; BEGIN");
poll_ok($node, <<~'SQL', 'a session does not track its activities');
	SELECT state = 'disabled' AND clock_timestamp() - connected_at > interval '1.5 s'
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
