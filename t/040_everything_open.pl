# SPDX-License-Identifier: PostgreSQL
# Each feature has tests of its own; this one tests their combinations. It opens one of every kind
# of thing that the extension can meet in a server. Then it reads each view, function and HTTP
# path, as a superuser, a member of pg_monitor and an ordinary role, on the primary, after a crash,
# on a standby and after its promotion. Needs clients that stop in the middle of the protocol.
# scripts/test: slow, 9 s
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use lib $FindBin::RealBin;
use Application;
use Connpool;
use Http;
use Wire;

my $port = http_port();
my $node = new_node('primary', <<"CONF", allows_streaming => 1);
max_connections = 60
authentication_timeout = '10min'
max_prepared_transactions = 10
wal_level = logical
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.leak_age = '100ms'
connpool_monitor.leak_idle_age = '100ms'
connpool_monitor.blocked_age = '50ms'
connpool_monitor.slow_statement_time = '50ms'
connpool_monitor.long_transaction_age = '100ms'
connpool_monitor.alert_after = 0
connpool_monitor.total_connections_warning = 1
connpool_monitor.pgbouncer_interval = '200ms'
CONF
my $user = getpwuid($<);
my $pooler = start_pooler($node);
$node->append_conf('postgresql.conf',
		"connpool_monitor.pgbouncer = 'main=host="
	  . $pooler->host
	  . ' port='
	  . $pooler->port
	  . " user=$user'\n");
$node->restart;

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE app LOGIN;
CREATE ROLE vanished LOGIN;
CREATE ROLE locked LOGIN PASSWORD 'secret';
GRANT ALL ON SCHEMA public TO app, vanished;
CREATE TABLE t (i int PRIMARY KEY);
INSERT INTO t VALUES (1), (2), (3);
CREATE TABLE wide AS SELECT g FROM generate_series(1, 5000) g;
CREATE FUNCTION snooze(int) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE COST 1e8
	AS $$ BEGIN PERFORM pg_sleep(600); RETURN true; END $$;
GRANT ALL ON t, wide TO PUBLIC;
SQL
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach 'closed', 'dropped';
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf',
	"local all locked password\nlocal all all trust\nlocal replication all trust\n");
$node->reload;

# Open everything that a client, a standby or an administrator can leave open.
sub open_everything
{
	my @open;

	# A database that is dropped. This comes first, because below a backend blocks while it sends to
	# its client, and such a backend would delay the drop.
	$node->safe_psql('dropped', 'SELECT 1');
	$node->safe_psql('postgres', 'DROP DATABASE dropped');

	# prepared transactions, one by a role that is dropped afterwards
	$node->safe_psql('postgres',
		q{BEGIN; UPDATE t SET i = i WHERE i = 1; PREPARE TRANSACTION 'first'});
	$node->safe_psql(
		'postgres',
		q{BEGIN; SELECT pg_advisory_xact_lock(5); PREPARE TRANSACTION 'second'},
		extra_params => [ '-U', 'vanished' ]);

	# replication: a walsender without a slot, besides those of the standby and of the logical slot
	my $walsender = $node->background_psql('postgres', replication => 'database');
	$walsender->query_safe('IDENTIFY_SYSTEM');

	my $parallel = session($node, 'parallel');
	$parallel->query_safe(
		'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0');
	$parallel->query_until(qr/started/,
		"\\echo started\nSELECT count(*) FROM wide WHERE snooze(g);\n");

	# cursors: one that survives its transaction, and a portal that was executed in part
	my $cursor = session($node, 'cursor');
	$cursor->query_safe(
		'BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT * FROM wide; FETCH 3 FROM held; COMMIT;
		BEGIN; DECLARE open CURSOR FOR SELECT * FROM wide; FETCH 3 FROM open; SAVEPOINT inside');
	my $portal = Wire->connect_to($node, 'portal', user => $user);
	$portal->parse('', 'SELECT * FROM wide')->bind_to('', '')->execute('', 3)->flush;
	$portal->read_until('s');

	# a COPY in each direction whose client does nothing
	my $copy_in = Wire->connect_to($node, 'copy in', user => $user);
	$copy_in->send_message('Q', "COPY t FROM STDIN\0")->read_until('G');
	my $copy_out = Wire->connect_to($node, 'copy out', user => $user);
	$copy_out->send_message('Q',
		"COPY (SELECT repeat('x', 10000) FROM generate_series(1, 10000)) TO STDOUT\0")
	  ->read_until('H');

	my $aborted = session($node, 'aborted');
	$aborted->query('BEGIN; SELECT 1/0');

	# a client that does not answer the request for its password
	my $authenticating = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "could not connect: $!";
	my $startup = pack('N', 196608) . "user\0locked\0database\0postgres\0\0";
	$authenticating->syswrite(pack('N', length($startup) + 4) . $startup);

	# a session of a database that forbids connections
	my $closed = Wire->connect_to($node, 'closed', user => $user, database => 'closed');
	$closed->query('SELECT 1');
	$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');

	# a session of a role that was dropped
	my $orphan = Wire->connect_to($node, 'orphan', user => 'vanished');
	$orphan->query('SELECT 1');
	$node->safe_psql('postgres', 'REVOKE ALL ON SCHEMA public FROM vanished; DROP ROLE vanished');

	# locks: a queue behind a session, another behind a prepared transaction
	my $holder = session($node, 'holder');
	$holder->query_safe('BEGIN; UPDATE t SET i = i WHERE i = 2');
	my $waiter = session($node, 'waiter');
	$waiter->query_until(qr/started/, "\\echo started\nUPDATE t SET i = i WHERE i = 2;\n");
	my $behind_prepared = session($node, 'behind prepared');
	$behind_prepared->query_until(qr/started/,
		"\\echo started\nUPDATE t SET i = i WHERE i = 1;\n");

	my $busy = session($node, 'busy');
	$busy->query_safe(<<~'SQL');
		LISTEN news;
		CREATE TEMP TABLE mine ();
		SELECT pg_advisory_lock(1);
		PREPARE p AS SELECT 1;
		SET work_mem = '8MB'
		SQL
	my $untracked = session($node, 'untracked');
	$untracked->query_safe('SET track_activities = off');
	my $pooled = Wire->connect_to($pooler, 'pooled', user => $user);
	$pooled->query('SELECT 1');
	connects($node->connstr('nowhere'));
	push @open, $walsender, $parallel, $cursor, $portal, $copy_in, $copy_out, $aborted,
	  $authenticating, $closed, $orphan,
	  $holder, $waiter, $behind_prepared, $busy, $untracked, $pooled;
	return @open;
}

sub sum_of { my ($series) = @_; my $sum = 0; $sum += $_ foreach values %$series; return $sum; }

my @paths = slurp_file("$ENV{TESTDIR}/src/http/answer.c") =~ m[^\t\{"(/[^"]*)", ["\w]]mg;
cmp_ok(scalar @paths, '>=', 8, 'answer.c has at least eight paths');

