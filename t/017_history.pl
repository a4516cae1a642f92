# SPDX-License-Identifier: PostgreSQL
# The rollups of the history by minute and by hour agree with their samples, times without samples
# have no rows, and neither a changed sample interval nor a changed system clock corrupts them.
# Compiles a library that sets the server's clock, so that days pass in seconds.
# scripts/test: slow, 28 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

build_clock();

my $node =
  new_node('main', "log_timezone = 'UTC'\ntimezone = 'UTC'\nmax_connections = 20\n", stopped => 1);
start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');

# --- Periods across a restart: statements older than a minute are not in the last minute.
sql($node, 'SELECT connpool_reset()');
sql($node, 'SELECT 1') foreach 1 .. 20;
$node->stop('fast');
set_clock(600);
start_with_clock($node);
my %total = map { split /\|/ } split /\n/,
  sql($node, 'SELECT period, total_queries FROM connpool_query_stats');
cmp_ok($total{last_minute}, '<', 20,
	'after ten minutes of downtime the last minute has only later statements');
cmp_ok($total{last_hour}, '>=', 20,
	'after ten minutes of downtime the last hour has the earlier statements');
cmp_ok($total{since_reset}, '>=', 20,
	'after ten minutes of downtime the time since the reset has the earlier statements');

# --- The clock is set back while the server runs. The last minute and the last hour continue.
sql($node, join ';', (map { "SELECT $_" } 1 .. 500), 'SELECT pg_sleep(0.4)');
set_clock(300);
wait_samples($node, 3);
%total = map { split /\|/ } split /\n/,
  sql($node, 'SELECT period, total_queries FROM connpool_query_stats');
cmp_ok($total{last_minute}, '>=', 501,
	'the last minute has the statements from before the clock was set back');
cmp_ok(
	$total{last_hour}, '>=',
	$total{last_minute} + 20,
	'the last hour has all statements of the last minute, and earlier ones');
cmp_ok($total{since_reset}, '>=', $total{last_hour},
	'the time since the reset has all statements of the last hour');
is(sql($node, <<~'SQL'), 't', 'no period has a maximum of a statement that it does not count');
	SELECT bool_and(max_time <= total_queries * avg_time + 0.001) FROM connpool_query_stats
	SQL
is( sql($node,
		<<~'SQL'), 't', 'a longer period begins no later and has no lower maximum than a shorter one');
	SELECT bool_and(since <= shorter_since AND max_time >= shorter_max)
	FROM (SELECT since, lag(since) OVER periods AS shorter_since,
	             max_time, lag(max_time) OVER periods AS shorter_max
	      FROM connpool_query_stats
	      WINDOW periods AS (ORDER BY array_position(
	        ARRAY['last_minute', 'last_hour', 'since_reset'], period))) p
	SQL
$node->stop('fast');
set_clock(4300);
start_with_clock($node);
%total = map { split /\|/ } split /\n/,
  sql($node, 'SELECT period, total_queries FROM connpool_query_stats');
cmp_ok($total{last_hour}, '<', 20,
	'after more than an hour of downtime the last hour has only later statements');
cmp_ok($total{since_reset}, '>=', 20,
	'after more than an hour of downtime the time since the reset has the earlier statements');
$node->stop('fast');
set_clock(0);
start_with_clock($node);

# Set sample_interval. With an interval of a minute, the history does not change during the test.
sub set_interval
{
	my $interval = shift;
	sql($node, "ALTER SYSTEM SET connpool_monitor.sample_interval = '$interval'");
	$node->reload;
	poll_ok(
		$node,
		"SELECT current_setting('connpool_monitor.sample_interval') = '$interval'",
		"the interval is $interval");
	return;
}

# compare every row of a minute or hour with the samples of that time
my $differences = <<'SQL';
SELECT count(*),
       count(*) FILTER (WHERE t.metric_name IS NULL OR s.metric_name IS NULL
                          OR abs(t.avg_value - s.avg) > 0.001 + 1e-5 * abs(s.avg)
                          OR abs(t.max_value - s.max) > 0.001)
FROM (SELECT * FROM connpool_history(since => '-infinity', until => 'infinity',
                                     resolution => '1 %1$s')) t
