# SPDX-License-Identifier: PostgreSQL
# A thousand roles, a thousand times the extension and a hundred databases
# (CONNPOOL_FAULT_ROUNDS=1000: a thousand) are created, used and dropped while we sample,
# answer and are asked: nothing grows or is in the way, every statement and session is
# counted, and what was dropped keeps its names.
# scripts/test: slow, 63 s
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
# of each in a database, so that there are a thousand in all
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
# the log is to hold nothing but what is provoked here: errors, not alerts about them
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
sub sql { return $node->safe_psql('postgres', @_); }

# --- what is measured

# Kilobytes that a worker has of its own, shared memory left out.
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
# What was counted of everybody but the watcher, who is asking all the time.
sub counted
{
	return split /\|/, sql($node, <<~'SQL');
		SELECT sum(queries), sum(failed_queries), sum(sessions_opened)
		FROM connpool_pools
		WHERE application_name <> 'watcher'
		SQL
}

# Asked over HTTP now and then; labels that name nothing, or something by its number.
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
	$scrapes++ if $found && @$listed && get($port, '/health/database')->{status} == 200;
	return;
}

# --- what is done

# A database, the roles that use it and the extension in it, one statement a line.
sub round
{
	my ($n) = @_;
	my @roles = map { 'role_' . (($n - 1) * $each + $_) } 1 .. $each;
	return
		"CREATE DATABASE database_$n STRATEGY file_copy;\n"
	  . ($n % 2 ? "ALTER DATABASE database_$n SET connpool_monitor.pool_max = 1;\n" : '')
	  . join(
		'',
		map {
			"CREATE ROLE $_ LOGIN;\nALTER ROLE $_ SET connpool_monitor.pool_max_uses = 1;\n\\c database_$n $_\nSELECT 1;\nSELECT 1/0;\n\\c postgres $user\n"
		} @roles)
	  . "\\c database_$n $user\nCREATE EXTENSION pg_stat_statements;\n"
	  . "BEGIN;\nCREATE EXTENSION connpool_monitor;\nROLLBACK;\n"
	  . "CREATE EXTENSION connpool_monitor;\n"
	  # kept by the session over all the extensions that come and go
	  . "PREPARE kept AS SELECT count(*) > 0 FROM connpool_sessions;\n"
	  . join(
		'',
		map {
			"DROP EXTENSION connpool_monitor;\nCREATE EXTENSION connpool_monitor;\nEXECUTE kept;\n"
		} 1 .. $each)
	  # it goes with its database
	  . "\\c postgres $user\nDROP DATABASE database_$n;\n"
	  # by another psql: one that cannot connect ends its script
	  . "\\! psql -XAtq -U $roles[-1] -d \"@{[ $node->connstr(\"database_$n\") ]}\" -c 'SELECT 1'\n"
	  . join('', map { "DROP ROLE $_;\n" } @roles);
}

# Some rounds; nothing but the intended errors, and all of it counted.
sub churn
{
	my ($from, $to) = @_;
	my $script = join '', map { round($_) } $from .. $to;
	my $done = $to - $from + 1;
	my $statements = () = $script =~ /^[A-Z].*;$/mg;
	# the first session is psql's own
	my $sessions = 1 + (() = $script =~ /^\\c /mg);
	my @before = counted();
	my ($status, $output, $errors) = $node->psql('postgres', $script, on_error_stop => 0);
	my @after = counted();

	my $failed = $errors =~ s/^psql:<stdin>:\d+: ERROR:  division by zero\n?//mg || 0;
	my $refused =
	  $errors =~ s/^psql: (?:error: )?.*FATAL:  database "database_\d+" does not exist\n?//mg || 0;
	is($errors, '', "rounds $from to $to: no error but the intended ones");
	is( "$failed failed, $refused refused",
		$done * $each . " failed, $done refused",
		'and all of those');
	is( scalar(() = $output =~ /^t$/mg),
		$done * $each,
		'a prepared statement outlives the extensions that it asked');
	# what counts is counted too: a statement and a session
	is( join(' ', map { $after[$_] - $before[$_] } 0 .. 2),
		join(' ', $statements + 1, $done * $each, $sessions + 1),
		'each statement, failure and session is counted');
	scrape();
	return;
}

