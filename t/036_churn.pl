# SPDX-License-Identifier: PostgreSQL
# Clients create, use and drop a thousand roles and a hundred databases (a thousand with
# CONNPOOL_FAULT_ROUNDS=1000), and create and drop the extension a thousand times. Meanwhile the
# sampler runs, and a client reads all views. Memory does not grow, every statement and session
# counts, and pools of dropped roles and databases keep their names. Needs thousands of sessions.
# scripts/test: slow, 120 s
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;

my $rounds = $ENV{CONNPOOL_FAULT_ROUNDS} // 100;
$rounds = 10 * int(($rounds + 9) / 10);
# roles and extensions of each database, so that there are a thousand in all
my $each = int((1000 + $rounds - 1) / $rounds);
my $pools = 50;

my $port = http_port();
my $node = new_node('churn', <<"CONF", stopped => 1);
connpool_monitor.max_pools = $pools
connpool_monitor.save_interval = '1s'
connpool_monitor.http_listen = '127.0.0.1:$port'
max_wal_size = '2GB'
CONF
$node->start;
# silence alerts, because the log is to have nothing but the errors provoked here
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
$node->safe_psql(
	'postgres',
	sprintf(
		q{ALTER SYSTEM SET connpool_monitor.silent_metrics = %s},
		join ', ', split /\n/,
		$node->safe_psql('postgres', 'SELECT metric_name FROM connpool_alerts')));
$node->reload;

my $user = $node->safe_psql('postgres', 'SELECT session_user');
my $application = $node->safe_psql('postgres', q{SELECT current_setting('application_name')});

# --- measurements

# Return the private memory of a worker in kilobytes.
sub memory
{
	my ($name) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my ($pid) =
	  map { /^\s*(\d+) .*connpool_monitor $name/ ? $1 : () } `ps -o pid=,args= --ppid $postmaster`;
	die "no $name" unless $pid;
	return slurp_file("/proc/$pid/smaps_rollup") =~ /^Anonymous:\s+(\d+)/m
	  ? $1
	  : die "no memory of the $name";
}

sub memories
{
	return { map { $_ => memory($_) } qw(sampler saver http) };
}

sub shared
{
	return sql($node, <<~'SQL');
		SELECT string_agg(format('%s %s', name, allocated_size), ', ' ORDER BY name)
		FROM pg_shmem_allocations
		WHERE name LIKE '%connpool%'
		SQL
}

# Return the counters of all applications but the watcher, which runs all the time.
sub counted
{
	return split /\|/, sql($node, <<~'SQL');
		SELECT sum(queries), sum(failed_queries), sum(sessions_opened)
		FROM connpool_pools
		WHERE application_name <> 'watcher'
		SQL
}

# Read HTTP, and record labels that are no name of a database or role.
my ($scrapes, %odd) = (0);

sub scrape
{
	my $text = get($port, '/metrics')->{content};
	my $found = () = $text =~ /\b(?:database|role)="/g;
	while ($text =~ /\b(?:database|role)="((?:[^"\\]|\\.)*)"/g)
	{
		$odd{$1}++
		  unless $1 =~ /^(?:postgres|template1|other|\(other\)|\Q$user\E|(?:database|role)_\d+)$/;
	}
	my $listed = get_json($port, '/api/pools')->{pools};
	foreach (map { $_->{database}, $_->{role} } @$listed)
	{
		$odd{ $_ // 'null' }++
		  unless defined
		  && /^(?:postgres|template1|other|\(other\)|\Q$user\E|(?:database|role)_\d+)$/;
	}
	$scrapes++
	  if $found && @$listed && poll_http($port, '/health/database', sub { $_[0]{status} == 200 });
	return;
}

# --- work

