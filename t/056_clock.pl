# SPDX-License-Identifier: PostgreSQL
# After a clock that was ahead has been set back, leaks and incidents continue, ages are right, and
# no view shows a time in the future. Needs PgBouncer, and compiles a library that sets the
# server's clock.
# scripts/test: slow, 45 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use Application;
use Connpool;
use Http;
use Wire;

build_clock();

# --- waits while the clock is set, without a server
my $lock_log = compile_unit('lock_log', 'events/lock_log', 'base/ring');
my ($unknown, $granted_after) = split /\n/, `$lock_log`;
is($unknown, '...........ccc',
	'a wait whose outcome remains unknown is closed after ten seconds, though the clock is set back'
);
is($granted_after, '2', 'a wait that ends after the clock was set forward lasted no longer');

# --- times that a file has from before the clock was set back, without a server
my $loaded_times = compile_unit('loaded_times', 'base/stream');
is(`$loaded_times`, <<~'OUT', 'the loader corrects times, but not those added during the save');
	-5 -5
	0 0
	0 0
	-3590 -3590
	0 0
	OUT

my $port = http_port();
my $node = new_node('clock', <<"CONF", stopped => 1);
max_prepared_transactions = 5
connpool_monitor.leak_age = '500ms'
connpool_monitor.leak_idle_age = '500ms'
connpool_monitor.blocked_age = '300ms'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.http_listen = '127.0.0.1:$port'
CONF
my $user = getpwuid($<);
my $pooler = start_pooler($node);
$node->append_conf('postgresql.conf', <<"CONF");
connpool_monitor.pgbouncer = 'main=host=${\$pooler->host} port=${\$pooler->port} user=$user'
connpool_monitor.pgbouncer_interval = '200ms'
CONF
set_clock(20000);
start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
sql($node, 'CREATE ROLE barred NOLOGIN; CREATE ROLE early LOGIN');
sql($node, 'CREATE TABLE t (v int)');

# Set the clock, and wait until the sampler has taken samples by the new clock.
sub step_clock
{
	my ($offset) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $stepped_at = time + $offset;
	set_clock($offset);
	wait_samples($node, 3);
	my $until = time + $offset;
	is(sql($node, <<~"SQL"), 't', "the sampler samples by a clock that is $offset s ahead");
		SELECT count(*) > 0
		FROM connpool_history('total_connections', to_timestamp($stepped_at),
		  to_timestamp($until), '100 ms')
		SQL
	return;
}

# Return the columns of all views of the extension that show a moment in the future.
sub future_moments
{
	my @found;
	foreach (split /\n/, sql($node, <<~'SQL'))
		SELECT c.relname, a.attname
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		     JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relname LIKE 'connpool%' AND c.relkind = 'v' AND a.attname <> 'retry_at'
		AND a.atttypid = 'timestamptz'::regtype
		UNION ALL
		SELECT 'connpool_info()', unnest(ARRAY['last_sample', 'stats_reset', 'last_saved'])
		ORDER BY 1, 2
		SQL
	{
		my ($view, $column) = split /\|/;
		push @found, "$view.$column"
		  if sql($node, "SELECT count(*) FROM $view WHERE $column > clock_timestamp()") > 0;
	}
	return join ' ', @found;
}

# Test that a duration in seconds is that between two actions. An action is an array of the times
# at which it began and ended. Tolerates a second, because some durations are in whole seconds.
sub is_between
{
	my ($seconds, $first, $second, $name) = @_;
	cmp_ok($seconds, '>', $second->[0] - $first->[1] - 1, "$name is not too low");
	cmp_ok($seconds, '<', $second->[1] - $first->[0] + 1, "$name is not too high");
	return;
}

# Test that a query returns the seconds since an action, counted until now or until a sample that
# is taken during this call.
sub is_age_since
{
	my ($first, $query, $name) = @_;
	my $began = time;
	wait_samples($node, 2);
	my $age = sql($node, $query);
	is_between($age, $first, [ $began, time ], $name);
	return;
}

# --- a leak of each kind, a lock wait, refusals and a direct session, while the clock is ahead
my $leaks = <<'SQL';
SELECT string_agg(kind || ' ' || suspects || ' ' || detected || ' ' || released || ' ' || ended,
                  ', ' ORDER BY kind)