FULL JOIN (SELECT date_trunc('%1$s', sample_time) AS sample_time, metric_name, avg(avg_value),
		CASE metric_name WHEN 'exhaustion_seconds' THEN min(max_value) ELSE max(max_value) END
		  AS max
	FROM connpool_history(since => now() - interval '5 minutes', until => 'infinity',
	  resolution => '%2$s')
	GROUP BY 1, 2) s
USING (sample_time, metric_name)
SQL

my @sessions = map { session($node, "held $_") } 1 .. 3;
wait_samples($node, 10);
leave($_) foreach splice(@sessions, 0, 2);
wait_samples($node, 10);
# more samples, after a minute without any
set_clock(70);
wait_samples($node, 10);
set_interval('1min');
foreach my $unit ('minute', 'hour')
{
	# the sampler may have been taking one more sample when the interval changed
	my ($samples, $rows, $bad);
	do
	{
		$samples = sql($node, 'SELECT samples FROM connpool_info()');
		($rows, $bad) = split /\|/, sql($node, sprintf($differences =~ s/'%2\$s'/NULL/r, $unit));
	} until (sql($node, 'SELECT samples FROM connpool_info()') eq $samples);
	cmp_ok($rows, '>=', 14, "the history has rows of one $unit");
	is($bad, '0', "each $unit has the mean and maximum of its samples");
}
is(sql($node, <<~'SQL'), 't', 'a minute keeps the maximum besides the mean');
	SELECT count(DISTINCT sample_time) >= 2 AND max(max_value) >= 4
	       AND max(max_value) > min(avg_value)
	FROM connpool_history('total_connections', resolution => '1 minute')
	SQL

# --- gaps, and the resolution that connpool_history() chooses
set_interval('100ms');
set_clock(3 * 86400);
wait_samples($node, 5);
is(sql($node, <<~'SQL'), '0', 'days without samples have no rows');
	SELECT count(*)
	FROM connpool_history('total_connections', now() - interval '2 days',
	  now() - interval '1 day')
	SQL
is(sql($node, <<~'SQL') >= 2, 1, 'the rows from before a gap of days remain');
	SELECT count(DISTINCT sample_time)
	FROM connpool_history('total_connections', now() - interval '4 days',
	  resolution => '1 minute')
	WHERE sample_time < now() - interval '2 days'
	SQL
foreach (
	[ '5 minutes', '00:00:00.1' ],
	[ '1 hour', '00:01:00' ],
	[ '7 days', '00:01:00' ],
	[ '7 days 1 second', '01:00:00' ],
	[ '2 years', '01:00:00' ])
{
	my ($since, $resolution) = @$_;
	is(sql($node, <<~"SQL"), $resolution, "the resolution since $since is $resolution");
		SELECT string_agg(DISTINCT resolution::text, ' ')
		FROM connpool_history('total_connections', now() - interval '$since')
		SQL
}
is(sql($node, <<~'SQL'), 't', 'sample_time of a minute is its start');
	SELECT bool_and(date_trunc('minute', sample_time) = sample_time)
	FROM connpool_history(NULL, now() - interval '7 days')
	SQL
is(sql($node, <<~'SQL'), 't', 'sample_time of an hour is its start');
	SELECT bool_and(date_trunc('hour', sample_time) = sample_time)
	FROM connpool_history(NULL, now() - interval '1 year')
	SQL
foreach my $resolution ('1 second', '2 minutes', '1 day', '0')
{
	my ($status, undef, $error) = $node->psql(
		'postgres',
		"\\set VERBOSITY sqlstate\nSELECT connpool_history(resolution => '$resolution')",
		on_error_stop => 1);
	like($error, qr/22023/, "connpool_history() rejects a resolution of $resolution");
}

# --- every hour that passes gets a row. From now on the clock is set to half past an hour, so that
# a new hour begins only when the test sets the clock.
my $seconds = 4 * 86400 + 1800 - time % 3600;
for my $hour (1 .. 6)
{
	$seconds += 3600;
	set_clock($seconds);
	wait_samples($node, 2);
}
is(sql($node, <<~'SQL'), '6', 'each of six hours has its row');
	SELECT count(DISTINCT sample_time)
	FROM connpool_history('total_connections', now() - interval '6.5 hours',
	  resolution => '1 hour')
	SQL