# Return statements that create a database, roles that use it, and the extension in it.
sub round
{
	my ($n) = @_;
	my @roles = map { 'role_' . (($n - 1) * $each + $_) } 1 .. $each;
	return
		"CREATE DATABASE database_$n STRATEGY file_copy;\n"
	  . ($n % 2 ? "ALTER DATABASE database_$n SET connpool_monitor.pool_max = 1;\n" : '')
	  . join('', map { <<"SQL" } @roles)
CREATE ROLE $_ LOGIN;
ALTER ROLE $_ SET connpool_monitor.pool_max_uses = 1;
SQL
	  . join('', map { "\\c database_$n $_\nSELECT 1;\nSELECT 1/0;\n" } @roles)
	  . "\\c database_$n $user\nCREATE EXTENSION pg_stat_statements;\n"
	  . "BEGIN;\nCREATE EXTENSION connpool_monitor;\nROLLBACK;\n"
	  . "CREATE EXTENSION connpool_monitor;\n"
	  # the session keeps it while the extension is dropped and created
	  . "PREPARE kept AS SELECT count(*) > 0 FROM connpool_sessions;\n"
	  . join(
		'',
		map {
			"DROP EXTENSION connpool_monitor;\nCREATE EXTENSION connpool_monitor;\nEXECUTE kept;\n"
		} 1 .. $each)
	  # The extension is dropped with its database. DROP DATABASE checks only every 100 ms whether
	  # the previous session has ended, so let it end before.
	  . "\\c postgres $user\nSELECT pg_sleep(0.01);\nDROP DATABASE database_$n;\n"
	  # by another psql, because a psql that cannot connect ends its script
	  . "\\! psql -XAtq -U $roles[-1] "
	  . "-d \"@{[ $node->connstr(\"database_$n\") ]}\" -c 'SELECT 1'\n"
	  . join('', map { "DROP ROLE $_;\n" } @roles);
}

# Run some rounds; assert that only the intended errors occur and everything counts.
sub churn
{
	my ($from, $to) = @_;
	my $script = join '', map { round($_) } $from .. $to;
	my $done = $to - $from + 1;
	my $statements = () = $script =~ /^[A-Z].*;$/mg;
	# the first session is the one that psql opens
	my $sessions = 1 + (() = $script =~ /^\\c /mg);
	my @before = counted();
	my ($status, $output, $errors) = $node->psql('postgres', $script, on_error_stop => 0);
	my @after = counted();

	my $failed = $errors =~ s/^psql:<stdin>:\d+: ERROR:  division by zero\n?//mg || 0;
	my $refused =
	  $errors =~ s/^psql: (?:error: )?.*FATAL:  database "database_\d+" does not exist\n?//mg || 0;
	is($errors, '', "rounds $from to $to: only the intended errors occur");
	is( "$failed failed, $refused refused",
		$done * $each . " failed, $done refused",
		"rounds $from to $to: all intended errors occur");
	is( scalar(() = $output =~ /^t$/mg),
		$done * $each,
		"rounds $from to $to: a prepared statement survives the extension that it reads");
	# counted() itself adds a statement and a session
	is( join(' ', map { $after[$_] - $before[$_] } 0 .. 2),
		join(' ', $statements + 1, $done * $each, $sessions + 1),
		"rounds $from to $to: each statement, failure and session counts");
	scrape();
	return;
}

# A client that reads everything meanwhile, and records violations of the invariants.
sql($node, 'CREATE TABLE broken (violation text)');
my $file = PostgreSQL::Test::Utils::tempdir() . '/watch.sql';
append_to_file($file, <<'SQL');
SELECT sum(queries) AS queries, sum(sessions_opened) AS opened FROM connpool_pools \gset
INSERT INTO broken
SELECT format('%s queries and then %s', :last_queries, :queries)
WHERE :queries < :last_queries;
INSERT INTO broken
SELECT format('%s opened and then %s', :last_opened, :opened)
WHERE :opened < :last_opened;
\set last_queries :queries
\set last_opened :opened
INSERT INTO broken SELECT 'names: ' || p FROM connpool_pools p
	WHERE database IS NULL OR database !~ '^(postgres|database_\d+|\(other\))$' OR role IS NULL
	  OR role = '' OR role ~ '^\d+$' OR application_name IS NULL;
INSERT INTO broken
SELECT format('%s pools', count(*))
FROM connpool_pools
HAVING count(*) > current_setting('connpool_monitor.max_pools')::int + 1;
SELECT count(*) FROM connpool_sessions, connpool_info();
SELECT count(*) FROM connpool_connection_states;
SELECT count(*) FROM connpool_clients;
SELECT count(*) FROM connpool_blocked_queries;
SELECT count(*) FROM connpool_leaks;
SELECT count(*) FROM connpool_pool_advice;
SELECT count(*) FROM connpool_session_features;
SELECT count(*) FROM connpool_rejection_log;
SELECT count(*) FROM slow_queries;
SELECT count(*) FROM connpool_audit();
SELECT length(connpool_metrics()), connpool_health() ->> 'status';
SQL
my ($nothing, $said) = ('', '');
my $watcher = IPC::Run::start(
	[
		'pgbench', '-n', '-T', 36000, '-R', 2, '-D', 'last_queries=0', '-D', 'last_opened=0',
		'-f', $file, $node->connstr('postgres') . ' application_name=watcher'
	],
	'<',
	\$nothing,
	'>',
	\$said,
	'2>&1');

