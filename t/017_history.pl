# SPDX-License-Identifier: PostgreSQL
# The tiers of the history: minutes and hours are exactly what the samples come
# to, gaps stay gaps, and neither a changed interval nor a clock that is set
# breaks it. The server's clock is libfaketime's, so that days pass in seconds.
# scripts/test: slow, 15 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

plan skip_all => 'a server with both a sanitizer and libfaketime does not come up'
  if $ENV{CONNPOOL_MONITOR_SANITIZERS};
my ($faketime) = glob('/usr/lib/*/faketime/libfaketime.so.1');
BAIL_OUT('libfaketime is not installed') unless $faketime;

my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
my $node;

# libfaketime keeps pointers into the environment, which PostgreSQL writes process
# titles over: a process reads the clock's file only while it is young. So the
# sampler is ended, and another starts after a second.
sub set_clock
{
	my $offset = shift;
	# in one step: libfaketime ends a process that reads an empty file
	append_to_file("$clock.new", "$offset\n");
	rename("$clock.new", $clock) or die $!;
	return unless $node && $node->{_pid};
	my $sampler =
	  sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
	sql("SELECT pg_terminate_backend($sampler)");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler' AND pid <> $sampler"
	) or die 'no other sampler starts';
	return;
}

# The monotonic clock goes its own way, as it does when a clock is set.
sub start
{
	local %ENV = (
		%ENV,
		LD_PRELOAD => $faketime,
		FAKETIME_TIMESTAMP_FILE => $clock,
		FAKETIME_NO_CACHE => 1,
		FAKETIME_DONT_FAKE_MONOTONIC => 1);
	$node->start;
	return;
}

set_clock('+0');
$node = new_node('main', "log_timezone = 'UTC'\ntimezone = 'UTC'", stopped => 1);
start();
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
sub sql { return $node->safe_psql('postgres', shift); }

# --- periods across a restart: what is over a minute old is not of the last minute. First,
# while the postmaster, which says when it saved, has the true clock.
sql('SELECT connpool_reset()');
sql('SELECT 1') foreach 1 .. 20;
$node->stop('fast');
set_clock('+600');
start();
my %total = map { split /\|/ } split /\n/,
  sql('SELECT period, total_queries FROM connpool_query_stats');
cmp_ok($total{last_minute}, '<', 20,
	'after ten minutes down the last minute has only what came since');
cmp_ok($total{last_hour}, '>=', 20, 'the last hour has what was before');
cmp_ok($total{since_reset}, '>=', 20, 'and so has the time since the reset');
$node->stop('fast');
set_clock('+4300');
start();
%total = map { split /\|/ } split /\n/,
  sql('SELECT period, total_queries FROM connpool_query_stats');
cmp_ok($total{last_hour}, '<', 20, 'after more than an hour the last hour has not');
cmp_ok($total{since_reset}, '>=', 20, 'the time since the reset still has');
$node->stop('fast');
set_clock('+0');
start();

# Freeze the history, by an interval in which nothing more is sampled.
sub set_interval
{
	my $interval = shift;
	sql("ALTER SYSTEM SET connpool_monitor.sample_interval = '$interval'");
	$node->reload;
	poll_ok(
		$node,
		"SELECT current_setting('connpool_monitor.sample_interval') = '$interval'",
		"the interval is $interval");
	return;
}

# Every stretch of a tier against the samples of it, by SQL.
my $differences = <<'SQL';
SELECT count(*), count(*) FILTER (WHERE t.metric_name IS NULL OR s.metric_name IS NULL
		OR abs(t.avg_value - s.avg) > 0.001 + 1e-5 * abs(s.avg) OR abs(t.max_value - s.max) > 0.001)
FROM (SELECT * FROM connpool_history(since => '-infinity', until => 'infinity', resolution => '1 %1$s')) t
FULL JOIN (SELECT date_trunc('%1$s', sample_time) AS sample_time, metric_name, avg(avg_value),
		CASE metric_name WHEN 'exhaustion_seconds' THEN min(max_value) ELSE max(max_value) END AS max
	FROM connpool_history(since => now() - interval '5 minutes', until => 'infinity', resolution => '%2$s')
	GROUP BY 1, 2) s
USING (sample_time, metric_name)
SQL