# --- the clock is set back: no hour or minute has two rows, and sampling continues
my $before = sql($node, 'SELECT samples FROM connpool_info()');
set_clock($seconds - 7200);
wait_samples($node, 5);
is(sql($node, <<~'SQL'), '0', 'no hour has two rows after the clock was set back');
	SELECT count(*)
	FROM (SELECT sample_time FROM connpool_history('total_connections',
	  now() - interval '8 days', 'infinity', '1 hour')
	GROUP BY 1 HAVING count(*) > 1) d
	SQL
is(sql($node, <<~'SQL'), '0', 'no minute has two rows after the clock was set back');
	SELECT count(*)
	FROM (SELECT sample_time FROM connpool_history('total_connections',
	  now() - interval '8 days', 'infinity', '1 minute')
	GROUP BY 1 HAVING count(*) > 1) d
	SQL
is(sql($node, <<~'SQL'), 't', 'samples continue after the clock was set back');
	SELECT count(*) >= 5
	FROM connpool_history('total_connections', now() - interval '10 seconds')
	SQL
# a day back, where no minute has a row, and forward to the minutes that have one
set_clock($seconds - 86400);
wait_samples($node, 3);
set_clock($seconds - 7200);
wait_samples($node, 3);
is(sql($node, <<~'SQL'), '0', 'no minute has two rows after the clock has returned to it');
	SELECT count(*)
	FROM (SELECT sample_time FROM connpool_history('total_connections',
	  now() - interval '8 days', 'infinity', '1 minute')
	GROUP BY 1 HAVING count(*) > 1) d
	SQL
set_clock($seconds);
wait_samples($node, 5);
is(sql($node, <<~'SQL'), '0', 'no hour has two rows after the clock was set forward again');
	SELECT count(*)
	FROM (SELECT sample_time FROM connpool_history('total_connections',
	  now() - interval '8 days', 'infinity', '1 hour')
	GROUP BY 1 HAVING count(*) > 1) d
	SQL

# --- counters and policies after a clock that was ahead is corrected
sql($node, 'CREATE ROLE limited LOGIN');
sql($node, 'ALTER ROLE limited SET connpool_monitor.pool_max = 3');
my @reset_at = (time);
sql($node, q{SELECT connpool_reset('counters')});
push @reset_at, time;

sub limit_of_limited
{
	$node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'limited' ]);
	return sql($node, q{SELECT pool_max FROM connpool_pools WHERE role = 'limited'});
}
is(limit_of_limited(), 3, 'a session that opens while the clock is ahead sets the policy');