FROM connpool_leak_stats WHERE kind <> 'waiting_for_client'
SQL
my @early_at = (time);
my $early = session($node, 'early', role => 'early');
push @early_at, time;
my $direct = session($node, 'direct');
my $first = session($node, 'pool');
my $second = session($node, 'pool');
$first->query_safe('SELECT 1');
my @forgotten_at = (time);
my $forgotten = session($node, 'forgotten');
$forgotten->query_safe('BEGIN; LOCK TABLE t');
push @forgotten_at, time;
my @prepared_at = (time);
sql($node, q{BEGIN; SELECT pg_advisory_xact_lock(1); PREPARE TRANSACTION 'orphan'});
push @prepared_at, time;
my @waited_at = (time);
my $waiter = session($node, 'waiter');
$waiter->query_until(qr/begun/, "\\echo begun\nTABLE t;\n");
# $second has been idle since before this session of its pool opened
my $third = do
{
	local $ENV{PGAPPNAME} = 'pool';
	$node->background_psql('postgres');
};
poll_is(
	$node, $leaks,
	'idle 2 2 0 0, idle_in_transaction 1 1 0 0, prepared 1 1 0 0',
	'four leaks are suspected while the clock is ahead');
leave($third);
poll_is($node, q{SELECT count(*) FROM connpool_blocked_queries}, '1', 'a session is blocked');
push @waited_at, time;
my $direct_connections = <<'SQL';
SELECT current_value = 6 FROM get_connection_stats() WHERE metric_name = 'direct_connections'
SQL
poll_ok($node, $direct_connections, 'direct sessions are counted while the clock is ahead');
ok(!connects($node->connstr('postgres') . ' user=barred'), 'the server refuses a NOLOGIN role')
  for 1 .. 2;
my $offset = -s $node->logfile;

# Test everything that may depend on the clock, after it was set back.
sub test_all
{
	my ($when) = @_;
	is( sql($node, $leaks),
		'idle 2 2 0 0, idle_in_transaction 1 1 0 0, prepared 1 1 0 0',
		"$when: no leak ends or begins");
	is( sql($node, <<~'SQL'),
			SELECT string_agg(kind || ' ' || count, ', ' ORDER BY kind)
			FROM (SELECT kind, count(*) FROM connpool_leaks GROUP BY 1) l
			SQL
		'idle 2, idle_in_transaction 1, prepared 1',
		"$when: all leaks are listed");
	is(log_count($node, 'resumed work', $offset),
		0, "$when: no suspect is logged as resuming work");
	my $age = 'SELECT extract(epoch FROM %s) FROM %s';
	is_age_since(
		\@forgotten_at,
		sprintf($age, 'held', q{connpool_leaks WHERE kind = 'idle_in_transaction'}),
		"$when: the age of a leak");
	is_age_since(
		\@prepared_at,
		sprintf($age, 'held', q{connpool_leaks WHERE kind = 'prepared'}),
		"$when: the age of a prepared transaction");
	is_age_since(\@forgotten_at, <<~'SQL', "$when: oldest_transaction_seconds");
		SELECT current_value
		FROM get_connection_stats()
		WHERE metric_name = 'oldest_transaction_seconds'
		SQL
	is_age_since(
		\@early_at,
		sprintf($age, 'oldest_session', q{connpool_clients WHERE role = 'early'}),
		"$when: the age of a session");
	is_age_since(
		\@waited_at,
		sprintf($age, 'waiting', 'connpool_blocked_queries'),
		"$when: the age of a lock wait");
	is_age_since(
		\@waited_at,
		sprintf($age, 'waited', 'connpool_lock_log'),
		"$when: the time waited in the lock log");
	poll_ok($node, $direct_connections, "$when: direct sessions are still counted");
	is( sql($node, q{SELECT up, age BETWEEN '0' AND '1 min' FROM connpool_pgbouncer,
			(SELECT max(age) AS age FROM connpool_pgbouncer_stats) s}),
		't|t',
		"$when: the console answers, and its age is not negative");
	return;
}

# the sampler cannot have detected the step yet
my $sampler = worker_pid($node, 'sampler');
kill 'STOP', $sampler;
set_clock(12800);
is(sql($node, $direct_connections),
	't', 'direct sessions are counted before the first sample after the step');
