# SPDX-License-Identifier: PostgreSQL
# The load agrees with the known behaviour of sessions: by pool and wait class, in each window and
# in the history, over SQL, HTTP and Prometheus. It survives eviction and a restart. It hides the
# columns that pg_stat_activity hides. Needs sessions that wait, a stopped sampler and a standby.
#
# If a session stays in one state, every sample finds it there, so its average has no error of
# sampling; $tight allows for the samples at the ends of a window. If a session is in a state for a
# share p of the time, at random times, the share of n samples that find it there has a standard
# error of sqrt(p * (1 - p) / n). $loose is more than four times that for p = 0.5 and n = 100.
# scripts/test: slow, 24 s
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Wire;

my ($tight, $loose) = (0.05, 0.21);
my $port = http_port();
my $node = new_node('load', <<"CONF", allows_streaming => 1);
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.max_pools = 20
max_connections = 40
restart_after_crash = on
CONF
my $user = getpwuid($<);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (i int PRIMARY KEY);
INSERT INTO t VALUES (1);
GRANT ALL ON t TO PUBLIC;
CREATE ROLE app LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
-- alternate between computing and sleeping, and return the share of time that it slept
CREATE FUNCTION alternate(for_samples bigint) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
	slept interval := '0';
	target bigint := for_samples + samples FROM connpool_info();
	at timestamptz;
BEGIN
	WHILE (SELECT samples < target FROM connpool_info()) LOOP
		at := clock_timestamp() + random() * interval '0.3 s';
		WHILE clock_timestamp() < at LOOP
		END LOOP;
		at := clock_timestamp();
		PERFORM pg_sleep(random() * 0.3);
		slept := slept + (clock_timestamp() - at);
	END LOOP;
	RETURN extract(epoch FROM slept) / extract(epoch FROM clock_timestamp() - began);
END $$;
SQL

# Return connpool_load_stats as a hash from period, application and class to avg_sessions, from
# period and "application/class" to shares, and from period and "share" to the sum of the shares.
# Unlike averages, shares do not fall while time passes without load.
sub load_of
{
	my ($server) = @_;
	my %load;
	foreach my $row (split /\n/, $server->safe_psql('postgres', 'TABLE connpool_load_stats'))
	{
		my ($period, $database, $role, $application, $class, $sessions, $share) =
		  split /\|/, $row;
		$load{$period}{$application}{$class}  += $sessions;
		$load{$period}{"$application/$class"} += $share;
		$load{$period}{share}                 += $share;
	}
	return \%load;
}

sub near
{
	my ($value, $expected, $tolerance, $name) = @_;
	$value //= 0;
	return ok(abs($value - $expected) <= $tolerance, $name)
	  || diag("$value is not within $tolerance of $expected");
}

# Return the sum of a class over all applications of a period of load_of().
sub sum_of
{
	my ($load, $class) = @_;
	my $sum = 0;
	$sum += ref $_ ? $_->{$class} // 0 : 0 foreach values %$load;
	return $sum;
}

# Terminate sessions that are busy, and wait until they have ended.
sub terminate
{
	my ($server, $application, @sessions) = @_;
	$server->safe_psql('postgres', <<~"SQL");
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = '$application'
		SQL
	poll_ok(
		$server,
		"SELECT count(*) = 0 FROM connpool_sessions WHERE application_name = '$application'",
		"$application has ended");
	foreach (@sessions)
	{
		eval { $_->{run}->finish };
	}
	return;
}

