# SPDX-License-Identifier: PostgreSQL
# The log of waits for locks has each wait longer than blocked_age, its outcome and its root
# blocker, and hides the details of other roles. The log of deadlocks has each deadlock. Needs
# sessions that wait for each other, restarts, a standby, and a compiler for the log's ring.
# scripts/test: slow, 50 s
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Http;
use Wire;

# --- the log's ring, without a server
{
	my $ring = compile_unit('ring', 'base/ring');
	is(`$ring`, <<~'LINES', 'a ticket matches its own entry only, until a reset');
		- - - - - - -
		10 11 12 - - - -
		- - 12 13 14 15 -
		- - - - - - -
		LINES
}

# --- build a library that delays the report of errors; the server preloads it
my $slow_errors = PostgreSQL::Test::Utils::tempdir() . '/slow_errors.so';
chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
is( system($ENV{CC} // 'cc',
		'-O1', '-Wall', '-shared', '-fPIC', '-I', $include, '-o', $slow_errors,
		"$ENV{TESTDIR}/t/unit/slow_errors.c"),
	0,
	'the library that delays errors compiles') or BAIL_OUT('no compiler');

my $port = http_port();
my $preload = "pg_stat_statements, connpool_monitor, $slow_errors";
my $node = new_node('locks', <<"CONF", allows_streaming => 1, preload => $preload);
max_connections = 100
max_prepared_transactions = 5
deadlock_timeout = '10s'
connpool_monitor.blocked_age = '300ms'
connpool_monitor.http_listen = '127.0.0.1:$port'
CONF
sql($node, <<'SQL');
CREATE TABLE t (i int PRIMARY KEY, v int);
INSERT INTO t SELECT g, 0 FROM generate_series(1, 50) g;
UPDATE t SET v = 1 WHERE i = 0;	-- pg_stat_statements shows a text once its statement has ended
SQL

# Start a statement in a session, and do not wait for its end.
sub start
{
	my ($psql, $statement) = @_;
	$psql->query_until(qr/started/, "\\echo started\n$statement;\n");
	return;
}

# Wait until the log has a wait of the application that is still in progress.
sub wait_logged
{
	my ($application, $on) = @_;
	return poll_ok($on // $node, <<~"SQL", "$application is logged while it waits");
		SELECT count(*) = 1 FROM connpool_lock_log
		WHERE application_name = '$application' AND outcome IS NULL
		SQL
}

# Wait until all logged waits of the application have ended. Return their outcomes, oldest first.
sub outcomes
{
	my ($application) = @_;
	$node->poll_query_until('postgres', <<~"SQL") or die "$application still waits";
		SELECT count(*) = 0 FROM connpool_lock_log
		WHERE application_name = '$application' AND outcome IS NULL
		SQL
	return sql($node, <<~"SQL");
		SELECT string_agg(outcome, ' ' ORDER BY started_at)
		FROM connpool_lock_log WHERE application_name = '$application'
		SQL
}

my $holder = session($node, 'holder');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
sub hold { $holder->query_safe("BEGIN; UPDATE t SET v = v + 1 WHERE i = $_[0]"); return }

# --- a wait that is granted
hold(1);
my $waiter = session($node, 'waiter');
my $waiter_pid = $waiter->query_safe('SELECT pg_backend_pid()');
start($waiter, 'UPDATE t SET v = 7 WHERE i = 1');
wait_logged('waiter');
is( sql($node, <<~'SQL'),
		SELECT waited > '300ms', started_at < now() - interval '300ms', pid, database, role = user,
		       query, lock_type, lock_mode, relation, root_pid, root_database, root_role = user,
		       root_application_name, root_state, root_query
		FROM connpool_lock_log
		SQL
	"t|t|$waiter_pid|postgres|t|UPDATE t SET v = \$1 WHERE i = \$2|transactionid|ShareLock||$pid|"
	  . 'postgres|t|holder|idle in transaction|UPDATE t SET v = v + $1 WHERE i = $2',
	'a wait in progress is logged with both sides, their statements without literals');
is( sql($node, <<~'SQL'),
		SELECT queryid = (SELECT queryid FROM pg_stat_statements
		                  WHERE query LIKE 'UPDATE t SET v = $1 %'),
		       root_queryid = (SELECT queryid FROM pg_stat_statements
		                       WHERE query LIKE 'UPDATE t SET v = v%')
		FROM connpool_lock_log
		SQL
	't|t', 'the queryids are those of pg_stat_statements');
wait_samples($node, 5);
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'), '1', 'a wait is logged once');
my $waited = sql($node, 'SELECT waited FROM connpool_lock_log');
wait_samples($node, 2);
is(sql($node, "SELECT waited > '$waited' FROM connpool_lock_log"),
	't', 'waited grows while the wait lasts');
$holder->query_safe('COMMIT');
is(outcomes('waiter'), 'granted', 'a wait that got its lock is granted');
$waited = sql($node, 'SELECT waited FROM connpool_lock_log');
wait_samples($node, 2);
is(sql($node, 'SELECT waited FROM connpool_lock_log'),
	$waited, 'waited no longer changes after the wait has ended');

# A reset hides a wait in progress. The next sample logs it again, with its original start.
hold(1);
start($waiter, 'UPDATE t SET v = 9 WHERE i = 1');
wait_logged('waiter');
$waited = sql($node, 'SELECT waited FROM connpool_lock_log WHERE outcome IS NULL');
sql($node, 'SELECT connpool_reset()');
wait_logged('waiter');
is( sql($node, <<~"SQL"),
		SELECT count(*), bool_and(waited > '$waited'), bool_and(outcome IS NULL),
		       bool_and(application_name = 'waiter' AND root_application_name = 'holder')
		FROM connpool_lock_log
		SQL
	'1|t|t|t',
	'a wait in progress is logged again after a reset');
like(
	sql($node, 'SELECT connpool_metrics()'),
	qr/^connpool_lock_waits_total 1$/m,
	'a wait that continues after a reset counts once');
my ($counted) =
  sql($node, 'SELECT connpool_metrics()') =~ /^connpool_lock_wait_seconds_total (\S+)$/m;
is(sql($node, <<~"SQL"), 't', 'only the time after the reset is counted');
	SELECT make_interval(secs => $counted) <= waited - '$waited' + interval '2 ms'
	FROM connpool_lock_log
	SQL
$holder->query_safe('COMMIT');
is(outcomes('waiter'), 'granted', 'the outcome of a wait that continues after a reset is logged');
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'),
	'1', 'a wait that continues after a reset has one row');

