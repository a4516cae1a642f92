# SPDX-License-Identifier: PostgreSQL
# If no connection slot is left, the server refuses an ordinary role, and a superuser in a reserved
# slot can still read all metrics. Needs more sessions than a server has slots.
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

poll_stat($node, 'total_connections', '1|10|OK',
	'total_connections has ten usable slots as its maximum');
is(stat_of($node, 'long_transactions'),
	'0|7|OK', 'long_transactions_max sets the maximum of long_transactions');
is(stat_of($node, 'exhaustion_seconds'),
	'||OK', 'exhaustion_seconds forecasts nothing before connections grow');

my $watcher = session($node, 'watcher');
my @sessions = map { session($node, 'filler') } 1 .. 8;
poll_stat($watcher, 'total_connections', '9|10|WARNING',
	'nine sessions in ten slots are a WARNING');
ok(connects($app), 'an ordinary role connects while one slot is free');

# The pool opened newer sessions while these were idle, so all but the last are suspects until they
# run a statement. The watcher is the only session of its pool and therefore no suspect. Return the
# suspects once all sessions have been idle for longer than leak_idle_age.
sub idle_leaks
{
	$watcher->query_safe('SELECT pg_sleep(0.15)');
	return $watcher->query_safe(
		q{SELECT application_name, count(*) FROM connpool_leaks
		WHERE kind = 'idle' AND state = 'idle' AND xact_age IS NULL AND blocks = 0 GROUP BY 1});
}
is(idle_leaks(), 'filler|7',
	'connpool_leaks lists seven of eight idle sessions whose pool opened newer ones');
$sessions[0]->query_safe('SELECT 1');
is(idle_leaks(), 'filler|6',
	'connpool_leaks no longer lists an idle session that ran a statement');
is( $watcher->query_safe(
		q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'leak_suspects'}),
	'0',
	'leak_suspects does not count idle sessions');
push @sessions, session($node, 'filler');
poll_stat($watcher, 'total_connections', '10|10|CRITICAL',
	'ten sessions in ten slots are CRITICAL');
is($watcher->query_safe(q{SELECT connpool_health() ->> 'status'}),
	'unhealthy', 'health is unhealthy while no slot is free');
ok(!connects($app), 'an ordinary role is refused while no slot is free');
is($watcher->query_safe(<<~'SQL'), '0|CRITICAL', 'exhaustion_seconds is 0 while no slot is free');
	SELECT current_value, status
	FROM get_connection_stats()
	WHERE metric_name = 'exhaustion_seconds'
	SQL
push @sessions, session($node, 'filler');
poll_is($watcher,
	q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections'},
	'11', 'total_connections counts a superuser in a reserved slot');
leave(pop @sessions) foreach 1 .. 2;
poll_session($watcher, q{SELECT connpool_health() ->> 'status' <> 'unhealthy'});
ok(connects($app), 'an ordinary role connects when a slot is free again');
leave(pop @sessions) foreach 1 .. 4;

# the culprit of an old transaction has its pid
my $open = session($node, 'forgetful');
my $pid = $open->query_safe('BEGIN; SELECT pg_backend_pid()');
leave($watcher);
$node->safe_psql('postgres',
	q{ALTER SYSTEM SET connpool_monitor.oldest_transaction_seconds_warning = 1});
$node->reload;
poll_ok(
	$node,
	q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'oldest_transaction_seconds'},
	'an old transaction raises an alert');
like(
	$node->safe_psql(
		'postgres',
		q{SELECT culprit FROM connpool_alerts WHERE metric_name = 'oldest_transaction_seconds'}),
	qr/^The oldest is pid $pid of forgetful \(\w+ in postgres\), for \d+ s$/,
	'the culprit is the session with the oldest transaction');

$node->stop('fast');
done_testing();
