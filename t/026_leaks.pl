# SPDX-License-Identifier: PostgreSQL
# Each leak of a real application counts once and is logged with its outcome. Sessions that only
# resemble a leak do not count. Needs applications, sessions that stay open for long, and restarts.
# scripts/test: slow, 28 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

my $node = new_node('leaks', <<'CONF');
max_prepared_transactions = 5
connpool_monitor.leak_age = '1s'
connpool_monitor.leak_idle_age = '1h'
CONF

sub stats
{
	return $node->safe_psql('postgres',
		"SELECT suspects, detected, released, ended FROM connpool_leak_stats WHERE kind = '$_[0]'"
	);
}

# an application that forgets two connections in a transaction, and one that does not
my $app = application_start(
	$node,
	{ pool => { max => 5 }, clients => 2, forget => 2, pause => 20 },
	name => 'forgets');
my $other = application_start(
	$node,
	{ pool => { max => 5 }, clients => 4, pause => 100 },
	name => 'remembers');
poll_ok($node, <<~'SQL', 'two forgotten connections are suspects');
	SELECT count(*) = 2
	FROM connpool_leaks
	WHERE application_name = 'forgets' AND kind = 'idle_in_transaction'
	SQL
# the sampler must have seen both before the application ends
poll_ok($node, <<~'SQL', 'the sampler counts two suspects');
	SELECT suspects = 2 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'
	SQL
poll_ok($node, <<~'SQL', 'the other application runs for longer than leak_age');
	SELECT max(clock_timestamp() - connected_at) > interval '1.5 s'
	FROM connpool_sessions
	WHERE application_name = 'remembers'
	SQL
application_end($_) foreach $app, $other;
poll_ok($node, <<~'SQL', 'both occurrences end with their application');
	SELECT suspects = 0 AND ended = 2
	FROM connpool_leak_stats
	WHERE kind = 'idle_in_transaction'
	SQL
is(stats('idle_in_transaction'), '0|2|0|2', 'each occurrence counts once, over many samples');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT kind, outcome, database, application_name, held > '1 s', count(*)
		FROM connpool_leak_log
		GROUP BY 1, 2, 3, 4, 5
		SQL
	'idle_in_transaction|ended|postgres|forgets|t|2',
	'each occurrence is logged with the time it was held');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_leak_log WHERE application_name = 'remembers'}
	),
	'0',
	'no leak of an application that returns its connections is logged');

# each time a session resumes work, an occurrence ends
my $returns = session($node, 'returns');
foreach my $time (1 .. 2)
{
	$returns->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
		"suspect $time of 2: a session idle in a transaction beyond leak_age is a suspect");
	$returns->query_safe('COMMIT');
	poll_ok($node, <<~"SQL", "suspect $time of 2: COMMIT releases the occurrence");
		SELECT suspects = 0 AND released = $time
		FROM connpool_leak_stats
		WHERE kind = 'idle_in_transaction'
		SQL
}
is(stats('idle_in_transaction'),
	'0|4|2|2', 'detected occurrences are those released, ended and still suspected');
cmp_ok(log_count($node, 'leak suspect pid \d+ of returns resumed work after \d+ s'),
	'>=', 1, 'the server log reports that a suspect resumed work');

# a session that runs a statement and is idle again in the same transaction
$returns->query_safe('BEGIN');
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'a session is a suspect in a new transaction');
$returns->query_safe('SELECT 1');
poll_ok(
	$node,
	q{SELECT released = 3 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'a statement in the transaction releases the occurrence');
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'the session becomes a suspect again in the same transaction');
$returns->query_safe('ROLLBACK');

# a prepared transaction, with a restart of the server
$node->safe_psql('postgres',
	q{CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'orphan'});
poll_ok(
	$node,
	q{SELECT suspects = 1 AND detected = 1 FROM connpool_leak_stats WHERE kind = 'prepared'},
	'a prepared transaction is a suspect');
leave($returns);
$node->restart;
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM connpool_leaks WHERE kind = 'prepared'},
	'a prepared transaction is a suspect after a restart');
wait_samples($node, 10);
is(stats('prepared'), '1|1|0|0', 'a prepared transaction is the same occurrence after a restart');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'occurrences survive a restart');
	SELECT detected = released + ended
	FROM connpool_leak_stats
	WHERE kind = 'idle_in_transaction'
	SQL
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'orphan'});
poll_ok(
	$node,
	q{SELECT suspects = 0 AND released = 1 FROM connpool_leak_stats WHERE kind = 'prepared'},
	'the occurrence is released when the prepared transaction ends');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT pid IS NULL, application_name IS NULL, outcome
		FROM connpool_leak_log
		WHERE kind = 'prepared'
		SQL
	't|t|released', 'an occurrence of a prepared transaction has no process');

# Suspect idle sessions only from now on: on a busy machine the sessions above may be idle for
# longer than any age that is short enough for a test.
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.leak_idle_age = '500ms'});
$node->reload;