# Return each view and each function as a query. A function whose arguments have no defaults is
# called with every value that they can have, which so far is the name of a view.
my %calls =
  (connpool_live_sessions =>
	  [qw(connpool_sessions connpool_running_queries connpool_connection_states connpool_clients)]
  );

sub queries
{
	my ($server) = @_;
	my @queries;
	foreach my $row (split /\n/, $server->safe_psql('postgres', <<'SQL'))
SELECT c.relname, 'view', 0
FROM pg_depend d
JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'v'
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
UNION ALL
SELECT p.proname, 'function', p.pronargs - p.pronargdefaults
FROM pg_depend d
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND p.proname NOT LIKE '\_%'
AND p.proname <> 'connpool_reset'
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
ORDER BY 1, 2
SQL
	{
		my ($name, $kind, $arguments) = split /\|/, $row;
		my @values =
		  $name eq 'connpool_plot' ? ("'total_connections'") : $arguments ? map { "'$_'" }
		  @{ $calls{$name} // [] } : ('');
		fail("$name has arguments that this test does not know") unless @values;
		push @queries, $kind eq 'view' ? "TABLE $name" : map { "SELECT * FROM $name($_)" } @values;
	}
	return @queries;
}

# Read everything once as each role, and over HTTP. Reads that an ordinary role has no privilege
# for must fail with SQLSTATE 42501.
sub read_everything
{
	my ($server, $when, $http) = @_;
	my $offset = -s $server->logfile;
	my (%wrong, $read);
	foreach my $role ($user, 'watcher', 'app')
	{
		my $psql = $server->background_psql(
			'postgres',
			extra_params => [ '-U', $role ],
			on_error_stop => 0);
		$psql->set_query_timer_restart;
		$psql->query_safe('\set VERBOSITY sqlstate');
		foreach my $query (queries($server))
		{
			$psql->query($query);
			my $error = $psql->{stderr};
			$read++;
			$psql->{stderr} = '';
			next
			  if $error eq ''
			  || ($role eq 'app' && $error =~ /^(psql:<stdin>:\d+: )?ERROR:  42501$/);
			$wrong{"$role: $query"} = $error;
		}
		leave($psql);
	}
	cmp_ok($read, '>', 100, "$when: $read queries ran");
	is(join("\n", map { "$_: $wrong{$_}" } sort keys %wrong),
		'', "$when: every view and function can be read by each role");
	if ($http)
	{
		foreach my $path (@paths)
		{
			my $answer =
			  get($http, $path eq '/api/history' ? "$path?metric=total_connections" : $path);
			like(
				$answer->{status},
				$path eq '/health/database' ? qr/^(200|503)$/ : qr/^200$/,
				"$when: $path is served");
			JSON::PP->new->decode($answer->{content})
			  if $answer->{headers}{'content-type'} =~ /json/;
		}
	}
	wait_samples($server, 2);
	is(log_count($server, 'terminated by signal|TRAP:|PANIC:|XX000', $offset),
		0, "$when: no process of the server died");
	return;
}

$node->backup('base');
$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('standby')});
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
my $standby_port = http_port();
$standby->append_conf('postgresql.conf', <<"CONF");
primary_slot_name = 'standby'
connpool_monitor.http_listen = '127.0.0.1:$standby_port'
CONF
$standby->start;

