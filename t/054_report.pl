# SPDX-License-Identifier: PostgreSQL
# Reports name the cause, the responsible pool, the number of blocked sessions and the time of
# incidents that the test produces with real clients: a forgotten transaction, DDL behind a report,
# a leak to exhaustion, saturated processors, deadlocks, a deployment that doubles a pool, a slow
# disk, and a PgBouncer that restarts. Ordinary load is no incident. Needs many sessions at once,
# PgBouncer, and a library that delays reads.
# scripts/test: slow, 60 s
use strict;
use warnings FATAL => 'all';

use Cwd ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Application;
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
CREATE ROLE partial LOGIN;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO partial;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO partial;
CREATE TABLE orders (id int PRIMARY KEY, pieces int);
INSERT INTO orders SELECT g, 0 FROM generate_series(1, 100) g;
GRANT ALL ON orders TO shop, analyst;
-- pg_stat_statements shows the text of a statement once it has ended
UPDATE orders SET pieces = pieces + 1 WHERE id = 0;
SQL
my $watcher = session($node, 'watcher');
my $begun = now();

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
like(
	section($report, 'Refused connections'),
	qr/^None is recorded\.$/m,
	'a quiet time has no refusals');
like(
	section($report, 'What to examine next'),
	qr/^No alert began in this time, no load rose, and no deadlock occurred\.$/m,
	'a quiet time has no hints');

# --- a lock convoy behind a forgotten transaction
$since = now();
my $forgotten = session($node, 'back|office');
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
	pattern(
		"(?m)^- \\*\\*Pid $pid of",
		'"back\|office" \(\S+ in postgres\), idle in transaction,',
		'held up 7 sessions from \d\d:\d\d:\d\d to \d\d:\d\d:\d\d\*\*'),
	'the first finding is the forgotten transaction, its victims and their time');
like(
	$findings,
	qr/^- Connections: up to \d+; in the ten minutes before, /m,
	'the highest number of connections has no decimals');
like(
	section($report, 'Who blocked whom'),
	pattern(
		"(?m)^- Pid $pid of",
		'"back\|office".*\n(?:  - \d of web \(shop in postgres\) waited for \w+ .*\n)+'),
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
	section($report, 'What to examine next'),
	qr/^- \*\*blocked_sessions\*\*: See connpool_blocked_queries/m,
	'the report has the hint of the alert');
like(
	section($report, 'Load'),
	qr/^\| lock \| 0\.00 \| \d+\.\d\d \|$/m,
	'the load includes lock waits, and a load of zero has as many decimals as the others');

my $incident = sql($watcher, 'SELECT connpool_incident_report()');
like($incident, qr/\A# Incident 1: (?:WARNING|CRITICAL)\n/, 'the incident has a report');
like($incident, qr/^- Metrics that left OK: .*blocked_sessions/m, 'the report lists the metrics');
like(
	section($incident, 'Connections at the worst moment'),
	qr/^\| postgres \| shop \| web \| 7 \| 7 \|.*\| \d+\.\d \|$/m,
	'at the worst moment the pool has its seven connections');
$incident = sql($node, 'SELECT connpool_incident_report()', extra_params => [ '-U', 'partial' ]);
like(
	section($incident, 'Connections at the worst moment'),
	qr/^\| postgres \| shop \| web \| \d+ \|  \|  \|  \|  \|/m,
	'numbers that a role may not see are empty, not zero, at the worst moment');
$incident = sql($watcher, 'SELECT connpool_incident_report()');
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
	'a migration waits for the long report');
@victims = map { start('web', 'shop', 'SELECT * FROM orders WHERE id = 2') } 1 .. 4;
poll_ok($node, <<~"SQL", 'sessions queue behind the migration');
	SELECT count(*) = 5 FROM connpool_lock_log
	WHERE started_at > '$since' AND root_application_name = 'reports'
	SQL
$findings = section(report($since), 'Findings');
like(
	$findings,
	pattern(
		'(?m)^- \*\*Pid \d+ of reports \(analyst in postgres\), active, held up 5 sessions',
		'.*request for AccessExclusiveLock on orders by deploy \(\S+ in postgres\);',
		'later requests queue behind it'),
	'the finding names the report as root, and the migration behind which others queue');
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
	qr/^- \*\*\d+ connection attempts? (?:was|were) refused because no slot was free\.\*\*/m,
	'the refusals are a finding');
