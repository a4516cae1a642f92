# SPDX-License-Identifier: PostgreSQL
# Reports name the cause, the responsible pool, the number of blocked sessions and the time of
# incidents that the test produces with real clients: a forgotten transaction, DDL behind a report,
# a leak to exhaustion, saturated processors, deadlocks and reconnecting clients. Needs many
# sessions at once.
# scripts/test: slow, 60 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Wire;

my $node = new_node('report', <<'CONF');
max_connections = 60
superuser_reserved_connections = 3
deadlock_timeout = '100ms'
timezone = 'UTC'
connpool_monitor.blocked_age = '300ms'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.blocked_sessions_warning = 3
connpool_monitor.slow_statement_time = '200ms'
CONF
sql($node, <<'SQL');
CREATE ROLE shop LOGIN;
CREATE ROLE analyst LOGIN;
CREATE ROLE reader LOGIN IN ROLE pg_monitor;
CREATE ROLE outsider LOGIN;
CREATE TABLE orders (id int PRIMARY KEY, pieces int);
INSERT INTO orders SELECT g, 0 FROM generate_series(1, 100) g;
GRANT ALL ON orders TO shop, analyst;
-- pg_stat_statements shows the text of a statement once it has ended
UPDATE orders SET pieces = pieces + 1 WHERE id = 0;
SQL
my $watcher = session($node, 'watcher');

sub now { return sql($watcher, 'SELECT clock_timestamp()') }

# Return the report of the time from $since until now.
sub report
{
	my ($since) = @_;
	wait_samples($node, 2);
	return sql($watcher, "SELECT connpool_report('$since', clock_timestamp())");
}

# Return the section of a report with that heading.
sub section
{
	my ($report, $heading) = @_;
	my ($section) = $report =~ /^## \Q$heading\E\n\n(.*?)(?=^## |\z)/ms;
	return $section // '';
}

# Open a session that sends a statement and does not read its result.
sub start
{
	my ($application, $user, $statement, $before) = @_;
	my $session = Wire->connect_to($node, $application, user => $user);
	$session->query($before) if $before;
	$session->send_message('Q', "$statement\0");
	return $session;
}

# --- nothing has happened
is( sql($watcher, 'SELECT connpool_incident_report()'),
	'No incident is recorded.',
	'without an incident, connpool_incident_report() reports that none is recorded');
is( sql($watcher, 'SELECT connpool_incident_report(99)'),
	'Incident 99 is not recorded. connpool_incidents lists the last 50.',
	'an unknown incident is reported as such');
my $since = now();
my $report = report($since);
like(
	section($report, 'Who blocked whom'),
	qr/^No session waited for a lock for longer than blocked_age \(300ms\)\.$/m,
	'a quiet time has no blockers');
like(section($report, 'Refused connections'),
	qr/^None is recorded\.$/m, 'a quiet time has no refusals');
like(
	section($report, 'What to look at next'),
	qr/^No alert began in this time\.$/m,
	'a quiet time has no hints');

# --- a lock convoy behind a forgotten transaction
$since = now();
my $forgotten = session($node, 'back|office', connection => 'analyst');
sql($forgotten, 'BEGIN; UPDATE orders SET pieces = 5 WHERE id = 1');
my $pid = sql($forgotten, 'SELECT pg_backend_pid()');
my @victims =
  map { start('web', 'shop', 'UPDATE orders SET pieces = pieces + 1 WHERE id = 1') } 1 .. 7;
poll_ok($node, <<~'SQL', 'the waits are logged');
	SELECT count(*) = 7 FROM connpool_lock_log WHERE application_name = 'web'
	SQL
poll_ok($node, 'SELECT count(*) = 1 FROM connpool_incidents', 'an incident has begun');
sql($forgotten, 'COMMIT');
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM connpool_lock_log WHERE outcome IS NULL},
	'all waits have ended');
undef @victims;
$report = report($since);
my $findings = section($report, 'Findings');
like(
	$findings,
	qr/^- \*\*Pid $pid of "back\\\|office" \(\S+ in postgres\), idle in transaction, held up 7 sessions from \d\d:\d\d:\d\d to \d\d:\d\d:\d\d\*\*/m,
	'the first finding is the forgotten transaction, its victims and their time');
like(
	section($report, 'Who blocked whom'),
	qr/^- Pid $pid of "back\\\|office".*\n(?:  - \d of web \(shop in postgres\) waited for \w+ .*\n)+/m,
	'the tree lists the waiters below the session that blocked them');