# Open sessions until $slots slots are taken, test that the server refuses one more connection of
# the role, and return the health.
sub health_after_refusal
{
	my ($slots, $role) = @_;
	my @fillers = session($node, 'filler');
	# psql sessions of earlier queries must not hold slots any longer
	poll_session($fillers[0], <<~'SQL');
		SELECT current_value = count(pid)
		FROM get_connection_stats(), pg_stat_activity
		WHERE metric_name = 'total_connections' AND backend_type = 'client backend'
		AND application_name <> 'psql'
		GROUP BY current_value
		SQL
	my $taken = sql($fillers[0],
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'});
	push @fillers, map { session($node, 'filler') } 1 .. $slots - $taken;
	ok(!connects($node->connstr('postgres') . " user=$role"), "the server refuses $role");
	leave($_) foreach @fillers;
	return health();
}
sub health { return sql($node, q{SELECT connpool_health() ->> 'status'}); }
my $super = getpwuid($<);
is(health_after_refusal(20, $super), 'unhealthy', 'a refusal makes the server unhealthy');
my $forgotten = session($node, 'forgotten');
$forgotten->query_safe('BEGIN; SELECT 1');
sql($node, 'SELECT 1') foreach 1 .. 50;
wait_samples($node, 3);

# the clock is set back while the sampler hangs
my $ahead =
  sql($node, q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'});
my $sampler = worker_pid($node, 'sampler');
kill 'STOP', $sampler;
set_clock($seconds - 7200);
poll_ok(
	$node,
	q{SELECT problem LIKE 'the sampler has taken no sample%' FROM connpool_info()},
	'connpool_info() reports a sampler that hangs while the clock is set back');
my ($success) = sql($node, 'SELECT connpool_metrics()') =~
  /^connpool_sampler_last_success_timestamp_seconds (\S+)$/m;
cmp_ok(
	$success, '<',
	sql($node, 'SELECT extract(epoch FROM clock_timestamp())'),
	'the time of the last sample is not in the future');
kill 'CONT', $sampler;
wait_samples($node, 3);
isnt(health(), 'unhealthy', 'a refusal before the clock was set back is not recent');
is( sql($node,
		<<~'SQL'), 't|t|t', 'the ages of a session are correct after the clock was set back');
	SELECT xact_age > '0.2 s', xact_age < '1 min', state_age < '1 min'
	FROM connpool_sessions
	WHERE application_name = 'forgotten'
	SQL
is( sql($node,
		<<~'SQL'), 't', 'oldest_transaction_seconds is correct after the clock was set back');
	SELECT current_value BETWEEN 0.2 AND 60
	FROM get_connection_stats()
	WHERE metric_name = 'oldest_transaction_seconds'
	SQL
leave($forgotten);
is(health_after_refusal(17, 'limited'),
	'unhealthy', 'a refusal for another reason makes the server unhealthy again');
sql($node, 'ALTER ROLE limited SET connpool_monitor.pool_max = 1');
is(limit_of_limited(), 1,
	'a later session replaces the policy though its clock shows an earlier time');
my @read_at = (time);
my %periods =
  map { my ($period, $total, $rate) = split /\|/; ($period => { total => $total, rate => $rate }) }
  split /\n/,
  sql($node, 'SELECT period, total_queries, queries_per_second FROM connpool_query_stats');
push @read_at, time;
cmp_ok($ahead, '>=', 50, 'the server counts statements while the clock is ahead');
cmp_ok($periods{since_reset}{total},
	'>=', $ahead, 'statements since the reset include those counted while the clock was ahead');
my $seconds_since_reset = $periods{since_reset}{total} / $periods{since_reset}{rate};
cmp_ok(
	$seconds_since_reset, '>',
	$read_at[0] - $reset_at[1] - 1,
	'the rate since the reset is not too high while the clock is before the reset');
cmp_ok(
	$seconds_since_reset, '<',
	$read_at[1] - $reset_at[0] + 1,
	'the rate since the reset is not too low while the clock is before the reset');
cmp_ok($periods{last_hour}{total},
	'>=', $ahead, 'the last hour includes the statements counted while the clock was ahead');
is(sql($node, 'SELECT problem IS NULL FROM connpool_info()'),
	't', 'a clock that is set back does not make the sampler look stale');
set_clock($seconds);
wait_samples($node, 5);

# --- a restart during which the clock is set back loses nothing
my $hours = sql($node, <<~'SQL');
	SELECT count(*)
	FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')
	SQL
$node->stop('fast');
set_clock($seconds - 3600);
start_with_clock($node);
wait_samples($node, 5);
is(sql($node, <<~'SQL'), $hours, 'a restart with the clock set back keeps the rows of all hours');
	SELECT count(*)
	FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')
	SQL

# --- a reset of the history
sql($node, "SELECT connpool_reset('history')");
wait_samples($node, 3);
is(sql($node, <<~'SQL'), '1', 'a reset of the history clears all hours but the current one');
	SELECT count(*)
	FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')
	SQL

# --- a report of a span does not change when only the minutes reach back to it
# Set the clock to five seconds after the start of a minute.
sub start_minute
{
	my ($minutes) = @_;
	$seconds += 60 * $minutes - (time + $seconds) % 60 + 5;
	set_clock($seconds);
	return;
}
start_minute(20);
wait_samples($node, 5);
start_minute(2);
my $asking = session($node, 'reader');
my $since = sql($asking, 'SELECT clock_timestamp()');
my @burst = map { session($node, 'burst') } 1 .. 10;
wait_samples($node, 3);
my $until = sql($asking, 'SELECT clock_timestamp()');
leave($_) foreach @burst;

sub compared_lines
{
	my $report = sql($asking, "SELECT connpool_report('$since', '$until')");
	return join "\n", $report =~ /^(- Connections: .*)$/m, $report =~ /^## Load\n(.*?)^## /ms;
}
my $lines = compared_lines();
my ($most, $mean) =
  $lines =~ /^- Connections: up to (\d+); in the ten minutes before, ([\d.]+) on average\./;
cmp_ok($most // 0, '>=', 11, 'a report has the highest number of connections of a span');
cmp_ok($mean // 99, '<', 5, 'the mean of the ten minutes before a span omits the span');
start_minute(20);
is(compared_lines(), $lines,
	'a report of a span in the middle of a minute is the same twenty minutes later');
is(sql($asking, <<~"SQL"), 't', 'the history has the minute that contains the start of a span');
	SELECT count(*) = 1 AND max(max_value) = $most
	FROM connpool_history('total_connections', '$since', '$until', '1 minute')
	SQL
is(sql($asking, <<~"SQL"), '9', 'the history of the load has that minute, too');
	SELECT count(*) FROM connpool_load_history('$since', '$until', '1 minute')
	SQL
like(
	sql($asking,
		"SELECT connpool_report('$until', date_trunc('minute', '$until'::timestamptz)"
		  . " + interval '1 minute')"),
	qr/^- Connections: up to $most; in the ten minutes before, [0-4][\d.]* on average\./m,
	'the minute that contains the start of a span does not count in the mean before it');
unlike(
	sql($asking,
		"SELECT connpool_report('$since'::timestamptz - interval '5 minutes',"
		  . " date_trunc('minute', '$since'::timestamptz))"),
	qr/^- Connections: up to \d\d/m,
	'a minute that starts at the end of a span does not count in its peak');

# --- nothing is known about the time before the first sample
sql($asking, q{SELECT connpool_reset('history')});
$since = sql($asking, 'SELECT clock_timestamp()');
wait_samples($node, 3);
like(
	sql($asking, "SELECT connpool_report('$since', clock_timestamp())"),
	qr/^- Connections: up to \d+; in the ten minutes before, an unknown number on average\./m,
	'a report does not compare a span that begins with the first sample with itself');
leave($asking);

# --- charts
sub plot
{
	return $node->safe_psql('postgres',
		"SET client_encoding = 'UTF8'; SELECT * FROM connpool_plot($_[0])");
}
my @lines = split /\n/, plot("'total_connections', '10 minutes'");
utf8::decode($_) foreach @lines;
is(scalar(@lines), 16, 'a chart of the default height has sixteen lines');
is(scalar(grep { length($_) > 72 } @lines), 0, 'no line of a chart is longer than 72 columns');
is(scalar(grep { length($_) == 72 } @lines), 14, 'the lines of a chart have the requested width');
like(
	$lines[0],
	qr/^total_connections \(connections\)$/,
	'the title of a chart names the metric and its unit');
is(scalar(grep { /W\x{2504}/ } @lines), 1, 'a chart draws the warning threshold once');
is(scalar(grep { /C\x{2501}/ } @lines), 1, 'a chart draws the critical threshold once');
like($lines[12], qr/\x{b7}/, 'a chart distinguishes missing samples from zero');
like(
	$lines[-1],
	qr/mean .* highest .* W warning 13\.6 .* C critical 16\.15 .* no value/,
	'the legend has the mean, the maximum and the thresholds');
@lines = split /\n/, $node->safe_psql('postgres', <<~'SQL');
	SET client_encoding = 'LATIN1';
	SELECT connpool_plot('total_connections', '10 minutes', 40, 5)
	SQL
is(scalar(@lines), 9, 'a chart with a height of five has nine lines');
is(scalar(grep { /[^ -~]/ || length($_) > 80 } @lines[ 0 .. 7 ]),
	0, 'a chart is ASCII for a client encoding other than UTF8');

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
	like($error, qr/22023/, "connpool_plot($_) raises an error");
}
$node->safe_psql('postgres', "SELECT * FROM connpool_plot('$_', '400 years')")
  foreach split /\n/, sql($node, 'SELECT metric_name FROM get_connection_stats()');
pass('connpool_plot() draws every metric');
$node->stop('fast');
done_testing();
