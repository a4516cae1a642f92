# SPDX-License-Identifier: PostgreSQL
# A statement that aborts its transaction counts as failed even if log_min_messages hides its error
# from the log hook. While it hides errors, a statement that the server rejects because its
# transaction has already failed does not count, and failures_exact in connpool_info() is false.
# After a backend was killed in the middle of a statement, the server restarts with the extension.
# Needs a crash and messages that psql cannot send.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('hidden', <<'CONF');
restart_after_crash = on
connpool_monitor.alert_after = '1h'	# so that the log has no alerts
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
SQL

# Run statements that fail at each stage at which an error aborts a transaction, and others.
sub work
{
	my ($application) = @_;
	my $wire = Wire->connect_to($node, $application, user => $user);
	$wire->query($_)
	  foreach (
		'SELECT 1', 'SELEC', 'SELECT nothing', 'SELECT 1/0', 'SELECT 1; SELECT 1/0; SELECT 2',
		'INSERT INTO child VALUES (1)', 'BEGIN; INSERT INTO child VALUES (1)', 'COMMIT',
		'BEGIN', 'SELECT 1/0', 'ROLLBACK', 'BEGIN', 'SELECT 1', 'ROLLBACK',
		'BEGIN', 'SAVEPOINT s', 'SELECT 1/0', 'ROLLBACK TO s', 'COMMIT',
		'DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$',
		'DO $$ BEGIN COMMIT; ROLLBACK; END $$');
	$wire->extended($_)
	  foreach ('SELECT 1', 'SELEC', 'SELECT 1/0', 'INSERT INTO child VALUES (1)');
	$wire->parse('', $_)->bind_to('', '')->execute('')
	  foreach ('SELECT 1', 'SELECT 1/(3 - i) FROM generate_series(1, 5) i', 'SELECT 1');
	$wire->sync;
	return counts_of($wire, $application);
}

# End the session of an application and return what its pool has counted.
sub counts_of
{
	my ($wire, $application) = @_;
	$wire->end;
	$node->poll_query_until('postgres',
		"SELECT connections = 0 FROM connpool_pools WHERE application_name = '$application'")
	  or die "the session of $application does not end";
	return $node->safe_psql('postgres', <<~"SQL");
		SELECT queries, failed_queries, transactions
		FROM connpool_pools
		WHERE application_name = '$application'
		SQL
}

# Run statements in a transaction that has already failed.
sub work_in_failed_transaction
{
	my ($application) = @_;
	my $wire = Wire->connect_to($node, $application, user => $user);
	$wire->query($_) foreach 'BEGIN', 'SELECT 1/0', 'SELECT 1', 'SELECT 2', 'ROLLBACK';
	return counts_of($wire, $application);
}

sub errors
{
	return $node->safe_psql('postgres', 'SELECT coalesce(sum(errors), 0) FROM connpool_errors');
}

my $expected = '29|11|19';
foreach my $level ('debug1', 'error', 'log', 'fatal', 'panic')
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET log_min_messages = $level");
	$node->reload;
	poll_ok(
		$node,
		"SELECT current_setting('log_min_messages') = '$level'",
		"the server uses log_min_messages = $level");
	my $before = errors();
	is(work($level), $expected, "$level: each statement, failure and transaction counts once");
	is(errors() - $before, 12, "$level: errors count under their SQLSTATE, one of them at Sync");
	my $is_exact = $level =~ /debug1|error/;
	is( work_in_failed_transaction("$level failed"),
		$is_exact ? '5|3|1' : '3|1|1',
		"$level: statements that a failed transaction rejects "
		  . ($is_exact ? 'count as failed' : 'do not count'));
	is( $node->safe_psql(
			'postgres', 'SELECT failures_exact, refusals_counted FROM connpool_info()'),
		($is_exact ? 't' : 'f') . '|' . ($level eq 'panic' ? 'f' : 't'),
		"$level: connpool_info() reports whether failures are exact and refusals are counted");
}
is( $node->safe_psql(
		'postgres', q{SELECT string_agg(sqlstate, ',' ORDER BY sqlstate) FROM connpool_errors}),
	'22012,23503,25P02,42601,42703',
	'errors count under their SQLSTATEs');

# a session that is terminated in mid-statement, while log_min_messages hides the error
my $victim = Wire->connect_to($node, 'victim', user => $user);
$victim->send_message('Q', "SELECT pg_sleep(60)\0");
poll_ok($node, <<~'SQL', 'a session runs pg_sleep()');
	SELECT count(*) = 1
	FROM connpool_sessions
	WHERE application_name = 'victim' AND state = 'active'
	SQL
$node->safe_psql('postgres',
	q{SELECT pg_terminate_backend(pid) FROM connpool_sessions WHERE application_name = 'victim'});
poll_ok($node, <<~'SQL', 'a terminated statement counts as failed with log_min_messages = panic');
	SELECT queries = 1 AND failed_queries = 1 AND sessions_killed = 1
	FROM connpool_pools
	WHERE application_name = 'victim'
	SQL
$node->safe_psql('postgres', 'ALTER SYSTEM RESET log_min_messages');
$node->reload;

# SIGKILL
$victim = Wire->connect_to($node, 'victim', user => $user);
$victim->send_message('Q', "SELECT pg_sleep(60)\0");
poll_ok($node, <<~'SQL', 'another session runs pg_sleep()');
	SELECT count(*) = 1
	FROM connpool_sessions
	WHERE application_name = 'victim' AND state = 'active'
	SQL
my $pid = $node->safe_psql('postgres',
	q{SELECT pid FROM connpool_sessions WHERE application_name = 'victim'});
my $offset = -s $node->logfile;
kill 'KILL', $pid;
wait_until(sub { log_count($node, 'database system is ready to accept connections', $offset) > 0 }
);
is(log_count($node, 'terminated by signal 9', $offset), 1, 'the log reports the killed backend');
poll_ok(
	$node,
	'SELECT sampler_running AND samples > 2 FROM connpool_info()',
	'the server restarts and takes samples');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_pools WHERE application_name = 'victim'}),
	'0',
	'counters start at zero after a crash');
is( $node->safe_psql(
		'postgres',
		q{SELECT total_queries > 0 FROM connpool_query_stats WHERE period = 'since_reset'}),
	't',
	'statements count after a crash');
is(log_count($node, '(WARNING|ERROR|FATAL|PANIC):.*connpool', $offset),
	0, 'the extension logs no problem during a crash');

$node->stop('fast');
done_testing();