END
{
	local $?;
	eval { $watcher->kill_kill(grace => 5) } if $watcher;
}
poll_ok(
	$node,
	q{SELECT count(*) > 0 FROM connpool_pools WHERE application_name = 'watcher' AND queries > 20},
	'a client reads all views');

my $allocated = shared();
my $tenth = $rounds / 10;
churn(1, $tenth);
scrape() for 1 .. 5;
wait_samples($node, 10);
my $before = memories();
churn($_ * $tenth + 1, ($_ + 1) * $tenth) foreach 1 .. 9;
scrape() for 1 .. 5;
wait_samples($node, 10);
my $after = memories();

# --- results
SKIP:
{
	skip 'a sanitizer keeps what is freed', 3 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	foreach (sort keys %$after)
	{
		note "$_: $before->{$_} kB, then $after->{$_} kB";
		cmp_ok($after->{$_} - $before->{$_},
			'<', 1024, "the memory of the $_ grows by less than a megabyte");
	}
}
is(shared(), $allocated, 'shared memory has not changed');
is(sql($node, q{SELECT string_agg(violation, '; ') FROM broken}),
	'',
	'sums never fell, names were those of databases and roles, and pools were at most max_pools');
is(join(' ', sort keys %odd), '', 'every name over HTTP is that of a database or role');
is($scrapes, 20, 'HTTP answers each of twenty scrapes');
my $read = sql($node, q{SELECT queries FROM connpool_pools WHERE application_name = 'watcher'});
poll_ok(
	$node,
	"SELECT queries > $read FROM connpool_pools WHERE application_name = 'watcher'",
	'the client that reads all views still runs');
# Terminating the session is one failure, whether a query runs or not. If the client were killed
# instead, there might be none.
sql($node, <<~'SQL');
	SELECT count(pg_terminate_backend(pid))
	FROM pg_stat_activity
	WHERE application_name = 'watcher'
	SQL
poll_ok(
	$node,
	q{SELECT connections = 0 FROM connpool_pools WHERE application_name = 'watcher'},
	'the client that reads all views is terminated');
$watcher->kill_kill(grace => 5);
undef $watcher;

is(sql($node, "SELECT count(*) <= $pools + 1 FROM connpool_pools"),
	't', 'there are at most max_pools pools besides (other)');
is( sql($node,
		"SELECT pools_used <= $pools AND pools_folded >= 1000 - $pools FROM connpool_info()"),
	't',
	'older pools were evicted');
# neither sum has the statement that reads it
is(sql($node, <<~'SQL'), 0, 'the statements of the pools add up to the total');
	SELECT (SELECT sum(queries) FROM connpool_pools) - total_queries
	FROM connpool_query_stats
	WHERE period = 'since_reset'
	SQL
is(sql($node, <<~'SQL'), 0, 'sessions opened are those that ended plus those that are open');
	SELECT sessions_opened - sessions_closed - sessions_abandoned - sessions_failed -
	       sessions_killed - connections
	FROM connpool_session_stats
	SQL
is(sql($node, <<~'SQL'), 0, 'the sessions of the pools add up to the total');
	SELECT sum(p.sessions_opened) - min(s.sessions_opened)
	FROM connpool_pools p, connpool_session_stats s
	SQL
is( sql($node, <<~'SQL'),
		SELECT string_agg(sqlstate || ' ' || errors, ', ' ORDER BY sqlstate)
		FROM connpool_errors
		SQL
	'22012 ' . $rounds * $each . ", 3D000 $rounds, 57P01 1",
	'errors are those that were provoked');
is( sql($node, <<~'SQL'),
		SELECT string_agg(reason || ' ' || rejections, ', ')
		FROM connpool_rejections
		WHERE rejections > 0
		SQL
	"no_database $rounds",
	'each refusal for a dropped database counts');
is( sql($node, <<~'SQL'),
		SELECT string_agg(database || ' ' || role || ' ' || application_name,
		                  ', ' ORDER BY at DESC)
		FROM (SELECT * FROM connpool_rejection_log LIMIT 3) last
		SQL
	join(', ',
		map { "database_$_ role_" . $_ * $each . " $application" } reverse $rounds - 2 .. $rounds),
	'refusals for a dropped database are logged by name');
# ordered by role, because a session may end after the next one has begun
is( sql($node, <<~"SQL"),
		SELECT string_agg(format('%s %s %s %s %s', database, role, sessions_opened, queries,
		                         failed_queries), ', ' ORDER BY substr(role, 6)::int)
		FROM connpool_pools
		WHERE role LIKE 'role\\_%' AND substr(role, 6)::int > $rounds * $each - 10
		SQL
	join(', ',
		map { sprintf 'database_%d role_%d 1 2 1', ($_ + $each - 1) / $each, $_ }
		  $rounds * $each - 9 .. $rounds * $each),
	'pools of dropped databases and roles keep their names');