# Return the sum of the series of one class, summed over all pools if $family is that of pools.
sub seconds_of
{
	my ($class, $family) = @_;
	return metric($port, $family // 'busy_session_seconds_total', qr/class="$class"/);
}

# --- a reset
$node->safe_psql('postgres', q{SET application_name = 'gone'; SELECT pg_sleep(0.5)});
my $load = load_of($node);
cmp_ok($load->{$_}{gone}{timeout}, '>', 0, "$_ includes the load of a session that has ended")
  foreach qw(last_minute last_hour since_reset);
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
$load = load_of($node);
is(join(' ', grep { $load->{$_}{gone} } keys %$load), '',
	'a reset clears the load of each period');

# --- each kind of session is in its pool and class
my $holder = session($node, 'holder');
$holder->query_safe('BEGIN; UPDATE t SET i = i');
my @waiters = map { session($node, 'waiter') } 1 .. 2;
$_->query_until(qr/started/, "\\echo started\nUPDATE t SET i = i;\n") foreach @waiters;
my $sleeper =
  $node->background_psql('postgres', extra_params => [ '-U', 'app' ], on_error_stop => 0);
$sleeper->query_safe(q{SET application_name = 'sleeper'});
$sleeper->query_until(qr/started/, "\\echo started\nSELECT pg_sleep(600);\n");
my $copier = Wire->connect_to($node, 'copier', user => $user);
$copier->send_message('Q', "COPY t FROM STDIN\0")->read_until('G');
my $idle = session($node, 'idle');
poll_ok($node, <<'SQL', 'all sessions are in the states that the test needs');
SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') = 2
   AND count(*) FILTER (WHERE wait_event = 'PgSleep') = 1
   AND count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Client') = 1
   AND count(*) FILTER (WHERE state = 'idle in transaction') = 1
FROM pg_stat_activity
SQL
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
my $alternator = session($node, 'alternator');
my $slept = $alternator->query_safe('SELECT alternate(100)');
$load = load_of($node);

foreach my $period (qw(last_minute last_hour since_reset))
{
	near($load->{$period}{share}, 1, 0.0001, "$period: the shares add up to 1");
	near($load->{$period}{waiter}{lock}, 2, 2 * $tight, "$period: two sessions wait for a lock");
	near($load->{$period}{holder}{idle_in_transaction},
		1, $tight, "$period: one session is idle in transaction");
	near($load->{$period}{sleeper}{timeout}, 1, $tight, "$period: one session sleeps");
	near($load->{$period}{copier}{client}, 1, $tight, "$period: one session waits for its client");
	is( join(' ', sort map { keys %{ $load->{$period}{$_} } } qw(waiter holder sleeper copier)),
		'client idle_in_transaction lock timeout',
		"$period: these sessions add load to no other class");
	ok(!exists $load->{$period}{idle}, "$period: an idle session adds no load");
}
my $of = $load->{since_reset}{alternator};
my $busy = 0;
$busy += $_ foreach values %$of;
near($of->{timeout} / $busy,
	$slept, $loose, 'a session that sleeps at random times has its share of sleep in timeout');
near($of->{cpu} / $busy,
	1 - $slept, $loose, 'a session that computes at random times has the rest in cpu');

# --- the averages agree with exact counters
near($node->safe_psql('postgres', <<'SQL'), 1, 0.05, 'load and busy_time agree within 5 %');
SELECT sum(avg_sessions) * (SELECT extract(epoch FROM clock_timestamp() - stats_reset) * 1000
                            FROM connpool_info())
       / (SELECT busy_time FROM connpool_pools WHERE application_name = 'alternator')
FROM connpool_load_stats WHERE period = 'since_reset' AND application_name = 'alternator'
SQL

# --- the history of the whole server
near($node->safe_psql('postgres', <<~'SQL'), 2, 2 * $tight, 'the history has the lock waits');
	SELECT avg(avg_sessions) FROM connpool_load_history(now() - interval '8 seconds')
	WHERE wait_class = 'lock'
	SQL
is($node->safe_psql('postgres', <<~'SQL'), 't', 'each sample of the history has every class');
	SELECT bool_and(classes = 9) AND count(*) > 90
	FROM (SELECT count(DISTINCT wait_class) AS classes
	      FROM connpool_info() i, connpool_load_history(i.stats_reset, now(), '0.1 s') h
	      GROUP BY h.sample_time) s
	SQL
# repeated, because a sample may be taken between the two reads
poll_ok($node, <<~'SQL', 'a minute and an hour have the mean of their samples');
	SELECT count(*) = 0
	FROM (VALUES ('minute'), ('hour')) u (unit),
	     LATERAL (SELECT date_trunc(unit, sample_time) AS sample_time, wait_class,
	                     avg(avg_sessions) AS mean
	              FROM connpool_load_history('-infinity', 'infinity', '0.1 s')
	              GROUP BY 1, 2) s
	     JOIN LATERAL connpool_load_history('-infinity', 'infinity', ('1 ' || unit)::interval) h
	     USING (sample_time, wait_class)
	WHERE abs(h.avg_sessions - s.mean) > 0.01 + 0.1 * s.mean
	SQL
foreach my $argument (
	"resolution => '7 minutes'",
	"resolution => '0'",
	"resolution => '178000000 years'",
	"resolution => '-178000000 years'")
{
	my (undef, undef, $error) =
	  $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT connpool_load_history($argument)");
	like($error, qr/22023/, "connpool_load_history() refuses $argument");
}

# --- extreme arguments: a result or an error that names the argument
my @early = ("'-infinity'", "'4713-11-24 00:00:00+00 BC'");
# a minute from now, because a sample may be taken while the statement runs
my @late = ("'infinity'", "'294276-12-31 23:59:59+00'", "now() + interval '1 minute'");
my @moments = (@early, 'NULL', @late);
foreach my $function (qw(connpool_session_history connpool_load connpool_load_history))
{
	my ($script, @expected) = ('');
	foreach my $since (@moments)
	{
		foreach my $until (@moments)
		{
			my $is_empty = grep { $_ eq $since } @late;
			$is_empty ||= grep { $_ eq $until } @early;
			$script .= "SELECT count(*) > 0 FROM $function($since, $until);\n";
			push @expected, $is_empty ? 'f' : 't';
		}
	}
	is(join(' ', split /\n/, $node->safe_psql('postgres', $script)),
		"@expected", "$function() accepts every timestamp and NULL as limits");
}
my %title = (
	"'infinity'" => 'infinity',
	"'294276-12-31 23:59:59+00'" => '294276-12-31 23:59:59',
	"'-infinity'" => 'The beginning',
	"'4713-11-24 00:00:00+00 BC'" => 'The beginning',
	NULL => 'The beginning');
foreach my $since (sort keys %title)
{
	my $titles = $node->safe_psql(
		'postgres', join "\n",
		q{SET timezone = 'UTC';},
		map { "SELECT split_part(connpool_report($since, $_), ' to ', 1);" } @moments);
	is( $titles,
		join("\n", ("# $title{$since}") x @moments),
		"connpool_report() begins at $since, whatever its end");
}
foreach my $since (
	'NULL',
	map { "'$_'" } '0',
	'-1 hour',
	'1001 years',
	'178000000 years',
	'-178000000 years',
	'2147483647 days',
	'-2147483648 days',
	'1 month -30 days')
{
	foreach my $chart ("connpool_load_plot($since)", "connpool_plot('total_connections', $since)")
	{
		my (undef, undef, $error) =
		  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $chart");
		like(
			$error,
			qr/ERROR:  22023: since must be a positive interval of at most 1000 years\nHINT:/,
			"$chart fails with a hint");
	}
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_load_plot('1000 years')}),
	20, 'connpool_load_plot() accepts the longest interval');