set_clock('+0');
my @sessions = map { session($node, "held $_") } 1 .. 3;
wait_samples($node, 10);
$_->quit foreach splice(@sessions, 0, 2);
wait_samples($node, 10);
# the same again after a minute, in which nobody sampled
set_clock('+70');
wait_samples($node, 10);
set_interval('1min');
foreach my $unit ('minute', 'hour')
{
	# The sampler may have been taking one more sample when the interval changed.
	my ($samples, $rows, $bad);
	do
	{
		$samples = sql('SELECT samples FROM connpool_info()');
		($rows, $bad) = split /\|/, sql(sprintf($differences =~ s/'%2\$s'/NULL/r, $unit));
	} until (sql('SELECT samples FROM connpool_info()') eq $samples);
	cmp_ok($rows, '>=', 14, "there are ${unit}s");
	is($bad, '0', "a $unit is what its samples come to");
}
is( sql(q{SELECT count(DISTINCT sample_time) >= 2 AND max(max_value) >= 4 AND max(max_value) > min(avg_value)
	FROM connpool_history('total_connections', resolution => '1 minute')}),
	't',
	'maxima are kept besides means');

# --- gaps, and which tier answers
set_interval('100ms');
set_clock('+3d');
wait_samples($node, 5);
is( sql(q{SELECT count(*) FROM connpool_history('total_connections', now() - interval '2 days', now() - interval '1 day')}
	),
	'0',
	'days that nobody sampled have no rows');
is( sql(q{SELECT count(DISTINCT sample_time) FROM connpool_history('total_connections', now() - interval '4 days', resolution => '1 minute')
	WHERE sample_time < now() - interval '2 days'}) >= 2,
	1,
	'what was before them is still there');
foreach (
	[ '5 minutes', '00:00:00.1' ],
	[ '1 hour', '00:01:00' ],
	[ '7 days', '00:01:00' ],
	[ '7 days 1 second', '01:00:00' ],
	[ '2 years', '01:00:00' ])
{
	my ($since, $resolution) = @$_;
	is( sql("SELECT string_agg(DISTINCT resolution::text, ' ') FROM connpool_history('total_connections', now() - interval '$since')"
		),
		$resolution,
		"since $since is answered by the tier of $resolution");
}
is( sql(q{SELECT bool_and(date_trunc('minute', sample_time) = sample_time) FROM connpool_history(NULL, now() - interval '7 days')}
	),
	't',
	'sample_time is the start of the minute');
is( sql(q{SELECT bool_and(date_trunc('hour', sample_time) = sample_time) FROM connpool_history(NULL, now() - interval '1 year')}
	),
	't',
	'and of the hour');
foreach my $resolution ('1 second', '2 minutes', '1 day', '0')
{
	my ($status, undef, $error) = $node->psql(
		'postgres',
		"\\set VERBOSITY sqlstate\nSELECT connpool_history(resolution => '$resolution')",
		on_error_stop => 1);
	like($error, qr/22023/, "$resolution is no tier");
}

# --- years: the rings hold what they promise, and no more
my $seconds = 4 * 86400;
for my $hour (1 .. 12)
{
	$seconds += 3600;
	set_clock("+$seconds");
	wait_samples($node, 2);
}
is( sql(q{SELECT count(DISTINCT sample_time) FROM connpool_history('total_connections', now() - interval '12.5 hours', resolution => '1 hour')}
	),
	'12',
	'every hour that passed has its row');

# --- the clock is set back: no stretch has two rows, sampling goes on
my $before = sql('SELECT samples FROM connpool_info()');
set_clock('+' . ($seconds - 7200));
wait_samples($node, 5);
is( sql(q{SELECT count(*) FROM (SELECT sample_time FROM connpool_history('total_connections', now() - interval '8 days', 'infinity', '1 hour')
	GROUP BY 1 HAVING count(*) > 1) d}),
	'0',
	'set back: no hour has two rows');
is( sql(q{SELECT count(*) FROM (SELECT sample_time FROM connpool_history('total_connections', now() - interval '8 days', 'infinity', '1 minute')
	GROUP BY 1 HAVING count(*) > 1) d}),
	'0',
	'and no minute');
is( sql(q{SELECT count(*) >= 5 FROM connpool_history('total_connections', now() - interval '10 seconds')}
	),
	't',
	'samples of now are there');
set_clock("+$seconds");
wait_samples($node, 5);
is( sql(q{SELECT count(*) FROM (SELECT sample_time FROM connpool_history('total_connections', now() - interval '8 days', 'infinity', '1 hour')
	GROUP BY 1 HAVING count(*) > 1) d}),
	'0',
	'set forth again: the same');

