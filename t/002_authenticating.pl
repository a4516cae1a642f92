# SPDX-License-Identifier: PostgreSQL
# A client that has connected but does not answer the request for a password holds a slot, although
# pg_stat_activity does not show it before PostgreSQL 18. Sixteen such clients and one session take
# all 17 slots for ordinary roles, and the extension must report that. Needs sockets that speak
# half of the protocol, which no client program does.
# scripts/test: slow, 13 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('authenticating', <<'CONF');
max_connections = 20
superuser_reserved_connections = 3
connpool_monitor.alert_after = '200ms'
connpool_monitor.alert_clear_after = '200ms'
connpool_monitor.rejected_connections_critical = -1	# this alert would last for a minute
authentication_timeout = 10min
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');

# this superuser session, which holds one of the 20 slots, runs the queries of the test
my $watcher = session($node, 'watcher');

$node->safe_psql('postgres', q{CREATE ROLE app LOGIN PASSWORD 'secret'});
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', "local all app password\nlocal all all trust\n");
$node->reload;

sub stuck_client
{
	my $socket = Wire::start_up($node, user => 'app', database => 'postgres')
	  or die "could not connect: $!";
	my $answer = '';
	$socket->sysread($answer, 1);
	$answer eq 'R' or die "no request for a password but '$answer'";
	return $socket;
}

# sessions that have just ended must not hold slots any longer
poll_session($watcher,
	q{SELECT current_value = 1 FROM get_connection_stats() WHERE metric_name = 'total_connections'}
);
my @stuck = map { stuck_client() } 1 .. 16;
is(stat_of($watcher, 'total_connections'),
	'17|17|CRITICAL', 'total_connections counts the sixteen clients that have not authenticated');
my $health = q{SELECT connpool_health() ->> };
is(sql($watcher, $health . q{'status'}),
	'unhealthy', 'health is unhealthy while no ordinary role can connect');
like(
	sql($watcher, $health . q{'error'}),
	qr/17 of 17 usable slots/,
	'the error of connpool_health() counts the usable slots in use');
is(sql($watcher, <<~'SQL'), '0|CRITICAL', 'exhaustion_seconds is 0 while no usable slot is free');
	SELECT current_value, status
	FROM get_connection_stats()
	WHERE metric_name = 'exhaustion_seconds'
	SQL

# the sampler counts them too, and raises the alert
poll_session($watcher,
	q{SELECT status = 'CRITICAL' FROM connpool_alerts WHERE metric_name = 'total_connections'});
is( sql($watcher, <<~'SQL'),
		SELECT status, current_value FROM connpool_alerts WHERE metric_name = 'total_connections'
		SQL
	'CRITICAL|17', 'the alert counts clients that pg_stat_activity does not show');
is( log_count(
		$node, 'WARNING:  connpool_monitor: CRITICAL: total_connections is 17 of 17 connections'),
	1,
	'the sampler logs the alert once');

my $app = $node->connstr('postgres') . ' user=app password=secret';
ok(!connects($app, 'SELECT 1', undef, \my $stderr), 'an ordinary role cannot connect');
like(
	$stderr,
	qr/remaining connection slots are reserved/,
	'PostgreSQL refuses an ordinary role because the free slots are reserved');

# with one client less, ordinary roles can connect again
shift(@stuck)->close;
poll_session($watcher, q{SELECT connpool_health() ->> 'status' <> 'unhealthy'});
is(sql($watcher, $health . q{'status'}),
	'degraded', 'health is degraded by the alert, and no longer unhealthy, when one slot is free');
ok(connects($app), 'an ordinary role connects when one slot is free');
$_->close foreach @stuck;
poll_is($watcher,
	q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections'},
	'1', 'total_connections no longer counts the clients that have left');
poll_ok(
	$node,
	q{SELECT connpool_health() ->> 'status' = 'healthy'},
	'health recovers when the alert has cleared');

$node->stop('fast');
done_testing();