like(
	section($report, 'Refused connections'),
	qr/\| reserved \| postgres \| reader \| turned_away \|/,
	'the refused clients are listed');
$incident = sql($watcher, 'SELECT connpool_incident_report()');
like(
	section($incident, 'Findings'),
	pattern(
		'In the snapshot with the most connections, \d+ of \d+ belonged to leaky',
		'\(shop in postgres\): \d+ idle, 0 idle in transaction\.'),
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
$report = report($since);
like(
	section($report, 'What to examine next'),
	qr/^- \*\*cpu_load\*\*: More sessions compute/m,
	'the report has the hint for a load of computing sessions');
like(
	section($report, 'Findings'),
	pattern(
		"in class cpu: \\*\\*more than the $processors processors\\*\\*\\.",
		'Most of them belonged to nightly \(analyst in postgres\)'),
	'saturated processors and the pool that saturates them are named');
$report = sql($node, "SELECT connpool_report('$since')", extra_params => [ '-U', 'partial' ]);
like(
	section($report, 'Findings'),
	pattern(
		'(?m)did something that your role may not see\. Most of them belonged to nightly',
		'\(analyst in postgres\) \([\d.]+\)\.$'),
	'a role that may not see what the sessions did sees their number and their pool');
like(
	section($report, 'Load'),
	qr/^\| not visible to your role \| \S* \| [\d.]+ \|$/m,
	'the load that the role may not see has a row');
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
	pattern(
		'(?m)^- \*\*3 deadlocks\.\*\* The cancelled statements belonged to checkout',
		'\(shop in postgres\) \(3\)\.$'),
	'deadlocks and their pool are a finding');
like(
	section($report, 'What to examine next'),
	qr/^- \*\*deadlocks\*\*: Transactions took the same locks in different orders/m,
	'the report has the hint for deadlocks');
like(
	section($report, 'Deadlocks'),
	qr/blocked by process \d+/,
	'the details of the deadlocks are listed');
like(
	section($report, 'Errors'),
	qr/^\| 40P01 \| deadlock_detected \| 3 \|/m,
	'the SQLSTATE of the deadlocks is listed');
unlike($report, qr/ begins at /, 'no log begins after the start of this report');
my $superuser = sql($node, 'SELECT session_user');
my @pairs =
  map {
	[ map { Wire->connect_to($node, 'checkout', user => $superuser) } 1, 2 ]
  } 1 .. 10;
$_->query(q{SET deadlock_timeout = '10ms'}) foreach map { @$_ } @pairs;
Wire::deadlock(@pairs) foreach 1 .. 10;
like(
	section(report($since), 'Deadlocks'),
	qr/^The log of deadlocks begins at \d+-\d+-\d+ [^;]+; earlier ones are unknown\.$/m,
	'a report states when a full log of deadlocks begins');
$_->query(q{SET application_name = 'switched'; SET SESSION AUTHORIZATION shop})
  foreach @{ $pairs[0] };
Wire::deadlock($pairs[0]);
$_->end foreach map { @$_ } @pairs;
is( sql($node, 'SELECT application_name, role = session_user FROM connpool_deadlocks LIMIT 1'),
	'switched|t', 'connpool_deadlocks has the role at login after SET SESSION AUTHORIZATION');

# --- privileges
$report = sql($node, "SELECT connpool_report('$since')", extra_params => [ '-U', 'reader' ]);
unlike($report, qr/omits what your role/, 'a member of pg_monitor sees everything');
my ($status, undef, $error) =
  $node->psql('postgres', 'SELECT connpool_report(now())', extra_params => [ '-U', 'outsider' ]);
like(
	$error,
	qr/permission denied for function connpool_report/,
	'other roles may not call connpool_report()');

# A role that may call the functions, but may not see other sessions.
sql($node, <<'SQL');
CREATE ROLE part LOGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO part;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO part;
SQL
$report = sql($node, "SELECT connpool_report('$begun')", extra_params => [ '-U', 'part' ]);
like(
	section($report, 'Who blocked whom'),
	qr/^No session that your role may see waited for a lock for longer than/m,
	'for a role that may not see other sessions, the report claims only that no visible session waited'
);
like(
	$report,
	qr/^This report omits what your role may not see\./m,
	'the report states at its beginning that it omits data');