# --- counters and policies after a clock that was ahead is set right
sql('CREATE ROLE limited LOGIN');
sql('ALTER ROLE limited SET connpool_monitor.pool_max = 3');
sql(q{SELECT connpool_reset('counters')});

sub limit_of_limited
{
	$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'limited' ]);
	return sql(q{SELECT pool_max FROM connpool_pools WHERE role = 'limited'});
}
is(limit_of_limited(), 3, 'a session that opens while the clock is ahead sets the policy');
sql('SELECT 1') foreach 1 .. 50;
wait_samples($node, 3);
set_clock('+' . ($seconds - 7200));
wait_samples($node, 3);
sql('ALTER ROLE limited SET connpool_monitor.pool_max = 1');
is(limit_of_limited(), 1, 'a later session replaces that policy though its clock reads earlier');
my %periods =
  map { my ($period, $total, $rate) = split /\|/; ($period => { total => $total, rate => $rate }) }
  split /\n/,
  sql('SELECT period, total_queries, queries_per_second FROM connpool_query_stats');
cmp_ok($periods{since_reset}{total}, '>=', 50, 'all statements since the reset are there');
is($periods{since_reset}{rate},
	'', 'the rate since the reset is NULL while the clock is before the reset');
cmp_ok($periods{$_}{total}, '<', 50, "$_ begins no earlier than the clock was set")
  foreach 'last_minute', 'last_hour';
is(sql('SELECT problem IS NULL FROM connpool_info()'),
	't', 'a clock that is set back does not make the sampler look stale');
set_clock("+$seconds");
wait_samples($node, 5);

# --- a restart with the clock set back meanwhile loses nothing
my $hours = sql(
	q{SELECT count(*) FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')}
);
$node->stop('fast');
set_clock('+' . ($seconds - 3600));
start();
wait_samples($node, 5);
is( sql(q{SELECT count(*) FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')}
	),
	$hours,
	'after a restart with another clock the hours are the same');

# --- a reset of the history
sql("SELECT connpool_reset('history')");
wait_samples($node, 3);
is( sql(q{SELECT count(*) FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')}
	),
	'1',
	'a reset empties the tiers, and the running hour begins anew');

# --- charts
sub plot
{
	return $node->safe_psql('postgres',
		"SET client_encoding = 'UTF8'; SELECT * FROM connpool_plot($_[0])");
}
my @lines = split /\n/, plot("'total_connections', '10 minutes'");
utf8::decode($_) foreach @lines;
is(scalar(@lines), 16, 'a chart has its height and four lines more');
is(scalar(grep { length($_) > 72 } @lines), 0, 'and fits into 72 columns');
is(scalar(grep { length($_) == 72 } @lines), 14, 'which it fills');
like($lines[0], qr/^total_connections \(connections\)$/, 'it says what it shows, and the unit');
is(scalar(grep { /W\x{2504}/ } @lines), 1, 'the warning threshold is a line');
is(scalar(grep { /C\x{2501}/ } @lines), 1, 'and the critical one');
like($lines[12], qr/\x{b7}/, 'what was not sampled is told from zero');
like($lines[-1], qr/mean .* highest .* W warning 77\.6 .* C critical 92\.15 .* no value/,
	'the legend');
@lines = split /\n/,
  $node->safe_psql('postgres',
	"SET client_encoding = 'LATIN1'; SELECT connpool_plot('total_connections', '10 minutes', 40, 5)"
  );
is(scalar(@lines), 9, 'a small one');
is(scalar(grep { /[^ -~]/ || length($_) > 80 } @lines[ 0 .. 7 ]),
	0, 'in ASCII for a client of another encoding');

foreach (
	"'nothing'",
	'NULL',
	"'total_connections', '0'",
	"'total_connections', '-1 hour'",
	"'total_connections', NULL",
	"'total_connections', '1 hour', 19",
	"'total_connections', '1 hour', 501",
	"'total_connections', '1 hour', 72, 2",
	"'total_connections', '1 hour', NULL")
{
	my (undef, undef, $error) = $node->psql(
		'postgres',
		"\\set VERBOSITY sqlstate\nSELECT connpool_plot($_)",
		on_error_stop => 1);
	like($error, qr/22023/, "connpool_plot($_) is refused");
}
$node->safe_psql('postgres', "SELECT * FROM connpool_plot('$_', '400 years')")
  foreach split /\n/, sql('SELECT metric_name FROM get_connection_stats()');
pass('every metric has its chart');
$node->stop('fast');
done_testing();
