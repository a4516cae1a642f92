# SPDX-License-Identifier: PostgreSQL
# Each transition of an alert reaches all listeners by NOTIFY, as JSON with the contents of the
# alert. A notification that cannot be sent is retried or counted as dropped, and delays no sample.
# Needs sessions that listen, a standby, and databases that are dropped.
# scripts/test: slow, 33 s
use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use Connpool;

my $node = new_node('main', <<'CONF', allows_streaming => 1);
max_worker_processes = 12
max_prepared_transactions = 2
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
max_connections = 100
CONF

sub configure
{
	my ($name, $value) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.$name = '$value'");
	$node->reload;
	wait_samples($node, 2);
	return;
}

# Raise and clear the alert of idle_in_transaction: two transitions.
my $idler = session($node, 'idler');

sub alert_on
{
	$idler->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'an idle transaction raises an alert');
	return;
}

sub alert_off
{
	$idler->query_safe('COMMIT');
	poll_ok(
		$node,
		q{SELECT status = 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'the alert clears after the transaction');
	return;
}

# Wait until a listener has received $wanted notifications, of one metric or of all metrics, and
# return their decoded payloads.
sub heard
{
	my ($listener, $wanted, $metric) = @_;
	my @payloads;
	my $notification =
	  qr/Asynchronous notification "connpool_alerts" with payload "(.*)" received from server/;

	wait_until(
		sub {
			my $output = $listener->query('SELECT 1');
			push @payloads, grep { !defined $metric || $_->{metric} eq $metric }
			  map { decode_json($_) } $output =~ /$notification/g;
			return @payloads >= $wanted;
		});
	return @payloads;
}

# Listen until a transition of the metric to the status arrives, whatever arrives before. Return
# its payload. Dies if it does not arrive within the time allowed.
sub hears
{
	my ($listener, $metric, $status) = @_;
	my $found;
	wait_until(
		sub {
			($found) = grep { $_->{status} eq $status } heard($listener, 1, $metric);
			return defined $found;
		}) or die "no notification that $metric became $status arrives";
	return $found;
}

# Return how many samples the sampler has taken, and how many it has missed.
sub samples
{
	my ($which) = @_;
	return split /\|/, sql($which, 'SELECT samples, samples_missed FROM connpool_info()');
}

# Assert that the sampler has missed few samples since samples() returned $taken and $missed: at
# most one, plus a tenth of those that it took. A busy machine can delay that many.
sub is_on_time
{
	my ($which, $taken, $missed, $name) = @_;
	my ($taken_now, $missed_now) = samples($which);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return cmp_ok($missed_now - $missed, '<=', 1 + ($taken_now - $taken) / 10, $name);
}

sub listener
{
	my $psql = session($node, 'listener', @_);
	$psql->query_safe('LISTEN connpool_alerts');
	return $psql;
}

$node->safe_psql('postgres', 'CREATE DATABASE told');
configure('idle_in_transaction_warning', '1');

# --- without notify_database no notification is sent
my $listener = listener(dbname => 'told');
alert_on();
alert_off();
is( sql($node,
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'connpool_monitor notifier'}),
	'0',
	'without notify_database no notifier starts');

# --- a transition to WARNING and back
configure('notify_database', 'told');
alert_on();
alert_off();
my @payloads = heard($listener, 2, 'idle_in_transaction');
is(scalar(@payloads), 2, 'two transitions are received');
my ($raised, $over) = @payloads;
is( join(' ', sort keys %$raised),
	'at cluster_name max message metric seq status threshold value',
	'a notification has the keys that doc/alerts.md lists');
is($raised->{metric}, 'idle_in_transaction', 'a notification names the metric');
is($raised->{status}, 'WARNING', 'a notification has the status');
is($raised->{value}, 1, 'a notification has the value');
is($raised->{threshold}, 0.97, 'a notification has the threshold in the unit of the value');
is($raised->{max}, 97, 'a notification has the maximum');
is($raised->{cluster_name}, 'main', 'a notification has the cluster name');
like(
	$raised->{at},
	qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
	'a notification has the time in UTC with milliseconds');
like(
	$raised->{message},
	qr/^idle_in_transaction is 1 of 97 connections/,
	'a notification has the message of the alert');
is( $raised->{seq} . ' ' . $over->{seq},
	sql($node, <<~'SQL'), 'a notification has the seq of its row in the alert log');
		SELECT string_agg(seq::text, ' ' ORDER BY seq)
		FROM (SELECT seq FROM connpool_alert_log
		  WHERE metric_name = 'idle_in_transaction' LIMIT 2) s
		SQL
is($over->{status}, 'OK', 'the second notification reports OK');
is($over->{value}, 0, 'the second notification has the value at the recovery');
is(sql($node, <<~'SQL'), 'WARNING OK WARNING OK', 'the alert log has the same transitions');
	SELECT string_agg(to_status, ' ' ORDER BY at)
	FROM connpool_alert_log
	WHERE metric_name = 'idle_in_transaction'
	SQL