kill 'CONT', $sampler;
step_clock(12800);
is(future_moments(), '', 'no view shows a moment in the future after the clock was set back');
test_all('set back by two hours');
ok(!connects($node->connstr('postgres') . ' user=barred'), 'the server refuses the role again');
is(sql($node, q{SELECT sum(attempts), bool_and(first_at <= at) FROM connpool_rejection_log}),
	'3|t', 'no row of the log of refusals ends before it begins');

# The clock passes a time that was recorded before it was set back.
my @later_at = (time);
my $later = session($node, 'later');
$later->query_safe('BEGIN');
sql($node, q{SELECT connpool_reset('counters')});
push @later_at, time;
my $later_age = <<'SQL';
SELECT extract(epoch FROM xact_age) FROM connpool_sessions WHERE application_name = 'later'
SQL
wait_samples($node, 2);
my $passed = sql($node, q{SELECT quote_literal(clock_timestamp() + '1 s')});
step_clock(12700);
is_age_since(\@later_at, $later_age, 'set back by 100 seconds: the age of a transaction');
step_clock(12797);
is_age_since(\@later_at, $later_age, 'set forward by 97 seconds: the age of a transaction');
poll_ok($node, "SELECT clock_timestamp() > $passed", 'the clock catches up');
is_age_since(\@later_at, $later_age, 'when the clock has caught up, the age of a transaction');
is_age_since(
	\@later_at,
	'SELECT extract(epoch FROM clock_timestamp() - stats_reset) FROM connpool_info()',
	'when the clock has caught up, the age of the last reset');
leave($later);

# The clock is set forward, and back to the true time.
my @steady_at = (time);
my $steady = session($node, 'steady');
$steady->query_safe('BEGIN');
push @steady_at, time;
wait_samples($node, 2);
step_clock(20000);
step_clock(12797);
is_age_since(
	\@steady_at,
	$later_age =~ s/'later'/'steady'/r,
	'set forward and back again: the age of a transaction');
leave($steady);

# The same, but the session is first suspected while the clock is ahead.
kill 'STOP', $sampler;
my @ahead_at = (time);
my $ahead = session($node, 'ahead');
$ahead->query_safe('BEGIN');
push @ahead_at, time;
set_clock(20000);
kill 'CONT', $sampler;
wait_samples($node, 3);
step_clock(12797);
my @ahead_until = (time);
leave($ahead);
poll_ok($node, <<~'SQL', 'the end of a leak suspected while the clock was ahead is logged');
	SELECT count(*) = 1 FROM connpool_leak_log WHERE application_name = 'ahead'
	SQL
push @ahead_until, time;
is_between(
	sql($node, <<~'SQL'), \@ahead_at, \@ahead_until,
		SELECT extract(epoch FROM held) FROM connpool_leak_log WHERE application_name = 'ahead'
		SQL
	'the time held of a leak that was suspected while the clock was ahead');
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'a session that ends is no leak any more');
is(sql($node, <<~'SQL'), 'idle 2, prepared 1|0', 'the other leaks remain');
	SELECT string_agg(kind || ' ' || suspects, ', ' ORDER BY kind),
	       (SELECT count(*) FROM connpool_leak_log
	        WHERE application_name = 'pool' OR kind = 'prepared')
	FROM connpool_leak_stats WHERE kind IN ('idle', 'prepared')
	SQL

# a leak that ends after the step was held for as long as it lasted
my @resumed_at = (time);
$forgotten->query_safe('COMMIT');
push @resumed_at, time;
poll_ok($node, <<~'SQL', 'a session that resumes work is released');
	SELECT count(*) = 1 FROM connpool_leak_log WHERE outcome = 'released'
	SQL
is_between(
	sql($node,
		q{SELECT extract(epoch FROM held) FROM connpool_leak_log WHERE outcome = 'released'}),
	\@forgotten_at,
	\@resumed_at,
	'the time held in the leak log');
leave($_) foreach $waiter, $forgotten;
is(sql($node, q{SELECT outcome FROM connpool_lock_log}),
	'granted', 'the lock log has the outcome of a wait that lasted through the step');

