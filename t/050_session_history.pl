# SPDX-License-Identifier: PostgreSQL
# Each sample records every session that is not idle, with its state, wait, ages, statement and
# root blocker. The history survives restarts, crashes and damaged files, within its size. Needs
# sessions in known states, restarts, and files that a program writes.
# scripts/test: slow, 45 s
use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Wire;

# --- the format: segments that are whole, cut off, damaged and malformed
my $program = compile_unit('history_segment', 'base/history_segment');
my $checked = `$program 3000`;
my ($bytes) = $checked =~ /^cut: (\d+)/m;
is($checked,
	<<"OUTPUT", 'the format returns what was written and detects truncations and changes');
valid: 1, foreign: 0
all samples are read: 1, differences: 0
resumed: 1
ages: 1 1 1
cut: $bytes of $bytes
changed: 3000 of 3000
more samples than written: 0
OUTPUT

my $port = http_port();
my $node = new_node('main', <<"CONF", allows_streaming => 1);
max_connections = 200
listen_addresses = '127.0.0.1'
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.save_interval = '1s'
CONF
my $user = getpwuid($<);
my $broken = PostgreSQL::Test::Utils::tempdir();
my $broken_disk = "$broken/broken_disk.so";
is( system($ENV{CC} // 'cc',
		'-shared', '-fPIC', '-O1', '-o',
		$broken_disk, "$ENV{TESTDIR}/t/unit/broken_disk.c", '-ldl'),
	0,
	'the library with failures of the disk compiles');
my $file = $node->data_dir . '/pg_stat/connpool_monitor.sessions';

# Return the system clock of the server, as a literal.
sub clock { return sql($node, 'SELECT quote_literal(clock_timestamp())'); }

# Wait until all samples taken before now are saved. last_saved changes before the session history
# is saved, so wait for two saves.
sub wait_history_saved { return wait_saved($node, 2); }

# Assert that a server records a session that has just begun a transaction. The sessions of psql
# are too short to be in every sample.
sub records_sessions
{
	my ($server, $name) = @_;
	my $now = $server->safe_psql('postgres', 'SELECT quote_literal(clock_timestamp())');
	my $session = Wire->connect_to($server, 'recorded', user => $user);

	$session->query('BEGIN');
	poll_ok($server, <<~"SQL", $name);
		SELECT count(*) > 0
		FROM connpool_session_history($now, clock_timestamp())
		WHERE application_name = 'recorded'
		SQL
	$session->end;
	return;
}

# --- sessions in known states
sql($node, <<'SQL');
CREATE TABLE t (i int);
INSERT INTO t VALUES (1);
CREATE TABLE wide AS SELECT generate_series(1, 1000) AS i;
SELECT pg_sleep(0);
UPDATE t SET i = 2;
CREATE ROLE app LOGIN;
GRANT ALL ON t TO app;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE granted LOGIN;
GRANT EXECUTE ON FUNCTION connpool_session_history, connpool_load TO granted;
SQL
my $holder = session($node, 'holder');
$holder->query_safe('BEGIN; UPDATE t SET i = i');
my $aborted = session($node, 'aborted');
$aborted->query('BEGIN; SELECT 1/0');
my $idle = session($node, 'resting');
my $untracked = session($node, 'untracked');
$untracked->query_safe('SET track_activities = off');
my %pid = map { split /\|/ } split /\n/,
  sql($node, 'SELECT application_name, pid FROM pg_stat_activity WHERE datid IS NOT NULL');

sub start_query
{
	my ($conninfo, $query) = @_;
	my ($in, $out, $err) = ('', '', '');
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $conninfo, '-c', $query ],
		'<', \$in, '>', \$out, '2>', \$err);
}
my $local = $node->connstr('postgres');
my @running = (
	start_query("$local application_name=waiter user=app", 'UPDATE t SET i = 2'),
	start_query(
		'host=127.0.0.1 port=' . $node->port . ' dbname=postgres application_name=sleeper',
		'SELECT pg_sleep(600)'),
	start_query(
		"$local application_name=worker",
		'SELECT count(*) FROM wide a, wide b, wide c, wide d, wide e'));
poll_ok($node, <<'SQL', 'all sessions are in their states');
SELECT count(*) FILTER (WHERE application_name = 'waiter' AND wait_event_type = 'Lock') = 1
   AND count(*) FILTER (WHERE application_name = 'sleeper' AND wait_event = 'PgSleep') = 1
   AND count(*) FILTER (WHERE application_name = 'worker' AND state = 'active') = 1