# an idle session is a suspect if its pool opened another session later
my $listener = session($node, 'pool');
$listener->query_safe('LISTEN news');
$listener->query_safe($_) foreach ('BEGIN', 'UNLISTEN *', 'UNLISTEN news', 'ROLLBACK');
my $leader = session($node, 'pool');
$leader->query_safe('SELECT pg_advisory_lock(1)');
$leader->query_safe('EXPLAIN SELECT pg_advisory_unlock_all()');
my $forgotten = session($node, 'pool');
my $lonely = session($node, 'lonely');
my $dump = session($node, 'pg_dump');
$node->safe_psql('postgres', 'SELECT pg_sleep(0.6)');
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_leaks}),
	'0', 'a session that is idle is no suspect while its pool opens no other');
my @newer = map { session($node, $_) } qw(other pg_dump);
# psql sends its name when it connects: a session belongs to the pool in which it opened
push @newer, do
{
	local $ENV{PGAPPNAME} = 'pool';
	$node->background_psql('postgres');
};
poll_ok($node, q{SELECT count(*) = 1 FROM connpool_leaks}, 'one session of the pool is a suspect');
is( $node->safe_psql(
		'postgres', q{SELECT kind, application_name, query LIKE 'SET%' FROM connpool_leaks}),
	'idle|pool|t',
	'sessions that listen or hold a lock, and the only session of a pool, are no suspects');
poll_ok(
	$node,
	q{SELECT suspects = 1 AND detected = 1 FROM connpool_leak_stats WHERE kind = 'idle'},
	'an idle suspect counts as an occurrence');
$forgotten->query_safe('SELECT 1');
poll_ok(
	$node,
	q{SELECT suspects = 0 AND released = 1 FROM connpool_leak_stats WHERE kind = 'idle'},
	'an idle suspect is released when it runs a statement');
my $denied = session($node, 'pool');
$denied->query_safe('SELECT pg_try_advisory_lock(1)');
$listener->query_safe('BEGIN; LISTEN more; UNLISTEN *; COMMIT');
$leader->query_safe('DISCARD ALL');
leave($_) foreach $forgotten, $lonely, $dump, @newer;
{
	local $ENV{PGAPPNAME} = 'pool';
	my $newest;
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.6)');
	$newest = $node->background_psql('postgres');
	poll_ok(
		$node,
		q{SELECT count(*) = 3 FROM connpool_leaks WHERE kind = 'idle'},
		'sessions that do not listen or hold a lock any more, or did not get it, are suspects'
	) or diag($node->safe_psql('postgres', 'TABLE connpool_leaks'));
	leave($newest);
}
leave($_) foreach $listener, $leader, $denied;

# an idle psql is a suspect when a newer session of its pool opens
{
	my ($first, $second) = map {
		local $ENV{PGAPPNAME} = 'psql';
		my $psql = $node->background_psql('postgres');
		$psql->query_safe('SELECT 1');
		$psql
	} 1, 2;
	# in a session of another name, because each new psql would make these two suspects
	my $watcher = session($node, 'watcher');
	poll_is($watcher, <<~'SQL', 'idle', 'an idle psql is a suspect and the newer one is not');
		SELECT string_agg(kind, ',')
		FROM connpool_leaks
		WHERE application_name = 'psql'
		SQL
	leave($_) foreach $first, $second, $watcher;
}

# A pool opens many sessions while it fills and none afterwards. This takes minutes, so compile the
# rule alone.
{
	my $leaks = compile_unit('leaks', 'rules/leaks');
	is(`$leaks`, "01001000110\n",
		'an idle session is a suspect only if another session opened after the time that a pool takes to fill'
	);
}

# a long report works; pg_dump may be idle between two tables
my $report = session($node, 'report');
$report->query_until(qr/begun/, "\\echo begun\nSELECT pg_sleep(600);\n");
my $pg_dump = session($node, 'pg_dump');
$pg_dump->query_safe('BEGIN');
$node->safe_psql('postgres', 'SELECT pg_sleep(1.2)');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_leaks WHERE application_name IN ('report', 'pg_dump')}),
	'0',
	'a statement that runs and pg_dump are no suspects');
$node->safe_psql('postgres', <<~'SQL');
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'report'
	SQL
leave($pg_dump);