# before any transaction is prepared: creating a logical slot would wait for it to finish
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('logical', 'pgoutput')});
my @open = open_everything();
poll_ok($node, <<'SQL', 'all sessions, prepared transactions and slots are open');
SELECT count(*) FILTER (WHERE application_name IN ('waiter', 'behind prepared')
                              AND wait_event_type = 'Lock') = 2
   AND count(*) FILTER (WHERE backend_type = 'walsender') = 2
   AND count(*) FILTER (WHERE backend_type = 'parallel worker') = 2
   AND count(*) FILTER (WHERE application_name LIKE 'copy%' AND wait_event_type = 'Client') = 2
   AND count(*) FILTER (WHERE state = 'idle in transaction (aborted)') = 1
   AND (SELECT count(*) FROM pg_prepared_xacts) = 2
   AND (SELECT count(*) FROM pg_replication_slots) = 2
   AND (SELECT count(*) FROM connpool_pgbouncer WHERE up) = 1
FROM pg_stat_activity
SQL
# the first prepared transaction must be the oldest when the HTTP worker reads it
poll_ok($node, <<~'SQL', 'a transaction is three seconds old');
	SELECT current_value >= 3
	FROM get_connection_stats()
	WHERE metric_name = 'oldest_transaction_seconds'
	SQL
read_everything($node, 'primary', $port);

# SQL and HTTP show the same numbers. Compare until they agree, because a session may outlast the
# psql that opened it. Only the number from SQL includes the session that runs the SQL.
sub http_agrees
{
	my ($query, $count, $name) = @_;
	my ($by_http, $by_sql);
	wait_until(
		sub {
			$by_sql = $count->($node->safe_psql('postgres', $query));
			$by_http = metric($port, 'connections');
			return $by_http == $by_sql;
		});
	is($by_http, $by_sql, $name);
	return;
}
http_agrees(
	'SELECT connpool_metrics()',
	sub { sum_of(series($_[0], 'connections')) - 1 },
	'HTTP counts the sessions that SQL counts, except the one that runs the SQL');
# Before 18, pg_stat_activity lacks the session that authenticates, but it has the session that
# runs the SQL, so the numbers are equal.
http_agrees(
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'},
	sub { $_[0] - ($node->pg_version < 18 ? 0 : 1) },
	'HTTP counts the client backends of pg_stat_activity and the one in authentication');
poll_ok(
	$node,
	q{SELECT count(*) = 2 FROM connpool_leaks WHERE kind = 'prepared'},
	'both prepared transactions are suspects');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT root_blocker
		FROM connpool_blocked_queries
		WHERE application_name = 'behind prepared'
		SQL
	'0', 'root_blocker is 0 for a session that waits for a prepared transaction');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT application_name, root_application_name, root_state
		FROM connpool_lock_log
		WHERE outcome IS NULL
		ORDER BY 1
		SQL
	"behind prepared||prepared\nwaiter|holder|idle in transaction",
	'connpool_lock_log has both waits with their roots');

my ($oldest) = split /\|/, stat_of($node, 'oldest_transaction_seconds');
my $by_http = metric($port, 'oldest_transaction_seconds');
my ($later) = split /\|/, stat_of($node, 'oldest_transaction_seconds');
ok( $oldest - 1 <= $by_http && $by_http <= $later + 1,
	'HTTP and SQL show the same age of the oldest transaction'
) or diag("$oldest, $by_http, $later");

# the standby replays all of it
$node->wait_for_catchup($standby);
read_everything($standby, 'standby', $standby_port);

# prepared transactions and replication slots survive a crash; sessions do not
undef @open;
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	'2', 'prepared transactions survive a crash');
poll_ok($node, 'SELECT sampler_running FROM connpool_info()', 'the sampler runs after a crash');
ok(poll_http($port, '/health/database', sub { $_[0]{status} == 200 }),
	'HTTP is served after a crash');
read_everything($node, 'after a crash', $port);

# the promoted standby has the prepared transactions
$node->stop('fast');
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'the standby is promoted');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	'2', 'the promoted standby has both prepared transactions');
read_everything($standby, 'promoted', $standby_port);

stop_pooler($pooler);
$standby->stop('fast');
done_testing();
