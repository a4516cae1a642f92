# SPDX-License-Identifier: PostgreSQL
# Pool policies: limits set for roles and databases, judged for real pools
# (node-postgres) that keep to them and for others that do not.
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

# Roles that say what their pool may do, one limit each.
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

# A pool that breaks a limit, and one that keeps it, seen while they run. What
# the second must never show is looked for over all of its time.
sub compare
{
	my ($role, $violation, $bad, $good) = @_;
	my $app = application_start($node, $bad, user => $role, name => 'bad');
	poll_ok(
		$node,
		'SELECT ARRAY[' . quote($violation) . '] = (' . violations($role, 'bad') . ')',
		"$violation: found");
	if ($violation !~ /^(over_max|under_min)$/)
	{
		poll_ok($node, <<~"SQL", "$violation: of a session");
			SELECT count(*) > 0
			FROM connpool_sessions
			WHERE role = '$role' AND violations = '{$violation}'
			SQL
	}
	application_end($app);
	poll_ok(
		$node,
		"SELECT count(*) = 0 FROM connpool_sessions WHERE role = '$role'",
		"$violation: the pool is gone");

	$app = application_start($node, $good, user => $role, name => 'good');
	my %seen;
	while (application_runs($app))
	{
		my $shown = $node->safe_psql('postgres',
			violations($role, 'good') . " AND connections >= $good->{clients}");
		$seen{$shown}++ if $shown ne '';
	}
	application_end($app);
	is(join(' ', keys %seen), '{}', "$violation: not found in a pool that keeps to it");
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
# three clients at first, of which one is enough later: a pool that closes what is idle, and one that does not
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

# under_min also when nobody is left, and by the policy of its last session.
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'a pool without any session is under its minimum');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT pool_min, pool_max
		FROM connpool_pools
		WHERE role = 'least' AND application_name = 'good'
		SQL
	'2|',
	'its policy is shown, and where there is none, NULL');
is($node->safe_psql('postgres', violations('most', 'good')),
	'{}', 'a pool without any session is not over its maximum');
$node->restart;
is($node->safe_psql('postgres', violations('least', 'good')),
	'{under_min}', 'also after a restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is($node->safe_psql('postgres', violations('least', 'good')), '{under_min}', 'and after a reset');

# The total is of the role in the database, over all of its applications.
my @sessions = map {
	my $psql = $node->background_psql('postgres', extra_params => [ '-U', 'most' ]);
	$psql->query_safe("SET application_name = 'part_$_'");
	$psql
} 1 .. 2;
is($node->safe_psql('postgres', violations('most', 'part_1')), '{}', 'two connections of three');
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
	'four are over the maximum, whatever they call themselves');

# The alert says which pool does not keep its policy.
$node->append_conf('postgresql.conf', 'connpool_monitor.total_connections_warning = 1');
$node->reload;
poll_ok($node, <<~'SQL', 'the alert names the pool that is over its maximum');
	SELECT culprit LIKE '%Against their policy: %(most in postgres) over_max%'
	FROM connpool_alerts
	WHERE metric_name = 'total_connections'
	SQL
leave($_) foreach @sessions;

# Databases and roles in databases, of which the more specific one counts.
$node->safe_psql('postgres', <<~'SQL');
	CREATE DATABASE shop;
	ALTER DATABASE shop SET connpool_monitor.pool_max = 7;
	CREATE ROLE tenant LOGIN;
	ALTER ROLE tenant IN DATABASE shop SET connpool_monitor.pool_max = 9
	SQL
is($node->safe_psql('shop', 'SHOW connpool_monitor.pool_max'), '7', 'a limit of a database');
$node->safe_psql('shop', 'SELECT 1', extra_params => [ '-U', 'tenant' ]);
is($node->safe_psql('postgres', q{SELECT pool_max FROM connpool_pools WHERE role = 'tenant'}),
	'9', 'a limit of a role in a database');
my ($status, $out, $err) =
  $node->psql('shop', 'SET connpool_monitor.pool_max = 0', extra_params => [ '-U', 'tenant' ]);
like($err, qr/permission denied to set parameter/, 'an ordinary role cannot change it');
($status, $out, $err) =
  $node->psql('postgres', 'ALTER ROLE tenant SET connpool_monitor.pool_max = -1');
