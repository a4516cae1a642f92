# SPDX-License-Identifier: PostgreSQL
# A statement that waits for its client inside a transaction is recognized: a COPY that gets no
# data or is not read, a pipeline without Sync, a large result that is not read. Statements that
# only resemble these are not. libpq always sends Sync and reads all data, so the test speaks the
# protocol.
# scripts/test: slow, 28 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use List::Util  qw(max);
use Time::HiRes qw(sleep time);
use Wire;

my $node = new_node('client_waits', <<'CONF');
connpool_monitor.leak_age = '1s'
connpool_monitor.leak_suspects_warning = 1
connpool_monitor.alert_after = '500ms'
CONF
my $user = $node->safe_psql('postgres', 'CREATE TABLE t (a text); SELECT current_user');
my $large = q{SELECT repeat('x', 1000) FROM generate_series(1, 20000)};

sub connect_as { return Wire->connect_to($node, $_[0], user => $user) }
sub listed     { return sql($node, 'SELECT count(*) FROM connpool_leaks') }

# Return a query for columns of the row waiting_for_client of connpool_leak_stats.
sub stats_query
{
	return "SELECT $_[0] FROM connpool_leak_stats WHERE kind = 'waiting_for_client'";
}
sub stats { return sql($node, stats_query($_[0])) }

sub stats_become
{
	my ($condition, $name) = @_;
	poll_ok($node, stats_query($condition), $name);
	return;
}

# Begin a COPY FROM STDIN.
sub begin_copy
{
	my ($wire) = @_;
	$wire->send_message('Q', "COPY t FROM STDIN\0")->read_until('G');
	return $wire;
}

sub execute_without_sync
{
	my ($wire) = @_;
	$wire->bind_to('', '')->execute('')->flush->read_until('C');
	return;
}

sub suspected
{
	my ($application) = @_;
	poll_ok($node, <<"SQL", "$application waits for its client");
SELECT count(*) = 1 FROM connpool_leaks
WHERE application_name = '$application' AND kind = 'waiting_for_client'
SQL
	return;
}

# Call $step repeatedly for three times leak_age. Return how often a suspect was listed, and how
# many suspects the sampler detected. If a busy machine lets leak_age pass between two steps, that
# is a wait: start again.
sub suspected_while
{
	my ($step) = @_;
	my ($detected, $seen, $longest);
	wait_until(
		sub {
			my $until = time + 3;
			my $stepped;
			$step->();
			$stepped = time;
			wait_samples($node, 2);
			($detected, $seen, $longest) = (stats('detected'), 0, 0);
			while (time < $until)
			{
				$step->();
				$longest = max($longest, time - $stepped);
				$stepped = time;
				$seen++ if listed() > 0;
			}
			$detected = stats('detected') - $detected;
			return max($longest, time - $stepped) < 0.9;
		}) or die 'the machine is too busy';
	return "$seen $detected";
}

# COPY FROM STDIN, left alone after a row.
my $loader = begin_copy(connect_as('loader'));
$loader->send_message('d', "a row\n");
suspected('loader');
is( sql($node, <<'SQL'), 'active|t|t|t|COPY t FROM STDIN',
SELECT state, pid = (SELECT pid FROM pg_stat_activity WHERE application_name = 'loader'),
       held > '1 s' AND held <= xact_age, xact_age < '10 min', query
FROM connpool_leaks
SQL
	'the row of a COPY without data has the times of its wait and of its transaction');
is(stat_of($node, 'leak_suspects'),
	'1|5|WARNING', 'leak_suspects counts the session that waits for its client');
wait_samples($node, 2);
is(stats('suspects, detected, released, ended'),
	'1|1|0|0', 'connpool_leak_stats counts a wait over many samples once');
poll_ok($node, <<'SQL', 'the alert names the session and the time it has waited');
SELECT status = 'WARNING' AND culprit ~ 'The oldest is pid \d+ of loader \(.*\), for \d+ s'
FROM connpool_alerts WHERE metric_name = 'leak_suspects'
SQL

# data arrives, which is progress, and stops again: a second occurrence
$loader->send_message('d', "another\n");
stats_become('released = 1', 'data from its client releases the occurrence');
suspected('loader');
stats_become('suspects = 1 AND detected = 2',
	'a COPY whose data stops again is a second occurrence');
$loader->send_message('c', '');
is($loader->read_until('Z'), 'C Z', 'a COPY that waited for its client ends as usual');
stats_become(
	'suspects = 0 AND detected = 2 AND released = 2',
	'the end of the COPY releases the occurrence');
is( sql($node, <<'SQL'), 'waiting_for_client|released|loader|t|2',
SELECT kind, outcome, application_name, held BETWEEN '1 s' AND '10 min', count(*)
FROM connpool_leak_log GROUP BY 1, 2, 3, 4
SQL
	'both occurrences are logged with how long they were held');
my $resumed = 'leak suspect pid \d+ of loader resumed work after \d+ s';
wait_until(sub { log_count($node, $resumed) >= 2 });
is(log_count($node, $resumed), 2, 'the server log reports twice that the session resumed work');
$loader->end;

# COPY FROM STDIN that makes progress, a row every 50 ms.
my $slow = begin_copy(connect_as('slow'));
is(suspected_while(sub { $slow->send_message('d', "a row\n"); sleep 0.05 }),
	'0 0', 'a COPY that makes progress is no suspect, though its client is slow');
poll_ok(
	$node,
	q{SELECT wait_event = 'ClientRead' FROM pg_stat_activity WHERE application_name = 'slow'},
	'the slow COPY waits for its client between rows');