# --- a time that ends before it begins
foreach my $span ("clock_timestamp(), '$begun'", "'infinity', '-infinity'", "'$begun', '$begun'")
{
	my $empty = sql($watcher, "SELECT connpool_report($span)");
	like($empty, qr/^This span is empty/m, "the report of $span states that the span is empty");
	unlike($empty, qr/^## /m, "the report of $span has no sections");
}

# --- a time without limits
foreach my $limits ('NULL, NULL', q{'-infinity', 'infinity'})
{
	$report = sql($watcher, "SELECT connpool_report($limits)");
	like(
		$report,
		qr/\A# The beginning to now\n/,
		"a report of $limits has a heading without times");
	like(section($report, 'Who blocked whom'),
		qr/back\|office/, "a report of $limits has everything that is recorded");
}

like(
	section(
		sql($watcher, q{SELECT connpool_report('2001-01-01', '2001-01-02')}),
		'What to examine next'),
	qr/^No alert began in this time, the load is unknown, and no deadlock occurred\.$/m,
	'the hints report an unknown load as unknown, not as low');

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
	qr/request for AccessExclusiveLock on `"\|' ## forged"` by victim/,
	'the name of the table is code in the findings');
like(
	sql($watcher, "SELECT _connpool_root(0, '', E'|`\\n## forged', 'postgres', 'prepared')"),
	qr/\AA prepared transaction of `"\|' ## forged" in postgres`\z/,
	'the owner of a prepared transaction is code');

foreach my $word (
	'&lt;', '~~a~~', '[b](c)', '*d*',
	'<b>', '_e_', 'f __g__', '@h',
	'i#1', 'http://j', 'HTTP://j', 'www.k',
	'Www.k', 'mailto:a@b.c', 'XMPP:a@b.c/d', ':tada:',
	'l $m$', 'n\o', 'GH-1', 'gh-1',
	'p 1a2b3c4', 'deploy-' . '0A' x 20)
{
	is(sql($watcher, "SELECT _connpool_escape('$word')"),
		"`$word`", "a name with $word, which GitHub interprets, is code");
	is( sql($watcher, "SELECT _connpool_table(json_build_array(json_build_object('x', '$word')))"),
		"| x |\n|---|\n| `$word` |",
		"$word is code in a table");
	like(
		sql($watcher, "SELECT _connpool_pool('$word', 'shop', 'postgres')"),
		qr/\A`"?\Q$word\E"? \(shop in postgres\)`\z/,
		"the pool of an application called $word is code");
}
is(sql($watcher, "SELECT _connpool_escape('$_')"), $_, "$_ is no code")
  foreach 'blocked_sessions', '12:30:45', 'api - 10.0.0.1', '"a|b" (c in d)', '10.0.0.0/8',
  '12345678', '1a2b3c', 'facades1', 'ab' x 21;
is( sql($watcher, q{SELECT _connpool_table(json_build_array(json_build_object('x', 'a|b*')))}),
	"| x |\n|---|\n| `a\\|b*` |",
	'a name with a vertical bar stays in its cell of a table');
$victim->abandon;
sql($forger, "ROLLBACK; DROP TABLE $name");

# --- a reset of the counters
unlike(
	report($since),
	qr/^The counters and logs begin/m,
	'a report does not state when the logs begin if they reach back to its start');
sql($watcher, q{SELECT connpool_reset('counters')});
like(
	report($since),
	qr/^The counters and logs begin at \d[-\d]+ [\d:]+\. Earlier lock waits, .* are unknown\.$/m,
	'the report states that the logs begin at the reset');

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

# --- a server with a disk that can become slow, a PgBouncer, and instances of an application
my $disk = Cwd::realpath(PostgreSQL::Test::Utils::tempdir());
my $library = "$disk/slow_disk.so";
is( system($ENV{CC} // 'cc',
		'-O1', '-Wall', '-shared', '-fPIC', '-o', $library, "$ENV{TESTDIR}/t/unit/slow_disk.c"),
	0,
	'the library that delays reads compiles') or BAIL_OUT('no compiler');
