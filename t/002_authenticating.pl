# SPDX-License-Identifier: PostgreSQL
# Clients that have connected and do not answer the request for a password hold
# a slot each, but until 18 pg_stat_activity does not show them. With 17 of them
# against max_connections = 20 nobody else gets in, and the monitor says so.
# Needs sockets that speak half of the protocol, which no client does.
# scripts/test: slow, 13 s
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('authenticating', <<'CONF');
max_connections = 20
superuser_reserved_connections = 3
connpool_monitor.alert_after = '200ms'
connpool_monitor.alert_clear_after = '200ms'
connpool_monitor.rejected_connections_critical = -1	# it would last for a minute
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');

# one superuser session watches throughout: it holds one of the 20 slots
my $watcher = session($node, 'watcher');
sub watch { return $watcher->query_safe($_[0]) }

$node->safe_psql('postgres', q{CREATE ROLE app LOGIN PASSWORD 'secret'});
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', "local all app password\nlocal all all trust\n");
$node->reload;

sub stuck_client
{
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "could not connect: $!";
	my $body = pack('N', 196608) . "user\0app\0database\0postgres\0\0";

	$socket->syswrite(pack('N', length($body) + 4) . $body);
	my $answer = '';
	$socket->sysread($answer, 1);
	$answer eq 'R' or die "no request for a password but '$answer'";
	return $socket;
}

my @stuck = map { stuck_client() } 1 .. 16;
is( watch(
		q{SELECT current_value, max_value, status FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	'17|17|CRITICAL',
	'sixteen that authenticate and this session are all usable slots');
my $health = q{SELECT connpool_health() ->> };
is(watch($health . q{'status'}), 'unhealthy', 'an ordinary role could not connect: unhealthy');
like(watch($health . q{'error'}), qr/17 of 17 usable slots/, 'and says why');
is( watch(
		q{SELECT current_value, status FROM get_connection_stats() WHERE metric_name = 'exhaustion_seconds'}
	),
	'0|CRITICAL',
	'exhaustion is now');

my ($status, undef, $stderr) = $node->psql('postgres', 'SELECT 1',
	connstr => $node->connstr('postgres') . ' user=app password=secret');
isnt($status, 0, 'which is so: an ordinary role is refused');
like($stderr, qr/remaining connection slots are reserved/, 'for want of a slot');

# the sampler agrees, and warns
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..600 LOOP
	EXIT WHEN (SELECT status = 'CRITICAL' FROM connpool_alerts WHERE metric_name = 'total_connections');
	PERFORM pg_sleep(0.05); END LOOP; END $$});
is( watch(
		q{SELECT status, current_value FROM connpool_alerts WHERE metric_name = 'total_connections'}
	),
	'CRITICAL|17',
	'the alert is raised on what pg_stat_activity does not show');
is( log_count(
		$node, 'WARNING:  connpool_monitor: CRITICAL: total_connections is 17 of 17 connections'),
	1,
	'with one warning');

# one less, and ordinary roles can connect again
shift(@stuck)->close;
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..600 LOOP
	EXIT WHEN connpool_health() ->> 'status' <> 'unhealthy';
	PERFORM pg_sleep(0.05); END LOOP; END $$});
is(watch($health . q{'status'}),
	'degraded', 'one slot is free: degraded by the alert, no longer unhealthy');
($status) = $node->psql('postgres', 'SELECT 1',
	connstr => $node->connstr('postgres') . ' user=app password=secret');
is($status, 0, 'and an ordinary role connects');
$_->close foreach @stuck;
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..600 LOOP
	EXIT WHEN (SELECT current_value = 1 FROM get_connection_stats() WHERE metric_name = 'total_connections');
	PERFORM pg_sleep(0.05); END LOOP; END $$});
is( watch(
		q{SELECT current_value FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	'1',
	'slots of clients that have left are free');
poll_ok(
	$node,
	q{SELECT connpool_health() ->> 'status' = 'healthy'},
	'and health recovers when the alert has cleared');

$node->stop('fast');
done_testing();