# A wait is logged, then blocked_age is raised above the age of the wait, then counters are reset.
hold(1);
start($waiter, 'UPDATE t SET v = 9 WHERE i = 1');
wait_logged('waiter');
sql($node, q{ALTER SYSTEM SET connpool_monitor.blocked_age = '1h'});
$node->reload;
wait_samples($node, 2);
is(sql($node, 'SELECT count(*) FROM connpool_lock_log WHERE outcome IS NULL'),
	'1', 'a wait that was logged stays open when blocked_age is raised');
sql($node, 'SELECT connpool_reset()');
wait_samples($node, 3);
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'),
	'0', 'after a reset, a wait that is shorter than blocked_age is not logged again');
like(
	sql($node, 'SELECT connpool_metrics()'),
	qr/^connpool_lock_waits_total 0$/m,
	'after a reset, a wait that is shorter than blocked_age is not counted again');
sql($node, 'ALTER SYSTEM RESET connpool_monitor.blocked_age');
$node->reload;
wait_logged('waiter');
$holder->query_safe('COMMIT');
is(outcomes('waiter'),
	'granted', 'a wait that exceeds blocked_age after the reset is logged with its outcome');
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'),
	'1', 'a wait that exceeds blocked_age after the reset has one row');

# a session that ends as soon as it has got the lock
hold(1);
my $brief = IPC::Run::start(
	[
		'psql', '-XAtqd',
		$node->connstr('postgres') . ' application_name=brief', '-c',
		'UPDATE t SET v = 8 WHERE i = 1'
	]);
wait_logged('brief');
$holder->query_safe('COMMIT');
$brief->finish;
is(outcomes('brief'), 'granted',
	'a wait is granted although its session has ended by the next sample');

# --- waits that fail
hold(2);
my $cancelled = session($node, 'cancelled');
my $cancelled_pid = $cancelled->query_safe('SELECT pg_backend_pid()');
start($cancelled, 'UPDATE t SET v = 1 WHERE i = 2');
wait_logged('cancelled');
sql($node, "SELECT pg_cancel_backend($cancelled_pid)");
is(outcomes('cancelled'), 'cancelled', 'a wait that pg_cancel_backend() ended is cancelled');
is(sql($node, <<~'SQL'), 't', 'the time of a cancelled wait ends with its statement');
	SELECT a.state = 'idle' AND l.started_at + l.waited <= a.state_change + interval '1 ms'
	FROM connpool_lock_log l JOIN pg_stat_activity a USING (pid)
	WHERE l.application_name = 'cancelled'
	SQL

foreach my $timeout (qw(lock_timeout statement_timeout))
{
	my $impatient = session($node, $timeout);
	$impatient->query_safe("SET $timeout = '1s'");
	$impatient->query('UPDATE t SET v = 1 WHERE i = 2');
	is(outcomes($timeout), 'cancelled', "a wait that $timeout ended is cancelled");
	leave($impatient);
}

# errors that the client does not see
my $catcher = session($node, 'catcher');
$catcher->query_safe(<<'SQL');
SET lock_timeout = '1s';
DO $$ BEGIN UPDATE t SET v = 1 WHERE i = 2; EXCEPTION WHEN lock_not_available THEN NULL; END $$;
SQL
is(outcomes('catcher'), 'cancelled', 'a wait whose error an exception block caught is cancelled');
leave($catcher);

# a wait that is granted, after which the statement is cancelled
my $late = session($node, 'late');
my $late_pid = $late->query_safe('SELECT pg_backend_pid()');
$holder->query_safe('COMMIT');
hold(3);
start($late, 'UPDATE t SET v = 1 WHERE i = 3 RETURNING pg_sleep(600)');
wait_logged('late');
$holder->query_safe('COMMIT');
poll_ok(
	$node,
	"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $late_pid",
	'the statement continues after its wait');
sql($node, "SELECT pg_cancel_backend($late_pid)");
is(outcomes('late'), 'granted', 'a wait is granted although its statement is cancelled later');