# --- a wait that was granted before the step, and one that fails before the next sample
sql($node, q{SELECT connpool_reset()});
my $holder = session($node, 'holder');
$holder->query_safe('BEGIN; LOCK TABLE t');
my $granted = session($node, 'granted');
$granted->query_until(qr/begun/, "\\echo begun\nTABLE t;\n");
poll_is($node, q{SELECT count(*) FROM connpool_lock_log}, '1', 'a wait is logged');
my @suspected_at = (time);
my $suspected = session($node, 'suspected');
$suspected->query_safe('BEGIN');
push @suspected_at, time;
poll_ok($node, <<~'SQL', 'a session is a suspect after three seconds in a transaction');
	SELECT held > '3 s' AND suspects = 2
	FROM connpool_leaks, connpool_leak_stats s
	WHERE application_name = 'suspected' AND s.kind = 'idle_in_transaction'
	SQL
kill 'STOP', $sampler;
$holder->query_safe('COMMIT');
$granted->query_safe('SELECT 1');
@resumed_at = (time);
$suspected->query_safe('COMMIT');
push @resumed_at, time;
set_clock(12700);
$holder->query_safe('BEGIN; LOCK TABLE t');
$granted->query(q{SET lock_timeout = '1ms'; TABLE t});
kill 'CONT', $sampler;
poll_is(
	$node, q{SELECT string_agg(outcome, ' ') FROM connpool_lock_log},
	'granted', 'a wait that fails after the step does not hide that an earlier one was granted');
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM connpool_leak_log WHERE application_name = 'suspected'},
	'a leak that ends between the last sample and the step is logged');
is_between(
	sql($node,
		q{SELECT extract(epoch FROM held) FROM connpool_leak_log
			WHERE application_name = 'suspected'}),
	\@suspected_at,
	\@resumed_at,
	'the time held of a leak that ends between the last sample and the step');
leave($_) foreach $holder, $granted, $suspected;

# --- a setting that changes in the round that detects a step
sql($node, 'ALTER SYSTEM SET connpool_monitor.long_queries_warning = 1');
sql($node, q{ALTER SYSTEM SET connpool_monitor.slow_statement_time = '100ms'});
$node->reload;
my $long = session($node, 'long');
$long->query_until(qr/begun/, "\\echo begun\nSELECT pg_sleep(600);\n");
poll_is($node, q{SELECT status FROM connpool_alerts WHERE metric_name = 'long_queries'},
	'WARNING', 'a long statement raises an alert');
kill 'STOP', $sampler;
sql($node, q{ALTER SYSTEM SET connpool_monitor.slow_statement_time = '1h'});
$node->reload;
set_clock(12600);
kill 'CONT', $sampler;
poll_is(
	$node, <<~'SQL',
		SELECT to_status, message ~ 'still WARNING with the former settings'
		FROM connpool_alert_log
		WHERE metric_name = 'long_queries'
		ORDER BY seq DESC LIMIT 1
		SQL
	'OK|t',
	'in the round that detects a step, an alert that ends because a setting changed is no recovery'
);
sql($node, q{SELECT pg_cancel_backend(pid) FROM connpool_sessions
	WHERE application_name = 'long'});
leave($long);
sql($node, 'ALTER SYSTEM RESET connpool_monitor.slow_statement_time');
sql($node, 'ALTER SYSTEM RESET connpool_monitor.long_queries_warning');
$node->reload;

# --- idle sessions of pools that open no newer session
{
	my @lonely = map {
		local $ENV{PGAPPNAME} = $_;
		$node->background_psql('postgres');
	} qw(lonely pair pair);
	my $suspects = q{(SELECT count(*) FROM connpool_leaks
		WHERE application_name IN ('lonely', 'pair'))};
	my $query = "SELECT detected, $suspects FROM connpool_leak_stats WHERE kind = 'idle'";
	$_->query_safe('SELECT 1') foreach @lonely;
	sql($node, 'SELECT pg_sleep(4)');
	my $before = sql($node, $query);
	like($before, qr/\|0$/, 'idle sessions are no suspects while their pools open no others');
	step_clock(12597);
	is(sql($node, $query), $before, 'nor are they when the clock is set back by three seconds');
	step_clock(16200);
	is(sql($node, $query), $before, 'nor when it is set forward by an hour');
	leave($_) foreach @lonely;
}

