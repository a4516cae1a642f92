# SPDX-License-Identifier: PostgreSQL
# Leaks: each occurrence counted once and logged with what became of it, by real
# applications; and what only looks like one.
# scripts/test: slow, 18 s
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

# An application that forgets two connections in a transaction, and its twin.
my $app = application_start(
	$node,
	{ pool => { max => 5 }, clients => 2, for => 6000, forget => 2, pause => 20 },
	name => 'forgets');
poll_ok($node, <<~'SQL', 'two connections are forgotten');
	SELECT count(*) = 2
	FROM connpool_leaks
	WHERE application_name = 'forgets' AND kind = 'idle_in_transaction'
	SQL
application_end($app);
poll_ok($node, <<~'SQL', 'until their application ends');
	SELECT suspects = 0 AND ended = 2
	FROM connpool_leak_stats
	WHERE kind = 'idle_in_transaction'
	SQL
is(stats('idle_in_transaction'), '0|2|0|2', 'each was counted once, over many samples');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT kind, outcome, database, application_name, held > '1 s' AND held < '1 min',
		       count(*)
		FROM connpool_leak_log
		GROUP BY 1, 2, 3, 4, 5
		SQL
	'idle_in_transaction|ended|postgres|forgets|t|2',
	'and logged with how long it was held');
application(
	$node,
	{ pool => { max => 5 }, clients => 4, for => 1500, pause => 100 },
	name => 'remembers');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_leak_log WHERE application_name = 'remembers'}
	),
	'0',
	'who gives connections back is none');

# One that comes back to work, twice: two occurrences of one session.
my $returns = session($node, 'returns');
foreach my $time (1 .. 2)
{
	$returns->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
		"suspected for the ${time}. time");
	$returns->query_safe('COMMIT');
	poll_ok($node, <<~"SQL", 'and released');
		SELECT suspects = 0 AND released = $time
		FROM connpool_leak_stats
		WHERE kind = 'idle_in_transaction'
		SQL
}
is(stats('idle_in_transaction'), '0|4|2|2', 'detected are released, ended and suspected');
cmp_ok(log_count($node, 'leak suspect pid \d+ of returns came back to work after \d+ s'),
	'>=', 1, 'the server log says so');

# In one transaction too: it works for a moment and is idle again.
$returns->query_safe('BEGIN');
poll_ok($node, q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'suspected');
$returns->query_safe('SELECT 1');
poll_ok(
	$node,
	q{SELECT released = 3 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'released by a statement in the middle');
poll_ok(
	$node,
	q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'and suspected again');
$returns->query_safe('ROLLBACK');

# A prepared transaction, over a restart of the server.
$node->safe_psql('postgres',
	q{CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'orphan'});
poll_ok(
	$node,
	q{SELECT suspects = 1 AND detected = 1 FROM connpool_leak_stats WHERE kind = 'prepared'},
	'a prepared transaction');
leave($returns);
$node->restart;
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM connpool_leaks WHERE kind = 'prepared'},
	'is there after a restart');
wait_samples($node, 10);
is(stats('prepared'), '1|1|0|0', 'and the same occurrence');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'what was counted survives');
	SELECT detected = released + ended
	FROM connpool_leak_stats
	WHERE kind = 'idle_in_transaction'
	SQL
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'orphan'});
poll_ok(
	$node,
	q{SELECT suspects = 0 AND released = 1 FROM connpool_leak_stats WHERE kind = 'prepared'},
	'until it is finished');
is($node->safe_psql('postgres', <<~'SQL'), 't|t|released', 'it has no process');
	SELECT pid IS NULL, application_name IS NULL, outcome
	FROM connpool_leak_log
	WHERE kind = 'prepared'
	SQL

# Suspect idle sessions only from here on: on a busy machine the sessions above may stay idle
# longer than any age the tests could wait for.
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.leak_idle_age = '500ms'});
$node->reload;

# Idle sessions: a pool forgot one that is idle while it opens others.
my $listener = session($node, 'pool');
$listener->query_safe('LISTEN news');
my $leader = session($node, 'pool');
$leader->query_safe('SELECT pg_advisory_lock(1)');
my $forgotten = session($node, 'pool');
my $lonely = session($node, 'lonely');
my $dump = session($node, 'pg_dump');
$node->safe_psql('postgres', 'SELECT pg_sleep(0.6)');
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_leaks}), '0',
	'idle alone is none');
my @newer = map { session($node, $_) } qw(other pg_dump);
# psql names itself before it can say another name: a pool is where its sessions open
push @newer, do
{
	local $ENV{PGAPPNAME} = 'pool';
	$node->background_psql('postgres');
};
poll_ok($node, q{SELECT count(*) = 1 FROM connpool_leaks}, 'one is forgotten');
is( $node->safe_psql(
		'postgres', q{SELECT kind, application_name, query LIKE 'SET%' FROM connpool_leaks}),
	'idle|pool|t',
	'the one that neither listens nor holds a lock, and is not alone');
