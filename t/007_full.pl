# SPDX-License-Identifier: PostgreSQL
# When no slot is left: what ordinary roles meet, what the superuser's last
# slots still show, and the forecast on the way there.
# scripts/test: slow, 16 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('full', <<'CONF');
max_connections = 13
superuser_reserved_connections = 3
connpool_monitor.silent_metrics = 'idle_connections'
connpool_monitor.long_transactions_max = 7
connpool_monitor.oldest_transaction_seconds_warning = -1
connpool_monitor.alert_after = '100ms'
connpool_monitor.leak_idle_age = '100ms'
CONF

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');
my $app = $node->connstr('postgres') . ' user=app';

sub app_works
{
	my ($status) = $node->psql('postgres', 'SELECT 1', connstr => $app);
	return $status == 0;
}

is(stat_of($node, 'total_connections'), '1|10|OK', 'ten slots are usable');
is(stat_of($node, 'long_transactions'), '0|7|OK', 'a maximum can be set');
is(stat_of($node, 'exhaustion_seconds'), '||OK', 'nothing is forecast yet');

my $watcher = session($node, 'watcher');
# one after the other: what opens within a twentieth of leak_idle_age is a pool that fills
my @sessions = map { select undef, undef, undef, 0.02; session($node, 'filler') } 1 .. 8;
is( $watcher->query_safe(
		q{SELECT current_value, status FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	'9|WARNING',
	'nine of ten');
ok(app_works(), 'an ordinary role still connects');

# their pool opened newer sessions while they were idle: all but the last are
# suspect, and one that works again is not; the watcher is alone in its pool
sub idle_leaks
{
	$watcher->query_safe('SELECT pg_sleep(0.15)');
	return $watcher->query_safe(
		q{SELECT application_name, count(*) FROM connpool_leaks
		WHERE kind = 'idle' AND state = 'idle' AND xact_age IS NULL AND blocks = 0 GROUP BY 1});
}
is(idle_leaks(), 'filler|7', 'idle sessions that their pool forgot are listed');
$sessions[0]->query_safe('SELECT 1');
is(idle_leaks(), 'filler|6', 'one that is used again is not');
is( $watcher->query_safe(
		q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'leak_suspects'}),
	'0',
	'and idle ones do not count as leak suspects');
push @sessions, session($node, 'filler');
is( $watcher->query_safe(
		q{SELECT current_value, status FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	'10|CRITICAL',
	'ten of ten');
is($watcher->query_safe(q{SELECT connpool_health() ->> 'status'}),
	'unhealthy', 'health is unhealthy');
ok(!app_works(), 'and an ordinary role is refused');
is( $watcher->query_safe(
		q{SELECT current_value, status FROM get_connection_stats() WHERE metric_name = 'exhaustion_seconds'}
	),
	'0|CRITICAL',
	'no slot is left: 0 seconds');
push @sessions, session($node, 'filler');
is( $watcher->query_safe(
		q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	'11',
	'a superuser takes a reserved one');
(pop @sessions)->quit foreach 1 .. 2;
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..600 LOOP
	EXIT WHEN connpool_health() ->> 'status' <> 'unhealthy'; PERFORM pg_sleep(0.05); END LOOP; END $$}
);
ok(app_works(), 'a slot is free again');
(pop @sessions)->quit foreach 1 .. 4;

# an open transaction is named by pid
my $open = session($node, 'forgetful');
my $pid = $open->query_safe('BEGIN; SELECT pg_backend_pid()');
$watcher->quit;
$node->safe_psql('postgres',
	q{ALTER SYSTEM SET connpool_monitor.oldest_transaction_seconds_warning = 1});
$node->reload;
poll_ok(
	$node,
	q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'oldest_transaction_seconds'},
	'an old transaction raises its alert');
like(
	$node->safe_psql(
		'postgres',
		q{SELECT culprit FROM connpool_alerts WHERE metric_name = 'oldest_transaction_seconds'}),
	qr/^The oldest is pid $pid of forgetful \(\w+ in postgres\), for \d+ s$/,
	'which names the session');

$node->stop('fast');
done_testing();
