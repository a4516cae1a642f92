# SPDX-License-Identifier: PostgreSQL
# The forecast of exhaustion in real time ignores a step that fills half the slots, recognizes a
# steady ramp, and raises the alert before the slots are used up. Needs a hundred connections over
# three minutes, which are bare sockets because processes would cost too much.
# scripts/test: slow, 182 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Connpool;
use Wire;

my $node = new_node('forecast', <<'CONF');
max_connections = 103
superuser_reserved_connections = 3
connpool_monitor.alert_after = '1s'
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');
my @sockets;

sub open_connection
{
	push @sockets,
	  Wire::start_up($node, user => $user, database => 'postgres') // die "could not connect: $!";
	return;
}

# an open session, because a new psql for each query would keep a processor busy for minutes
my $watcher = session($node, 'watcher');
is(stat_of($node, 'exhaustion_seconds'), '||OK', 'exhaustion_seconds forecasts nothing at first');
wait_samples($watcher, 100);

# a deployment: 60 connections open at once and stay
open_connection() foreach 1 .. 60;
my $forecasts = q{SELECT count(*) FROM connpool_history('exhaustion_seconds')};
foreach my $half_minute (1, 2)
{
	wait_samples($watcher, 300);
}
poll_stat($watcher, 'total_connections', '61|100|OK', 'sixty connections are open');
is($node->safe_psql('postgres', 'SELECT samples > 650 FROM connpool_info()'),
	't', 'the sixty connections stay open for longer than a minute');
is(stat_of($watcher, 'exhaustion_seconds'), '||OK', 'exhaustion_seconds ignores a step');
is(sql($watcher, $forecasts), '0', 'no sample forecasts exhaustion after a step');

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
	  && sql($watcher, $forecasts) ne '0'
	  && alert_of($watcher, 'exhaustion_seconds') eq 'CRITICAL';
}
my ($seconds, undef, $status) = split /\|/, stat_of($watcher, 'exhaustion_seconds');
my $real = (100 - 60 - $opened) / 1.25;
is($status, 'CRITICAL',
	"exhaustion_seconds forecasts steady growth: $seconds s, with $real s left");
is(alert_of($watcher, 'exhaustion_seconds'),
	'CRITICAL', 'the sampler raises the alert before the slots are used up');
cmp_ok($seconds, '<=', $real * 3 + 5, 'the forecast is at most three times the real time');
cmp_ok($seconds, '>=', $real / 3 - 5, 'the forecast is at least a third of the real time');
is( $node->safe_psql('postgres',
		<<~'SQL'), 't', 'slots are free when the sampler raises the alert');
	SELECT current_value < 100
	FROM get_connection_stats()
	WHERE metric_name = 'total_connections'
	SQL

# the forecast ends some time after the growth
poll_stat($watcher, 'exhaustion_seconds', '||OK',
	'the forecast ends after connections stop growing');
leave($watcher);

$node->stop('fast');
done_testing();