foreach my $size ('width', 'height')
{
	my (undef, undef, $error) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT connpool_load_plot($size => NULL)");
	like(
		$error,
		qr/ERROR:  22023: $size of a chart must be from \d+ to \d+ characters/,
		"connpool_load_plot() refuses NULL as $size");
}

my @lines =
  split /\n/, $node->safe_psql('postgres', <<~'SQL');
	SET client_encoding = 'UTF8';
	SELECT * FROM connpool_load_plot('8 seconds', 60, 10)
	SQL
utf8::decode($_) foreach @lines;
is($lines[0], 'busy sessions by wait class', 'the chart has a title');
is(scalar @lines, 14, 'the chart has the requested height');
is(scalar(grep { length > 60 } @lines[ 0 .. 12 ]), 0, 'the chart has the requested width');
cmp_ok(scalar(grep { /L{20}/ } @lines), '>=', 1, 'the chart shows the lock waits as a layer');
like(
	$lines[-1],
	qr/ L lock .* t timeout .* idle_in_transaction/,
	'the legend names the classes that occur');
unlike($lines[-1], qr/ipc/, 'the legend omits classes that do not occur');
my $processors = `getconf _NPROCESSORS_ONLN` + 0;
like($lines[-1], qr/P processors $processors\b/, 'the legend has the number of processors');

# --- Prometheus and HTTP agree with SQL
my $text = get($port, '/metrics')->{content};
is(keys %{ series($text, 'busy_session_seconds_total') },
	9, 'the server has a series for each class');
