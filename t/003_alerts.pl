# SPDX-License-Identifier: PostgreSQL
# The server log gets one WARNING when a status rises, nothing while it stays, one LOG when it
# recovers, and nothing if the value recrosses its threshold before alert_after has passed. Needs
# many sessions and the server's log.
# scripts/test: slow, 22 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use Connpool;

my $node = new_node('alerts', <<'CONF');
max_connections = 30
superuser_reserved_connections = 0
connpool_monitor.total_connections_warning = 20
connpool_monitor.total_connections_critical = 40
connpool_monitor.alert_after = '500ms'
connpool_monitor.alert_clear_after = '500ms'
connpool_monitor.alert_repeat = 0
CONF

# a busy machine could raise alerts of metrics that this test does not examine
my $other_metrics = sql($node, <<'SQL');
SELECT string_agg(metric_name, ', ') FROM get_connection_stats()
WHERE metric_name NOT IN ('total_connections', 'idle_in_transaction')
SQL
set_silent($other_metrics);

my $warning = 'WARNING:  connpool_monitor: WARNING: total_connections is';
my $critical = 'WARNING:  connpool_monitor: CRITICAL: total_connections is';
my $recovery = 'LOG:  connpool_monitor: recovered from \w+: total_connections is \d+ of 30 '
  . 'connections, (warning|critical) threshold [\d.]+$';
my $any = '(WARNING|LOG):  connpool_monitor:';

sub wait_for_alert
{
	my ($status, $metric) = @_;
	$metric //= 'total_connections';
	poll_ok(
		$node,
		"SELECT status = '$status' FROM connpool_alerts WHERE metric_name = '$metric'",
		"the alert of $metric becomes $status");
	return;
}

sub set_silent
{
	my ($metrics) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.silent_metrics = '$metrics'");
	$node->reload;
	return;
}

# Set both thresholds of total_connections between two samples.
sub set_thresholds
{
	my ($warning, $critical) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.total_connections_warning = $warning");
	sql($node, "ALTER SYSTEM SET connpool_monitor.total_connections_critical = $critical");
	$node->reload;
	return;
}

# below the threshold (6 of 30) nothing happens
my @sessions = map { session($node, 'shop') } 1 .. 4;
wait_samples($node, 10);
is(log_count($node, $any), 0, 'no message is logged below a threshold');

# Above the warning threshold, below the critical one. Thresholds are off while sessions open, so
# that the alert has the number of all sessions.
set_thresholds(-1, -1);
push @sessions, map { session($node, 'shop') } 1 .. 4;
set_thresholds(20, 40);
wait_for_alert('WARNING');
wait_samples($node, 10);
is(log_count($node, $warning),
	1, 'one warning is logged for the rise and none while the status stays');
my $log = slurp_file($node->logfile);
like(
	$log,
	qr/$warning (8|9) of 30 connections, warning threshold 6$/m,
	'the warning names the value, the maximum and the threshold');
like(
	$log,
	qr/DETAIL:  The status was OK\. Largest pools: shop 8 \(\w+ in postgres\)/,
	'the detail names the previous status and the largest pools');
like(
	$log,
	qr/HINT:  .*connpool_clients.*pg_terminate_backend/,
	'the hint names the view to read and the function to call');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT status, current_value >= 8, max_value, warning, critical, peak_value >= 8,
       message LIKE 'total_connections is % of 30 connections, warning threshold 6',
       culprit LIKE '%shop 8%'
FROM connpool_alerts WHERE metric_name = 'total_connections'
SQL
	'WARNING|t|30|6|12|t|t|t', 'connpool_alerts shows the values of the log message');

# only roles that may see every session see a culprit
$node->safe_psql('postgres',
	'CREATE ROLE reader; GRANT SELECT ON connpool_alerts, connpool_alert_log TO reader');
my $culprits = q{SELECT count(message), count(culprit) FROM connpool_alerts WHERE status <> 'OK'
	UNION ALL SELECT count(message), count(culprit) FROM connpool_alert_log};