poll_ok($node,
	q{SELECT suspects = 1 AND detected = 1 FROM connpool_leak_stats WHERE kind = 'idle'},
	'counted');
$forgotten->query_safe('SELECT 1');
poll_ok(
	$node,
	q{SELECT suspects = 0 AND released = 1 FROM connpool_leak_stats WHERE kind = 'idle'},
	'and released when it is used');
$listener->query_safe('UNLISTEN *');
$leader->query_safe('DISCARD ALL');
leave($_) foreach $forgotten, $lonely, $dump, @newer;
{
	local $ENV{PGAPPNAME} = 'pool';
	my $newest;
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.6)');
	$newest = $node->background_psql('postgres');
	poll_ok(
		$node,
		q{SELECT count(*) = 2 FROM connpool_leaks WHERE kind = 'idle'},
		'who does not listen any more, and holds no lock, is forgotten like others'
	) or diag($node->safe_psql('postgres', 'TABLE connpool_leaks'));
	leave($newest);
}
leave($_) foreach $listener, $leader;

# A session that is idle is forgotten as soon as a newer one comes, whoever it is: a psql is not asked to be another's.
{
	my ($first, $second) = map {
		local $ENV{PGAPPNAME} = 'psql';
		my $psql = $node->background_psql('postgres');
		$psql->query_safe('SELECT 1');
		$psql
	} 1, 2;
	poll_ok($node, <<~'SQL', 'a console like any other, and not the newer one');
		SELECT string_agg(kind, ',') = 'idle'
		FROM connpool_leaks
		WHERE application_name = 'psql'
		SQL
	leave($_) foreach $first, $second;
}

# A pool that fills opens one after the other, and then rests: a matter of minutes, so by the judgement alone.
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $include = $node->config_data('--includedir-server');
	is( system($ENV{CC} // 'cc', split(' ', $ENV{COPT} // ''),
			'-O1', '-Wall',
			'-I', $include,
			'-I', "$ENV{TESTDIR}/src",
			'-o', "$dir/leaks",
			"$ENV{TESTDIR}/t/unit/leaks.c", "$ENV{TESTDIR}/src/rules/leaks.c"),
		0,
		'the judgement compiles by itself') or BAIL_OUT('no compiler');
	is(`$dir/leaks`, "0100100110\n",
		'idle for long enough, and another opened later than a pool takes to fill');
}

# A long report works; a dump may take its time between two tables.
my $report = session($node, 'report');
$report->query_until(qr/begun/, "\\echo begun\nSELECT pg_sleep(4);\n");
my $pg_dump = session($node, 'pg_dump');
$pg_dump->query_safe('BEGIN');
$node->safe_psql('postgres', 'SELECT pg_sleep(1.2)');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_leaks WHERE application_name IN ('report', 'pg_dump')}),
	'0',
	'a report that runs and a dump are none');
leave($_) foreach $report, $pg_dump;

# A setting that no longer suspects an occurrence has not ended it, nor begins another when it is
# suspected again: neither a longer leak_age, nor an exemption, nor a reload of both.
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
	poll_ok($node, <<~'SQL', 'a session and a prepared transaction are suspected');
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
	is(log_count($node, 'came back to work', $offset), 0, 'nothing came back to work');
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

# The sampler's successor goes on with what is suspected.
my $holder = session($node, 'holder');
$holder->query_safe('BEGIN');
my $detected = q{SELECT detected FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'};
poll_ok($node, q{SELECT suspects = 1 FROM connpool_leak_stats WHERE kind = 'idle_in_transaction'},
	'suspected');
my $before = $node->safe_psql('postgres', $detected);
$node->safe_psql('postgres', <<~'SQL');
	SELECT pg_terminate_backend(pid)
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor sampler'
	SQL
poll_ok($node, q{SELECT sampler_running FROM connpool_info()}, 'the sampler is there again');
wait_samples($node, 10);
is($node->safe_psql('postgres', $detected), $before, 'and counts nothing twice');

# A reset keeps who is suspected, and what they will become.
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is(stats('idle_in_transaction'),
	'1|1|0|0', 'after a reset only those that are suspected now count');
is($node->safe_psql('postgres', 'SELECT count(*) FROM connpool_leak_log'),
	'0', 'and the log is empty');
leave($holder);
poll_ok($node, <<~'SQL', 'until they end');
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
	'times are for who may see the session');
my ($status, $out, $err) =
  $node->psql('postgres', 'SELECT * FROM connpool_leak_stats', extra_params => [ '-U', 'viewer' ]);
like($err, qr/permission denied for view connpool_leak_stats/, 'what was not granted');

done_testing();
