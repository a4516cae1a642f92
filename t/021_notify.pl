# SPDX-License-Identifier: PostgreSQL
# NOTIFY: each transition reaches who listens, as JSON that says what the alert
# says; what cannot be told is tried again or counted, and delays nobody.
# scripts/test: slow, 40 s
use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('main', <<'CONF', allows_streaming => 1);
max_worker_processes = 12
max_prepared_transactions = 2
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
max_connections = 100
CONF
sub sql { return $node->safe_psql('postgres', shift); }

sub configure
{
	my ($name, $value) = @_;
	sql($node, "ALTER SYSTEM SET connpool_monitor.$name = '$value'");
	$node->reload;
	wait_samples($node, 2);
	return;
}

# Set the alert of idle_in_transaction off, and back: two transitions.
my $idler = session($node, 'idler');

sub alert_on
{
	$idler->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'an alert is raised');
	return;
}

sub alert_off
{
	$idler->query_safe('COMMIT');
	poll_ok(
		$node,
		q{SELECT status = 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'an alert is over');
	return;
}

# What a listener has got until now: payloads, decoded.
sub heard
{
	my ($listener, $wanted) = @_;
	my @payloads;
	for (1 .. 200)
	{
		my $output = $listener->query('SELECT 1');
		push @payloads,
		  map { decode_json($_) }
		  $output =~
		  /Asynchronous notification "connpool_alerts" with payload "(.*)" received from server process/g;
		last if @payloads >= $wanted;
		select(undef, undef, undef, 0.05);
	}
	return @payloads;
}

# Listen until a transition of that metric to that status arrives, whatever comes before it.
sub hears
{
	my ($listener, $metric, $status) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $deadline)
	{
		return 1
		  if grep { $_->{metric} eq $metric && $_->{status} eq $status } heard($listener, 1);
	}
	return 0;
}

sub listener
{
	my $psql = session($node, 'listener', @_);
	$psql->query_safe('LISTEN connpool_alerts');
	return $psql;
}

$node->safe_psql('postgres', 'CREATE DATABASE told');
configure('idle_in_transaction_warning', '1');

# --- nobody is told unless a database is named
my $listener = listener(dbname => 'told');
alert_on();
alert_off();
is( sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'connpool_monitor notifier'}),
	'0', 'without notify_database there is no notifier');

# --- a transition and its end
configure('notify_database', 'told');
alert_on();
alert_off();
my @payloads = heard($listener, 2);
is(scalar(@payloads), 2, 'two transitions are heard');
my ($raised, $over) = @payloads;
is( join(' ', sort keys %$raised),
	'at cluster_name max message metric seq status threshold value',
	'with what the contract lists');
is($raised->{metric}, 'idle_in_transaction', 'which metric');
is($raised->{status}, 'WARNING', 'what status');
is($raised->{value}, 1, 'the value');
is($raised->{threshold}, 0.97, 'the threshold, in the unit of the value');
is($raised->{max}, 97, 'the maximum');
is($raised->{cluster_name}, 'main', 'where');
like($raised->{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'when');
like($raised->{message}, qr/^idle_in_transaction is 1 of 97 connections/, 'and in words');
is($raised->{seq} . ' ' . $over->{seq},
	sql($node, <<~'SQL'), 'seq of a notification is that of its row in the alert log');
		SELECT string_agg(seq::text, ' ' ORDER BY seq)
		FROM (SELECT seq FROM connpool_alert_log
		  WHERE metric_name = 'idle_in_transaction' LIMIT 2) s
		SQL
is($over->{status}, 'OK', 'and its end');
is($over->{value}, 0, 'with its value');
is(sql($node, <<~'SQL'), 'WARNING OK WARNING OK', 'the log has the same');
	SELECT string_agg(to_status, ' ' ORDER BY at)
	FROM connpool_alert_log
	WHERE metric_name = 'idle_in_transaction'
	SQL
unlike(encode_json($raised), qr/idler/, 'it does not say by whom');
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'connpool_monitor notifier'},
	'the notifier is gone');
is(sql($node, 'SELECT notifications_dropped FROM connpool_info()'), '0', 'nothing was dropped');

