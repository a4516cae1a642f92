# SPDX-License-Identifier: PostgreSQL
# Series by pool in /metrics: how many clients can create by choosing names, which pools get
# one, for how long they keep it, and what the series sum up to.
# scripts/test: slow, 130 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;

# In samples, of which there are ten a second here; as doc/reference.md has it.
my ($lasting, $period, $places) = (30, 600, 20);

my $port = http_port();
my $node = new_node('series', <<"CONF");
connpool_monitor.http_listen = '127.0.0.1:$port'
max_connections = 60
connpool_monitor.max_pools = 1000
CONF

sub samples { return $node->safe_psql('postgres', 'SELECT samples FROM connpool_info()'); }

# One scrape: by application, statements and sessions of each series; and both sums of statements.
my (%named, $fell, %last);

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
	my $sessions = series($text, 'pool_connections');
	/application="([^"]*)"/ and $now{connections}{$1} += $sessions->{$_} foreach keys %$sessions;
	$of = series($text, 'queries_total');
	$now{total} += $_ foreach values %$of;
	$named{$_} = 1
	  foreach grep { $_ ne 'other' } keys %{ $now{queries} }, keys %{ $now{connections} };
	%last = %{ $now{queries} };
	return \%now;
}
# Scrape until the series of that application is there, once in some samples, and return what is true of it then.
sub wait_for_series
{
	my ($application, $most_samples, $meanwhile) = @_;
	my $until = samples() + $most_samples;
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

# A few pools: each gets its series once it has lasted.
my %session = map { $_ => session($node, $_) } qw(web worker);
$session{$_}->query_safe('SELECT 1') foreach keys %session;
my $scrape = scrape();
is(join(' ', grep { $_ ne 'other' } keys %{ $scrape->{queries} }),
	'', 'a pool that has just come has no series');
is($scrape->{connections}{other}, 2, 'its sessions count as others');
is($scrape->{sum}, $scrape->{total}, 'the sum over the series of pools is that over databases');
$scrape = wait_for_series('web', 10 * $lasting);
is( "$scrape->{queries}{web} $scrape->{connections}{web}",
	'0 1',
	'the series of a pool that lasts begins at zero, with its sessions');
is($scrape->{sum}, $scrape->{total},
	'the sum has each statement once when a pool gets its series');
$session{web}->query_safe('SELECT 1');
$scrape = scrape();
is($scrape->{queries}{web}, 1, 'the series counts from then on');
is($scrape->{sum}, $scrape->{total}, 'and the sum stays exact');

# A pool whose sessions are too short for any sample lasts too.
$scrape = wait_for_series(
	'brief',
	20 * $lasting,
	sub { connects($node->connstr('postgres') . ' application_name=brief') });
ok(exists $scrape->{queries}{brief}, 'a pool of short sessions gets its series');

# Sessions that rename themselves all the time.
my $before = keys %named;
my @sessions = map { session($node, "first_$_") } 1 .. 20;
foreach my $round (1 .. 10)
{
	$sessions[$_]->query_safe("SET application_name = 'made_up_${round}_$_'") foreach 0 .. 19;
	$scrape = scrape();
}
is(keys(%named) - $before,
	0, '20 sessions that rename themselves at each of ten scrapes create no series');
is($scrape->{sum}, $scrape->{total}, 'the sum is exact meanwhile');
is($scrape->{connections}{other}, 20, 'these sessions count as others');

# They may let names last; then as many get a series as there are places, and one more in each period.
foreach my $round (1 .. 3)
{
	$sessions[$_]->query_safe("SET application_name = 'lasting_${round}_$_'") foreach 0 .. 19;
	wait_samples($node, $lasting + 5);
	$scrape = scrape();
}
my $allowed = $places + int(samples() / $period);
cmp_ok(scalar keys %named, '<=', $allowed, "names that last create no more than $allowed series");
cmp_ok(
	scalar keys %{ $scrape->{queries} },
	'<=',
	$places + 1,
	"no more than $places pools have a series at once");
ok(exists $scrape->{queries}{$_}, "$_ keeps its series") foreach qw(web worker);

# Two pools that do much more, while every named pool has a session but one that is unused from now on.
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
	my $most = samples() + 2 * $period + 50;
	do
	{
		%values = %{ $scrape->{queries} };
		work();
		wait_samples($node, 5);
		$scrape = scrape();
		($entered) = grep { !exists $values{$_} } keys %{ $scrape->{queries} };
	} until defined $entered || samples() > $most;
	like($entered // 'none', qr/^big/, "a larger pool gets a series, turn $turn");
	is(scalar keys %{ $scrape->{queries} }, $places + 1, 'one other pool lost its series');
	my ($left) = grep { !exists $scrape->{queries}{$_} } keys %values;
	$lost += $values{$left};
	is($scrape->{sum} + $lost,
		$scrape->{total},
		'the sum lacks what was last shown of pools without a series any more, and nothing else');
	$allowed = $places + int(samples() / $period);
	cmp_ok(scalar keys %named, '<=', $allowed, "no more than $allowed series were created so far");
}
ok(!exists $scrape->{queries}{$unused}, 'a pool that is unused for a period loses its series');
ok(exists $scrape->{queries}{$_}, "both $_ has a series") foreach qw(big bigger);
is($fell, '', 'no series ever fell');

# What a restart keeps, and a reset.
my %before = %{ $scrape->{queries} };
eval { leave($_) } foreach values %session, @sessions;
$scrape = scrape();
$node->restart;
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }),
	'the worker is there after a restart');
my $sum = $scrape->{sum} - $scrape->{total};
$scrape = scrape();
is( join(' ', sort keys %{ $scrape->{queries} }),
	join(' ', sort keys %before),
	'pools keep their series over a restart');
is($scrape->{sum} - $scrape->{total}, $sum, 'the sum is what it was');
is($fell, '', 'no series fell at the restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
%last = ();
$scrape = scrape();
is( join(' ', sort keys %{ $scrape->{queries} }),
	join(' ', sort keys %before),
	'pools keep their series over a reset');
is($scrape->{sum}, $scrape->{total}, 'after which the sum is that over databases again');
$node->safe_psql('postgres', 'SELECT 1');
$scrape = scrape();
is($scrape->{sum}, $scrape->{total}, 'and stays so');
$node->stop;
done_testing();