my $terminated = session($node, 'terminated');
my $terminated_pid = $terminated->query_safe('SELECT pg_backend_pid()');
hold(4);
start($terminated, 'UPDATE t SET v = 1 WHERE i = 4');
wait_logged('terminated');
sql($node, "SELECT pg_terminate_backend($terminated_pid)");
is(outcomes('terminated'), 'ended', 'a wait whose session was terminated is ended');
$holder->query_safe('COMMIT');
eval { $terminated->quit };

# A sample between the end of a wait and the report of its error finds no outcome yet.
foreach my $case (
	[ 'slow cancel', 'pg_cancel_backend', 'cancelled' ],
	[ 'slow end', 'pg_terminate_backend', 'ended' ])
{
	my ($application, $function, $outcome) = @$case;
	my $slow = session($node, $application);
	$slow->query_safe('SET slow_errors.delay = on');
	my $slow_pid = $slow->query_safe('SELECT pg_backend_pid()');
	hold(6);
	start($slow, 'UPDATE t SET v = 1 WHERE i = 6');
	wait_logged($application);
	sql($node, "SELECT $function($slow_pid)");
	is(outcomes($application), $outcome,
		"a wait whose error is reported after the next sample is logged as $outcome");
	is(sql($node, <<~"SQL"), 't', 'the time of such a wait ends before its error is reported');
		SELECT clock_timestamp() > started_at + waited + interval '0.5 s'
		FROM connpool_lock_log WHERE application_name = '$application'
		SQL
	$holder->query_safe('COMMIT');
	eval { $slow->quit };
}

# errors that log_min_messages hides
sql($node, q{ALTER SYSTEM SET log_min_messages = 'panic'});
$node->reload;
hold(5);
my $hidden = session($node, 'hidden');
$hidden->query_safe("SET lock_timeout = '1s'");
$hidden->query('UPDATE t SET v = 1 WHERE i = 5');
is(outcomes('hidden'), 'cancelled', 'log_min_messages does not affect the outcome of a wait');
$holder->query_safe('COMMIT');
sql($node, 'ALTER SYSTEM RESET log_min_messages');
$node->reload;
leave($_) foreach $hidden, $cancelled, $late;

# --- deadlocks
sql($node, 'SELECT connpool_reset()');
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'), '0', 'connpool_reset() empties the log');
my ($one, $two) = map { session($node, $_) } qw(one two);
sql($one, q{SET deadlock_timeout = '1h'});
sql($two, q{SET deadlock_timeout = '1s'});
sql($one, 'BEGIN; UPDATE t SET v = 1 WHERE i = 10');
sql($two, 'BEGIN; UPDATE t SET v = 2 WHERE i = 11');
start($one, 'UPDATE t SET v = 3 WHERE i = 11');
wait_logged('one');
is(sql($node, q{SELECT root_application_name FROM connpool_lock_log}),
	'two', 'the root blocker is the session that does not wait yet');
$two->query("UPDATE t SET v = 4 WHERE i = 10;\nSELECT 1;\nSELECT 2");
is( sql($node, <<~'SQL'),
		SELECT at > now() - interval '1 min', database, role = user, application_name, query,
		       detail ~ '^Process \d+ waits for ShareLock on transaction \d+; blocked by process \d+',
		       detail ~ pid::text, detail ~ 'UPDATE', queryid IS NOT NULL
		FROM connpool_deadlocks
		SQL
	't|postgres|t|two|UPDATE t SET v = $1 WHERE i = $2|t|t|f|t',
	'connpool_deadlocks shows the locks of the deadlock, but no statement of another session');
is(outcomes('two'), 'deadlock', 'the wait of the session that gets the error ended in a deadlock');
is(outcomes('one'), 'granted', 'the wait of the other session of a deadlock is granted');
is( sql($node, <<~'SQL'),
		SELECT string_agg(application_name || ' ' || root_application_name, ', '
		                  ORDER BY application_name)
		FROM connpool_lock_log
		SQL
	'one two, two one',
	'each wait of a deadlock names the other session');
$_->query('ROLLBACK') foreach $one, $two;
leave($_) foreach $one, $two;

# deadlocks at the same time, each counted exactly
sql($node, 'SELECT connpool_reset()');
sql($node, 'CREATE DATABASE "Other" TEMPLATE template0');
my $user = getpwuid($<);
my @pairs = map {
	my %options = (user => $user, database => $_ % 2 ? 'postgres' : 'Other');
	[ map { Wire->connect_to($node, $_, %options) } 'first', 'second' ]
} 1 .. 10;
$_->query(q{SET deadlock_timeout = '100ms'}) foreach map { @$_ } @pairs;
Wire::deadlock(@pairs) foreach 1, 2;
poll_ok(
	$node,
	'SELECT count(*) = 20 FROM connpool_deadlocks',
	'each of 20 deadlocks is logged once');
is( sql($node, <<~'SQL'),
		SELECT database, count(*), count(DISTINCT pid) >= 5 FROM connpool_deadlocks GROUP BY 1 ORDER BY 1
		SQL
	"Other|10|t\npostgres|10|t",
	'the deadlocks are logged with their databases');
my $metrics = sql($node, 'SELECT connpool_metrics()');
like(
	$metrics,
	qr/^connpool_deadlocks_total\{database="Other"\} 10$/m,
	'deadlocks_total counts by database');
