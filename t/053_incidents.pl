# SPDX-License-Identifier: PostgreSQL
# Incidents are recorded while they happen: their start and end, their metrics and counts, and the
# sessions at the start, at each rise of an alert and at the worst moment. They survive crashes.
# Needs queues of locks, a full server, several servers, and a compiler, because a program tests the
# rules whose effects take minutes or thousands of rows.
# scripts/test: slow, 38 s
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Wire;

# --- rules and storage, without a server
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
	is( system($ENV{CC} // 'cc', split(' ', $ENV{COPT} // ''),
			'-O1', '-Wall',
			'-I', $include,
			'-I', "$ENV{TESTDIR}/src",
			'-o', "$dir/incidents",
			"$ENV{TESTDIR}/t/unit/incidents.c", "$ENV{TESTDIR}/src/rules/incidents.c",
			"$ENV{TESTDIR}/src/samples/incidents.c"),
		0,
		'rules and storage compile without the server') or BAIL_OUT('no compiler');
	my @lines = split /\n/, `$dir/incidents`;
	is(shift @lines, 'bcererebe..',
		'an alert less than a minute after the end of an incident resumes it');
	is(shift @lines, 'bccercceb', 'an incident lasts for a minute after the last refusal');
	is(shift @lines, 'bcccer', 'an incident with alerts and refusals ends after both');
	is( shift @lines,
		'w.......w...w.w',
		'an expensive snapshot is taken every ten seconds while more sessions are blocked or busy'
	);
	is(shift @lines, 'w.w.wwww....ww.', 'a cheap snapshot is taken more often');
	is(shift @lines, 'c.........c.........c....',
		'a rise to CRITICAL replaces the snapshot of another after ten seconds');
	is(join("\n", @lines) . "\n",
		<<~'LINES', 'the snapshots have at most 10,000 rows, and an incident at most eight of them');
		0 incidents
		45 from 1, 7740 rows, from 1, 2 of the last
		46 from 1, 9840 rows, from 1, 7 of the last
		46 from 1, 9938 rows, from 5, 8 of the last
		wwwwwwwW cW
		wwwwwwWc cW
		wWcccccc W
		46 from 1, 8163 rows, from 5, 8 of the last
		47 from 1, 10000 rows, from 47, 8 of the last
		50 from 18, 10000 rows, from 47, 0 of the last
		0 incidents
		1 from 68, 1 rows, from 68, 1 of the last
		10 1 from 68, 1 rows, from 68, 1 of the last
		68 begun
		LINES
}

# --- a server in which only the alerts of this test are raised
my $port = http_port();
my $silent_metrics = join ', ', qw(idle_in_transaction exhaustion_seconds failed_query_percent
  idle_connections average_query_time_ms active_connections connections_per_second
  total_connections);