is( sql($node, 'SELECT count(*) FROM pg_roles WHERE rolname LIKE $$role\_%$$') +
	  sql($node, 'SELECT count(*) FROM pg_database WHERE datname LIKE $$database\_%$$'),
	0,
	'no database or role is left');
is(sql($node, <<~'SQL'), 0, 'no dependency on an extension is left');
	SELECT count(*)
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass
	  AND refobjid NOT IN (SELECT oid FROM pg_extension)
	SQL
poll_ok(
	$node,
	q{SELECT problem IS NULL FROM connpool_info()},
	'connpool_info() reports no problem');

# --- a name that is used again belongs to the same pool
sql($node, $_) foreach 'CREATE DATABASE database_again', 'CREATE ROLE role_again LOGIN';
foreach (1, 2)
{
	$node->safe_psql('database_again', 'SELECT 1', extra_params => [ '-U', 'role_again' ]);
	sql($node, $_) foreach 'DROP DATABASE database_again', 'DROP ROLE role_again';
	sql($node, $_) foreach 'CREATE DATABASE database_again', 'CREATE ROLE role_again LOGIN';
}
is( sql($node, <<~'SQL'),
		SELECT count(*), sum(sessions_opened), sum(queries)
		FROM connpool_pools
		WHERE database = 'database_again' AND role = 'role_again'
		SQL
	'1|2|2', 'a database and a role that are created again have the same pool');

# --- a session whose role is dropped, and one whose database is
my $orphan =
  $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'role_again' ]);
$orphan->set_query_timer_restart;
$orphan->query_safe(q{SET application_name = 'orphan'});
sql($node, 'DROP ROLE role_again');
wait_samples($node, 2);
is( sql($node, <<~'SQL'),
		SELECT s.role IS NOT DISTINCT FROM a.usename, s.database, s.queries
		FROM connpool_sessions s
		JOIN pg_stat_activity a USING (pid)
		WHERE s.application_name = 'orphan'
		SQL
	't|postgres|1',
	'a session whose role was dropped is listed as in pg_stat_activity');
is( sql($node, q{SELECT role, connections FROM connpool_pools WHERE application_name = 'orphan'}),
	'role_again|1',
	'the pool of a session whose role was dropped keeps the name of the role');
is( join(' ',
		map  { $_->{role} }
		grep { $_->{application} eq 'orphan' } @{ get_json($port, '/api/pools')->{pools} }),
	'role_again',
	'/api/pools has the name of the dropped role');
is( $orphan->query_safe(
		q{SELECT count(*) > 10, connpool_health() ->> 'status' <> '' FROM get_connection_stats()}),
	't|t',
	'a session whose role was dropped can call the functions that PUBLIC can call');
leave($orphan);
poll_ok($node, <<~'SQL', 'the end of a session whose role was dropped counts in its pool');
	SELECT connections = 0 AND sessions_opened = 0 AND sessions_closed = 1 AND queries = 2
	FROM connpool_pools
	WHERE application_name = 'orphan'
	SQL
my $forced = session($node, 'forced', dbname => 'database_again');
sql($node, 'DROP DATABASE database_again WITH (FORCE)');
poll_ok($node, <<~'SQL', 'a session whose database was dropped by force counts as killed');
	SELECT sessions_killed = 1
	FROM connpool_pools
	WHERE database = 'database_again' AND application_name = 'forced'
	SQL
eval { leave($forced) };
is(sql($node, <<~'SQL'), 0, 'sessions add up after their role or database was dropped');
	SELECT sessions_opened - sessions_closed - sessions_abandoned - sessions_failed -
	       sessions_killed - connections
	FROM connpool_session_stats
	SQL

# --- the log
$node->stop;
my %logged;
my $log = slurp_file($node->logfile);
$logged{ $1 =~ s/_\d+/_N/gr }++ while $log =~ /\b((?:WARNING|ERROR|FATAL|PANIC):  .*)/g;
# sessions that were terminated, or had not ended when the server stopped
delete $logged{'FATAL:  terminating connection due to administrator command'};
is_deeply(
	\%logged,
	{
		'ERROR:  division by zero' => $rounds * $each,
		'FATAL:  database "database_N" does not exist' => $rounds
	},
	'the log has the intended errors and no others') or diag(explain(\%logged));

done_testing();