my $tree = section($report, 'Who blocked whom');
my $total = 0;
$total += $1 while $tree =~ /^  - (\d+) of web/mg;
is($total, 7, 'each waiter is in the tree once');
like(
	section($report, 'Timeline'),
	qr/\| blocked_sessions \| OK to \w+ \|/,
	'the timeline has the alert');
like(
	section($report, 'What to look at next'),
	qr/^- \*\*blocked_sessions\*\*: See connpool_blocked_queries/m,
	'the report has the hint of the alert');
like(section($report, 'Load'),
	qr/^\| lock \| [\d.]+ \| [\d.]+ \|$/m, 'the load includes lock waits');

my $incident = sql($watcher, 'SELECT connpool_incident_report()');
like($incident, qr/\A# Incident 1: (?:WARNING|CRITICAL)\n/, 'the incident has a report');
like($incident, qr/^- Metrics that left OK: .*blocked_sessions/m, 'the report lists the metrics');
like(
	section($incident, 'Connections at the worst moment'),
	qr/^\| postgres \| shop \| web \| 7 \| 7 \|/m,
	'at the worst moment the pool has its seven connections');
# the incident may go on meanwhile, so the two reports may differ
like(
	sql($watcher, 'SELECT connpool_incident_report(1)'),
	qr/\A# Incident 1:/,
	'an incident is found by its number');

# --- DDL behind a long report
$since = now();
my $reader = start('reports', 'analyst', 'SELECT pg_sleep(3) FROM orders WHERE id = 1');
poll_ok(
	$node,
	q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'},
	'a long report runs');
my $migration =
  start('deploy', sql($watcher, 'SELECT session_user'), 'ALTER TABLE orders ADD note text');
poll_ok(
	$node,
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'relation'},
	'a migration waits for it');
@victims = map { start('web', 'shop', 'SELECT * FROM orders WHERE id = 2') } 1 .. 4;
poll_ok($node, <<~"SQL", 'sessions queue behind the migration');
	SELECT count(*) = 5 FROM connpool_lock_log
	WHERE started_at > '$since' AND root_application_name = 'reports'
	SQL
$findings = section(report($since), 'Findings');
like(
	$findings,
	qr/^- \*\*Pid \d+ of reports \(analyst in postgres\), active, held up 5 sessions .*request for AccessExclusiveLock on orders by deploy \(\S+ in postgres\); later requests queue behind it/m,
	'the finding has the report at the head and the migration in front of the queue');
$_->abandon foreach $reader, $migration, @victims;

# --- a connection leak until no slot is left
$since = now();
my @leaked;
while (@leaked < 60)
{
	my $session = eval { Wire->connect_to($node, 'leaky', user => 'shop') } or last;
	push @leaked, $session;
}
foreach (1 .. 5)
{
	connects($node->connstr('postgres') . ' user=reader application_name=turned_away');
}
poll_ok(
	$node,
	q{SELECT count(*) > 0 FROM connpool_rejection_log WHERE application_name = 'turned_away'},
	'connections are refused');
$report = report($since);
like(
	section($report, 'Findings'),
	qr/^- \*\*\d+ connection attempts were refused for want of a slot\.\*\*/m,
	'the refusals are a finding');
like(
	section($report, 'Refused connections'),
	qr/\| reserved \| postgres \| reader \| turned_away \|/,
	'the refused clients are listed');
$incident = sql($watcher, 'SELECT connpool_incident_report()');
like(
	section($incident, 'Findings'),
	qr/When most connections were open \(\d+\), \d+ of them were of leaky \(shop in postgres\): \d+ idle, 0 idle in transaction\./,
	'the largest pool is named');
$_->abandon foreach @leaked;
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM connpool_sessions WHERE application_name = 'leaky'},
	'the leaked sessions have ended');

# --- more sessions compute than there are processors
$since = now();
my $processors = sql($watcher, 'SELECT _connpool_processors()');
my @busy =
  map { start('nightly', 'analyst', 'SELECT count(*) FROM generate_series(1, 300000000)') }
  1 .. $processors + 3;
wait_samples($node, 30);
$findings = section(report($since), 'Findings');
like(
	$findings,
	qr/in class cpu: \*\*more than the $processors processors\*\*\. Most of these were of nightly \(analyst in postgres\)/,
	'saturated processors and the pool that saturates them are named');