my $node = new_node('incidents', <<"CONF");
max_connections = 260
superuser_reserved_connections = 3
restart_after_crash = on
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.blocked_age = '50ms'
connpool_monitor.blocked_sessions_warning = 1
connpool_monitor.blocked_sessions_critical = 3
connpool_monitor.idle_in_transaction_warning = 1
connpool_monitor.idle_in_transaction_max = 100
connpool_monitor.slow_statement_time = '1h'
connpool_monitor.long_transaction_age = '1h'
connpool_monitor.leak_age = '1h'
connpool_monitor.silent_metrics = '$silent_metrics'
CONF
my $user = getpwuid($<);
my $file = $node->data_dir . '/pg_stat/connpool_monitor.incidents';
sql($node, <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE reader LOGIN;
CREATE TABLE t (i int PRIMARY KEY, j int);
INSERT INTO t SELECT generate_series(1, 10), 0;
GRANT ALL ON t TO app;
GRANT SELECT ON connpool_incidents, connpool_incident_sessions TO reader, app;
SQL
my $watcher = session($node, 'watcher');

sub newest
{
	my ($columns) = @_;
	return sql($watcher, "SELECT $columns FROM connpool_incidents LIMIT 1");
}

# Open a session that sends a statement and reads no result.
sub start_statement
{
	my ($application, $statement, %options) = @_;
	my $session =
	  Wire->connect_to($options{node} // $node, $application, user => $options{user} // $user);
	$session->query($options{before}) if $options{before};
	$session->send_message('Q', "$statement\0");
	return $session;
}

# --- no incident
my @pool =
  map { my $s = Wire->connect_to($node, 'pool', user => 'app'); $s->query('SELECT 1'); $s } 1 .. 5;
my $silent = session($node, 'silent');
$silent->query_safe('BEGIN');
wait_samples($node, 5);
is(newest('count(*)'), '0', 'a silent metric above its threshold begins no incident');
is(metric($port, 'incidents_total'), 0, 'no incident is counted');
leave($silent);

# --- a queue of locks
my $holder = session($node, 'holder');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 1');
my @waiters = start_statement('waiter 1', 'UPDATE t SET j = 2 WHERE i = 1', user => 'app');
poll_session($watcher, 'SELECT count(*) = 1 FROM connpool_incidents');
is(newest('id, ended_at IS NULL, metrics, started_at > now() - interval \'1 min\''),
	'1|t|{blocked_sessions}|t', 'an alert begins an incident');
like(
	newest('status, message'),
	qr/^WARNING\|blocked_sessions is 1 of 10 sessions, warning threshold 1$/,
	'an incident has the message of its first alert');
push @waiters,
  map { start_statement("waiter $_", 'UPDATE t SET j = 2 WHERE i = 1', user => 'app') } 2 .. 4;
poll_session($watcher, q{SELECT status = 'CRITICAL' AND peak_blocked = 4 FROM connpool_incidents});
poll_session($watcher,
	'SELECT max(blocks) = 4 AND max(snapshot) <= 8 FROM connpool_incident_sessions');
pass('the worst moment has a snapshot');
is(newest('snapshots BETWEEN 2 AND 8'), 't', 'the rise to CRITICAL adds a snapshot');
is( sql($watcher, <<~'SQL'),
		SELECT count(DISTINCT snapshot), min(snapshot), max(snapshot), count(DISTINCT at)
		FROM connpool_incident_sessions
		SQL
	newest('snapshots, 1, snapshots, snapshots'),
	'snapshots are numbered from 1');
# reads the view once, because the incident may add a snapshot between two scans
my $last_snapshot = <<~'SQL';
	(SELECT * FROM (SELECT *, max(snapshot) OVER () AS last FROM connpool_incident_sessions) AS s
	 WHERE snapshot = last) AS last_snapshot
	SQL
is( sql($watcher, <<~"SQL"),
		SELECT pid, role, application_name, state, root_blocker IS NULL, blocks >= 3, sessions,
		       xact_age >= state_age, wait_event, query
		FROM $last_snapshot LIMIT 1
		SQL
	"$pid|$user|holder|idle in transaction|t|t|1|t|ClientRead|UPDATE t SET j = \$1 WHERE i = \$2",
	'the session that blocks the others comes first');
is( sql($watcher, <<~"SQL"), 't|app|active|t|Lock|t|UPDATE t SET j = $1 WHERE i = $2',
		SELECT count(*) >= 3, min(role), min(state), bool_and(root_blocker = $pid),
		       min(wait_event_type), bool_and(client_addr IS NULL), min(query)
		FROM $last_snapshot WHERE application_name LIKE 'waiter%'
		SQL
	'each waiter has a row with its root blocker and its wait event');
is( sql($watcher, <<~"SQL"),
		SELECT database, role, state, sessions, client_addr, wait_event, xact_age, query, blocks
		FROM $last_snapshot WHERE application_name = 'pool' AND pid IS NULL
		SQL
	'postgres|app|idle|5|||||', 'idle sessions of a pool share a row');
is(sql($watcher, <<~"SQL"), 't', 'the sessions of a snapshot add up to all connections');
	SELECT sum(sessions) BETWEEN 10 AND 12 FROM $last_snapshot
	SQL

# --- privileges
is( sql($node, <<~"SQL", extra_params => [ '-U', 'reader' ]),
		SELECT pid, role, application_name, client_addr, state, wait_event_type, wait_event,
		       state_age, xact_age, queryid, query, blocks >= 3
		FROM $last_snapshot LIMIT 1
		SQL
	"$pid|$user|holder||||||||<insufficient privilege>|t",
	'a role without pg_read_all_stats does not see the activity of other roles');
my $blocked = 'SELECT count(root_blocker) > 0 FROM connpool_incident_sessions';
is(join('', map { sql($node, $blocked, extra_params => [ '-U', $_ ]) } 'reader', 'app', $user),
	'ftt', 'a role sees the root blockers of its own sessions only');
my $of_app = <<~'SQL';
	SELECT count(state), 0, true FROM connpool_incident_sessions WHERE role = 'app'
	SQL
my $of_all = <<~'SQL';
	SELECT count(state), count(state) FILTER (WHERE role <> 'app'), bool_or(queryid IS NOT NULL)
	FROM connpool_incident_sessions
	SQL
# repeat if the incident, which continues, has changed a snapshot between the queries
my ($seen, $before, $after);
wait_until(
	sub {
		($before, $seen, $after) =
		  map { sql($node, $$_[1], extra_params => [ '-U', $$_[0] ]) }
		  ([ $user, $of_app ], [ 'app', $of_all ], [ $user, $of_app ]);
		return $before eq $after;
	});
is($seen, $before, 'a role sees the activity of its own sessions');

# --- over HTTP
my $answer = get($port, '/api/incidents')->{content};
my ($shown) = @{ JSON::PP->new->decode($answer)->{incidents} };
is( "$shown->{id} $shown->{status} @{$shown->{metrics}} $shown->{peakBlocked}",
	'1 CRITICAL blocked_sessions 4',
	'/api/incidents has the incident');
is($shown->{endedAt}, undef, '/api/incidents shows no end of an incident in progress');
is($shown->{timeline}[0]{from} . $shown->{timeline}[-1]{to},
	'OKCRITICAL', '/api/incidents has the changes of alerts');
ok(!$shown->{timeline}[-1]{bySetting},
	'/api/incidents shows that the value changed, and no setting');
unlike($answer, qr/UPDATE|$pid|waiter/, '/api/incidents has no statement, pid or session');

# --- the end, and the next alert within a minute
$holder->query_safe('ROLLBACK');
$_->read_until('Z') foreach @waiters;
poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents');
is(newest('ended_at > started_at, id'), 't|1', 'the incident ends when the alert is over');
$before = newest('failed_queries');
$waiters[0]->query('SELECT 1/0') foreach 1 .. 3;
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 2');
push @waiters, start_statement('again', 'UPDATE t SET j = 2 WHERE i = 2', user => 'app');
poll_session($watcher, 'SELECT ended_at IS NULL FROM connpool_incidents LIMIT 1');
is(newest('count(*), max(id)'),
	'1|1', 'an alert less than a minute after the end continues the incident');
$waiters[0]->query('SELECT 1/0') foreach 1 .. 4;
poll_session($watcher, "SELECT failed_queries >= $before + 4 FROM connpool_incidents LIMIT 1");
pass('an incident counts the statements that fail during it');
$holder->query_safe('ROLLBACK');
$waiters[-1]->read_until('Z');

# --- an idle session that blocks others
poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents LIMIT 1');
$holder->query_safe('SELECT pg_advisory_lock(1)');
push @waiters, start_statement('queued', 'SELECT pg_advisory_xact_lock(1)', user => 'app');
poll_session($watcher, <<~"SQL");
	SELECT count(*) > 0 FROM connpool_incident_sessions
	WHERE pid = $pid AND state = 'idle' AND blocks = 1
	SQL
pass('an idle session that blocks others has a row');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
$waiters[-1]->read_until('Z');

# --- at most eight snapshots
foreach my $i (1 .. 10)
{
	$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 3');
	my $waiter = start_statement('short', 'UPDATE t SET j = 2 WHERE i = 3', user => 'app');
	poll_session($watcher, 'SELECT ended_at IS NULL FROM connpool_incidents LIMIT 1');
	$holder->query_safe('ROLLBACK');
	$waiter->read_until('Z');
	$waiter->end;
	poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents LIMIT 1');
}
is(newest('count(*), max(snapshots) BETWEEN 7 AND 8'),
	'1|t', 'an incident has up to eight snapshots');
my $eighth = sql($watcher, 'SELECT max(at) FROM connpool_incident_sessions');
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 3');
my @queue =
  map { start_statement('short', 'UPDATE t SET j = 2 WHERE i = 3', user => 'app') } 1 .. 3;
poll_session($watcher, "SELECT max(at) > '$eighth' FROM connpool_incident_sessions");
is(sql($watcher, "SELECT count(*) FROM $last_snapshot WHERE blocks > 2"),
	'1', 'a rise to CRITICAL has a snapshot, even if the incident already has eight');
is(newest('count(*), max(snapshots) BETWEEN 7 AND 8'),
	'1|t', 'a rise to CRITICAL takes the place of an earlier snapshot');

sub end_queue
{
	$holder->query_safe('ROLLBACK');
	$_->read_until('Z') foreach @queue;
	poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents LIMIT 1');
	return;
}

# Let the alert rise to CRITICAL again, and return the time of the newest snapshot.
sub raise_again
{
	$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 3');
	$_->send_message('Q', "UPDATE t SET j = 2 WHERE i = 3\0") foreach @queue;
	poll_session($watcher, <<~'SQL');
		SELECT status = 'CRITICAL' FROM connpool_alerts WHERE metric_name = 'blocked_sessions'
		SQL
	wait_samples($watcher, 1);
	my $at = sql($watcher, 'SELECT max(at) FROM connpool_incident_sessions');
	end_queue();
	return $at;
}

# first let rises to CRITICAL replace the snapshots of all rises to WARNING
end_queue();
my $newest = (map { raise_again() } 1 .. 7)[-1];
my $rising = Time::HiRes::time();
my %replacing = map { raise_again() => 1 } 1 .. 4;
delete $replacing{$newest};
cmp_ok(
	scalar(keys %replacing),
	'<=',
	1 + int((Time::HiRes::time() - $rising) / 10),
	'a rise to CRITICAL replaces the snapshot of another at most every ten seconds');
$_->end foreach @queue;
is(metric($port, 'incidents_total'), 1, 'an incident that continues is counted once');

# --- an alert that ends because a setting changed
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 3');
my $long = start_statement('long', 'UPDATE t SET j = 2 WHERE i = 3', user => 'app');
poll_session($watcher, 'SELECT ended_at IS NULL FROM connpool_incidents LIMIT 1');
sql($watcher, q{ALTER SYSTEM SET connpool_monitor.blocked_age = '1h'});
$node->reload;
poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents LIMIT 1');
($shown) = @{ get_json($port, '/api/incidents')->{incidents} };
ok($shown->{timeline}[-1]{bySetting},
	'/api/incidents shows that an alert ended because a setting changed');
$holder->query_safe('ROLLBACK');
$long->read_until('Z');
$long->end;
sql($watcher, q{ALTER SYSTEM RESET connpool_monitor.blocked_age});
$node->reload;

# --- a reset
sql($watcher, q{SELECT connpool_reset('counters')});
is(newest('count(*)'), '1', 'a reset of counters keeps incidents');
sql($watcher, q{SELECT connpool_reset('alerts')});
is(newest('count(*)'), '0', 'a reset of alerts removes incidents');
is(sql($watcher, 'SELECT count(*) FROM connpool_incident_sessions'),
	'0', 'a reset of alerts removes snapshots');
is(metric($port, 'incidents_total'), 1, 'a reset does not lower the count of incidents');

# --- more busy sessions than a snapshot has rows
my @many = map {
	my $s = Wire->connect_to($node, "busy $_", user => 'app');
	$s->query('BEGIN; SELECT 1');
	$s
} 1 .. 220;
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 4');
my $late = start_statement('late', 'UPDATE t SET j = 2 WHERE i = 4', user => 'app');
poll_session($watcher, 'SELECT count(*) > 0 FROM connpool_incident_sessions');
is(newest('id'), '2', 'the ids of incidents continue after a reset');
is( sql($watcher, <<~"SQL"), "200|$pid|t|t",
		SELECT count(pid), (array_agg(pid))[1],
		       bool_or(pid IS NOT NULL AND application_name = 'busy 1')
		       AND NOT bool_or(pid IS NOT NULL AND application_name = 'late'),
		       sum(sessions) FILTER (WHERE pid IS NULL AND state <> 'idle') BETWEEN 22 AND 23
		FROM connpool_incident_sessions WHERE snapshot = 1
		SQL
	'a snapshot has rows for 200 sessions, the oldest transactions, and counts the others');

# --- more waits than a snapshot examines
$holder->query_safe('SELECT pg_advisory_xact_lock(7)');
$_->send_message('Q', "SELECT pg_advisory_xact_lock(7)\0") foreach @many[ 0 .. 149 ];
# the sampler finds root blockers of waits that last 100 ms
poll_session($watcher, <<~'SQL');
	SELECT count(*) = 151 AND min(waiting) > '100ms' FROM connpool_blocked_queries
	SQL
sql($watcher, q{SELECT connpool_reset('alerts')});
poll_session($watcher, 'SELECT count(*) > 0 FROM connpool_incident_sessions');
is(sql($watcher, "SELECT blocks FROM connpool_incident_sessions WHERE pid = $pid LIMIT 1"),
	'151', 'all waits count in blocks of the root blocker');
$holder->query_safe('ROLLBACK');
$late->read_until('Z');
$_->end foreach @many;
$node->stop('fast');

# --- refusals because no slot was free, while rejected_connections is silent
$node->append_conf('postgresql.conf', <<"CONF");
max_connections = 10
connpool_monitor.silent_metrics = '$silent_metrics, rejected_connections'
CONF
unlink($file);
$node->start;
$watcher = session($node, 'watcher');
my @full = map { Wire->connect_to($node, 'full', user => 'app') } 1 .. 6;
my $refused = $node->connstr('postgres') . " user=app application_name='Odd name' sslmode=disable";
ok(!connects($refused), 'a connection is refused') foreach 1 .. 3;
poll_session($watcher, 'SELECT count(*) = 1 FROM connpool_incidents');
poll_session($watcher, 'SELECT refused = 3 FROM connpool_incidents');
is( newest('status, metrics, message, ended_at IS NULL, peak_connections >= 7'),
	'CRITICAL|{}|no slot was free for a connection of "Odd name" (app in postgres)|t|t',
	'a refusal because no slot was free begins an incident');
is( sql($watcher, <<~'SQL'),
		SELECT sessions FROM connpool_incident_sessions
		WHERE application_name = 'full' AND state = 'idle' AND snapshot = 1
		SQL
	'6', 'a refusal takes a snapshot of the sessions that hold the slots');
$_->end foreach @full;

# --- stops and crashes
my $all = <<'SQL';
SELECT concat(id, started_at, status, metrics, message, peak_connections, refused, snapshots) ||
       (SELECT count(*) || ' ' || sum(sessions) || ' ' ||
       max(state_age) || ' ' || string_agg(DISTINCT concat(wait_event, role, query), ',')
       FROM connpool_incident_sessions)
FROM connpool_incidents
SQL

# Wait until the file has been written after $from.
sub wait_written
{
	my ($from) = @_;
	return wait_until(sub { ((Time::HiRes::stat($file))[9] // 0) > $from });
}
$seen = newest('id, started_at, message, refused');
leave($watcher);
$node->stop('fast');
is(sprintf('%o', (stat $file)[2] & 0777), '600', 'only the owner can read the file');
$node->start;
is(sql($node, 'SELECT id, started_at, message, refused FROM connpool_incidents'),
	$seen, 'a fast stop keeps an incident in progress');
is(sql($node, 'SELECT ended_at IS NOT NULL FROM connpool_incidents'),
	't', 'a stop ends an incident with its last sample');
my $kept = sql($node, $all);
$node->restart;
is(sql($node, $all), $kept, 'a restart keeps incidents and snapshots');
is(metric($port, 'incidents_total'), 0, 'incidents_total counts since the server started');
sql($node, q{SELECT connpool_reset('alerts')});

foreach my $how ('immediate', 'SIGKILL')
{
	$watcher = session($node, 'watcher');
	$holder = session($node, 'holder');
	$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 5');
	my $waiter = start_statement('waiter', 'UPDATE t SET j = 2 WHERE i = 5', user => 'app');
	poll_session($watcher, <<~"SQL");
		SELECT ended_at IS NULL AND snapshots > 0 FROM connpool_incidents LIMIT 1
		SQL
	my $began = newest('id, started_at, message');
	my $sessions = sql($watcher, 'SELECT count(*) FROM connpool_incident_sessions');
	ok(wait_written(Time::HiRes::time()), "$how: the file is written during an incident");

	my $counted = 0;
	if ($how eq 'immediate')
	{
		# The incident changes until the crash. What was counted more than five seconds before must
		# be in the file.
		my $failing = Wire->connect_to($node, 'failing', user => 'app');
		my @counts;
		wait_until(
			sub {
				push @counts, [ Time::HiRes::time(), newest('failed_queries') ];
				$failing->query('SELECT 1/0');
				my $promised = Time::HiRes::time() - 5;
				my ($last) = grep { $_->[0] < $promised } reverse @counts;
				$counted = $last->[1] if $last;
				return $counted > 2;
			});
		cmp_ok($counted, '>', 2, 'statements failed until five seconds before the crash');
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $victim =
		  sql($watcher, q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE%2%'});
		kill 'KILL', $victim;
		$node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'holder'});
	}
	eval { $_->quit } foreach $watcher, $holder;
	$watcher = session($node, 'watcher');
	poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents LIMIT 1');
	is(newest('id, started_at, message'), $began, "$how: a crash keeps the incident");
	cmp_ok(newest('failed_queries'),
		'>=', $counted, "$how: a crash keeps what is older than five seconds");
	is(sql($watcher, "SELECT count(*) >= $sessions FROM connpool_incident_sessions"),
		't', "$how: a crash keeps the sessions");
	is(newest('ended_at >= (SELECT max(at) FROM connpool_incident_sessions)'),
		't', "$how: the incident has ended with its last sample");
}
my $highest = newest('id');
my $from = Time::HiRes::time();
sql($watcher, q{SELECT connpool_reset('alerts')});
ok(wait_written($from), 'a reset is saved at once');
leave($watcher);
$node->stop('immediate');
$node->start;
is(sql($node, 'SELECT count(*) FROM connpool_incidents'),
	'0', 'incidents from before a reset do not return after a crash');

# --- a damaged file
$node->stop('fast');
my $bytes = slurp_file($file);
substr($bytes, length($bytes) / 2, 1) ^= "\x01";
open(my $out, '>:raw', $file) or die $!;
print $out $bytes;
close $out;
my $offset = -s $node->logfile;
$node->start;
my $unusable = 'file "pg_stat/connpool_monitor.incidents" is not used: it is damaged';
is(log_count($node, "WARNING:  connpool_monitor: $unusable", $offset),
	1, 'a damaged file is reported');
ok(-f "$file.unusable", 'a damaged file is kept under another name');
is(sql($node, 'SELECT count(*) FROM connpool_incidents'),
	'0', 'the server runs without the incidents of a damaged file');
$holder = session($node, 'holder');
$holder->query_safe('BEGIN; UPDATE t SET j = 1 WHERE i = 5');
my $waiting = start_statement('waiter', 'UPDATE t SET j = 2 WHERE i = 5', user => 'app');
poll_ok(
	$node,
	"SELECT min(id) > $highest FROM connpool_incidents",
	'no id is reused after a file was lost');
leave($holder);
$node->stop('fast');

# --- a standby
my $primary = new_node('primary', <<'CONF', allows_streaming => 1);
connpool_monitor.alert_after = 0
connpool_monitor.idle_in_transaction_warning = 1
connpool_monitor.silent_metrics = 'exhaustion_seconds, connections_per_second'
CONF
my $held = session($primary, 'held');
$held->query_safe('BEGIN; SELECT 1');
poll_ok($primary, 'SELECT count(*) = 1 FROM connpool_incidents', 'an incident of the primary');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
wait_samples($standby, 2);
is(sql($standby, 'SELECT count(*) FROM connpool_incidents'),
	'0', 'a standby does not take over the incidents of its primary');
my $reader = session($standby, 'reader');
$reader->query_safe('BEGIN; SELECT 1');
poll_ok($standby, <<~'SQL', 'an incident of a standby has its sessions');
	SELECT count(*) >= 1 FROM connpool_incident_sessions
	WHERE application_name = 'reader' AND state = 'idle in transaction'
	SQL
leave($_) foreach $reader, $held;
$standby->stop('fast');
$standby->start;
is(sql($standby, q{SELECT id, metrics FROM connpool_incidents}),
	'1|{idle_in_transaction}', 'a standby keeps its incidents over a restart');
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'the standby is promoted');
is(sql($standby, q{SELECT id FROM connpool_incidents}),
	'1', 'a promoted standby keeps its incidents');
$standby->stop('fast');
$primary->stop('fast');

# --- alerts that survive more than a minute of downtime
build_clock();
$node = new_node('downtime', <<'CONF', stopped => 1);
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = '1h'
connpool_monitor.idle_in_transaction_warning = 1
connpool_monitor.silent_metrics = 'exhaustion_seconds, connections_per_second'
CONF
start_with_clock($node);
sql($node, 'CREATE EXTENSION connpool_monitor CASCADE');

sub restart_after_downtime
{
	my ($clock) = @_;
	$node->stop('fast');
	set_clock($clock);
	start_with_clock($node);
	return;
}
my $idle = session($node, 'idle');
$idle->query_safe('BEGIN; SELECT 1');
poll_ok($node, 'SELECT count(*) = 1 FROM connpool_incidents', 'an incident before the downtime');
leave($idle);
restart_after_downtime(70);
wait_samples($node, 3);
is(sql($node, 'SELECT count(*), count(ended_at) FROM connpool_incidents'),
	'1|1', 'an alert that survives a minute of downtime begins no incident if it is not met');
is(sql($node, q{SELECT status FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'}),
	'WARNING', 'that alert lasts for alert_clear_after');
my @others = map { session($node, "other $_") } 1 .. 4;
sql($node, 'ALTER SYSTEM SET connpool_monitor.total_connections_warning = 0');
$node->reload;
poll_ok($node, 'SELECT count(*) = 2 FROM connpool_incidents', 'another alert begins an incident');
my $described = q{metrics, substring(message FROM '^\w+ is') FROM connpool_incidents LIMIT 1};
is( sql($node, "SELECT $described"),
	'{total_connections}|total_connections is',
	'the incident has the other alert and its message');
$others[0]->query_safe('BEGIN; SELECT 1');
poll_ok(
	$node,
	q{SELECT metrics = '{total_connections,idle_in_transaction}' FROM connpool_incidents LIMIT 1},
	'an alert that survived counts once its condition is met');
leave($_) foreach @others;
# The first sample after the start finds no session. The next one follows after two seconds.
sql($node, q{ALTER SYSTEM SET connpool_monitor.sample_interval = '2s'});
restart_after_downtime(140);
my $empty = sql($node, 'SELECT connpool_incident_report()');
is(sql($node, 'SELECT count(*), max(id) FROM connpool_incidents'),
	'3|3', 'an alert whose condition is met after the downtime begins an incident');
like(
	$empty,
	qr/^- Began with: total_connections is [01] of \d+ connections, warning threshold 0$/m,
	'the incident has a message with the value after the downtime');
like(
	$empty,
	qr/^- Metrics that left OK: total_connections$/m,
	'the incident omits the alert whose condition is not met');
like(
	$empty,
	qr/^No client was connected when the snapshots were taken\.$/m,
	'the report of an incident whose snapshot is empty says so');
$node->stop('fast');
done_testing();