unlike(encode_json($raised), qr/idler/, 'a notification does not name a culprit');
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'connpool_monitor notifier'},
	'the notifier ends after its notifications');
is(sql($node, 'SELECT notifications_dropped FROM connpool_info()'),
	'0', 'no notification was dropped');

# --- the notifier does not block DROP DATABASE
alert_on();
leave($listener);
sql($node, 'DROP DATABASE told');
pass('DROP DATABASE works on the database of the notifier');
alert_off();
my @before = samples($node);
my $offset = -s $node->logfile;
my $began = time;
my $no_database = 'FATAL:  database "told" does not exist';
alert_on();
ok( wait_until(sub { log_count($node, $no_database, $offset) >= 2 }),
	'the notifier tries again to connect to a database that does not exist');
wait_samples($node, 5);
is_on_time($node, @before, 'a database that does not exist delays no sample');
# the pauses between attempts are at least 1, 2, 4 and so on seconds
my $attempts = log_count($node, $no_database, $offset);
cmp_ok($attempts, '<=', 2 + log(1 + time - $began) / log(2),
	'the intervals between attempts grow');
like(
	sql($node, 'SELECT problem FROM connpool_info()'),
	qr/^NOTIFY fails/,
	'connpool_info() reports that NOTIFY fails');
# the notifier tries a database of another name at once
sql($node, 'CREATE DATABASE renamed');
$listener = listener(dbname => 'renamed');
configure('notify_database', 'renamed');
@payloads = heard($listener, 2, 'idle_in_transaction');
cmp_ok(scalar(@payloads), '>=', 2, 'waiting notifications are sent when the database exists');
poll_ok(
	$node,
	'SELECT problem IS NULL FROM connpool_info()',
	'connpool_info() reports no problem after NOTIFY succeeded');
alert_off();
hears($listener, 'idle_in_transaction', 'OK');

# --- a notifier that cannot finish because a commit that waits for a standby holds the lock of
# the notification queue
configure('notify_database', 'postgres');
$listener = listener();
sql($node, 'CREATE TABLE written (n int)');
sql($node, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
$node->reload;
my $held = session($node, 'holds the lock');
$held->query_until(qr/waits/,
	"\\echo waits\nBEGIN; NOTIFY something; INSERT INTO written VALUES (1); COMMIT;\n\\echo done\n"
);
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'},
	'a commit waits for a standby');
$offset = -s $node->logfile;
@before = samples($node);
alert_on();
my $terminated = 'terminating background worker "connpool_monitor notifier"';
ok(wait_until(sub { log_count($node, $terminated, $offset) > 0 }),
	'a notifier that takes too long is terminated');
is_on_time($node, @before, 'a notifier that hangs delays no sample');
sql($node, q{ALTER SYSTEM RESET synchronous_standby_names});
$node->reload;
ok( hears($listener, 'idle_in_transaction', 'WARNING'),
	'the notification is sent by a later notifier');

# --- more notifications than notify_rate: many metrics change with each of several samples
alert_off();
hears($listener, 'idle_in_transaction', 'OK');
{
	my @flapping = split /\n/, sql($node, <<~'SQL');
		SELECT metric_name
		FROM get_connection_stats()
		WHERE metric_name NOT IN ('exhaustion_seconds', 'idle_in_transaction')
		SQL
	my $flapping = join ', ', @flapping;
	my $dropped = sql($node, 'SELECT notifications_dropped FROM connpool_info()');
	configure('notify_rate', '1');
	sql($node, "ALTER SYSTEM SET connpool_monitor.${_}_warning = 0") foreach @flapping;
	configure('silent_metrics', '');
	cmp_ok(sql($node, 'SELECT notifications_dropped FROM connpool_info()'),
		'>', $dropped, 'notifications above notify_rate are counted as dropped');
	configure('silent_metrics', $flapping);
	configure('notify_rate', '5');
	# at least three seconds, in which the rate permits fifteen notifications
	my $until = time + 3;
	for (my $flip = 1; $flip <= 6 || time < $until; $flip++)
	{
		configure('silent_metrics', $flip % 2 ? '' : $flapping);
	}
	my @at =
	  map { $_->{at} =~ /T(\d+):(\d+):([\d.]+)Z/; ($1 * 60 + $2) * 60 + $3 } heard($listener, 11);
	cmp_ok(scalar @at, '>', 10, 'more than ten notifications are received');
	# Skip spans over midnight. The sampler limits the rate by the monotonic clock, which it reads
	# at the start of a round. It reads the system clock for "at" later in the round, so six values
	# of "at" may span less than a second.
	my @close =
	  grep { my $span = $at[ $_ + 5 ] - $at[$_]; $span >= 0 && $span < 0.5 } 0 .. $#at - 5;
	is("@close", '', 'six notifications take at least half a second with a notify_rate of five')
	  or diag("@at");
	sql($node, "ALTER SYSTEM RESET connpool_monitor.${_}_warning") foreach @flapping;
	sql($node, 'ALTER SYSTEM RESET connpool_monitor.silent_metrics');
	configure('notify_rate', '10');
	poll_ok(
		$node,
		q{SELECT count(*) = 0 FROM connpool_alerts WHERE status <> 'OK'},
		'all alerts have cleared');
	# wait until the second in which these notifications used up the rate is over
	wait_samples($node, 15);
}