mkdir "$disk/space";
my $user = getpwuid($<);
$node = new_node('operations', <<'CONF', stopped => 1);
max_connections = 160
superuser_reserved_connections = 3
shared_buffers = '2MB'
timezone = 'UTC'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.slow_statement_time = '1s'
connpool_monitor.pool_waiting_clients_warning = 10
connpool_monitor.pool_waiting_clients_critical = 100
connpool_monitor.pgbouncer_interval = '200ms'
CONF
my $pooler = start_pooler($node, default_pool_size => 20, max_client_conn => 500);
END { stop_pooler($pooler) if $pooler }
my $console = 'main=host=' . $pooler->host . ' port=' . $pooler->port . " user=$user";
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer = '$console'");
{
	# a sanitizer's library must come first
	local $ENV{LD_PRELOAD} = join ':', grep { $_ } $ENV{LD_PRELOAD}, $library;
	local $ENV{SLOW_DISK} = $disk;
	$node->start;
}
sql($node, <<"SQL");
CREATE EXTENSION connpool_monitor CASCADE;
CREATE ROLE shop LOGIN;
CREATE TABLE orders (id int PRIMARY KEY, pieces int);
INSERT INTO orders SELECT g, 0 FROM generate_series(1, 100) g;
GRANT ALL ON orders TO shop;
SQL
sql($node, "CREATE TABLESPACE slow LOCATION '$disk/space'");
sql($node, <<'SQL');
CREATE TABLE archive TABLESPACE slow AS SELECT repeat('x', 1000) FROM generate_series(1, 13000);
GRANT SELECT ON archive TO shop;
SQL
sql($node, $_) foreach 'VACUUM archive', 'CHECKPOINT';
$watcher = session($node, 'watcher');

# Return the number of incidents that began after $from and, if they have ended, ended before now.
sub incidents_since
{
	my ($from) = @_;
	return sql($watcher, <<~"SQL");
		SELECT count(*) FROM connpool_incidents
		WHERE started_at >= '$from' AND coalesce(ended_at, now()) <= clock_timestamp()
		SQL
}

# --- a quiet day: ordinary load is no incident
$since = now();
my @instances =
  map { Wire->connect_to($node, "api - 10.0.0.1:$_", user => 'shop') } 4001 .. 4030;
my @clients = map { Wire->connect_to($pooler, 'web', user => $user) } 1 .. 200;
foreach my $round (1 .. 3)
{
	$_->query('SELECT pieces FROM orders WHERE id = 1')                  foreach @clients;
	$_->query("UPDATE orders SET pieces = pieces + 1 WHERE id = $round") foreach @instances;
}
# one after the other, so that no clients wait while PgBouncer connects
$_->query('BEGIN')  foreach @clients[ 0 .. 19 ];
$_->query('COMMIT') foreach @clients[ 0 .. 19 ];
$instances[0]->query('BEGIN; UPDATE orders SET pieces = 1 WHERE id = 5');
$instances[1]->send_message('Q', "UPDATE orders SET pieces = 2 WHERE id = 5\0");
$instances[0]->query('COMMIT');
$instances[1]->read_until('Z');
$instances[2]->query('SELECT 1/0');
wait_samples($node, 10);
is(sql($watcher, 'SELECT count(*) FROM connpool_incidents'), '0', 'ordinary load is no incident');

# --- the disk becomes slow
my @readers = map { Wire->connect_to($node, 'history', user => 'shop') } 0 .. 7;
my $pages = 'SELECT count(*) FROM archive WHERE ctid';
$readers[0]->query("$pages BETWEEN '(0,1)' AND '(1,1)'");
$since = now();
append_to_file("$disk/slow", '');
foreach my $i (0 .. 7)
{
	my ($first, $last) = (200 * $i, 200 * $i + 199);
	$readers[$i]->send_message('Q', "$pages BETWEEN '($first,1)' AND '($last,1)'\0");
}
poll_session($watcher, 'SELECT count(*) = 1 FROM connpool_incidents');
wait_samples($node, 5);
unlink "$disk/slow";
$_->read_until('Z') foreach @readers;
poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents');
$report = sql($watcher, 'SELECT connpool_incident_report()');
like(
	section($report, 'Findings'),
	pattern(
		'in class io\. Most of them belonged to history \(shop in postgres\)',
		'\([\d.]+, most often (?:DataFileRead|AioIoCompletion)\)\.',
		'Their statement with the largest share: `SELECT count\(\*\) FROM archive'),
	'a slow disk, and the pool and the statement that wait for it, are named');