is($node->safe_psql('postgres', $culprits),
	"1|1\n1|1", 'a superuser sees the culprit in both views');
is($node->safe_psql('postgres', "SET ROLE reader; $culprits"),
	"1|0\n1|0", 'a role that was only granted the views does not see a culprit');
is($node->safe_psql('postgres', q{SELECT connpool_health() ->> 'status'}),
	'degraded', 'a WARNING degrades health');
is( $node->safe_psql(
		'postgres', q{SELECT connpool_health() -> 'checks' -> 'total_connections' ->> 'status'}),
	'WARNING',
	'connpool_health() shows the status of the metric');

# escalation logs one more warning
push @sessions, map { session($node, 'batch') } 1 .. 6;
wait_for_alert('CRITICAL');
wait_samples($node, 10);
is(log_count($node, $critical), 1, 'the escalation to CRITICAL logs one warning');
is(log_count($node, $warning), 1, 'the escalation does not repeat the warning of the lower level');

# A recovery logs one line, after alert_clear_after. Both levels must end at the same sample. So
# the test keeps alert_clear_after long until neither threshold has been met for half a second, and
# then lowers it to half a second.
set_delay('alert_clear_after', 3600);
leave($_) foreach splice(@sessions, 2);
wait_samples($node, 10);
set_delay('alert_clear_after', 0.5);
wait_for_alert('OK');
wait_samples($node, 10);
is(log_count($node, $recovery), 1, 'the recovery logs one line');
is(log_count($node, $any), 3, 'a rise, an escalation and a recovery log three lines in all');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT from_status, to_status FROM connpool_alert_log WHERE metric_name = 'total_connections'
SQL
	"CRITICAL|OK\nWARNING|CRITICAL\nOK|WARNING",
	'the alert log has the three transitions, newest first');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT message, culprit, peak_value
		FROM connpool_alerts
		WHERE metric_name = 'total_connections'
		SQL
	'||', 'an alert that has recovered has no message, culprit or peak');

# A jump past both thresholds is one transition. A reload lowers both thresholds between two
# samples.
set_thresholds(-1, -1);
push @sessions, map { session($node, 'burst') } 1 .. 12;
set_thresholds(20, 40);
wait_for_alert('CRITICAL');
is(log_count($node, $any), 4, 'a jump from OK to CRITICAL logs one warning');
is( $node->safe_psql('postgres', q{SELECT from_status, to_status FROM connpool_alert_log LIMIT 1}),
	'OK|CRITICAL',
	'the alert log records a jump as one transition from OK');
leave($_) foreach splice(@sessions, 6);
wait_for_alert('WARNING');

# The value of idle_in_transaction is high while this session is in a transaction.
my $idler = session($node, 'idler');

# Let the value be high and low in turn for longer than $limit seconds. $first is BEGIN, which
# begins a high phase, or COMMIT, which begins a low phase. The last phase is of the other kind.
# Returns false if a phase of the first kind may have lasted for $limit seconds, as on a busy
# machine.
sub alternate
{
	my ($first, $limit) = @_;
	my $second = $first eq 'BEGIN' ? 'COMMIT' : 'BEGIN';
	my $until = time + 1.2 * $limit;

	while (time < $until)
	{
		my $began = time;
		$idler->query_safe($first);
		wait_samples($sessions[0], 2);
		$idler->query_safe($second);
		wait_samples($sessions[0], 2);
		return 0 if time - $began > 0.9 * $limit;
	}
	return 1;
}

sub set_delay
{
	my ($name, $seconds) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.$name = '${seconds}s'");
	$node->reload;
	wait_samples($node, 2);
	return;
}
sql($node, q{ALTER SYSTEM SET connpool_monitor.idle_in_transaction_warning = 1});