like($err, qr/outside the valid range/, 'a limit below 0 is refused');

# Whoever may not see a role's sessions learns no times of them.
$node->safe_psql('postgres',
	q{CREATE ROLE viewer LOGIN; GRANT SELECT ON connpool_sessions, connpool_pools TO viewer});
my $idle = $node->background_psql('postgres', extra_params => [ '-U', 'idle' ]);
$idle->query_safe("SET application_name = 'hidden'");
poll_ok($node, <<~'SQL', 'an idle session is shown');
	SELECT violations = '{idle_too_long}'
	FROM connpool_sessions
	WHERE application_name = 'hidden'
	SQL
is( $node->safe_psql(
		'postgres',
		q{SELECT violations IS NULL FROM connpool_sessions WHERE application_name = 'hidden'},
		extra_params => [ '-U', 'viewer' ]),
	't',
	'but not to everybody');
is( $node->safe_psql('postgres', violations('idle', 'hidden'), extra_params => [ '-U', 'viewer' ]),
	'{}',
	'nor by its pool');
leave($idle);

# A transaction that runs on is no reason to close its session, until it is over.
my $lived = $node->background_psql('postgres', extra_params => [ '-U', 'lived' ]);
$lived->query_safe("BEGIN; SET application_name = 'report'");
poll_ok($node, <<~'SQL', 'a long report');
	SELECT clock_timestamp() - connected_at > interval '1 s'
	FROM connpool_sessions
	WHERE application_name = 'report'
	SQL
is( $node->safe_psql(
		'postgres', q{SELECT violations FROM connpool_sessions WHERE application_name = 'report'}),
	'{}',
	'has not lived too long while it runs');
$lived->query_safe('COMMIT');
poll_ok($node,
	q{SELECT violations = '{lived_too_long}' FROM connpool_sessions WHERE role = 'lived'},
	'but after it');
leave($lived);

# Changed in mid-session, and taken back.
my $own = session($node, 'own');
$own->query_safe('SET connpool_monitor.pool_max_uses = 1; SELECT 1');
is( $own->query_safe(
		q{SELECT pool_max_uses, violations FROM connpool_pools WHERE application_name = 'own'}),
	'1|{used_too_often}',
	'a superuser sets it for the session');
$own->query_safe('RESET connpool_monitor.pool_max_uses');
is( $own->query_safe(
		q{SELECT pool_max_uses, violations FROM connpool_pools WHERE application_name = 'own'}),
	'|{}',
	'and takes it back');
leave($own);

# A role or database that is gone is not missed.
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
is($node->safe_psql('postgres', $missed), '2', 'two pools below their minimum');
$node->safe_psql('postgres', $_) foreach 'DROP ROLE gone', 'DROP DATABASE gonedb';
is($node->safe_psql('postgres', $missed), '0', 'until their role and their database are dropped');

# The newest session's policy is that of all the role's pools.
$node->safe_psql('postgres', 'ALTER ROLE least RESET ALL');
$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'least' ]);
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*)
		FROM connpool_pools
		WHERE role = 'least' AND (violations <> '{}' OR pool_min IS NOT NULL)
		SQL
	'0',
	'a policy that was taken back, by the next session of the role');

# Sessions whose pools are folded count for their role too.
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
	'eight connections are too many, wherever they are counted');
leave($_) foreach @many;

# Without track_activities nothing is known of a session's times.
$node->safe_psql('postgres', 'ALTER ROLE lived SET track_activities = off');
my $untracked = $node->background_psql('postgres', extra_params => [ '-U', 'lived' ]);
$untracked->query_safe("SET application_name = 'untracked'; BEGIN");
poll_ok($node, <<~'SQL', 'a session that does not track its activities');
	SELECT state = 'disabled' AND clock_timestamp() - connected_at > interval '1.5 s'
	FROM connpool_sessions
	WHERE application_name = 'untracked'
	SQL
is( $node->safe_psql(
		'postgres',
		q{SELECT violations FROM connpool_sessions WHERE application_name = 'untracked'}),
	'{}',
	'is accused of nothing');
leave($untracked);

done_testing();