$_->abandon foreach @busy;
sql($watcher,
	q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nightly'});

# --- deadlocks
$since = now();
foreach my $n (1 .. 3)
{
	my ($one, $two) = map { Wire->connect_to($node, 'checkout', user => 'shop') } 1, 2;
	$one->query('BEGIN; UPDATE orders SET pieces = 1 WHERE id = 10');
	$two->query('BEGIN; UPDATE orders SET pieces = 1 WHERE id = 11');
	$one->send_message('Q', "UPDATE orders SET pieces = 1 WHERE id = 11\0");
	$two->send_message('Q', "UPDATE orders SET pieces = 1 WHERE id = 10\0");
	poll_ok($node, "SELECT count(*) = $n FROM connpool_deadlocks", "deadlock $n is logged");
	$_->abandon foreach $one, $two;
}
$report = report($since);
like(
	section($report, 'Findings'),
	qr/^- \*\*3 deadlocks\.\*\* The cancelled statements were of checkout \(shop in postgres\) \(3\)\.$/m,
	'deadlocks and their pool are a finding');
like(section($report, 'Deadlocks'),
	qr/blocked by process \d+/, 'the details of the deadlocks are listed');
like(section($report, 'Errors'), qr/^\| 40P01 \| deadlock_detected \| 3 \|/m,
	'the SQLSTATE of the deadlocks is listed');

# --- privileges
$report = sql($node, "SELECT connpool_report('$since')", extra_params => [ '-U', 'reader' ]);
unlike($report, qr/is left out/, 'a member of pg_monitor sees everything');
my ($status, undef, $error) =
  $node->psql('postgres', 'SELECT connpool_report(now())', extra_params => [ '-U', 'outsider' ]);
like(
	$error,
	qr/permission denied for function connpool_report/,
	'other roles may not call connpool_report()');
is( sql($watcher, q{SELECT connpool_report(now(), now() - interval '1 hour') ~ 'None is recorded'}
	),
	't',
	'a time that ends before it begins has an empty report');

# --- a time without limits
foreach my $limits ('NULL, NULL', q{'-infinity', 'infinity'})
{
	$report = sql($watcher, "SELECT connpool_report($limits)");
	like($report, qr/\A# The beginning to now\n/, "the heading of a report of $limits");
	like(section($report, 'Who blocked whom'),
		qr/back\\\|office/, "a report of $limits has everything that is recorded");
}

# --- names with newlines and characters that have a meaning in Markdown
$since = now();
my $name = qq{"|`\n## forged"};
my $forger = session($node, 'forger');
sql($forger, "CREATE TABLE $name ()");
sql($forger, "BEGIN; LOCK TABLE $name");
my $victim = start('victim', sql($watcher, 'SELECT session_user'), "BEGIN; LOCK TABLE $name");
poll_ok($node, <<~"SQL", 'a session waits for the table');
	SELECT count(*) = 1 FROM connpool_lock_log WHERE started_at > '$since'
	SQL
$report = report($since);
like(
	section($report, 'Findings'),
	qr/request for AccessExclusiveLock on "\\\|\\` ## forged" by victim/,
	'the name of the table is escaped in the findings');
like(
	sql($watcher, "SELECT _connpool_root(0, '', E'|`\\n## forged', 'postgres', 'prepared')"),
	qr/\AA prepared transaction of "\\\|\\` ## forged" in postgres\z/,
	'the owner of a prepared transaction is escaped');
$victim->abandon;
sql($forger, "ROLLBACK; DROP TABLE $name");

# --- the session history is off
$node->append_conf('postgresql.conf', 'connpool_monitor.session_history_size = 0');
$node->restart;
like(
	sql($node, "SELECT connpool_report('$since')"),
	qr/^Unknown: the session history is off, or the server was not sampled\.$/m,
	'without a session history the load is reported as unknown');
like(
	sql($node, 'SELECT connpool_incident_report(1)'),
	qr/\A# Incident 1:/,
	'a report of an incident from before a restart can be requested');
$node->stop;

# --- an incident that begins with a refusal, which its first sample finds
$node = new_node('refused', "max_connections = 5\nsuperuser_reserved_connections = 3\n");
sql($node, 'CREATE ROLE shop LOGIN');
my @held = map { Wire->connect_to($node, 'holder', user => 'shop') } 1, 2;
connects($node->connstr('postgres') . ' user=shop application_name=turned_away');
poll_ok($node, 'SELECT count(*) = 1 FROM connpool_incidents', 'a refusal begins an incident');
like(
	section(sql($node, 'SELECT connpool_incident_report()'), 'Refused connections'),
	qr/\| reserved \| postgres \| shop \| turned_away \|/,
	'the report of the incident has that refusal');
$node->stop;
done_testing();