# No alert is raised if the value never meets the threshold for as long as alert_after. If the
# machine was too busy, the alert may be raised; start over with a longer time.
my ($offset, $limit) = (0, 1);
do
{
	$limit *= 2;
	set_delay('alert_after', $limit);
	wait_for_alert('OK', 'idle_in_transaction');
	$offset = -s $node->logfile;
} until (alternate('BEGIN', $limit));
is(log_count($node, $any, $offset),
	0, 'a value that is high for less than alert_after raises no alert');

# An alert that was raised clears only after the value was low for alert_clear_after.
set_delay('alert_after', 0);
$idler->query_safe('BEGIN');
$limit = 1;
do
{
	$limit *= 2;
	set_delay('alert_clear_after', $limit);
	wait_for_alert('WARNING', 'idle_in_transaction');
	$offset = -s $node->logfile;
} until (alternate('COMMIT', $limit));
is(log_count($node, $any, $offset),
	0, 'a value that is low for less than alert_clear_after logs nothing');
is(alert_of($node, 'idle_in_transaction'),
	'WARNING', 'a value that is low for less than alert_clear_after leaves the alert raised');
leave($idler);
set_silent("$other_metrics, idle_in_transaction");
sql($node, "ALTER SYSTEM RESET connpool_monitor.$_") foreach 'alert_after', 'alert_clear_after';
$node->reload;

# thresholds and intervals change with the first sample after a reload
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.alert_repeat = '500ms'});
$node->reload;
ok( wait_until(sub { log_count($node, 'still WARNING: total_connections') >= 2 }),
	'the sampler logs a persisting alert again every alert_repeat');
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.alert_repeat = 0});
$offset = -s $node->logfile;
set_thresholds(90, -1);
wait_for_alert('OK');
is( $node->safe_psql('postgres', q{SELECT from_status, to_status FROM connpool_alert_log LIMIT 1}),
	'WARNING|OK',
	'the alert log records the end of an alert after the threshold was raised');
my $ended = 'WARNING ended because a setting changed: ';
is( log_count(
		$node,
		"LOG:  connpool_monitor: ${ended}total_connections is \\d+ of 30 connections, "
		  . 'warning threshold 27 \(still WARNING with the former settings: \d+, threshold 6\)$',
		$offset),
	1,
	'the log reports that a threshold was raised, with the value and the former threshold');
is(log_count($node, 'recovered', $offset), 0, 'a raised threshold is not logged as a recovery');
is( $node->safe_psql(
		'postgres',
		q{SELECT warning, critical FROM connpool_alerts WHERE metric_name = 'total_connections'}),
	'27|',
	'connpool_alerts shows the new thresholds, and NULL for one that is off');

# a metric that becomes silent clears its alert at once and raises no other
set_thresholds(10, -1);
wait_for_alert('WARNING');
set_silent("$other_metrics, idle_in_transaction, total_connections");
wait_for_alert('OK');
is( log_count(
		$node,
		'LOG:  connpool_monitor: WARNING ended because a setting changed: '
		  . 'total_connections is .* \(no longer monitored\)'),
	1,
	'the log reports that a metric is no longer monitored, and no recovery');
like(stat_of($node, 'total_connections'),
	qr/WARNING/, 'get_connection_stats() still shows the status of a silent metric');
is($node->safe_psql('postgres', q{SELECT connpool_health() ->> 'status'}),
	'healthy', 'a silent metric does not degrade health');

# a reload changes the interval at once, even from a long one
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.sample_interval = '1min'});
$node->reload;
my $later = 'SELECT pg_sleep(0.4); SELECT samples FROM connpool_info()';
ok( wait_until(sub { sql($node, $later) eq sql($node, $later) }),
	'no sample is taken before the new, longer interval has passed');
my $began = time;
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.sample_interval = '100ms'});
$node->reload;
wait_samples($node, 5);
cmp_ok(time - $began, '<', 50, 'a shorter interval does not wait for the end of the longer one');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT resolution
		FROM connpool_history('total_connections', now() - interval '5 minutes')
		ORDER BY sample_time DESC
		LIMIT 1
		SQL
	'00:00:00.1',
	'the history has the shorter interval');