like(
	$metrics,
	qr/^connpool_deadlocks_total\{database="postgres"\} 10$/m,
	'deadlocks_total counts the deadlocks of the other database');
undef @pairs;
poll_ok($node, <<~'SQL', 'PostgreSQL counts the same 20 deadlocks and the earlier one');
	SELECT sum(deadlocks) = 21 FROM pg_stat_database WHERE datname IN ('Other', 'postgres')
	SQL

# the ways in which the error of a deadlock reaches the client, or does not
sql($node, <<~'SQL');
	CREATE FUNCTION take_2() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(2);
		RETURN NULL;
	END $$;
	CREATE TABLE at_commit (a int);
	CREATE CONSTRAINT TRIGGER take_2 AFTER INSERT ON at_commit
	INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_2();
	SQL
my ($loser, $winner) = map { Wire->connect_to($node, $_, user => $user) } qw(loser winner);
$loser->query(q{SET deadlock_timeout = '10ms'});
$winner->query(q{SET deadlock_timeout = '1h'});

# Run a statement that takes the advisory lock 2 in a deadlock. Return the number of logged
# deadlocks, that of those with a detail, that of counted ones, and that of errors.
sub lose
{
	my ($statement, $protocol) = @_;
	sql($node, 'SELECT connpool_reset()');
	$loser->query('BEGIN; SELECT pg_advisory_xact_lock(1)');
	$winner->query('BEGIN; SELECT pg_advisory_xact_lock(2)');
	$winner->send_message('Q', "SELECT pg_advisory_xact_lock(1)\0");
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted})
	  or die 'the winner does not wait';
	$loser->$protocol($statement);
	$loser->query('ROLLBACK');
	$winner->read_until('Z');
	$winner->query('ROLLBACK');
	return counted_deadlocks();
}

sub counted_deadlocks
{
	return sql($node, <<~'SQL');
		SELECT (SELECT count(*) FROM connpool_deadlocks),
		       (SELECT count(*) FROM connpool_deadlocks
		        WHERE detail LIKE 'Process % waits for % blocked by process %'),
		       coalesce(substring(connpool_metrics() from 'connpool_deadlocks_total\S* (\d+)'), '0'),
		       (SELECT coalesce(sum(errors), 0) FROM connpool_errors WHERE sqlstate = '40P01')
		SQL
}

my $take_2 = 'pg_advisory_xact_lock(2)';
foreach my $level (qw(warning panic))
{
	sql($node, "ALTER SYSTEM SET log_min_messages = '$level'");
	$node->reload;
	poll_ok(
		$node,
		"SELECT current_setting('log_min_messages') = '$level'",
		"the server uses log_min_messages = $level");
	is(lose("SELECT $take_2", 'query'), '1|1|1|1', "$level: a deadlock is logged with its detail");
	is(lose("SELECT $take_2", 'extended'),
		'1|1|1|1', "$level: a deadlock in the extended protocol is logged");
	is(lose("SAVEPOINT s; SELECT $take_2", 'query'),
		'1|1|1|1', "$level: a deadlock after a savepoint is logged");
	is(lose("DO \$\$ BEGIN PERFORM $take_2; END \$\$", 'query'),
		'1|1|1|1', "$level: a deadlock in a function is logged");
	is(lose('INSERT INTO at_commit VALUES (1); COMMIT', 'query'),
		'1|1|1|1', "$level: a deadlock that makes a commit fail is logged");
	my $catch = "DO \$\$ BEGIN PERFORM $take_2; EXCEPTION WHEN deadlock_detected THEN";
	is(lose("$catch RAISE; END \$\$", 'query'),
		'1|1|1|1', "$level: a deadlock that an exception block throws again unchanged is logged");
	is(lose("$catch NULL; END \$\$", 'query'),
		'0|0|0|0', "$level: a deadlock that an exception block catches is not logged");
	is( lose("$catch RAISE SQLSTATE '40P01' USING DETAIL = 'secret'; END \$\$", 'query'),
		'0|0|0|1', "$level: an error that a function raises instead of a deadlock is not logged");
	$loser->query(q{DO $$ BEGIN RAISE SQLSTATE '40P01' USING DETAIL = 'secret'; END $$});
	is(counted_deadlocks(), '0|0|0|2',
		"$level: an error with SQLSTATE 40P01 that a function raises counts as an error only");
}
sql($node, 'ALTER SYSTEM RESET log_min_messages');
$node->reload;
$_->end foreach $loser, $winner;

sql($node, 'SELECT connpool_reset()');
hold(12);
my $claims = session($node, 'claims');
$claims->query_safe("SET lock_timeout = '1s'");
$claims->query(<<~'SQL');
	DO $$ BEGIN
		UPDATE t SET v = 1 WHERE i = 12;
	EXCEPTION WHEN lock_not_available THEN
		RAISE SQLSTATE '40P01';
	END $$
	SQL
is(outcomes('claims'), 'cancelled',
	'a wait that lock_timeout ended is cancelled, even if the session then raises 40P01');
$holder->query_safe('COMMIT');
leave($claims);