# --- sessions that the console has not been asked about
{
	my $direct_now = $direct_connections =~ s/ = 6//r;
	poll_is($node, $direct_now, '4', 'the sessions that the console does not list are direct');
	sql($node, q{ALTER SYSTEM SET connpool_monitor.pgbouncer_interval = '10s'});
	$node->reload;
	my $worker = worker_pid($node, 'pgbouncer');
	kill 'STOP', $worker;
	my $new = session($node, 'new');
	set_clock(19800);
	# fewer are direct if the sampler has already corrected the times of the other sessions
	cmp_ok(sql($node, $direct_now),
		'<=', 4,
		'a step forward makes no session direct that the console has not been asked about');
	kill 'CONT', $worker;
	sql($node, 'ALTER SYSTEM RESET connpool_monitor.pgbouncer_interval');
	$node->reload;
	poll_is($node, $direct_now, '5', 'the new session is direct once the console has answered');
	leave($new);
}

# --- sessions whose start-up packets arrive after a step
foreach my $case ('forward', 'back', 'undetected forward', 'undetected back')
{
	my $name = "a step $case before the start-up packet";
	my $offset = $case =~ /forward/ ? 23400 : 19800;
	my $before = time;
	kill 'STOP', $sampler if $case =~ /undetected/;
	my $late = Wire->connect_to(
		$node, $case,
		user => $user,
		before_packet => sub {
			sql($node, 'SELECT pg_sleep(1.5)');
			$case =~ /undetected/ ? set_clock($offset) : step_clock($offset);
		});
	my $setup = sql($node, <<~"SQL");
		SELECT avg_setup_time / 1000 FROM connpool_pools WHERE application_name = '$case'
		SQL
	my $after = time;
	kill 'CONT', $sampler;
	cmp_ok($setup, '>', 1, "$name: the setup time includes the time before the step");
	cmp_ok($setup, '<', $after - $before, "$name: the setup time does not include the step");
	$late->{socket}->close;
	poll_is($node, "SELECT connections FROM connpool_pools WHERE application_name = '$case'",
		'0', "$name: the session ends");
	cmp_ok(
		sql($node,
			<<~"SQL"), '<', time - $before, "$name: its duration does not include the step");
		SELECT avg_session_seconds FROM connpool_pools WHERE application_name = '$case'
		SQL
	wait_samples($node, 2);
}

# --- an incident that lasts through a step and a restart during which the clock is set back
step_clock(12800);
sql($node, q{ROLLBACK PREPARED 'orphan'});
sql($node, q{SELECT connpool_reset()});
sql($node, q{ALTER SYSTEM SET connpool_monitor.total_connections_warning = 0});
$node->reload;
my $incidents = <<'SQL';
SELECT count(*), count(ended_at), bool_and(started_at <= clock_timestamp()),
       bool_and(coalesce(ended_at, clock_timestamp()) >= started_at)
FROM connpool_incidents
SQL
poll_is($node, $incidents, '1|0|t|t', 'an incident begins');
$holder = session($node, 'holder');
$holder->query_safe('BEGIN; LOCK TABLE t');
my $blocked = session($node, 'blocked');
$blocked->query_until(qr/begun/, "\\echo begun\nTABLE t;\n");
poll_is($node, q{SELECT count(*) FROM connpool_lock_log}, '1', 'a wait in the incident is logged');
leave($_) foreach $holder, $blocked;

# Test that the report and the documents about the incident have what happened in it.
sub test_incident
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, $incidents), '1|0|t|t', "$when: the incident lasts");
	my $report = sql($node, 'SELECT connpool_incident_report()');
	like($report, qr/held up 1 session/, "$when: the report has the lock wait");
	like($report, qr/, 1 blocked session$/m, "$when: the report has a peak of one blocked session");
	like(
		$report,
		qr/\| total_connections \| OK to /,
		"$when: the report's timeline has the change of the alert");
	like($report, qr/^- \*\*total_connections\*\*/m, "$when: the report has advice on the alert");
	my ($shown) = @{ get_json($port, '/api/incidents')->{incidents} };
	my @at = map { $_->{at} } @{ $shown->{timeline} };
	my $now = get_json($port, '/api/incidents')->{timestamp};
	cmp_ok(scalar(@at), '>=', 1, "$when: /api/incidents has changes of alerts");
	is(scalar(grep { $_ lt $shown->{startedAt} || $_ gt $now } @at),
		0, "$when: all changes in /api/incidents are within the incident");
	is( sql($node,
			<<~'SQL'), '0|0', "$when: snapshots are within the incident, no age includes the step");
		SELECT count(*) FILTER (WHERE s.at NOT BETWEEN i.started_at AND clock_timestamp()),
		       count(*) FILTER (WHERE s.xact_age > '1 hour' OR s.xact_age < '0')
		FROM connpool_incident_sessions s JOIN connpool_incidents i ON i.id = s.incident_id
		SQL
	return;
}
test_incident('before the step');
step_clock(9200);
test_incident('when the clock is set back in an incident');
like(
	sql($node, 'SELECT connpool_incident_report()'),
	qr/^The system clock was set back\. Samples of the load/m,
	'the report warns that samples have times in the future');