FROM pg_stat_activity
SQL
poll_ok(
	$node,
	q{SELECT count(*) > 0 FROM connpool_session_history() WHERE root_blocker IS NOT NULL},
	'the root blocker is recorded');
wait_samples($node, 2);
my $since = clock();
wait_samples($node, 20);
my $until = clock();
my $span = "$since, $until";

is(sql($node, <<"SQL"), <<'ROWS' =~ s/\n$//r, 'each session has its state, wait and statement');
SELECT DISTINCT h.database, h.role = a.usename, h.application_name, h.client_addr, h.state,
       h.wait_event_type, h.wait_event, h.queryid = a.query_id, h.root_blocker = $pid{holder},
       h.pid = a.pid, h.query
FROM connpool_session_history($span) h LEFT JOIN pg_stat_activity a USING (pid)
WHERE h.application_name IN ('holder', 'aborted', 'waiter', 'sleeper', 'worker')
ORDER BY 3
SQL
postgres|t|aborted||idle in transaction (aborted)|Client|ClientRead|t||t|
postgres|t|holder||idle in transaction|Client|ClientRead|t||t|UPDATE t SET i = i
postgres|t|sleeper|127.0.0.1|active|Timeout|PgSleep|t||t|SELECT pg_sleep($1)
postgres|t|waiter||active|Lock|transactionid|t|t|t|UPDATE t SET i = $1
postgres|t|worker||active|||t||t|
ROWS
is(sql($node, <<"SQL"), '0', 'idle and untracked sessions are not recorded');
SELECT count(*)
FROM connpool_session_history($span)
WHERE application_name IN ('resting', 'untracked') OR pid = $pid{untracked}
SQL
is(sql($node, <<"SQL"), 't', 'each session is in every sample');
SELECT array_agg(DISTINCT n) = ARRAY[(
	SELECT count(*) FROM connpool_history('total_connections', $span, '100 ms'))]
FROM (SELECT count(*) AS n FROM connpool_session_history($span)
      WHERE application_name IN ('holder', 'aborted', 'waiter', 'sleeper', 'worker')
      GROUP BY pid) s
SQL
is(sql($node, <<"SQL"), 't', 'the times of the samples are those of connpool_history()');
SELECT bool_and(EXISTS (SELECT FROM connpool_history('total_connections', $span, '100 ms') s
                        WHERE s.sample_time = h.sample_time))
FROM connpool_session_history($span) h
SQL
is(sql($node, <<"SQL"), 't|t|t', 'ages are exact to a millisecond');
SELECT bool_and(h.sample_time - h.state_age - a.state_change BETWEEN '0' AND '1 ms'),
       bool_and(h.sample_time - h.xact_age - a.xact_start BETWEEN '0' AND '1 ms')
         FILTER (WHERE h.application_name <> 'aborted'),
       bool_and(h.xact_age IS NULL) FILTER (WHERE h.application_name = 'aborted')
FROM connpool_session_history($span) h JOIN pg_stat_activity a USING (pid)
WHERE h.application_name IN ('holder', 'aborted', 'waiter', 'sleeper', 'worker')
SQL
is(sql($node, <<"SQL"), 't', 'rows are in the order of time');
SELECT bool_and(sample_time >= before)
FROM (SELECT sample_time, lag(sample_time) OVER () AS before
      FROM connpool_session_history($span)) s
SQL

# --- load
is(sql($node, <<"SQL"), <<'ROWS' =~ s/\n$//r, 'connpool_load() sums sessions by wait class');
SELECT application_name, wait_class, wait_event, round(avg_sessions::numeric, 1), query
FROM connpool_load($span)
WHERE application_name IN ('holder', 'aborted', 'waiter', 'sleeper', 'worker')
ORDER BY 1
SQL
aborted|idle_in_transaction|ClientRead|1.0|
holder|idle_in_transaction|ClientRead|1.0|UPDATE t SET i = i
sleeper|timeout|PgSleep|1.0|SELECT pg_sleep($1)
waiter|lock|transactionid|1.0|UPDATE t SET i = $1
worker|cpu||1.0|
ROWS
is( sql($node,
		<<"SQL"), 't|t|t', 'loads are sorted and add up to all sessions, and the shares to 1');
WITH known (application_name) AS (
	VALUES ('holder'), ('aborted'), ('waiter'), ('sleeper'), ('worker'))
SELECT bool_and(avg_sessions <= before), abs(sum(share) - 1) < 1e-9,
       abs(sum(avg_sessions) FILTER (WHERE application_name IN (TABLE known)) -
           (SELECT count(*)::float8 / count(DISTINCT sample_time)
            FROM connpool_session_history($span) JOIN known USING (application_name))) < 0.01
FROM (SELECT *, lag(avg_sessions) OVER () AS before FROM connpool_load($span)) l
SQL
foreach my $function ('connpool_session_history', 'connpool_load')
{
	is(sql($node, "SELECT count(*) FROM $function($until, $since)"),
		'0', "$function() is empty if until is before since");
	is( sql($node,
			"SELECT count(*) FROM $function(now() + interval '1 h', now() + interval '2 h')"),
		'0',
		"$function() is empty for the future");
	is(sql($node, "SELECT count(*) > 4 FROM $function(NULL, NULL)"),
		't', "$function() takes NULL for no limit");
}
is(sql($node, <<'SQL'), 't|0', 'connpool_info() shows the oldest sample and no lost one');
SELECT session_history_since <=
         (SELECT min(sample_time) FROM connpool_session_history(NULL, NULL)),
       session_history_lost
FROM connpool_info()
SQL

# --- privileges
my $as_watcher = [ '-U', 'watcher' ];
my $as_granted = [ '-U', 'granted' ];
is( sql($node,
		"SELECT count(query), count(state) FROM connpool_session_history($span)",
		extra_params => $as_watcher) =~ /^[1-9]\d*\|[1-9]\d*$/,
	1,
	'a member of pg_monitor sees states and queries');
is( sql($node, <<"SQL", extra_params => $as_granted),
SELECT DISTINCT pid = $pid{holder}, database, application_name, client_addr, state,
       wait_event_type, wait_event, state_age, xact_age, queryid, query, root_blocker
FROM connpool_session_history($span) WHERE application_name = 'holder'
SQL
	't|postgres|holder||||||||<insufficient privilege>|',
	'a role with only EXECUTE sees no activity of the sessions of other roles');
is( sql($node, <<"SQL", extra_params => $as_granted),
SELECT wait_class, wait_event, queryid, query, round(avg_sessions::numeric, 1)
FROM connpool_load($span) WHERE application_name = 'waiter'
SQL
	'|||<insufficient privilege>|1.0',
	'connpool_load() hides the waits and statements of other roles');
sql($node, 'GRANT app TO granted');
is( sql($node, <<"SQL", extra_params => $as_granted),
SELECT DISTINCT state, wait_event FROM connpool_session_history($span)
WHERE application_name = 'waiter'
SQL
	'active|transactionid',
	'a role with EXECUTE sees the sessions of the roles that it is a member of');
foreach my $function ('connpool_session_history', 'connpool_load')
{
	my ($status, $out, $error) = $node->psql(
		'postgres',
		"SELECT * FROM $function()",
		extra_params => [ '-U', 'app', '-v', 'VERBOSITY=sqlstate' ]);
	like($error, qr/42501/, "$function() needs EXECUTE");
}

# --- groups of applications
my $grouped = session($node, 'api-7d4b9c6f5-x2x9z');
$grouped->query_safe('BEGIN');
wait_samples($node, 3);
sql($node, q{ALTER SYSTEM SET connpool_monitor.application_grouping = 'numbers'});
$node->reload;
poll_ok(
	$node,
	q{SELECT count(*) > 0 FROM connpool_load() WHERE application_name = 'api-*-*'},
	'connpool_load() groups applications by the present application_grouping');
is( sql($node, q{SELECT count(*) > 0 FROM connpool_session_history()
	WHERE application_name = 'api-7d4b9c6f5-x2x9z'}),
	't',
	'connpool_session_history() shows the full name');
sql($node, q{ALTER SYSTEM RESET connpool_monitor.application_grouping});
leave($grouped);

# --- restart and crash

# Return a query for a digest of the history, without texts, which pg_stat_statements may lose.
sub digest
{
	my ($span) = @_;
	return <<~"SQL";
		SELECT md5(string_agg((to_jsonb(h) - 'query')::text, ''))
		FROM connpool_session_history($span) h
		SQL
}
my $rows = digest($span);
my $before = sql($node, $rows);
sub end_queries { $_->kill_kill foreach @running; @running = (); return; }
$node->stop('fast');
end_queries();
is(-s $file > 0 && (stat $file)[2] & 0777,
	oct('600'), 'a stop saves a file that only the owner can read');
$node->start;
is(sql($node, $rows), $before, 'a restart keeps the history');
records_sessions($node, 'the history continues after a restart');
my $size = -s $file;
$node->restart foreach 1 .. 3;
cmp_ok(-s $file, '<=', $size + 65536, 'a restart continues the newest segment');
my $running = start_query("$local application_name=crashed", 'SELECT pg_sleep(600)');
poll_ok(
	$node, q{SELECT count(*) >= 5 FROM connpool_session_history(now() - interval '1 min',
	clock_timestamp()) WHERE application_name = 'crashed'}, 'a session is recorded');
$until = clock();
$rows = digest("$since, $until");
wait_history_saved();
$before = sql($node, $rows);
$node->stop('immediate');
$running->kill_kill;
$node->start;
is(sql($node, $rows), $before, 'an immediate stop keeps the samples of the last save');

# --- a reset
sql($node, q{SELECT connpool_reset('history')});
is(sql($node, "SELECT count(*) FROM connpool_session_history(NULL, $until)"),
	'0', 'a reset hides the history');
records_sessions($node, 'the history continues after a reset');
wait_history_saved();
$node->stop('immediate');
$node->start;
is(sql($node, "SELECT count(*) FROM connpool_session_history(NULL, $until)"),
	'0', 'a history from before a reset does not return after a crash');

# --- files that a program writes: 40 segments with 40 sessions in each of 2,300 samples
$node->stop('fast');
my $identifier = (`pg_controldata -D '@{[ $node->data_dir ]}'` =~ /system identifier:\s+(\d+)/)[0];
my $now = (time() - 946684800) * 1_000_000;
my $written = q{FROM connpool_session_history(NULL, NULL)
	WHERE application_name IN ('web', 'worker', 'reports', 'batch', 'admin')};
my $count = "SELECT count(*), count(DISTINCT sample_time) $written";

# Start the server. Its disk fails in the ways for which the directory $broken has a file.
sub start_broken
{
	local %ENV = (%ENV, LD_PRELOAD => $broken_disk, BROKEN_DISK => $broken);
	$node->start;
	return;
}

sub break_disk { append_to_file("$broken/$_[0]", ''); return; }

sub mend_disk
{
	unlink(map { "$broken/$_" } qw(eio unwritten slow));
	return;
}

sub write_file
{
	my ($id) = @_;
	unlink($file, "$file.unusable");
	system_or_bail($program, $file, $id // $identifier, 2300, 40, $now);
	return;
}

# Start the server with a file that the program wrote and $damage changed.
sub start_with_file
{
	my ($damage, $id) = @_;
	write_file($id);
	$damage->() if $damage;
	my $offset = -s $node->logfile;
	start_broken();
	return $offset;
}

sub change_byte
{
	my ($at) = @_;
	open(my $out, '+<:raw', $file) or die $!;
	seek($out, $at, 0);
	read($out, my $byte, 1);
	seek($out, $at, 0);
	print $out $byte ^ "\x10";
	close $out;
	return;
}
my $offset = start_with_file();
is(sql($node, $count), '92000|2300', 'a file of 40 segments is read');
my $newest = "timestamptz '2000-01-01 00:00:00 UTC' + $now * interval '1 us'";
is( sql($node, <<"SQL"),
SELECT round(sum(avg_sessions)::numeric, 3) FROM connpool_load(NULL, $newest)
WHERE application_name IN ('web', 'worker', 'reports', 'batch', 'admin')
SQL
	'40.000',
	'connpool_load() of 40 sessions is 40');
is( sql($node, 'SELECT session_history_since < now() - interval $$38 min$$ FROM connpool_info()'),
	't',
	'connpool_info() shows the oldest sample of the file');

# HTTP reads a moment from the file. It does not wait for the disk: the saver reads what the
# operating system does not have in its cache, and until then the worker answers 503.
my $at = $now / 1_000_000 + 946684800 - 1200;
my $moment = get_json($port, "/api/load?at=$at");
is( join(' ',
		map  { "$_ $moment->{load}{$_}" }
		grep { $moment->{load}{$_} } sort keys %{ $moment->{load} }),
	sql($node, <<~"SQL"), '/api/load has the classes of a moment that is in the file');
	SELECT string_agg(wait_class || ' ' || sessions, ' ' ORDER BY wait_class)
	FROM (SELECT wait_class, sum(avg_sessions) AS sessions
	      FROM connpool_load(to_timestamp($at) - interval '0.5 s',
	                         to_timestamp($at) + interval '0.5 s')
	      GROUP BY 1) l
	SQL
is( join(' ', sort keys %{ { map { $_->{application} => 1 } @{ $moment->{pools} } } }),
	'admin batch reports web worker',
	'/api/load has the pools of that moment');
my $saver =
  sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor saver'});
kill 'STOP', $saver;
PostgreSQL::Test::Utils::system_log('sync', $file);
PostgreSQL::Test::Utils::system_log('dd', "if=$file", 'iflag=nocache', 'count=0', 'status=none');
my $cold = get($port, "/api/load?at=$at");

if ($cold->{status} == 200)
{
	note 'the file system keeps the file in the cache, or cannot read from the cache alone';
}
else
{
	is( "$cold->{status} $cold->{headers}{'retry-after'}",
		'503 1',
		'a moment that is not in the cache can be asked for again');
	like(
		$cold->{content},
		qr/^\{"error":"the session history is being read from the disk"\}/,
		'an answer of 503 has the reason');
	is(get($port, "/api/load?at=$at")->{status},
		503, 'the worker does not read the moment from the disk itself');
}
is(get($port, '/health/database')->{status},
	200, 'health is answered while a moment is not in the cache');
kill 'CONT', $saver;
ok(poll_http($port, "/api/load?at=$at", sub { $_[0]{status} == 200 }),
	'the moment is answered when the saver has read it');
is_deeply(get_json($port, "/api/load?at=$at")->{load},
	$moment->{load}, 'the moment is the same after the saver has read it');
wait_history_saved();
is(log_count($node, 'damaged', $offset), 0, 'no segment is damaged');
$node->stop('fast');

$offset = start_with_file(
	sub { change_byte(3 * 65536 + 9000); change_byte(7 * 65536 + 20); change_byte(20); });
my ($left) = split /\|/, sql($node, $count);
ok($left > 92000 * 0.93 && $left < 92000,
	'only two damaged segments are left out, although one of the headers is damaged too');
my $warning = 'WARNING:  connpool_monitor: file "pg_stat/connpool_monitor.sessions"';
is(log_count($node, "$warning has damaged segments: 2", $offset),
	1, 'damaged segments are logged once, with their number');
$node->stop('fast');

$offset = start_with_file(sub { truncate($file, 40 * 65536 + 1000) });
($left) = split /\|/, sql($node, $count);
ok($left > 92000 * 0.94 && $left < 92000, 'a truncated file lacks only its last segment');
records_sessions($node, 'the history continues after a truncated file');
$node->stop('fast');

foreach (
	[ 'of another cluster', 'belongs to another cluster', sub { }, $identifier + 1 ],
	[
		'of another format',
		'is damaged, or is not a file of connpool_monitor',
		sub { truncate($file, 0); append_to_file($file, 'Lorem ipsum ' x 100) }
	],
	[
		'of a newer version',
		'was written by a newer version',
		sub { change_byte(8); change_byte(4096 + 8) }
	],
	[ 'a pipe', 'is not a regular file', sub { unlink($file); system('mkfifo', $file) } ],
	[ 'a directory', 'is not a regular file', sub { unlink($file); mkdir($file) } ],
	[ 'too large', 'is too large', sub { truncate($file, 1 << 40) } ])
{
	my ($name, $reason, $damage, $id) = @$_;
	$offset = start_with_file($damage, $id);
	is(log_count($node, "$warning is not used: it $reason", $offset),
		1, "a file that is $name is logged with the reason");
	ok(-e "$file.unusable", "a file that is $name is kept");
	is(sql($node, $count), '0|0', "a file that is $name adds no rows");
	$node->stop('fast');
	rmdir("$file.unusable");
}

# --- a file that can be neither used nor renamed
write_file($identifier + 1);
mkdir("$file.unusable") or die $!;
append_to_file("$file.unusable/obstacle", '');
my $foreign = slurp_file($file);
$offset = -s $node->logfile;
$node->start;
is(log_count($node, "$warning is not used: it belongs to another cluster", $offset),
	1, 'a file that cannot be renamed is logged with the reason');
poll_ok(
	$node,
	q{SELECT last_save_error ~ 'another cluster; could not rename it' FROM connpool_info()},
	'a file that cannot be renamed makes saves fail');
is(sql($node, $count), '0|0', 'a file that cannot be renamed adds no rows');
ok(slurp_file($file) eq $foreign, 'a file that cannot be renamed remains as it was');
unlink("$file.unusable/obstacle");
rmdir("$file.unusable");
poll_ok(
	$node,
	'SELECT last_save_error IS NULL FROM connpool_info()',
	'saves succeed once the file can be renamed');
ok(wait_until(sub { -s $file }), 'the saver creates a new file once the other one is renamed');
ok(slurp_file("$file.unusable") eq $foreign, 'a file that can be renamed at last is kept');
$node->stop('fast');

# --- a large file: the postmaster reads a few blocks, and the saver reads it in between its saves
$node->append_conf('postgresql.conf', "connpool_monitor.session_history_size = '16GB'\n");
start_with_file(sub { truncate($file, 1 << 34) });
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my ($reads) = slurp_file("/proc/$postmaster/io") =~ /^syscr: (\d+)/m;
cmp_ok($reads, '<', 10_000, 'the postmaster does not read each segment of a file of 16 GB');
$node->stop('fast');
$node->append_conf('postgresql.conf', "connpool_monitor.session_history_size = '64MB'\n");
break_disk('slow');
start_with_file();
poll_ok(
	$node,
	'SELECT last_saved > pg_postmaster_start_time() FROM connpool_info()',
	'a save succeeds although the disk is slow');
my $future = q{now() + interval '1 h', now() + interval '2 h'};
like(
	($node->psql('postgres', "SELECT connpool_load($future)"))[2],
	qr/WARNING: .*has not been read completely since the server started/,
	'a reader warns if the saver has not read the whole file');
mend_disk();
poll_ok($node, "SELECT count(*) = 92000 $written", 'the whole file is read at last');
$node->stop('fast');

# --- size
$node->append_conf('postgresql.conf', "connpool_monitor.session_history_size = '1MB'\n");
start_with_file();
my ($kept) = split /\|/, sql($node, $count);
ok( $kept > 92000 * 0.34 && $kept < 92000 * 0.39,
	'a smaller size keeps the newest 15 of 40 segments') or diag($kept);
is(sql($node, <<"SQL"), 't', 'a smaller size keeps the newest sample');
SELECT max(sample_time) = $newest
FROM connpool_session_history(NULL, NULL) WHERE application_name = 'web'
SQL
is(-s $file, 1048576, 'a smaller size truncates the file');
my @busy = map { Wire->connect_to($node, "busy $_", user => $user) } 1 .. 150;
$_->query('BEGIN') foreach @busy;
poll_ok(
	$node, q{SELECT count(*) > 7000 FROM connpool_session_history(NULL, clock_timestamp())
	WHERE application_name LIKE 'busy%'}, 'the history fills three segments');
wait_history_saved();
cmp_ok(-s $file, '<=', 1048576, 'the file does not exceed its size');
is(sql($node, 'SELECT session_history_lost FROM connpool_info()'), '0', 'no sample is lost');

# --- writes that fail while sessions fill more than a segment
$offset = -s $node->logfile;
my $busy_rows = 'SELECT count(*) FROM connpool_session_history(NULL, clock_timestamp())
	WHERE application_name LIKE $$busy%$$';
foreach ([ 'eio', 'Input/output error', 'at once' ],
	[ 'unwritten', 'No space left on device', 'when the file is closed' ])
{
	my ($how, $error, $when) = @$_;
	break_disk($how);
	poll_ok(
		$node,
		"SELECT last_save_error ~ '$error' FROM connpool_info()",
		"connpool_info() shows that writes fail $when");
	my $on_disk = sql($node, $count);
	my $recorded = sql($node, $busy_rows) + 3000;
	poll_ok($node, "SELECT ($busy_rows) > $recorded", "samples are taken if writes fail $when");
	is(sql($node, $count), $on_disk, "no segment of the file is lost if writes fail $when")
	  if $how eq 'eio';
	mend_disk();
}
poll_ok(
	$node,
	'SELECT last_save_error IS NULL FROM connpool_info()',
	'saves succeed when writes no longer fail');
is(log_count($node, "$warning is not used", $offset),
	0, 'the server does not take its file for another one after writes have failed');
$until = clock();
$rows = digest("NULL, $until") . " WHERE application_name LIKE 'busy%'";
wait_history_saved();
$before = sql($node, $rows);
undef @busy;
$node->stop('immediate');
$node->append_conf('postgresql.conf', "connpool_monitor.session_history_size = '2MB'\n");
$node->start;
is(sql($node, $rows),
	$before,
	'a larger size and a crash keep the history, also what could not be written at first');

# --- a file that is removed or replaced while the server runs
($saver) = sql($node, <<'SQL');
SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor saver'
SQL
my $begun = sql($node, 'SELECT quote_literal(pg_postmaster_start_time())');
my $open = session($node, 'open');
$open->query_safe('BEGIN');
foreach (
	[ 'removed', 'was removed or emptied', sub { unlink($file) } ],
	[ 'emptied', 'was removed or emptied', sub { truncate($file, 0) } ],
	[
		'replaced by an older copy',
		'is not used: it was replaced',
		sub { unlink($file); system_or_bail($program, $file, $identifier, 100, 40, $now) }
	],
	[
		'replaced by a directory',
		'is not used: it is not a regular file',
		sub { unlink($file); mkdir($file) }
	],
	[
		'replaced by a pipe',
		'is not used: it is not a regular file',
		sub { unlink($file); system('mkfifo', $file) }
	])
{
	my ($name, $reason, $change) = @$_;
	# a directory cannot replace a file
	unlink("$file.unusable");
	$offset = -s $node->logfile;
	wait_history_saved();
	kill 'STOP', $saver;
	$change->();
	my $is_timed_out = 0;
	my ($code, $out, $error) = $node->psql(
		'postgres', 'SELECT count(*) >= 0 FROM connpool_load()',
		timeout => 60,
		timed_out => \$is_timed_out);
	is("$is_timed_out $out", '0 t', "a reader does not wait if the file is $name");
	like($error, qr/WARNING: .*is not a regular file/, "a reader warns if the file is $name")
	  if $reason =~ /not a regular file/;
	kill 'CONT', $saver;
	ok(wait_until(sub { log_count($node, "$warning $reason", $offset) == 1 }),
		"the saver warns if the file is $name");
	ok(wait_until(sub { -f $file && -s $file > 65536 }), "a file that is $name is created again");
	rmdir("$file.unusable");
}
$until = clock();
$rows = digest("$begun, $until") . q{ WHERE application_name = 'open'};
wait_history_saved();
$before = sql($node, $rows);
leave($open);
$node->stop('immediate');
$node->start;
is(sql($node, $rows), $before, 'the new file has what was in shared memory');

# --- a standby keeps the history of its primary, and adds its own
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "connpool_monitor.http_listen = ''");
$standby->start;
is(sql($standby, $rows), $before, 'a standby keeps the history of its primary');
records_sessions($standby, 'a standby records its own sessions');
$standby->stop('fast');
$standby->start;
is(sql($standby, $rows), $before, 'a standby keeps the history over a restart');
$standby->stop('fast');

# --- off
$node->append_conf('postgresql.conf', "connpool_monitor.session_history_size = 0\n");
$node->restart;
ok(poll_http($port, '/api/load?at=1m', sub { $_[0]{status} == 200 }),
	'/api/load answers if the history is off');
is(get_json($port, '/api/load?at=1m')->{observedMs},
	0, '/api/load has observed nothing if the history is off');
foreach my $function ('connpool_session_history', 'connpool_load')
{
	my ($status, $out, $error) = $node->psql(
		'postgres',
		"SELECT * FROM $function()",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like(
		$error,
		qr/55000: $function\(\) needs .*\nHINT: /,
		"$function() fails if the history is off");
}
is( sql($node, 'SELECT session_history_since IS NULL, session_history_lost FROM connpool_info()'),
	't|0',
	'connpool_info() works if the history is off');
wait_samples($node, 2);
$node->stop('fast');
ok(-s $file > 0, 'turning the history off leaves the file');
done_testing();