# --- a queue of ten behind one forgotten transaction
sql($node, 'SELECT connpool_reset()');
hold(20);
my @queue = map { session($node, "queue $_") } 1 .. 10;
start($_, 'UPDATE t SET v = 1 WHERE i = 20') foreach @queue;
poll_ok($node, 'SELECT count(*) = 10 FROM connpool_lock_log', 'ten waits are logged');
is( sql($node, <<~'SQL'),
		SELECT DISTINCT root_pid, root_application_name, root_state FROM connpool_lock_log
		SQL
	"$pid|holder|idle in transaction",
	'all waits of a queue have the forgotten transaction as their root');
is( sql($node,
		q{SELECT DISTINCT relation, lock_mode FROM connpool_lock_log WHERE lock_type = 'tuple'}),
	't|ExclusiveLock',
	'the log names the table whose rows the sessions wait for');
$metrics = sql($node, 'SELECT connpool_metrics()');
like($metrics, qr/^connpool_lock_waits_total 10$/m, 'lock_waits_total counts waits in progress');
my ($seconds) = $metrics =~ /^connpool_lock_wait_seconds_total ([\d.]+)$/m;
cmp_ok($seconds, '>', 3, 'lock_wait_seconds_total has the time of waits in progress');
wait_samples($node, 3);
my ($more) = get($port, '/metrics')->{content} =~ /^connpool_lock_wait_seconds_total ([\d.]+)$/m;
cmp_ok($more, '>', $seconds + 1, 'lock_wait_seconds_total grows while the waits last');

# blocked_age changes while they wait, which neither ends a wait nor begins another one
my $starts = 'SELECT string_agg(started_at::text, chr(44) ORDER BY pid) FROM connpool_lock_log';
my $first_starts = sql($node, $starts);
foreach ([ '1h' => 0 ], [ '300ms' => 10 ], [ '1h' => 0 ])
{
	my ($age, $blocked) = @$_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.blocked_age = '$age'");
	$node->reload;
	poll_ok($node, <<~"SQL", "blocked_sessions is $blocked with blocked_age = $age");
		SELECT current_value = $blocked
		FROM get_connection_stats()
		WHERE metric_name = 'blocked_sessions'
		SQL
	wait_samples($node, 3);
	is(sql($node, 'SELECT count(*), count(outcome) FROM connpool_lock_log'),
		'10|0', "blocked_age = $age: the waits are logged once, as in progress");
	is(sql($node, $starts), $first_starts, "blocked_age = $age: the waits keep their start");
	my $text = sql($node, 'SELECT connpool_metrics()');
	like(
		$text,
		qr/^connpool_lock_waits_total 10$/m,
		"blocked_age = $age: lock_waits_total counts each wait once");
	my ($longer) = $text =~ /^connpool_lock_wait_seconds_total ([\d.]+)$/m;
	cmp_ok($longer, '>', $more, "blocked_age = $age: lock_wait_seconds_total grows");
	$more = $longer;
}
$holder->query_safe('COMMIT');
$_->query_safe('SELECT 1') foreach @queue;
poll_ok($node, <<~'SQL', 'waits stay logged, and end, after blocked_age was raised');
	SELECT count(*) = 10 AND bool_and(outcome = 'granted') FROM connpool_lock_log
	SQL
hold(21);
start($queue[0], 'UPDATE t SET v = 1 WHERE i = 21');
poll_ok($node, q{SELECT waiting > '500ms' FROM connpool_blocked_queries}, 'a session waits');
is(sql($node, 'SELECT count(*) FROM connpool_lock_log'),
	'10', 'a wait that is shorter than blocked_age is not logged');
sql($node, q{ALTER SYSTEM SET connpool_monitor.blocked_age = '300ms'});
$node->reload;
wait_logged('queue 1');
$holder->query_safe('COMMIT');
is(outcomes('queue 1'),
	'granted granted', 'a lower blocked_age logs a wait that is already in progress');
leave($_) foreach @queue;

# --- root blockers
sql($node, 'SELECT connpool_reset()');
my ($middle, $last) = map { session($node, $_) } qw(middle last);
$holder->query_safe('BEGIN; SELECT pg_advisory_xact_lock(1)');
$middle->query_safe('BEGIN; SELECT pg_advisory_xact_lock(2)');
start($middle, 'SELECT pg_advisory_xact_lock(1)');
start($last, 'SELECT pg_advisory_xact_lock(2)');
poll_ok($node, <<~'SQL', 'the root of a chain is at its head');
	SELECT count(*) = 2 AND bool_and(root_application_name = 'holder') FROM connpool_lock_log
	SQL
$holder->query_safe('COMMIT');
$middle->query_safe('COMMIT');
leave($_) foreach $middle, $last;

# more queues than a sample looks up
sql($node, 'SELECT connpool_reset()');
$holder->query_safe('BEGIN; SELECT pg_advisory_xact_lock(g) FROM generate_series(1, 50) g');
my @many = map { Wire->connect_to($node, "many $_", user => $user) } 1 .. 50;
foreach my $i (1 .. 50)
{
	$many[ $i - 1 ]->send_message('Q', "SELECT pg_advisory_xact_lock($i)\0");
}
poll_ok($node, <<~'SQL', 'the roots of 50 queues are found');
	SELECT count(*) = 50 AND bool_and(root_application_name = 'holder') FROM connpool_lock_log
	SQL