# If a setting changes so that a session is no longer a suspect, its occurrence does not end. If
# the setting changes back, no other occurrence begins.
{
	my $counted = <<~'SQL';
		SELECT detected, released, ended
		FROM connpool_leak_stats
		WHERE kind = 'idle_in_transaction'
		SQL
	my $held = session($node, 'held');
	my ($detected, $released, $ended) = split /\|/, $node->safe_psql('postgres', $counted);
	my $offset = -s $node->logfile;
	$held->query_safe('BEGIN');
	$node->safe_psql('postgres', q{BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'held'});
	poll_ok($node, <<~'SQL', 'a session and a prepared transaction are suspects');
		SELECT count(*) = 2
		FROM connpool_leaks
		WHERE application_name = 'held' OR kind = 'prepared'
		SQL
	wait_samples($node, 3);

	foreach my $setting (
		q{leak_age = '1h'},
		q{leak_age = '1s'},
		q{exempt_applications = 'held'},
		q{exempt_applications = 'pg_dump'})
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET connpool_monitor.$setting");
		$node->reload;
		wait_samples($node, 5);
		is( $node->safe_psql('postgres', $counted),
			join('|', $detected + 1, $released, $ended),
			"$setting changes no count");
	}
	is( $node->safe_psql(
			'postgres',
			q{SELECT detected - released FROM connpool_leak_stats WHERE kind = 'prepared'}),
		'1',
		'the settings do not release the prepared transaction');
	is(log_count($node, 'resumed work', $offset), 0, 'no suspect is logged as resuming work');
	$node->safe_psql('postgres', q{ROLLBACK PREPARED 'held'});
	$held->query_safe('COMMIT');
	poll_ok($node, <<~"SQL", 'the occurrence is released when the session commits');
		SELECT released = $released + 1
		FROM connpool_leak_stats
		WHERE kind = 'idle_in_transaction'
		SQL
	leave($held);
	$node->safe_psql('postgres', q{ALTER SYSTEM RESET connpool_monitor.exempt_applications});
	$node->reload;
}

# a new sampler continues with the suspects of its predecessor
my $holder = session($node, 'holder');
$holder->query_safe('BEGIN');
my $detected = q{SELECT detected FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'};
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'a session is a suspect before the sampler ends');
my $before = $node->safe_psql('postgres', $detected);
my $sampler = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sampler)");
poll_ok($node, <<~"SQL", 'the sampler is restarted');
	SELECT count(*) = 1
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor sampler' AND pid <> $sampler
	SQL
wait_samples($node, 10);
is($node->safe_psql('postgres', $detected),
	$before, 'a new sampler does not count an occurrence again');

# a reset keeps the suspects
$node->safe_psql('postgres', q{BEGIN; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'lasts'});
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'prepared'},
	'a prepared transaction is a suspect before the reset');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
my $detected_since_reset = <<~'SQL';
	SELECT string_agg(kind || ' ' || detected, ', ' ORDER BY kind)
	FROM connpool_leak_stats, connpool_info()
	WHERE kind IN ('idle_in_transaction', 'prepared') AND last_detected >= stats_reset
	SQL
is( $node->safe_psql('postgres', $detected_since_reset),
	'idle_in_transaction 1, prepared 1',
	'suspects that remain after a reset count as detected at its time');
wait_samples($node, 2);
is( $node->safe_psql('postgres', $detected_since_reset),
	'idle_in_transaction 1, prepared 1',
	'samples after the reset do not restore an earlier time of detection');
is(stats('idle_in_transaction'), '1|1|0|0', 'after a reset only current suspects count');
is($node->safe_psql('postgres', 'SELECT count(*) FROM connpool_leak_log'),
	'0', 'a reset clears the log');
leave($holder);
poll_ok($node, <<~'SQL', 'a suspect from before the reset counts as ended');
	SELECT suspects = 0 AND detected = 1 AND ended = 1
	FROM connpool_leak_stats
	WHERE kind = 'idle_in_transaction'
	SQL
$node->safe_psql('postgres',
	'CREATE ROLE viewer LOGIN; GRANT SELECT ON connpool_leak_log TO viewer');
is( $node->safe_psql(
		'postgres',
		'SELECT kind, held IS NULL FROM connpool_leak_log',
		extra_params => [ '-U', 'viewer' ]),
	'idle_in_transaction|t',
	'a role that may not see the session does not see how long it was held');
my ($status, $out, $err) =
  $node->psql('postgres', 'SELECT * FROM connpool_leak_stats', extra_params => [ '-U', 'viewer' ]);
like(
	$err,
	qr/permission denied for view connpool_leak_stats/,
	'a role that was not granted connpool_leak_stats is refused');

# A suspect may end with the server. A crash loses changes since the last save, but not the
# suspects that were open then.
$node->safe_psql('postgres', 'ALTER SYSTEM SET restart_after_crash = on');
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.save_interval = '1s'});
$node->reload;
foreach my $end ('fast stop', 'crash')
{
	my $victim = session($node, $end);
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
	$victim->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
		"$end: a session is a suspect");
	if ($end eq 'crash')
	{
		wait_saved($node);
		kill 'KILL', $pid;
	}
	else
	{
		$node->restart;
	}
	poll_ok(
		$node,
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = '$end'",
		"$end: the server has restarted");
	eval { leave($victim) };
	is( $node->safe_psql('postgres', <<~"SQL"),
			SELECT kind, outcome, database, application_name, held > '1 s'
			FROM connpool_leak_log
			WHERE pid = $pid
			SQL
		"idle_in_transaction|ended|postgres|$end|t",
		"$end: the suspect is logged with the time it was held");
	is( $node->safe_psql('postgres', <<~'SQL'),
			SELECT suspects, detected, released, ended, longest_held = held
			FROM connpool_leak_stats JOIN connpool_leak_log USING (kind)
			WHERE kind = 'idle_in_transaction'
			SQL
		'0|1|0|1|t',
		"$end: the suspect counts as ended, and in longest_held");
}

done_testing();