# Somebody who reads everything meanwhile. What must hold at any moment is written down when it does not.
sql($node, 'CREATE TABLE broken (what text)');
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
		'pgbench', '-n', '-T', 36000, '-R', 5, '-D', 'last_queries=0', '-D', 'last_opened=0',
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
	'somebody is reading all of it');

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

# --- what came of it
SKIP:
{
	skip 'a sanitizer keeps what is freed', 3 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	foreach (sort keys %$after)
	{
		note "$_: $before->{$_} kB, then $after->{$_} kB";
		cmp_ok($after->{$_} - $before->{$_}, '<', 1024, "the $_ has not grown by a megabyte");
	}
}
is(shared(), $allocated, 'shared memory is what it was');
is(sql($node, q{SELECT string_agg(what, '; ') FROM broken}),
	'', 'sums never fell, names were names, pools kept their number, at whatever moment');
is(join(' ', sort keys %odd), '', 'nor was a name over HTTP anything but one');
is($scrapes, 20, 'which answered each time');
my $read = sql($node, q{SELECT queries FROM connpool_pools WHERE application_name = 'watcher'});
poll_ok(
	$node,
	"SELECT queries > $read FROM connpool_pools WHERE application_name = 'watcher'",
	'who reads all of it still does');
# in mid-query or not, this is one failure; a client that is killed may be none
sql($node, <<~'SQL');
	SELECT count(pg_terminate_backend(pid))
	FROM pg_stat_activity
	WHERE application_name = 'watcher'
	SQL
poll_ok($node, q{SELECT connections = 0 FROM connpool_pools WHERE application_name = 'watcher'},
	'and is gone');
$watcher->kill_kill(grace => 5);
undef $watcher;

is(sql($node, "SELECT count(*) <= $pools + 1 FROM connpool_pools"),
	't', 'pools are no more than max_pools, and the others');
is(sql($node, "SELECT pools_used <= $pools AND pools_folded >= 1000 - $pools FROM connpool_info()"),
	't', 'all before them were folded');
# in neither sum is the statement that asks
is(sql($node, <<~'SQL'), 0, 'pools have all statements');
	SELECT (SELECT sum(queries) FROM connpool_pools) - total_queries
	FROM connpool_query_stats
	WHERE period = 'since_reset'
	SQL
is(sql($node, <<~'SQL'), 0, 'sessions opened are those ended and those open');
	SELECT sessions_opened - sessions_closed - sessions_abandoned - sessions_failed -
	       sessions_killed - connections
	FROM connpool_session_stats
	SQL
is(sql($node, <<~'SQL'), 0, 'and those of all pools');
	SELECT sum(p.sessions_opened) - min(s.sessions_opened)
	FROM connpool_pools p, connpool_session_stats s
	SQL
is( sql($node, <<~'SQL'),
		SELECT string_agg(sqlstate || ' ' || errors, ', ' ORDER BY sqlstate)
		FROM connpool_errors
		SQL
	'22012 ' . $rounds * $each . ", 3D000 $rounds, 57P01 1",
	'errors are those provoked');
is( sql($node, <<~'SQL'),
		SELECT string_agg(reason || ' ' || rejections, ', ')
		FROM connpool_rejections
		WHERE rejections > 0
		SQL
	"no_database $rounds",
	'who asked for a dropped database was refused and counted');
is( sql($node, <<~'SQL'),
		SELECT string_agg(database || ' ' || role || ' ' || application_name, ', '
		       ORDER BY at DESC)
		FROM (SELECT * FROM connpool_rejection_log LIMIT 3) last
		SQL
	join(', ',
		map { "database_$_ role_" . $_ * $each . " $application" } reverse $rounds - 2 .. $rounds),
	'by name');