$holder->query_safe('COMMIT');
poll_ok($node, <<~'SQL', 'the waits of 50 queues are granted');
	SELECT count(*) FILTER (WHERE outcome = 'granted') = 50 FROM connpool_lock_log
	SQL
undef @many;

sql($node, 'SELECT connpool_reset()');
sql($node, <<~'SQL');
	CREATE ROLE preparer LOGIN;
	GRANT ALL ON t TO preparer;
	SQL
sql($node,
	q{BEGIN; UPDATE t SET v = 1 WHERE i = 30; PREPARE TRANSACTION 'forgotten'},
	extra_params => [ '-U', 'preparer' ]);
start($waiter, 'UPDATE t SET v = 9 WHERE i = 30');
wait_logged('waiter');
is( sql($node, <<~'SQL'),
		SELECT root_pid, root_state, root_database, root_role, root_application_name, root_query
		FROM connpool_lock_log
		SQL
	'0|prepared|postgres|preparer||',
	'a prepared transaction is a root with its database and owner');
sql($node, q{COMMIT PREPARED 'forgotten'});
is(outcomes('waiter'), 'granted', 'a wait behind a prepared transaction is granted at its end');

# a process that is no client session
sql($node, 'SELECT connpool_reset()');
sql($node, 'CREATE TABLE big AS SELECT g FROM generate_series(1, 200000) g');
sql($node, <<~'SQL');
	ALTER TABLE big SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
	ALTER SYSTEM SET autovacuum_naptime = '1s';
	ALTER SYSTEM SET autovacuum = on;
	SQL
sql($node, 'UPDATE big SET g = g + 1');
$node->reload;
poll_ok($node, <<~'SQL', 'an autovacuum worker works');
	SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE relation = 'big'::regclass AND mode = 'ShareUpdateExclusiveLock'
	AND backend_type = 'autovacuum worker'
	SQL
sql($node, q{ALTER SYSTEM RESET autovacuum});
start($waiter, "SET deadlock_timeout = '1h'; BEGIN; LOCK TABLE big IN SHARE MODE");
SKIP:
{
	skip 'the autovacuum worker has ended', 1
	  unless $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM connpool_lock_log');
	is( sql($node, <<~'SQL'),
			SELECT relation, lock_mode, root_pid > 0, root_database IS NULL, root_role IS NULL,
			       root_application_name IS NULL, root_state IS NULL, root_query IS NULL
			FROM connpool_lock_log
			SQL
		'big|ShareLock|t|t|t|t|t|t',
		'a root that is no client session has only a pid');
}
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'autovacuum worker'});
$node->reload;
leave($waiter);

# --- parallel workers that wait
sql($node, <<~'SQL');
	CREATE TABLE gate (a int);
	CREATE FUNCTION pass() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE
		AS 'BEGIN RETURN count(*) FROM gate; END';
	CREATE TABLE wide AS SELECT repeat('x', 1000) AS filler FROM generate_series(1, 100);
	ALTER TABLE wide SET (parallel_workers = 2);
	SQL
my $leader = session($node, 'leader');
my $leader_pid = $leader->query_safe('SELECT pg_backend_pid()');
$leader->query_safe(<<'SQL');
SET deadlock_timeout = '1s';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers = 1;
SELECT sum(pass()) FROM wide;	-- pg_stat_statements shows its text from now on
SQL

# Close the gate, and wait until $waiting processes of the parallel query wait for it and the log
# has the wait.
sub wait_at_gate
{
	my ($waiting, $name) = @_;
	sql($node, 'SELECT connpool_reset()');
	$holder->query_safe('BEGIN; LOCK TABLE gate');
	start($leader, 'SELECT sum(pass()) FROM wide');
	poll_ok($node, <<~"SQL", "the parallel query waits at the gate: $name");
		SELECT count(*) = $waiting
		FROM pg_stat_activity
		WHERE $leader_pid IN (pid, leader_pid) AND wait_event_type = 'Lock'
		SQL
	wait_logged('leader');
	return;
}