is(future_moments(), '', 'no view shows a moment in the future in the incident');
# the clock passes the moments that were recorded before the step
step_clock(12900);
test_incident('when the clock has caught up');
my @left_at = (time);
leave($_) foreach $early, $direct, $first, $second;
poll_is(
	$node, q{SELECT sum(connections) FROM connpool_pools WHERE role = 'early'},
	'0', 'the session that connected before all steps ends');
push @left_at, time;
is_between(sql($node, q{SELECT max(avg_session_seconds) FROM connpool_pools WHERE role = 'early'}),
	\@early_at, \@left_at, 'the duration of a session that ends after the clock was set back');
$node->stop('fast');
set_clock(5600);
start_with_clock($node);
wait_samples($node, 3);
test_incident('after a restart during which the clock was set back');
is(future_moments(), '', 'no view shows a moment in the future after such a restart');

# an incident that began before the clock was set forward
$node->stop('fast');
set_clock(9200);
start_with_clock($node);
sql($node, q{SELECT connpool_reset()});
my $earliest = time + 9199;
poll_is($node, $incidents, '1|0|t|t', 'another incident begins');
step_clock(16400);
$node->stop('fast');
set_clock(9200);
start_with_clock($node);
wait_samples($node, 3);
is(sql($node, "SELECT started_at >= to_timestamp($earliest) FROM connpool_incidents"),
	't', 'setting the clock forward and back moves no start of an incident to an earlier time');
sql($node, q{ALTER SYSTEM SET connpool_monitor.total_connections_warning = 80});
$node->reload;
poll_is($node, $incidents, '1|1|t|t', 'the incident does not end before it began');
like(
	sql($node, 'SELECT connpool_incident_report()'),
	qr/ to .* \(00:00:\d\d\), time zone/,
	'the report has the duration of the incident');
stop_pooler($pooler);

# --- restarts after the clock was set back keep the ages of a prepared transaction, of the last
# reset and of an error
@prepared_at = (time);
sql($node, q{SELECT connpool_reset()});
$node->psql('postgres', 'SELECT 1 / 0');
sql($node, q{BEGIN; SELECT pg_advisory_xact_lock(1); PREPARE TRANSACTION 'kept'});
push @prepared_at, time;
my %age_of = (
	'the prepared transaction' => 'held) FROM connpool_leaks',
	'the last reset' => 'clock_timestamp() - stats_reset) FROM connpool_info()',
	'the error' => q{clock_timestamp() - last_seen) FROM connpool_errors WHERE sqlstate = '22012'},
);
wait_samples($node, 2);
step_clock(5600);
sql($node, 'SELECT pg_sleep(3)');

foreach my $restart ('a restart', 'a second restart')
{
	$node->stop('fast');
	start_with_clock($node);
	wait_samples($node, 2);
	is_age_since(
		\@prepared_at,
		"SELECT extract(epoch FROM $age_of{$_}",
		"after the clock was set back and $restart: the age of $_") foreach sort keys %age_of;
}
my @rolled_back_at = (time);
sql($node, q{ROLLBACK PREPARED 'kept'});
push @rolled_back_at, time;
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM connpool_leak_log WHERE kind = 'prepared'},
	'the end of the prepared transaction is logged');
is_between(
	sql($node, q{SELECT extract(epoch FROM held) FROM connpool_leak_log WHERE kind = 'prepared'}),
	\@prepared_at,
	\@rolled_back_at,
	'the time held of a prepared transaction that lasted through the restarts');
$node->stop('fast');
done_testing();