like(
	section($report, 'Connections at the worst moment'),
	qr/^\| postgres \| shop \| history \| 8 \| 8 \|/m,
	'all eight sessions that wait for the disk are counted');
like(
	section($report, 'What to examine next'),
	qr/^- \*\*io_load\*\*: Sessions wait for the disk/m,
	'the report has the hint for a load of sessions that wait for the disk');
is(incidents_since($since), '1', 'exactly one incident began after the disk became slow');
$_->end foreach @readers;

# --- a PgBouncer restarts, and 200 clients connect again
sql($watcher, q{SELECT connpool_reset('alerts')});
$since = now();
stop_pooler($pooler);
restart_pooler($pooler);
@clients = map { Wire->connect_to($pooler, 'web', user => $user) } 1 .. 200;
$_->send_message('Q', "SELECT pg_sleep(0.5)\0") foreach @clients;
poll_session($watcher, <<~'SQL');
	SELECT count(*) = 1 FROM connpool_incidents WHERE 'pool_waiting_clients' = ANY (metrics)
	SQL
wait_samples($node, 2);
$report = sql($watcher, 'SELECT connpool_incident_report()');
$findings = section($report, 'Findings');
like(
	$findings,
	pattern(
		"(\\d+) of the \\1 connections of web \\($user in postgres\\) at [\\d:]+",
		'had opened in the last 10 seconds'),
	'a pool whose connections are all new is named');
my ($waited) = $findings =~ /Clients that waited in PgBouncer: up to (\d+); before, /;
cmp_ok($waited // 0, '>=', 20, 'the clients that waited for the restarted PgBouncer are counted');
cmp_ok($waited // 0, '<=', 200, 'no more clients waited than there are');
like(
	section($report, 'Timeline'),
	qr/\| pool_waiting_clients \| OK to \w+ \| .*\bmain\b/,
	'the timeline has the queue of PgBouncer');
like(
	section($report, 'What to examine next'),
	qr/^- \*\*new_connections\*\*: .*its pooler restarted/m,
	'the report has the hint for a pool whose connections are all new');
is(incidents_since($since), '1', 'exactly one incident began after PgBouncer restarted');
$_->abandon foreach @clients;

# --- a deployment starts a second set of instances before it stops the first one
poll_session($watcher, 'SELECT ended_at IS NOT NULL FROM connpool_incidents');
poll_session($watcher, <<~'SQL');
	SELECT max(backend_start) < now() - interval '11 s' FROM pg_stat_activity
	WHERE application_name LIKE 'api - %'
	SQL
stop_pooler($pooler);
sql($node, 'ALTER SYSTEM SET connpool_monitor.total_connections_warning = 38');
$node->reload;
poll_session($watcher, <<~'SQL');
	SELECT warning BETWEEN 59 AND 60 FROM connpool_alerts WHERE metric_name = 'total_connections'
	SQL
poll_session($watcher,
	q{SELECT count(*) < 40 FROM pg_stat_activity WHERE backend_type = 'client backend'});
sql($watcher, q{SELECT connpool_reset('alerts')});
$since = now();
my @second =
  map { Wire->connect_to($node, "api - 10.0.0.2:$_", user => 'shop') } 4001 .. 4030;
poll_session($watcher, 'SELECT snapshots > 0 FROM connpool_incidents');
$report = sql($watcher, 'SELECT connpool_incident_report()');
like($report, qr/^- Metrics that left OK: total_connections$/m, 'a deployment is an incident');
my ($new, $all) = section($report, 'Findings') =~
  /(\d+) of the (\d+) connections of api \(shop in postgres\) at \S+ had opened in the last 10 s/;
is($all     // 0, 30 + ($new // 0), 'the pool that grew, and by how much, is named');
cmp_ok($new // 0, '>=', 20, 'the second set of instances is counted');
is(incidents_since($since), '1', 'exactly one incident began after the deployment started');
$_->end foreach @instances, @second;
$node->stop;
done_testing();