# --- from CRITICAL to WARNING the threshold is WARNING's; a notifier ends with its sampler
configure('total_connections_warning', '0');
configure('total_connections_critical', '0');
hears($listener, 'total_connections', 'CRITICAL');
configure('total_connections_critical', '90');
my $fallen = hears($listener, 'total_connections', 'WARNING');
is( "$fallen->{status} $fallen->{threshold}",
	'WARNING 0',
	'a change from CRITICAL to WARNING has the threshold of WARNING');
configure('total_connections_critical', '-1');
my $locker = session($node, 'locker');
$locker->query_safe('BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE');
append_to_file($node->data_dir . '/postgresql.auto.conf',
	"connpool_monitor.total_connections_warning = '-1'\n");
$node->reload;
my $notifier;
ok(wait_until(sub { return $notifier = worker_pid($node, 'notifier') }),
	'a notifier waits for a lock while it connects');
kill('TERM', worker_pid($node, 'sampler'));
ok( wait_until(sub { return !kill(0, $notifier) }),
	'a notifier ends with the sampler that started it');
$locker->query_safe('COMMIT');
leave($locker);
ok(hears($listener, 'total_connections', 'OK'),
	'the next sampler sends the notification that the notifier had not sent');
leave($listener);

# --- a standby sends nothing before its promotion
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_worker_processes = 12\nmax_connections = 100");
$standby->start;
my $reader = session($standby, 'reader');
$reader->query_safe('BEGIN');
poll_ok(
	$standby,
	q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
	'an alert is raised on a standby');
wait_samples($standby, 3);
is(log_count($standby, 'notifier|cannot execute NOTIFY'), 0, 'a standby starts no notifier');
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'the standby is promoted');
my $psql = session($standby, 'listener');
$psql->query_safe('LISTEN connpool_alerts');
$reader->query_safe('COMMIT');
@payloads = heard($psql, 1, 'idle_in_transaction');
is($payloads[0]->{status}, 'OK', 'a promoted standby sends notifications');
leave($_) foreach $psql, $reader, $idler;
$standby->stop('fast');
$node->stop('fast');

# --- no worker slot is free, and thresholds are crossed with every sample
my $narrow = new_node('narrow', <<'CONF');
max_worker_processes = 2
max_logical_replication_workers = 0
connpool_monitor.notify_database = 'postgres'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.active_connections_warning = 0
CONF
poll_ok(
	$narrow,
	q{SELECT status = 'WARNING' FROM connpool_alerts WHERE metric_name = 'active_connections'},
	'an alert is raised while no worker slot is free');
@before = samples($narrow);
wait_samples($narrow, 20);
is_on_time($narrow, @before, 'samples are taken while no worker slot is free for the notifier');
is($narrow->safe_psql('postgres', 'SELECT sampler_running FROM connpool_info()'),
	't', 'the sampler runs while no worker slot is free for the notifier');
is(log_count($narrow, 'notifier'), 0, 'no notifier starts while no worker slot is free');
is( log_count(
		$narrow, 'WARNING:  connpool_monitor: no slot of max_worker_processes is free for NOTIFY'),
	1,
	'the missing worker slot is logged once');
like(
	$narrow->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
	qr/^NOTIFY fails/,
	'connpool_info() reports that NOTIFY fails without a worker slot');

foreach my $metric (
	split /\n/,
	$narrow->safe_psql(
		'postgres',
		q{SELECT metric_name FROM get_connection_stats() WHERE metric_name <> 'exhaustion_seconds'}
	))
{
	$narrow->append_conf('postgresql.conf', "connpool_monitor.${metric}_warning = 0");
}
my $all = $narrow->safe_psql('postgres',
	q{SELECT string_agg(metric_name, ', ') FROM get_connection_stats()});
my $from = -s $narrow->logfile;
my $left_out = qr/\d+ alert messages? (?:was|were) suppressed/;
my $control = session($narrow, 'control');
# on a busy machine it takes more changes until more than 20 messages a second are due
for my $flip (1 .. 200)
{
	$control->query_safe(
		"ALTER SYSTEM SET connpool_monitor.silent_metrics = '" . ($flip % 2 ? '' : $all) . "'");
	$control->query_safe('SELECT pg_reload_conf()');
	wait_samples($control, 2);
	last if log_count($narrow, $left_out, $from) > 0 && $flip >= 12;
}
my $logged = log_count($narrow, 'connpool_monitor: (WARNING|recovered)', $from);
my $transitions = sql($control, 'SELECT count(*) FROM connpool_alert_log');
leave($control);
cmp_ok($transitions, '>', 100, "$transitions transitions are recorded");
cmp_ok($logged, '<', $transitions, "$logged log lines are fewer than the transitions");
cmp_ok(log_count($narrow, $left_out, $from),
	'>', 0, 'the log has the number of suppressed messages');
$narrow->stop('fast');
done_testing();