$slow->send_message('c', '')->read_until('Z');
is(stats('suspects'), '0', 'a COPY that made progress leaves no suspect');
$slow->end;

# COPY TO STDOUT and a large result, to clients that read nothing; both go on to the end.
my $unload = connect_as('unload');
my $report = connect_as('report');
$unload->send_message('Q', "COPY ($large) TO STDOUT\0");
$report->send_message('Q', "$large\0");
suspected('unload');
suspected('report');
is(sql($node, <<'SQL'), 'ClientWrite|2', 'sessions whose clients read nothing wait to write');
SELECT wait_event, count(*) FROM pg_stat_activity
WHERE application_name IN ('unload', 'report') GROUP BY 1
SQL
$_->read_until('Z') foreach $unload, $report;
is(listed(), '0', 'a session whose result has been read is no suspect');
$_->end foreach $unload, $report;

# COPY TO STDOUT to a client that reads slowly: bytes go out, so it makes progress. The result has
# a terabyte, so that even a fast machine does not read it to its end.
my $reader = connect_as('reader');
my $endless = q{SELECT repeat('x', 1000), generate_series(1, 1000000000)};
$reader->send_message('Q', "COPY ($endless) TO STDOUT\0");
is(suspected_while(sub { $reader->read_exactly(100_000) }),
	'0 0', 'a COPY to a client that reads slowly is no suspect');
$reader->abandon;

# A pipeline without Sync, in the transaction that its first statement began.
my $pipeline = connect_as('pipeline');
$pipeline->parse('', q{INSERT INTO t VALUES ('x')});
execute_without_sync($pipeline);
suspected('pipeline');
is(sql($node, 'SELECT state FROM connpool_leaks'),
	'active', 'a pipeline is not idle in transaction');
is( sql($node, 'SELECT queries FROM connpool_leaks'),
	sql($node, q{SELECT queries FROM connpool_sessions WHERE application_name = 'pipeline'}),
	'a pipeline that waits for its next message runs no further statement');
is(suspected_while(sub { execute_without_sync($pipeline); sleep 0.05 }),
	'0 0', 'a pipeline that sends statement after statement is no suspect');
suspected('pipeline');
$pipeline->sync;
is(listed(), '0', 'Sync ends the wait at once');

# a session that waited for its client and is then idle in transaction is one suspect, not two
$pipeline->query('BEGIN');
$pipeline->parse('', 'SELECT 1');
execute_without_sync($pipeline);
suspected('pipeline');
$pipeline->sync;
poll_ok($node, <<'SQL', 'an idle transaction is not listed as waiting for its client too');
SELECT string_agg(kind, ' ') = 'idle_in_transaction' FROM connpool_leaks
SQL
$pipeline->query('COMMIT');

# Settings that change while a session waits neither end nor begin an occurrence.
{
	my $counts = 'detected, released, ended';
	my $held = begin_copy(connect_as('held'));
	suspected('held');
	stats_become('suspects = 1', 'the session that waits is counted');
	my $before = stats($counts);
	my $offset = -s $node->logfile;
	foreach my $change (
		[ q{leak_age = '1h'}, 0 ],
		[ q{leak_age = '1s'}, 1 ],
		[ q{exempt_applications = 'held'}, 0 ],
		[ q{exempt_applications = 'pg_dump'}, 1 ],
		[ q{sample_interval = '200ms'}, 1 ])
	{
		my ($setting, $is_listed) = @$change;
		sql($node, "ALTER SYSTEM SET connpool_monitor.$setting");
		$node->reload;
		wait_samples($node, 5);
		is(stats($counts), $before, "$setting changes no count");
		is(listed(), $is_listed, "$setting decides whether the session is listed");
	}
	is(log_count($node, 'resumed work', $offset),
		0, 'no change of a setting is logged as a return to work');

	my $sampler = q{FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'};
	my $pid = sql($node, "SELECT pid $sampler");
	sql($node, "SELECT pg_terminate_backend($pid)");
	poll_ok($node, "SELECT count(*) = 1 $sampler AND pid <> $pid", 'the sampler is restarted');
	wait_samples($node, 3);
	is(stats($counts), $before, 'a new sampler does not count an occurrence again');

	is(sql($node, 'SELECT pg_cancel_backend(pid) FROM connpool_leaks'), 't', 'a cancel is sent');
	wait_samples($node, 3);
	is(listed(), '1', 'a cancel does not end a COPY that waits for data');
	sql($node, 'SELECT pg_terminate_backend(pid) FROM connpool_leaks');
	stats_become('suspects = 0', 'pg_terminate_backend() ends the occurrence');
	is( sql($node, 'SELECT outcome, kind, application_name FROM connpool_leak_log LIMIT 1'),
		'ended|waiting_for_client|held',
		'the log has the outcome ended');
}

# sessions that reuse the slots of sessions that waited inherit nothing
{
	my @waiting = map { begin_copy(connect_as("wait $_")) } 1 .. 3;
	suspected('wait 1');
	$_->abandon foreach @waiting;
	poll_ok($node, <<'SQL', 'three sessions that waited have ended');
SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'wait %'
SQL
	my @fresh = map { begin_copy(connect_as("fresh $_")) } 1 .. 3;
	is(sql($node, <<'SQL'), '0', 'sessions that reuse their slots do not inherit their waits');
SELECT count(*) FROM connpool_leaks l JOIN pg_stat_activity a USING (pid)
WHERE l.held > clock_timestamp() - a.backend_start
SQL
	$_->abandon foreach @fresh;
}
$pipeline->end;
$node->stop('fast');
done_testing();