my @pools = keys %{ series($text, 'pool_busy_session_seconds_total') };
cmp_ok(scalar @pools, '<=', 21 * 9, 'the number of series of pools is bounded');
is(scalar(grep { /application="waiter"/ } @pools), 9, 'a pool has a series for each class');
my $before = $node->safe_psql('postgres', 'SELECT connpool_metrics()');
$text = get($port, '/metrics')->{content};
my $after = $node->safe_psql('postgres', 'SELECT connpool_metrics()');

foreach my $family (qw(busy_session_seconds_total pool_busy_session_seconds_total))
{
	my ($low, $http, $high) = map { series($_, $family) } $before, $text, $after;
	is( join(' ',
			grep { ($low->{$_} // 0) > $http->{$_} || $http->{$_} > ($high->{$_} // 0) }
			  keys %$http),
		'',
		"HTTP and SQL agree on $family");
}
my $document = get_json($port, '/api/load?since=30s');
near($document->{lastMinute}{lock}, 2, 2 * $tight, '/api/load has the lock waits of the server');
near(
	$document->{lastHour}{timeout},
	sum_of(load_of($node)->{last_hour}, 'timeout'),
	$loose, '/api/load has the sleep of the last hour');
my ($pool) = grep { $_->{application} eq 'waiter' } @{ $document->{pools} };
near($pool->{lastMinute}{lock}, 2, 2 * $tight, '/api/load has the lock waits of their pool');
is($pool->{role}, $user, '/api/load names the role of a pool');
is($document->{processors}, $processors, '/api/load has the processors');
is_deeply(
	$document->{classes},
	[qw(cpu lock lwlock io client ipc timeout other idle_in_transaction)],
	'/api/load lists the classes');
my @points = @{ $document->{points} };
is(scalar(grep { @$_ != 10 } @points), 0, 'each point has a time and a value for each class');
near($points[-2][2], 2, 2 * $tight, '/api/load has the lock waits in its points');
cmp_ok(scalar @points, '<=', 601, '/api/load has at most 601 points');
unlike(get($port, '/api/load')->{content},
	qr/pg_sleep|COPY|pid|addr/i, '/api/load has no statement, pid or address');
is(get($port, "/api/load?since=$_")->{status}, 400, "/api/load refuses since=$_")
  foreach 'yesterday', '2026-02-30', '0s&until=1h';
is(get($port, '/api/load?since=800d&until=500d')->{status},
	200, '/api/load answers for a span before the history');

# --- HTTP: a past moment
my $now_at = $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())');
wait_samples($node, 10);
my $moment = get_json($port, "/api/load?at=$now_at");
near($moment->{observedMs}, 1000, 500, 'a moment is the mean of ten samples');
my %at_moment = map { $_->{application} => $_ } @{ $moment->{pools} };
is( join(' ',
		map { "$_->[0] " . $at_moment{ $_->[0] }{load}{ $_->[1] } }[qw(waiter lock)],
		[qw(holder idle_in_transaction)],
		[qw(sleeper timeout)], [qw(copier client)]),
	'waiter 2 holder 1 sleeper 1 copier 1',
	'/api/load has the pools of a moment with what they waited for');
is( "$at_moment{waiter}{database} $at_moment{waiter}{role}",
	"postgres $user",
	'/api/load has the database and role of a pool of a moment');
is($moment->{load}{lock}, 2, '/api/load has the lock waits of the server at a moment');
my ($sleep) = grep { ($_->{event} // '') eq 'PgSleep' } @{ $moment->{waits} };
is("$sleep->{class} $sleep->{sessions}", 'timeout 1', '/api/load has the wait events of a moment');
is($moment->{all}, scalar @{ $moment->{pools} }, '/api/load counts the pools of a moment');
my $sum = 0;
$sum += $_ foreach values %{ $moment->{load} };
near(
	$sum,
	$node->safe_psql('postgres', <<~"SQL"),
		SELECT sum(avg_sessions)
		FROM connpool_load(timestamptz '$moment->{since}', timestamptz '$moment->{until}')
		SQL
	0.001,
	'/api/load and connpool_load() agree on a moment');
unlike(
	get($port, "/api/load?at=$now_at")->{content},
	qr/pg_sleep|COPY|"pid|addr|query|127\.0/i,
	'/api/load has no statement, pid or address of a moment');
foreach (
	[ 'at=yesterday' => 'at must be an age' ],
	[ 'at=' => 'at must be an age' ],
	[ 'at=2026-02-30' => 'at must be an age' ],
	[ 'at=-5' => 'at must be an age' ],
	[ 'at=nan' => 'at must be an age' ],
	[ 'at=1e9' => 'at must be an age' ],
	[ 'at=99999999999999' => 'at must be an age' ],
	[ 'at=9999-12-31' => 'at is in the future' ],
	[ 'at=99999999999' => 'at is in the future' ],
	[ 'at=5m&since=1h' => 'at cannot be combined with since or until' ],
	[ 'until=5m&at=5m' => 'at cannot be combined with since or until' ])
{
	my $answer = get($port, "/api/load?$_->[0]");
	like(
		"$answer->{status} $answer->{content}",
		qr/^400 \{"error":"$_->[1]/,
		"/api/load refuses $_->[0]");
}
foreach my $at ('0', '1970-01-01', '800d', '2026-01-01T03:12:00Z')
{
	my $empty = get_json($port, "/api/load?at=$at");
	is_deeply(
		[ @$empty{qw(observedMs all pools waits)} ],
		[ 0, 0, [], [] ],
		"/api/load observed nothing at $at");
}

# --- privileges
$node->safe_psql('postgres', 'GRANT SELECT ON connpool_load_stats TO reader, app');

sub seen_by
{
	my ($role) = @_;
	return $node->safe_psql('postgres', <<~'SQL', extra_params => [ '-U', $role ]);
		SELECT string_agg(application_name || ' ' || coalesce(wait_class, 'hidden'), ', '
		                  ORDER BY application_name)
		FROM connpool_load_stats
		WHERE period = 'last_minute' AND application_name IN ('holder', 'sleeper')
		SQL
}
is( seen_by('watcher'),
	'holder idle_in_transaction, sleeper timeout',
	'a member of pg_monitor sees the classes of all pools');
is( seen_by('app'),
	'holder hidden, sleeper timeout',
	'another role sees the classes of its own pools only');
is( seen_by('reader'),
	'holder hidden, sleeper hidden',
	'a role without pools sees the load of pools, but not its classes');

# the role's name belongs to another role now
sql($node, <<~'SQL');
	ALTER ROLE app RENAME TO former;
	CREATE ROLE app LOGIN;
	GRANT SELECT ON connpool_load_stats TO app;
	GRANT SELECT ON connpool_pools TO app, former;
	SQL

sub states_seen_by
{
	my ($role) = @_;
	return $node->safe_psql('postgres', <<~'SQL', extra_params => [ '-U', $role ]);
		SELECT coalesce(active::text, 'hidden') FROM connpool_pools
		WHERE role = 'app' AND application_name = 'sleeper'
		SQL
}
is(seen_by('former'), 'holder hidden, sleeper timeout', 'a renamed role sees its earlier pools');
is(states_seen_by('former'), '1', 'a renamed role sees the states of its earlier pools');
is( seen_by('app'),
	'holder hidden, sleeper hidden',
	'a role does not see the classes of another role that had its name');
is(states_seen_by('app'), 'hidden',
	'a role does not see the states of another role that had its name');
ok(connects($node->connstr('postgres') . ' user=app application_name=sleeper'),
	'the new role connects');
foreach my $role (qw(app former))
{
	is( seen_by($role),
		'holder hidden, sleeper hidden',
		"$role does not see the classes of a pool in which two roles had sessions");
}
is( seen_by('watcher'),
	'holder idle_in_transaction, sleeper timeout',
	'a member of pg_monitor sees the classes of such a pool');
sql($node, 'DROP OWNED BY app; DROP ROLE app; ALTER ROLE former RENAME TO app');

my $other_series = qr/application="other",class="timeout"/;

# --- while the sampler is stopped, no load is observed
my ($sampler) = $node->safe_psql('postgres', <<'SQL');
SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'
SQL
my $began = time;
my $timeout = seconds_of('timeout');
kill 'STOP', $sampler;
my $stopped = time;
sleep 3;
$stopped = time - $stopped;
kill 'CONT', $sampler;
wait_samples($node, 5);
my $load_seconds = seconds_of('timeout') - $timeout;
cmp_ok($load_seconds, '<', time - $began - $stopped + 0.5, 'time without samples adds no load');
near(load_of($node)->{since_reset}{sleeper}{timeout},
	1, $tight, 'time without samples does not change the average');

# --- eviction loses nothing
leave($_) foreach $idle, $alternator;
terminate($node, 'sleeper', $sleeper);
wait_samples($node, 2);
my $server_seconds = seconds_of('timeout');
my $other_seconds = metric($port, 'pool_busy_session_seconds_total', $other_series);
# The average falls while time passes without this load. Multiply it by the time observed since the
# reset to get seconds. That time is the load of idle_in_transaction in seconds, because the holder
# has been idle in transaction since before the reset.
my $sleeping =
  load_of($node)->{since_reset}{sleeper}{timeout} * seconds_of('idle_in_transaction');
# of the same role, because a new pool replaces one of the role that has most pools
connects($node->connstr('postgres') . " user=app application_name=brief_$_") foreach 1 .. 40;
$load = load_of($node);
ok(!exists $load->{since_reset}{sleeper}, 'the pool of the sleeper is evicted');
near($load->{since_reset}{'(other)'}{timeout} * seconds_of('idle_in_transaction') / $sleeping,
	1, 0.1, 'the load of an evicted pool is in (other)');
near(seconds_of('timeout'), $server_seconds, 0.5, 'the counter of the server loses nothing');
near(metric($port, 'pool_busy_session_seconds_total', $other_series),
	$other_seconds, 0.5, 'the series "other" does not jump when a pool with a series is evicted');

# --- a restart keeps everything
terminate($node, 'waiter', @waiters);
leave($holder);
undef $copier;
poll_ok($node, 'SELECT count(*) = 1 FROM connpool_sessions', 'all sessions have ended');
wait_samples($node, 1);
my $lock = seconds_of('lock');
my $series = series(get($port, '/metrics')->{content}, 'pool_busy_session_seconds_total');
$load = load_of($node);
$node->restart;
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'HTTP answers after a restart');
my $restarted = load_of($node);

foreach my $period (qw(last_hour since_reset))
{
	near($restarted->{$period}{'waiter/lock'} / $load->{$period}{'waiter/lock'},
		1, 0.1, "$period: a restart keeps the load of a pool");
	near($restarted->{$period}{'(other)/timeout'} / $load->{$period}{'(other)/timeout'},
		1, 0.1, "$period: a restart keeps the load of (other)");
}
is(seconds_of('lock'), $lock, 'a restart keeps the counters of the server');
my $now = series(get($port, '/metrics')->{content}, 'pool_busy_session_seconds_total');
is(join(' ', grep { $now->{$_} < $series->{$_} } keys %$series),
	'', 'no counter of a pool falls at a restart');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'a restart keeps the history');
	SELECT max(avg_sessions) = 2
	FROM connpool_load_history(now() - interval '5 minutes')
	WHERE wait_class = 'lock'
	SQL

# after a crash the counters for Prometheus restart at zero, and SQL shows what was saved
my $victim = session($node, 'victim');
PostgreSQL::Test::Utils::system_log('kill', '-9', $victim->query_safe('SELECT pg_backend_pid()'));
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'victim'},
	'the server recovers from a crash');
eval { $victim->{run}->finish };
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'HTTP answers after a crash');
is(seconds_of('lock', $_), 0, "$_ restarts at zero after a crash")
  foreach 'busy_session_seconds_total', 'pool_busy_session_seconds_total';
cmp_ok(load_of($node)->{since_reset}{waiter}{lock},
	'>', 0, 'connpool_load_stats has what was saved before a crash');

# --- a standby has a load of its own
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
my $standby_port = http_port();
$standby->append_conf('postgresql.conf',
	"connpool_monitor.http_listen = '127.0.0.1:$standby_port'\n");
$standby->start;
$sleeper = session($standby, 'sleeper');
$sleeper->query_until(qr/started/, "\\echo started\nSELECT pg_sleep(600);\n");
wait_samples($standby, 20);
$load = load_of($standby);
cmp_ok($load->{last_minute}{sleeper}{timeout}, '>', 0, 'a standby counts its own sessions');
ok(!exists $load->{since_reset}{waiter}, 'a standby does not have the load of its primary');
terminate($standby, 'sleeper', $sleeper);
$standby->stop;
$node->stop;
done_testing();