wait_at_gate(1, 'one worker');
is(sql($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $leader_pid"),
	'IPC', 'the leader waits for its worker');
is( sql($node, <<~'SQL'),
		SELECT pid, lock_type, relation, lock_mode, root_pid, query LIKE 'SELECT sum(pass())%'
		FROM connpool_lock_log
		SQL
	"$leader_pid|relation|gate|AccessShareLock|$pid|t",
	'the wait of a parallel worker is logged as that of its session');
is( sql($node, <<~'SQL'),
		SELECT pid, waiting > '300ms', lock_type, relation, lock_mode, blocked_by, root_blocker,
		       query LIKE 'SELECT sum(pass())%'
		FROM connpool_blocked_queries
		SQL
	"$leader_pid|t|relation|gate|AccessShareLock|{$pid}|$pid|t",
	'connpool_blocked_queries has the session whose parallel worker waits');
poll_stat($node, 'blocked_sessions', '1|10|OK',
	'blocked_sessions counts the session whose parallel worker waits');
poll_ok($node, <<~"SQL", 'the session history has its root blocker');
	SELECT count(*) > 0
	FROM connpool_session_history()
	WHERE pid = $leader_pid AND root_blocker = $pid
	SQL

# a session that waits for the leader has the root blocker of the worker
sql($node, q{ALTER SYSTEM SET connpool_monitor.leak_age = '1ms'});
$node->reload;
my $behind = session($node, 'behind');
start($behind, 'BEGIN; LOCK TABLE wide');
wait_logged('behind');
is(sql($node, 'SELECT DISTINCT root_pid FROM connpool_lock_log'),
	$pid, 'a session that waits for the leader has the root blocker of its worker');
is( sql($node, <<~"SQL"),
		SELECT count(*), bool_and(root_blocker = $pid),
		       (SELECT blocks FROM connpool_leaks WHERE pid = $pid)
		FROM connpool_blocked_queries
		SQL
	'2|t|2',
	'the live views agree on the sessions that the root blocks');
sql($node, 'ALTER SYSTEM RESET connpool_monitor.leak_age');
$node->reload;
$holder->query_safe('COMMIT');
is(outcomes('leader'), 'granted', 'a wait of a parallel worker that got its lock is granted');
leave($behind);

wait_at_gate(1, 'before it is cancelled');
sql($node, "SELECT pg_cancel_backend($leader_pid)");
is(outcomes('leader'), 'cancelled',
	'a wait of a parallel worker ends as cancelled with its query');
poll_ok(
	$node,
	"SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $leader_pid",
	'the leader is idle after its query');
is(sql($node, <<~'SQL'), 't', 'the time of a wait of a parallel worker ends with its statement');
	SELECT l.started_at + l.waited <= a.state_change + interval '1 ms'
	FROM connpool_lock_log l JOIN pg_stat_activity a USING (pid)
	WHERE l.application_name = 'leader'
	SQL
$holder->query_safe('COMMIT');

$leader->query(q{SET lock_timeout = '1s'});
foreach my $level (qw(warning panic))
{
	sql($node, "ALTER SYSTEM SET log_min_messages = '$level'");
	$node->reload;
	sql($node, 'SELECT connpool_reset()');
	$holder->query_safe('BEGIN; LOCK TABLE gate');
	$leader->query('SELECT sum(pass()) FROM wide');
	is(outcomes('leader'), 'cancelled',
		"log_min_messages = $level: a wait of a worker that lock_timeout ended is cancelled");
	$holder->query_safe('COMMIT');
}
sql($node, 'ALTER SYSTEM RESET log_min_messages');
$node->reload;
$leader->query('RESET lock_timeout');

sql($node, 'SELECT connpool_reset()');
$leader->query('BEGIN; SELECT pg_advisory_xact_lock(60)');
$holder->query_safe('BEGIN; LOCK TABLE gate');
start($holder, 'SELECT pg_advisory_xact_lock(60)');
wait_logged('holder');
$leader->query('SELECT sum(pass()) FROM wide');
is(outcomes('leader'), 'deadlock', 'a deadlock that a parallel worker reports ends its wait');
is(sql($node, 'SELECT application_name, detail IS NOT NULL FROM connpool_deadlocks'),
	'leader|t', 'a deadlock that a parallel worker reports is logged with its detail');
$leader->query('ROLLBACK');
$holder->query('COMMIT');

$leader->query('SET parallel_leader_participation = on');
wait_at_gate(2, 'the leader and a worker');
wait_samples($node, 5);
is( sql($node, <<~'SQL'),
		SELECT (SELECT count(*) FROM connpool_lock_log),
		       (SELECT count(*) FROM connpool_blocked_queries)
		SQL
	'1|1',
	'a session counts once if it waits itself, too');
poll_stat($node, 'blocked_sessions', '1|10|OK',
	'blocked_sessions counts a session once if its parallel worker waits, too');
$holder->query_safe('COMMIT');
like(outcomes('leader'), qr/^granted( granted)?$/, 'the waits of both processes are granted');

# the leader and a worker wait for different locks, usually the worker first
sql($node, <<~'SQL');
	CREATE TABLE gate_of_workers (a int);
	CREATE FUNCTION pass_own(leader int) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN
		IF pg_backend_pid() = leader THEN
			PERFORM pg_sleep(1);
			RETURN count(*) FROM gate;
		END IF;
		RETURN count(*) FROM gate_of_workers;
	END $$;
	SQL
$holder->query_safe('BEGIN; LOCK TABLE gate, gate_of_workers');
start($leader, "SELECT sum(pass_own($leader_pid)) FROM wide");
poll_ok($node, <<~"SQL", 'the leader and a worker wait for different locks');
	SELECT count(DISTINCT relation) = 2 AND count(*) = 2 FROM pg_locks
	WHERE NOT granted AND waitstart IS NOT NULL
	SQL
is( sql($node, <<~'SQL'),
		SELECT b.relation::text = l.relation::regclass::text, b.lock_mode
		FROM connpool_blocked_queries b,
		     (SELECT relation FROM pg_locks WHERE NOT granted ORDER BY waitstart LIMIT 1) l
		SQL
	't|AccessShareLock',
	'connpool_blocked_queries has the lock for which a parallel query has waited longest');
$holder->query_safe('COMMIT');
leave($leader);

# --- privileges
sql($node, 'SELECT connpool_reset()');
sql($node, <<~'SQL');
	CREATE ROLE viewer LOGIN;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	GRANT SELECT ON connpool_lock_log, connpool_deadlocks TO viewer;
	GRANT ALL ON t TO viewer;
	SQL
hold(40);
my $viewer = $node->background_psql('postgres', extra_params => [ '-U', 'viewer' ]);
start($viewer, q{SET application_name = 'viewer'; UPDATE t SET v = 1 WHERE i = 40});
wait_logged('viewer');
my $redacted = <<~'SQL';
	SELECT started_at IS NULL, waited IS NULL, queryid IS NULL, query, lock_type, root_state IS NULL,
	       root_queryid IS NULL, root_query
	FROM connpool_lock_log
	SQL
is( sql($node, $redacted, extra_params => [ '-U', 'viewer' ]),
	'f|f|f||transactionid|t|t|<insufficient privilege>',
	'a role sees the details of its own side of a wait, but only the names of the other side');
is( sql($node, $redacted, extra_params => [ '-U', 'watcher' ]),
	'f|f|f|UPDATE t SET v = $1 WHERE i = $2|transactionid|f|f|UPDATE t SET v = v + $1 WHERE i = $2',
	'a member of pg_monitor sees both sides');
$holder->query_safe('COMMIT');
is(outcomes('viewer'), 'granted', 'the wait of the ordinary role is granted');
leave($viewer);
sql($node, 'SELECT connpool_reset()');
hold(41);
my $other = session($node, 'other');
start($other, 'UPDATE t SET v = 1 WHERE i = 41');
wait_logged('other');
is( sql($node, $redacted, extra_params => [ '-U', 'viewer' ]),
	't|t|t|<insufficient privilege>|transactionid|t|t|<insufficient privilege>',
	'a role that may not see the session sees its names, but not its times and statement');

# --- restarts
is( sql($node,
		q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		  WHERE backend_type = 'connpool_monitor sampler'}),
	't',
	'the sampler is terminated');