# a session may end a little after the next one has begun: not the very order
is( sql($node, q{SELECT string_agg(format('%s %s %s %s %s', database, role, sessions_opened, queries, failed_queries), ', ' ORDER BY substr(role, 6)::int) FROM connpool_pools
		WHERE role LIKE 'role\_%' AND substr(role, 6)::int > } . ($rounds * $each - 10)),
	join(', ',
		map { sprintf 'database_%d role_%d 1 2 1', ($_ + $each - 1) / $each, $_ }
		  $rounds * $each - 9 .. $rounds * $each),
	'the last ones are there with their names, though dropped');
is( sql($node, 'SELECT count(*) FROM pg_roles WHERE rolname LIKE $$role\_%$$') +
	  sql($node, 'SELECT count(*) FROM pg_database WHERE datname LIKE $$database\_%$$'),
	0,
	'all was dropped');
is(sql($node, <<~'SQL'), 0, 'nothing is left behind');
	SELECT count(*)
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass
	  AND refobjid NOT IN (SELECT oid FROM pg_extension)
	SQL
is(sql($node, 'SELECT problem FROM connpool_info()'), '', 'all of ours is well');

# --- a name that comes again is the same pool
sql($node, $_) foreach 'CREATE DATABASE database_again', 'CREATE ROLE role_again LOGIN';
foreach (1, 2)
{
	$node->safe_psql('database_again', 'SELECT 1', extra_params => [ '-U', 'role_again' ]);
	sql($node, $_) foreach 'DROP DATABASE database_again', 'DROP ROLE role_again';
	sql($node, $_) foreach 'CREATE DATABASE database_again', 'CREATE ROLE role_again LOGIN';
}
is(sql($node, <<~'SQL'), '1|2|2', 'a name that comes again is the same pool');
	SELECT count(*), sum(sessions_opened), sum(queries)
	FROM connpool_pools
	WHERE database = 'database_again' AND role = 'role_again'
	SQL

# --- a session whose role is dropped meanwhile, and one whose database is
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
is(sql($node, q{SELECT role, connections FROM connpool_pools WHERE application_name = 'orphan'}),
	'role_again|1', 'and by name in its pool');
is( join(' ',
		map  { $_->{role} }
		grep { $_->{application} eq 'orphan' } @{ get_json($port, '/api/pools')->{pools} }),
	'role_again',
	'and over HTTP');
is( $orphan->query_safe(
		q{SELECT count(*) > 10, connpool_health() ->> 'status' <> '' FROM get_connection_stats()}),
	't|t',
	'and may ask what everybody may');
leave($orphan);
poll_ok($node, <<~'SQL', 'it ends in its pool');
	SELECT connections = 0 AND sessions_opened = 0 AND sessions_closed = 1 AND queries = 2
	FROM connpool_pools
	WHERE application_name = 'orphan'
	SQL
my $forced = session($node, 'forced', dbname => 'database_again');
sql($node, 'DROP DATABASE database_again WITH (FORCE)');
poll_ok($node, <<~'SQL', 'one whose database was dropped by force was killed');
	SELECT sessions_killed = 1
	FROM connpool_pools
	WHERE database = 'database_again' AND application_name = 'forced'
	SQL
eval { leave($forced) };
is(sql($node, <<~'SQL'), 0, 'and sessions still add up');
	SELECT sessions_opened - sessions_closed - sessions_abandoned - sessions_failed -
	       sessions_killed - connections
	FROM connpool_session_stats
	SQL

# --- the log
$node->stop;
my %logged;
my $log = slurp_file($node->logfile);
$logged{ $1 =~ s/_\d+/_N/gr }++ while $log =~ /\b((?:WARNING|ERROR|FATAL|PANIC):  .*)/g;
# those who were told to go, and who had not gone when the server stopped
delete $logged{'FATAL:  terminating connection due to administrator command'};
is_deeply(
	\%logged,
	{
		'ERROR:  division by zero' => $rounds * $each,
		'FATAL:  database "database_N" does not exist' => $rounds
	},
	'the log has the intended errors, and no others') or diag(explain(\%logged));

done_testing();
