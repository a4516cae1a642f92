# SPDX-License-Identifier: PostgreSQL
# Clients that choose many application names cannot create an unbounded number of series in
# /metrics. Pools that stay in use get a series, and keep it unless larger pools appear. The pools
# add up to the server, and no counter falls. Needs many scrapes over two minutes, and a program
# compiled from the counters alone.
# scripts/test: slow, 124 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util qw(max);
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;

# The limits that doc/reference.md states: a pool gets a series after $lasting samples, at most
# $slots pools have one, and at most one of them is replaced in $period samples. The server takes
# ten samples a second.
my ($lasting, $period, $slots) = (30, 600, 20);

my $port = http_port();
my $node = new_node('series', <<"CONF");
connpool_monitor.http_listen = '127.0.0.1:$port'
max_connections = 60
connpool_monitor.max_pools = 1000
CONF

sub samples { return $node->safe_psql('postgres', 'SELECT samples FROM connpool_info()'); }

# Scrape: return statements and sessions of each series by application, and the sums of statements
# over pools and over databases. Compare the load of pools with that of the server. Record series
# that fell.
my (%named, $fell, %last, %last_load);

sub scrape
{
	my $text = get($port, '/metrics')->{content};
	my %now = (queries => {}, connections => {}, sum => 0, total => 0);
	my $of = series($text, 'pool_queries_total');
	foreach (keys %$of)
	{
		my ($application) = /application="([^"]*)"/;
		$now{queries}{$application} = $of->{$_};
		$now{sum} += $of->{$_};
		$fell .= "$application from $last{$application} to $of->{$_}; "
		  if exists $last{$application} && $of->{$_} < $last{$application};
	}
	$of = series($text, 'pool_busy_session_seconds_total');
	$now{load} = 0;
	foreach (keys %$of)
	{
		$now{load} += $of->{$_};
		$fell .= "load $_ from $last_load{$_} to $of->{$_}; "
		  if exists $last_load{$_} && $of->{$_} < $last_load{$_};
	}
	%last_load = %$of;
	$of = series($text, 'busy_session_seconds_total');
	$now{load} -= $_ foreach values %$of;
	my $sessions = series($text, 'pool_connections');
	/application="([^"]*)"/ and $now{connections}{$1} += $sessions->{$_} foreach keys %$sessions;
	$of = series($text, 'queries_total');
	$now{total} += $_ foreach values %$of;
	$named{$_} = 1
	  foreach grep { $_ ne 'other' } keys %{ $now{queries} }, keys %{ $now{connections} };
	%last = %{ $now{queries} };
	return \%now;
}

# Scrape every other sample until the application has a series. Return the last scrape.
sub wait_for_series
{
	my ($application, $max_samples, $meanwhile) = @_;
	my $until = samples() + $max_samples;
	my $scrape;
	do
	{
		$meanwhile->() if $meanwhile;
		wait_samples($node, 2);
		$scrape = scrape();
	} until exists $scrape->{queries}{$application} || samples() > $until;
	return $scrape;
}
$fell = '';

# a few pools: each gets a series after $lasting samples
my %session = map { $_ => session($node, $_) } qw(web worker);
$session{$_}->query_safe('SELECT 1') foreach keys %session;
my $scrape = scrape();
is(join(' ', grep { $_ ne 'other' } keys %{ $scrape->{queries} }), '', 'a new pool has no series');
is($scrape->{connections}{other}, 2, 'sessions of a pool without a series count as other');
is($scrape->{sum}, $scrape->{total}, 'the pools add up to the databases');
$scrape = wait_for_series('web', 10 * $lasting);
is( "$scrape->{queries}{web} $scrape->{connections}{web}",
	'0 1',
	'the series of a pool starts at zero, with its sessions');
is($scrape->{sum}, $scrape->{total}, 'a statement counts once when its pool gets a series');
cmp_ok(abs($scrape->{load}), '<', 0.01, 'the load of the pools adds up to that of the server');
$session{web}->query_safe('SELECT 1');
$scrape = scrape();
is($scrape->{queries}{web}, 1, 'the series counts later statements');
is($scrape->{sum}, $scrape->{total}, 'the pools add up to the databases when a series counts');

# a pool is in use even if each of its sessions is too short for any sample
$scrape = wait_for_series(
	'brief',
	20 * $lasting,
	sub { connects($node->connstr('postgres') . ' application_name=brief') });
ok(exists $scrape->{queries}{brief}, 'a pool of short sessions gets a series');

# Sessions that rename themselves all the time. A pool gets a series if its name lasts for $lasting
# samples, so use a longer sample_interval, in which each name lasts for few samples. On a busy
# machine it may last for more; then try again with other names.
sub set_interval
{
	my ($interval) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.sample_interval = '$interval'");
	$node->reload;
	return;
}
set_interval('1s');
my @sessions = map { session($node, "first_$_") } 1 .. 20;
my ($created, $longest, $try) = (0, $lasting, 0);
while ($longest >= $lasting && $try++ < 10)
{
	my $before = keys %named;
	$longest = 0;
	foreach my $round (1 .. 10)
	{
		my $began = samples();
		$sessions[$_]->query_safe("SET application_name = 'made_up_${try}_${round}_$_'")
		  foreach 0 .. 19;
		$scrape = scrape();
		$longest = max($longest, samples() - $began);
	}
	$created = keys(%named) - $before;
}
is($created, 0, '20 sessions that rename themselves at each of ten scrapes create no series');
is($scrape->{sum}, $scrape->{total},
	'the pools add up to the databases while sessions rename themselves');
