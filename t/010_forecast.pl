# SPDX-License-Identifier: PostgreSQL
# The forecast of exhaustion, in real time because that is what it is about: a
# step that fills half the slots and stays is no growth, a steady ramp is, and
# in time. Takes three minutes; connections are bare sockets, for there are many.
# scripts/test: slow, 182 s
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Connpool;

my $node = new_node('forecast', <<'CONF');
max_connections = 103
superuser_reserved_connections = 3
connpool_monitor.alert_after = '1s'
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');
my @sockets;

sub open_connection
{
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "could not connect: $!";
	my $body = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";
	$socket->syswrite(pack('N', length($body) + 4) . $body);
	push @sockets, $socket;
	return;
}

is(stat_of($node, 'exhaustion_seconds'), '||OK', 'nothing is known at first');
wait_samples($node, 100);

# a deployment: 60 connections at once, which stay
open_connection() foreach 1 .. 60;
my $forecasts = q{SELECT count(*) FROM connpool_history('exhaustion_seconds')};
foreach my $half_minute (1, 2)
{
	wait_samples($node, 300);
}
is(stat_of($node, 'total_connections'), '61|100|OK', 'sixty connections are open');
is($node->safe_psql('postgres', 'SELECT samples > 650 FROM connpool_info()'),
	't', 'for longer than a minute');
is(stat_of($node, 'exhaustion_seconds'), '||OK', 'a step is no growth');
is($node->safe_psql('postgres', $forecasts), '0', 'and never was');

# a leak: five connections every four seconds, until a tenth of the slots is left
my $began = time;
my $opened = 0;
while ($opened < 50)
{
	usleep(50_000);
	next if $opened >= (time - $began) * 1.25;
	open_connection();
	$opened++;
	last
	  if $opened > 29
	  && $node->safe_psql('postgres', $forecasts) ne '0'
	  && alert_of($node, 'exhaustion_seconds') eq 'CRITICAL';
}
my ($seconds, undef, $status) = split /\|/, stat_of($node, 'exhaustion_seconds');
my $real = (100 - 60 - $opened) / 1.25;
is($status, 'CRITICAL', "steady growth is forecast: $seconds s, when $real s are left");
is(alert_of($node, 'exhaustion_seconds'),
	'CRITICAL', 'and raises its alert before the slots are gone');
cmp_ok($seconds, '<=', $real * 3 + 5, 'it is not far off on one side');
cmp_ok($seconds, '>=', $real / 3 - 5, 'nor on the other');
is( $node->safe_psql(
		'postgres',
		q{SELECT current_value < 100 FROM get_connection_stats() WHERE metric_name = 'total_connections'}
	),
	't',
	'while slots are left');

# growth that is over is none, as soon as it has been over for a minute and a half
wait_samples($node, 400);
poll_ok(
	$node,
	q{SELECT current_value IS NULL FROM get_connection_stats() WHERE metric_name = 'exhaustion_seconds'},
	'and it ends with the growth');

$node->stop('fast');
done_testing();
