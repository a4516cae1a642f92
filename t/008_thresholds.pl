# SPDX-License-Identifier: PostgreSQL
# The source document (see doc/pools.md) publishes an SQL function that the extension replaces. The
# first three metrics equal the result of that function for the same sessions, on both sides of
# each threshold:
# 79, 80, 94 and 95 of 100 sessions active, 39 and 40 of 50 idle, one to three long transactions.
# Needs a hundred sessions.
# scripts/test: slow, 11 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('thresholds', <<'CONF');
max_connections = 160
connpool_monitor.active_connections_max = 100
connpool_monitor.idle_connections_max = 50
connpool_monitor.long_transaction_age = '1s'
connpool_monitor.blocked_age = '1s'
connpool_monitor.blocked_sessions_warning = 105
connpool_monitor.blocked_sessions_critical = -1
connpool_monitor.alert_after = '100ms'
CONF

# The document's function, except that it counts client backends only and measures a long
# transaction from the start of the transaction, as doc/pools.md states.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION document_stats() RETURNS TABLE (metric text, value int, max int, status text)
  LANGUAGE plpgsql AS $$
DECLARE
    active int := (SELECT count(*) FROM pg_stat_activity
      WHERE state = 'active' AND backend_type = 'client backend');
    idle int := (SELECT count(*) FROM pg_stat_activity
      WHERE state = 'idle' AND backend_type = 'client backend');
    long int := (SELECT count(*) FROM pg_stat_activity
      WHERE clock_timestamp() - xact_start > '1s' AND backend_type = 'client backend');
BEGIN
    RETURN QUERY VALUES
        ('active_connections', active, 100,
         CASE WHEN active < 80 THEN 'OK' WHEN active < 95 THEN 'WARNING' ELSE 'CRITICAL' END),
        ('idle_connections', idle, 50, CASE WHEN idle < 40 THEN 'OK' ELSE 'WARNING' END),
        ('long_transactions', long, 5,
         CASE WHEN long = 0 THEN 'OK' WHEN long < 3 THEN 'WARNING' ELSE 'CRITICAL' END);
END $$;
SQL

my $sleep = $node->basedir . '/sleep.sql';
my $idle = $node->basedir . '/idle.sql';
append_to_file($sleep, "SELECT pg_sleep(600);\n");
append_to_file($idle, "SELECT 1;\n\\sleep 600 s\n");
my @clients;
# the only session besides the clients, because psql sessions that end would count as idle
my $watcher = session($node, 'watcher');
$ENV{PGAPPNAME} = 'threshold client';

sub add_clients
{
	my ($count, $script) = @_;
	push @clients,
	  IPC::Run::start(
		[ 'pgbench', '-n', '-c', $count, '-t', '1', '-f', $script, $node->connstr('postgres') ],
		'>', '/dev/null', '2>', '/dev/null');
	return;
}

# terminate the backends, because one that sleeps does not notice that its client is gone
sub end_clients
{
	$_->kill_kill foreach splice(@clients);
	sql($watcher, <<~'SQL');
		SELECT pg_terminate_backend(pid)
		FROM pg_stat_activity
		WHERE application_name = 'threshold client'
		SQL
	return;
}

# Wait until the document's function has counted the sessions, and compare both functions. If
# they differ, a session may have changed its state between them; compare again.
sub compare
{
	my ($what, $expected) = @_;
	my ($ours, $document);
	wait_until(
		sub {
			$ours = sql($watcher, 'SELECT * FROM get_connection_stats() LIMIT 3');
			$document = sql($watcher, 'SELECT * FROM document_stats()');
			return $document =~ /^$expected$/m && $ours eq $document;
		});
	is($ours, $document, "$what: get_connection_stats() agrees with the function of the document");
	like($ours, qr/^$expected$/m, "$what: get_connection_stats() has the row $expected");
	return;
}

# the watcher is active itself
my $active = 1;
foreach my $step ([ 79, 'OK' ], [ 80, 'WARNING' ], [ 94, 'WARNING' ], [ 95, 'CRITICAL' ])
{
	my ($count, $status) = @$step;
	add_clients($count - $active, $sleep);
	$active = $count;
	# the statements are transactions too: wait until all of them are long
	poll_is($watcher, <<~"SQL", 't', "$count sessions have long transactions");
		SELECT count(*) = $count - 1
		FROM pg_stat_activity
		WHERE clock_timestamp() - xact_start > '1.1s'
		SQL
	compare("$count active", "active_connections\\|$count\\|100\\|$status");
}
end_clients();

my $idling = 0;
foreach my $step ([ 39, 'OK' ], [ 40, 'WARNING' ], [ 50, 'WARNING' ])
{
	my ($count, $status) = @$step;
	add_clients($count - $idling, $idle);
	$idling = $count;
	compare("$count idle", "idle_connections\\|$count\\|50\\|$status");
}
end_clients();

my $long = 0;
foreach my $step ([ 1, 'WARNING' ], [ 2, 'WARNING' ], [ 3, 'CRITICAL' ])
{
	my ($count, $status) = @$step;
	add_clients(1, $sleep);
	poll_is($watcher, <<~"SQL", 't', "$count sessions have a long transaction");
		SELECT count(*) = $count
		FROM pg_stat_activity
		WHERE clock_timestamp() - xact_start > '1.1s'
		SQL
	compare("$count long transactions", "long_transactions\\|$count\\|5\\|$status");
}
end_clients();

# The search for the largest blocker examines at most 100 waits, and more sessions wait. They wait
# for two blockers, so that the search finds fewer than 100 waiters of either.
my @blockers = map { session($node, "blocker_$_") } 1, 2;
foreach my $i (1, 2)
{
	my $script = $node->basedir . "/wait_$i.sql";
	append_to_file($script, "SELECT count(*) FROM held_$i;\n");
	$blockers[ $i - 1 ]->query_safe("BEGIN; CREATE TABLE held_$i (); COMMIT");
	$blockers[ $i - 1 ]->query_safe("BEGIN; LOCK TABLE held_$i");
	add_clients($i == 1 ? 70 : 40, $script);
	poll_ok($node, <<~"SQL", "the sessions behind blocker_$i wait");
		SELECT count(*) = $i * 40 + 30
		FROM pg_stat_activity
		WHERE wait_event_type = 'Lock'
		SQL
}
poll_ok(
	$node,
	q{SELECT culprit <> '' FROM connpool_alerts WHERE metric_name = 'blocked_sessions'},
	'110 blocked sessions raise an alert');
like(
	$node->safe_psql(
		'postgres', q{SELECT culprit FROM connpool_alerts WHERE metric_name = 'blocked_sessions'}),
	qr/^Pid \d+ of blocker_1 \(\w+ in postgres\) holds up at least 70 sessions$/,
	'the culprit reports a lower bound of the sessions that the largest blocker holds up');
end_clients();

$node->stop('immediate');
done_testing();