is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*) > 0 AND count(DISTINCT resolution) = 1
		FROM connpool_history('total_connections', resolution => '100 ms')
		SQL
	't',
	'connpool_history() returns rows of the requested resolution only');

# the culprits of a rate are the pools that contribute most to it, not those with the most
# connections
{
	my @quiet = map { session($node, 'quiet') } 1 .. 5;
	$node->safe_psql('postgres', "ALTER SYSTEM SET connpool_monitor.$_")
	  foreach 'connections_per_second_warning = 0', 'failed_query_percent_warning = 1',
	  'average_query_time_ms_warning = 0', 'slow_statements_warning = 1',
	  q{silent_metrics = 'total_connections'};
	local $ENV{PGAPPNAME} = 'reconnector';
	$node->safe_psql('postgres', 'SELECT 1') for 1 .. 10;
	local $ENV{PGAPPNAME} = 'deploy42';
	$node->psql('postgres', join("\n", ('SELECT 1/0;') x 40), on_error_stop => 0);
	local $ENV{PGAPPNAME} = 'sleeper';
	$node->safe_psql('postgres',
		q{SET connpool_monitor.slow_statement_time = '500ms'; SELECT pg_sleep(1)});
	local $ENV{PGAPPNAME} = 'test';
	$node->reload;
	my %expected = (
		connections_per_second => qr/^Most connections in the last minute: .*reconnector 10 /,
		failed_query_percent => qr/^Most failures in the last minute: deploy42 40 \(/,
		average_query_time_ms =>
		  qr/^Most milliseconds of statement time in the last minute: .*sleeper \d{4,} \(/,
		slow_statements => qr/^Most slow statements in the last minute: sleeper 1 \(/);

	foreach my $metric (sort keys %expected)
	{
		poll_ok(
			$node,
			"SELECT status = 'WARNING' FROM connpool_alerts WHERE metric_name = '$metric'",
			"$metric raises an alert");
		like(
			$node->safe_psql(
				'postgres', "SELECT culprit FROM connpool_alerts WHERE metric_name = '$metric'"),
			$expected{$metric},
			"the culprit of $metric is the pool that contributes most");
	}
	leave($_) foreach @quiet;
	$node->safe_psql('postgres', "ALTER SYSTEM RESET connpool_monitor.${_}_warning")
	  foreach keys %expected;
}

# An alert whose metric no longer counts a session because a setting changed has not recovered.
# Each of these settings changes while the session is in the same transaction, statement or wait.
{
	my %age = (
		long_transactions => 'long_transaction_age',
		leak_suspects => 'leak_age',
		blocked_sessions => 'blocked_age',
		long_queries => 'slow_statement_time');
	my @metrics = (sort(keys %age), 'oldest_transaction_seconds');
	my $alerts = sub {
		my ($status, $count, $name) = @_;
		my $names = join(', ', map { "'$_'" } @metrics);
		poll_ok($node, <<~"SQL", $name);
			SELECT count(*) = $count
			FROM connpool_alerts
			WHERE status = '$status' AND metric_name IN ($names)
			SQL
	};
	my $set = sub { sql($node, "ALTER SYSTEM SET connpool_monitor.$_[0]"); };
	$set->($_)
	  foreach q{silent_metrics = 'total_connections'}, 'alert_after = 0', 'alert_clear_after = 0';
	$set->("${_}_warning = 1"), $set->("${_}_critical = -1") foreach @metrics;
	$set->("$_ = '200ms'") foreach values %age;
	sql($node, 'CREATE TABLE held (v int)');
	my $keeper = session($node, 'keeper');
	$keeper->query_safe('BEGIN; LOCK TABLE held');
	my $waiter = session($node, 'waiter');
	$waiter->query_until(qr/begun/, "\\echo begun\nTABLE held;\n");
	$node->reload;
	$alerts->('WARNING', 5, 'five metrics raise an alert because of a lock that is kept');

	my $from = -s $node->logfile;
	$set->("$_ = '1h'") foreach values %age;
	$node->reload;
	$alerts->('OK', 4, 'four alerts end when the ages of their metrics are raised');
	$set->(q{exempt_applications = 'keeper, waiter'});
	$node->reload;
	$alerts->('OK', 5, 'an alert ends because its sessions are exempt');
	foreach my $metric (@metrics)
	{
		my $former = 'still WARNING with the former settings: [1-9]\d*(\.\d+)?, threshold 1';
		is( log_count(
				$node, "LOG:  connpool_monitor: $ended$metric is \\S+ .* \\($former\\)\$", $from),
			1,
			"the log reports that $metric is OK because a setting changed");
	}
	is(log_count($node, 'recovered', $from),
		0, 'an alert that ends because a setting changed is not logged as recovered');
	is(sql($node, <<~'SQL'), '5', 'the alert log has the value with the former settings');
		SELECT count(*)
		FROM (SELECT * FROM connpool_alert_log LIMIT 5) log
		WHERE to_status = 'OK' AND message LIKE '% (still WARNING with the former settings: %'
		SQL
	is(sql($node, q{SELECT connpool_incident_report() LIKE '%still WARNING with the former%'}),
		't', 'the report of the incident has the status with the former settings');

	$set->("$_ = '200ms'") foreach values %age;
	sql($node, 'ALTER SYSTEM RESET connpool_monitor.exempt_applications');
	$node->reload;
	$alerts->('WARNING', 5, 'the alerts rise again with the former settings');
	$from = -s $node->logfile;
	leave($keeper);
	leave($waiter);
	$alerts->('OK', 5, 'the alerts end with the sessions');
	is(log_count($node, $ended, $from),
		0, 'an alert whose sessions ended is not logged as ended by a setting');
	cmp_ok(log_count($node, 'recovered from WARNING', $from),
		'>=', 5, 'the log reports that the alerts recovered');
	sql($node, "ALTER SYSTEM RESET connpool_monitor.$_")
	  foreach values %age, 'alert_clear_after',
	  map { ("${_}_warning", "${_}_critical") } @metrics;
}

# Names in other encodings, and names cut in the middle of a character, must not make the views
# unreadable for any client.
{
	my ($role, $database) = ('é' x 30, 'ü' x 31);
	$node->safe_psql('postgres',
		qq{CREATE ROLE "$role" LOGIN; ALTER ROLE "$role" SET connpool_monitor.pool_max = 1});
	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	$node->safe_psql('postgres',
		q{ALTER SYSTEM SET connpool_monitor.total_connections_warning = 1});
	$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.alert_after = 0});
	$node->safe_psql('postgres', q{ALTER SYSTEM RESET connpool_monitor.silent_metrics});
	my @named;
	foreach my $application ('ö' x 31, 'ä' x 31, 'å' x 31)
	{
		local $ENV{PGAPPNAME} = $application;
		push @named, map {
			my $psql = $node->background_psql($database, extra_params => [ '-U', $role ]);
			$psql->query_safe("SET application_name = '$application'");
			$psql
		} 1, 2;
	}
	$node->reload;
	wait_for_alert('WARNING');
	foreach my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII')
	{
		my ($status, $out, $err) = $node->psql('postgres', <<~"SQL");
			SET client_encoding = '$encoding';
			SELECT culprit FROM connpool_alerts WHERE metric_name = 'total_connections';
			SELECT count(*) FROM (SELECT culprit || '' FROM connpool_alert_log) log
			SQL
		is("$status $err", '0 ', "a client with encoding $encoding can read a culprit");
		like(
			$out,
			qr/Against their policy: /,
			'a culprit with policy violations ends with a whole character') if $encoding eq 'UTF8';
	}
	leave($_) foreach @named;
}

$node->stop('fast');
done_testing();