poll_ok(
	$node,
	'SELECT sampler_running FROM connpool_info()',
	'the postmaster restarts the sampler');
wait_samples($node, 3);
is(sql($node, 'SELECT count(*), count(outcome) FROM connpool_lock_log'),
	'1|0', 'a restarted sampler continues with the waits in progress');
my $rows =
  'SELECT started_at, pid, role, application_name, relation, root_pid FROM connpool_lock_log';
my $before = sql($node, $rows);
my @pair = map { Wire->connect_to($node, 'checkout', user => $user) } 1, 2;
$_->query(q{SET deadlock_timeout = '10ms'}) foreach @pair;	# ends waits before blocked_age
Wire::deadlock(\@pair);
$_->end foreach @pair;
$node->restart;
is(sql($node, $rows), $before, 'the log survives a restart');
is(outcomes('other'), 'ended', 'a wait that lasted until a restart has ended with it');
is(sql($node, 'SELECT application_name FROM connpool_deadlocks'),
	'checkout', 'the log of deadlocks survives a restart');
is( sql($node,
		'SELECT application_name, queryid IS NULL, query, detail IS NULL FROM connpool_deadlocks',
		extra_params => [ '-U', 'viewer' ]),
	'checkout|t|<insufficient privilege>|t',
	'a role that may not see the session sees no statement of a deadlock');
like(
	sql($node, 'SELECT connpool_metrics()'),
	qr/^connpool_deadlocks_total\{database="postgres"\} 1$/m,
	'the count of deadlocks survives a restart');
eval { $_->quit } foreach $other, $holder;

# --- a standby
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	"connpool_monitor.http_listen = ''\nmax_standby_streaming_delay = -1");
$standby->start;
$node->wait_for_catchup($standby);
$holder = session($standby, 'holder');
$holder->query_safe('BEGIN; SELECT pg_advisory_xact_lock(1)');
$other = session($standby, 'other');
start($other, 'SELECT pg_advisory_xact_lock(1)');
wait_logged('other', $standby);
is(sql($standby, 'SELECT lock_type, root_application_name FROM connpool_lock_log'),
	'advisory|holder', 'a standby logs waits');
is(sql($standby, 'SELECT count(*) FROM connpool_deadlocks'),
	'0', 'a standby begins with an empty log of deadlocks');
$holder->query_safe('COMMIT');

# the replay of an exclusive lock waits for a session, and another session waits for the replay
sql($node, 'CREATE TABLE replayed (a int)');
$node->wait_for_catchup($standby);
$holder->query_safe('BEGIN; TABLE replayed');
sql($node, 'DROP TABLE replayed');
poll_ok(
	$standby,
	q{SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted},
	'the replay waits for the lock of a session');
$waiter = session($standby, 'waiter');
start($waiter, 'TABLE replayed');
wait_logged('waiter', $standby);
is( sql($standby, <<~'SQL'),
		SELECT lock_type, lock_mode, root_application_name, root_state
		FROM connpool_lock_log WHERE application_name = 'waiter'
		SQL
	'relation|AccessShareLock|holder|idle in transaction',
	'the root of a session behind the replay is the session for which the replay waits');
is( sql($standby, <<~'SQL'),
		SELECT b.application_name, s.application_name, b.root_state
		FROM connpool_blocked_queries b JOIN connpool_sessions s ON s.pid = b.root_blocker
		SQL
	'waiter|holder|idle in transaction',
	'connpool_blocked_queries shows the same root');
$holder->query_safe('COMMIT');
leave($_) foreach $holder, $other, $waiter;

$standby->stop('fast');
$node->stop('fast');
done_testing();