# --- the database is not held back
alert_on();
leave($listener);
sql($node, 'DROP DATABASE told');
pass('DROP DATABASE finds nobody in its way');
alert_off();
my $samples = sql($node, 'SELECT samples_missed FROM connpool_info()');
my $offset = -s $node->logfile;
alert_on();

for (1 .. 100)
{
	last if log_count($node, 'FATAL:  database "told" does not exist', $offset) >= 2;
	select(undef, undef, undef, 0.1);
}
cmp_ok(log_count($node, 'FATAL:  database "told" does not exist', $offset),
	'>=', 2, 'a database that is missing is tried again');
wait_samples($node, 5);
is(sql($node, 'SELECT samples_missed FROM connpool_info()'), $samples, 'and delays no sample');
cmp_ok(log_count($node, 'FATAL:  database "told" does not exist', $offset),
	'<=', 4, 'less and less often');
like(sql($node, 'SELECT problem FROM connpool_info()'), qr/^NOTIFY fails/, 'connpool_info() says so');
# it comes back, under another name that is then the right one, and is tried at once
sql($node, 'CREATE DATABASE renamed');
$listener = listener(dbname => 'renamed');
configure('notify_database', 'renamed');
@payloads = heard($listener, 2);
cmp_ok(scalar(@payloads), '>=', 2, 'what waited is told once there is a database');
poll_ok($node, 'SELECT problem IS NULL FROM connpool_info()', 'and all is well again');
alert_off();
heard($listener, 1);

# --- a notifier that cannot finish: somebody holds the lock of all notifications, as
# a commit does that waits for a standby
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
	'a commit waits');
$offset = -s $node->logfile;
alert_on();

for (1 .. 300)
{
	last if log_count($node, 'terminating background worker "connpool_monitor notifier"', $offset);
	select(undef, undef, undef, 0.1);
}
is(log_count($node, 'terminating background worker "connpool_monitor notifier"', $offset),
	1, 'a notifier that takes too long is ended');
is(sql($node, 'SELECT samples_missed FROM connpool_info()'), $samples, 'no sample was delayed');
sql($node, q{ALTER SYSTEM RESET synchronous_standby_names});
$node->reload;
ok(hears($listener, 'idle_in_transaction', 'WARNING'), 'the notification arrives in the end');

# --- more than notify_rate a second
configure('notify_rate', '1');
my $dropped = sql($node, 'SELECT notifications_dropped FROM connpool_info()');
configure('total_connections_warning', $_) foreach (1, -1, 1, -1, 1, -1, 1, -1);
cmp_ok(sql($node, 'SELECT notifications_dropped FROM connpool_info()'),
	'>', $dropped, 'what is more than notify_rate a second is counted');
configure('notify_rate', '10');
alert_off();

# --- all metrics come and go for some seconds: in none of them, wherever it begins, more than there may be
{
	my @flapping = split /\n/, sql($node, <<~'SQL');
		SELECT metric_name
		FROM get_connection_stats()
		WHERE metric_name NOT IN ('exhaustion_seconds', 'idle_in_transaction')
		SQL
	sql($node, "ALTER SYSTEM SET connpool_monitor.${_}_warning = 0") foreach @flapping;
	configure('notify_rate', '5');
	foreach my $flip (1 .. 14)
	{
		configure('silent_metrics', $flip % 2 ? join(', ', @flapping) : '');
	}
	my @at =
	  map { $_->{at} =~ /T(\d+):(\d+):([\d.]+)Z/; ($1 * 60 + $2) * 60 + $3 } heard($listener, 11);
	cmp_ok(scalar @at, '>', 10, 'some are told');
	# past midnight the day begins anew
	my @close =
	  grep { my $span = $at[ $_ + 5 ] - $at[$_]; $span >= 0 && $span < 0.8 } 0 .. $#at - 5;
	is("@close", '', 'and no six of them within a second') or diag("@at");
	sql($node, "ALTER SYSTEM RESET connpool_monitor.${_}_warning") foreach @flapping;
	sql($node, 'ALTER SYSTEM RESET connpool_monitor.silent_metrics');
	configure('notify_rate', '10');
	poll_ok($node, q{SELECT count(*) = 0 FROM connpool_alerts WHERE status <> 'OK'},
		'all is over');
	sql($node, 'SELECT pg_sleep(0.5)');
	$listener->query('SELECT 1');
}