cmp_ok(abs($scrape->{load}),
	'<', 0.01,
	'the load of the pools adds up to that of the server while sessions rename themselves');
is($scrape->{connections}{other}, 20, 'sessions that rename themselves count as other');
set_interval('100ms');

# names that stay in use: as many get a series as there are slots, and one more in each period
foreach my $round (1 .. 3)
{
	$sessions[$_]->query_safe("SET application_name = 'lasting_${round}_$_'") foreach 0 .. 19;
	wait_samples($node, $lasting + 5);
	$scrape = scrape();
}
my $allowed = $slots + int(samples() / $period);
cmp_ok(scalar keys %named,
	'<=', $allowed, "names that stay in use create at most $allowed series");
cmp_ok(scalar keys %{ $scrape->{queries} },
	'<=', $slots + 1, "at most $slots pools have a series at a time");
ok(exists $scrape->{queries}{$_}, "$_ keeps its series") foreach qw(web worker);

# Two pools without a series run far more statements than all others. Each pool with a series has a
# session, except one that is unused. The two pools must replace the unused pool and a small one.
my @kept = sort grep { /^lasting/ } keys %{ $scrape->{queries} };
$sessions[$_]->query_safe("SET application_name = '$kept[$_]'") foreach 0 .. $#kept;
leave($_) foreach splice @sessions, scalar @kept;
leave(pop @sessions);
my $unused = pop @kept;
%session = (%session, map { $_ => session($node, $_) } qw(brief big bigger));

sub work
{
	my $many = 'SELECT 1;' x 50;
	$session{$_}->query_safe($many) foreach qw(big bigger);
	return;
}
my $lost = 0;
foreach my $turn (1, 2)
{
	my %values;
	my $entered;
	my $limit = samples() + 2 * $period + 50;
	do
	{
		%values = %{ $scrape->{queries} };
		work();
		wait_samples($node, 5);
		$scrape = scrape();
		($entered) = grep { !exists $values{$_} } keys %{ $scrape->{queries} };
	} until defined $entered || samples() > $limit;
	like($entered // 'none', qr/^big/, "a larger pool gets a series, turn $turn");
	is(scalar keys %{ $scrape->{queries} },
		$slots + 1, "another pool loses its series, turn $turn");
	my ($left) = grep { !exists $scrape->{queries}{$_} } keys %values;
	$lost += $values{$left};
	is($scrape->{sum} + $lost,
		$scrape->{total},
		'the sum over pools lacks only the last values of series that were removed');
	$allowed = $slots + int(samples() / $period);
	cmp_ok(scalar keys %named, '<=', $allowed, "at most $allowed series were created so far");
}
ok(!exists $scrape->{queries}{$unused}, 'a pool that is unused for a period loses its series');
ok(exists $scrape->{queries}{$_}, "the larger pool $_ has a series") foreach qw(big bigger);
is($fell, '', 'no series falls');

# restart and reset
my %before = %{ $scrape->{queries} };
eval { leave($_) } foreach values %session, @sessions;
$scrape = scrape();
$node->restart;
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'HTTP answers after a restart');
my $sum = $scrape->{sum} - $scrape->{total};
$scrape = scrape();
is( join(' ', sort keys %{ $scrape->{queries} }),
	join(' ', sort keys %before),
	'pools keep their series over a restart');
is($scrape->{sum} - $scrape->{total},
	$sum, 'the difference of the sums is the same after a restart');
is($fell, '', 'no series falls at a restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
%last = ();
%last_load = ();
$scrape = scrape();
is( join(' ', sort keys %{ $scrape->{queries} }),
	join(' ', sort keys %before),
	'pools keep their series over a reset');
is($scrape->{sum}, $scrape->{total}, 'the pools add up to the databases after a reset');
cmp_ok(abs($scrape->{load}),
	'<', 0.01, 'the load of the pools adds up to that of the server after a reset');
$node->safe_psql('postgres', 'SELECT 1');
$scrape = scrape();
is($scrape->{sum}, $scrape->{total}, 'the pools add up to the databases after a later statement');
$node->stop;

# reads of the counters that overlap other reads, without the server
my $series = compile_unit('series', 'base/histogram', 'counters/monotonic_counters',
	'counters/pool_retained');
my @lines = split /\n/, `$series`;
my ($reads, $crossed, $begun) = split / /, pop @lines;
is(scalar @lines, 0, "no counter falls in $reads reads, which allocate nothing under the lock")
  or diag(join "\n", @lines[ 0 .. ($#lines < 9 ? $#lines : 9) ]);
cmp_ok($crossed, '>', 5000, "$crossed of the reads complete within another one");
cmp_ok($begun, '>', 100, "$begun series begin meanwhile");
done_testing();