# --- from CRITICAL to WARNING the threshold is WARNING's; a sampler that ends takes its notifier along
configure('total_connections_warning', '0');
configure('total_connections_critical', '0');
heard($listener, 1);
sql($node, 'SELECT pg_sleep(0.3)');
$listener->query('SELECT 1');
configure('total_connections_critical', '90');
my ($fallen) = grep { $_->{metric} eq 'total_connections' } heard($listener, 1);
is( "$fallen->{status} $fallen->{threshold}",
	'WARNING 0',
	'CRITICAL to WARNING tells the threshold of WARNING');
configure('total_connections_critical', '-1');
my $locker = session($node, 'locker');
$locker->query_safe('BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE');
append_to_file($node->data_dir . '/postgresql.auto.conf',
	"connpool_monitor.total_connections_warning = '-1'\n");
$node->reload;
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

sub notifiers
{
	my $count = () = `ps --ppid $postmaster -o args=` =~ /connpool_monitor notifier/g;
	return $count;
}
for (1 .. 100) { last if notifiers() == 1; select(undef, undef, undef, 0.1) }
is(notifiers(), 1, 'a notifier that waits for a lock to connect');
kill('TERM', (`ps --ppid $postmaster -o pid=,args=` =~ /(\d+) .*connpool_monitor sampler/)[0]);
for (1 .. 100) { last if notifiers() == 0; select(undef, undef, undef, 0.02) }
is(notifiers(), 0, 'ends with the sampler that started it');
$locker->query_safe('COMMIT');
leave($locker);
ok(hears($listener, 'total_connections', 'OK'),
	'the next sampler sends the notification of that recovery');
leave($listener);

# --- a standby is quiet, and tells after its promotion
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
	'an alert on a standby');
wait_samples($standby, 3);
is(log_count($standby, 'notifier|cannot execute NOTIFY'), 0, 'tells nobody');
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'promoted');
my $psql = session($standby, 'listener');
$psql->query_safe('LISTEN connpool_alerts');
$reader->query_safe('COMMIT');
@payloads = heard($psql, 1);
is($payloads[0]->{status}, 'OK', 'it tells what happens from then on');
leave($_) foreach $psql, $reader, $idler;
$standby->stop('fast');
$node->stop('fast');

# --- no worker slot is free; and thresholds that are crossed at every sample
my $narrow = new_node('narrow', <<'CONF');
max_worker_processes = 2
max_logical_replication_workers = 0
connpool_monitor.notify_database = 'postgres'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.active_connections_warning = 0
CONF
poll_ok($narrow,
	q{SELECT status = 'WARNING' FROM connpool_alerts WHERE metric_name = 'active_connections'},
	'an alert');
$samples = $narrow->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()');
wait_samples($narrow, 20);
is( $narrow->safe_psql('postgres', 'SELECT samples_missed, sampler_running FROM connpool_info()'),
	"$samples|t",
	'without a worker slot sampling goes on');
is(log_count($narrow, 'notifier'), 0, 'and nothing is started');
is( log_count(
		$narrow, 'WARNING:  connpool_monitor: no slot of max_worker_processes is free for NOTIFY'),
	1,
	'which the log says once');
like(
	$narrow->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
	qr/^NOTIFY fails/,
	'and connpool_info()');

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
for my $flip (1 .. 12)
{
	$narrow->append_conf('postgresql.conf',
		"connpool_monitor.silent_metrics = '" . ($flip % 2 ? '' : $all) . "'");
	$narrow->reload;
	wait_samples($narrow, 2);
}
my $transitions = $narrow->safe_psql('postgres', 'SELECT count(*) FROM connpool_alert_log');
my $logged = log_count($narrow, 'connpool_monitor: (WARNING|recovered|no longer watched)', $from);
cmp_ok($transitions, '>', 100, "$transitions transitions");
cmp_ok($logged, '<', $transitions * 0.8, "$logged lines in the log");
like(
	substr(slurp_file($narrow->logfile), $from),
	qr/\d+ messages of alerts were left out/,
	'which says what it left out');
$narrow->stop('fast');
done_testing();
