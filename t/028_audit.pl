# SPDX-License-Identifier: PostgreSQL
# connpool_audit() rates each of the seven practices as followed on a server that follows it, and
# as not followed on one that does not. Needs applications and settings of the whole server.
# scripts/test: slow, 11 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

my $node = new_node('audit', <<'CONF');
max_connections = 40
connpool_monitor.leak_age = '200ms'
connpool_monitor.save_interval = '1h'
CONF

sub audit
{
	my ($practice, $columns) = @_;
	return $node->safe_psql('postgres',
		"SELECT $columns FROM connpool_audit() WHERE practice = '$practice'");
}

is( $node->safe_psql('postgres', 'SELECT practice FROM connpool_audit()'),
	"connection pooling\nretries\nmonitoring\ntimeouts\ncaching\nbatching\nresource clean-up",
	'connpool_audit() lists the practices of the source document in its order');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*)
		FROM connpool_audit()
		WHERE status NOT IN ('OK', 'ADVICE', 'WARNING', 'UNKNOWN')
		  OR evidence IS NULL
		  OR (status = 'OK') <> (advice IS NULL)
		  AND status <> 'UNKNOWN'
		SQL
	'0',
	'each row has evidence, and has advice exactly if its status is ADVICE or WARNING');

# before anything was observed
is(audit('connection pooling', 'status'),
	'UNKNOWN', 'pooling is UNKNOWN before enough was observed');
is( audit('timeouts', 'status, evidence'),
	'UNKNOWN|no ordinary role has had a session yet',
	'timeouts is UNKNOWN while only superusers had sessions');
is(audit('retries', 'status'), 'OK', 'retries is OK without errors');
is(audit('caching', 'status'), 'OK', 'caching is OK without candidates');
is(audit('batching', 'status'), 'OK', 'batching is OK without candidates');
is(audit('resource clean-up', 'status'), 'OK', 'clean-up is OK without leaks');

# pooling: an application with a pool, then one that connects for each statement
$node->safe_psql('postgres', <<~'SQL');
	CREATE ROLE app LOGIN;
	CREATE TABLE t (id int PRIMARY KEY);
	INSERT INTO t SELECT generate_series(1, 100);
	GRANT ALL ON t TO app;
	ANALYZE t
	SQL
application(
	$node, { pool => { max => 3 }, clients => 3, for => 1500, pause => 1 },
	user => 'app',
	name => 'pooled');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
application(
	$node, { pool => { max => 3 }, clients => 3, for => 1500, pause => 1 },
	user => 'app',
	name => 'pooled');
is(audit('connection pooling', 'status, advice IS NULL'),
	'OK|t', 'pooling is OK if sessions are used many times');
my $script = "$PostgreSQL::Test::Utils::tmp_check/one.sql";
append_to_file($script, "SELECT 1\n");
{
	local $ENV{PGAPPNAME} = 'direct';
	$node->command_ok(
		[
			'pgbench', '-n', '-C', '-f', $script, '-t',
			60, '-U', 'app', '-h', $node->host, '-p',
			$node->port, 'postgres'
		],
		'pgbench connects for each of 60 transactions');
}
like(
	audit('connection pooling', 'status, evidence'),
	pattern(
		'^(ADVICE|WARNING)\|\d+ sessions opened .*; 1 pool opens sessions for fewer',
		'than 5 transactions, most of them direct \(app in postgres\):',
		'\d+ sessions with \d'),
	'pooling names the pool that opens a session for each transaction');

# retries: errors are counted by kind without a verdict, because the server cannot detect a retry
$node->psql('postgres', q{DO $$ BEGIN RAISE EXCEPTION 'x' USING errcode = '40001'; END $$})
  foreach 1 .. 3;
like(
	audit('retries', 'status, evidence'),
	qr/^UNKNOWN\|errors that a retry could resolve: 3 \(40001 serialization_failure: 3\)$/,
	'retries lists errors that a retry could solve');

# timeouts: not set, then set by role, for the database, and for the server
my $missing = join ', ',
  'statement_timeout is set for 0 of 1 and fired \d+ times ' . '\(cancelled statements included\)',
  'lock_timeout is set for 0 of 1 and fired 0 times \(NOWAIT included\)',
  'idle_in_transaction_session_timeout is set for 0 of 1';
like(audit('timeouts', 'status, evidence'),
	qr/^ADVICE\|$missing/, 'timeouts reports that none is set');
like(
	audit('timeouts', 'advice'),
	qr/At least one of the three is missing for app in postgres\.$/,
	'timeouts names the role and database without them');
$node->safe_psql('postgres', <<~'SQL');
	ALTER ROLE app SET statement_timeout = '300ms';
	ALTER DATABASE postgres SET lock_timeout = '10s'
	SQL
like(
	audit('timeouts', 'status, evidence'),
	pattern(
		'^ADVICE\|statement_timeout is set for 1 of 1 .*, lock_timeout is set for',
		'1 of 1 .*, idle_in_transaction_session_timeout is set for 0 of 1'),
	'timeouts counts settings of a role and of a database');
$node->append_conf('postgresql.conf', q{idle_in_transaction_session_timeout = '1min'});
$node->reload;
poll_ok(
	$node,
	q{SELECT status = 'OK' AND advice IS NULL FROM connpool_audit() WHERE practice = 'timeouts'},
	'timeouts is OK if all three are set');
is( $node->safe_psql('postgres', <<~'SQL'),
		ALTER ROLE CURRENT_USER SET idle_in_transaction_session_timeout = 0;
		SET idle_in_transaction_session_timeout = 0;
		SELECT status FROM connpool_audit() WHERE practice = 'timeouts'
		SQL
	'OK', 'timeouts does not depend on the setting of the session that reads');
is(audit('timeouts', 'status'), 'OK', 'timeouts does not depend on the setting of the reader');
$node->safe_psql('postgres', 'ALTER ROLE CURRENT_USER RESET idle_in_transaction_session_timeout');

foreach my $zero ('0', '0 s', '0min', ' 0.0ms', '-0', '0x0', '0e3 d')
{
	$node->safe_psql('postgres', "ALTER ROLE app IN DATABASE postgres SET lock_timeout = '$zero'");
	like(
		audit('timeouts', 'status, evidence'),
		qr/^ADVICE\|.*lock_timeout is set for 0 of 1/,
		"timeouts uses the most specific setting, and '$zero' counts as not set");
}
$node->safe_psql('postgres', q{ALTER ROLE app IN DATABASE postgres RESET lock_timeout});
$node->psql('postgres', 'SELECT pg_sleep(60)', extra_params => [ '-U', 'app' ]);
like(
	audit('timeouts', 'evidence'),
	qr/statement_timeout is set for 1 of 1 and fired 1 times/,
	'timeouts counts how often statement_timeout fired');
# a busy machine must not let it fire again
$node->safe_psql('postgres', q{ALTER ROLE app SET statement_timeout = '10min'});

# caching and batching: the numbers of their views
is(audit('batching', 'status'), 'OK', 'batching is OK before the loop');
$node->safe_psql('postgres',
	q{SELECT connpool_reset('counters'); SELECT pg_stat_statements_reset()});
$node->safe_psql(
	'postgres',
	'BEGIN;' . join('', map { "SELECT id FROM t WHERE id = $_;" } 1 .. 100) x 12 . 'COMMIT',
	extra_params => [ '-U', 'app' ]);
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_batch_candidates WHERE confidence = 'high'}),
	audit('batching', q{substring(evidence FROM '^\d+')}),
	'batching has as many statements as the view has candidates of high confidence');
like(
	audit('batching', 'status, evidence'),
	pattern(
		'^ADVICE\|1 statement looks like loops over single rows',
		'\(with confidence high\), \d+ ms in all$'),
	'batching advises on a loop');
is(audit('caching', 'status, evidence LIKE \'1 statement looks like repeated reads%\''),
	'ADVICE|t', 'caching advises on rows that were read twelve times each');

# clean-up: a current leak, then one that has ended
my $app = application_start(
	$node, { pool => { max => 2 }, clients => 1, for => 600_000, forget => 1, pause => 100 },
	user => 'app',
	name => 'forgets');
poll_ok($node, <<~'SQL', 'clean-up is WARNING during a leak');
	SELECT status = 'WARNING' AND evidence LIKE
	       'leak suspects: 1 in % s, of which 0 resumed work, and 1 now;%'
	FROM connpool_audit()
	WHERE practice = 'resource clean-up'
	SQL
$node->safe_psql('postgres', 'ALTER SYSTEM SET idle_in_transaction_session_timeout = 0');
$node->reload;
poll_ok(
	$node,
	q{SELECT status = 'WARNING' FROM connpool_audit() WHERE practice = 'timeouts'},
	'timeouts is WARNING if there are leaks and no timeout against them');
$node->safe_psql('postgres',
	q{ALTER ROLE CURRENT_USER SET idle_in_transaction_session_timeout = '1h'});
is(audit('timeouts', 'status'),
	'WARNING', 'a timeout of the reader is not taken for one of other roles');
$node->safe_psql('postgres', 'ALTER ROLE CURRENT_USER RESET idle_in_transaction_session_timeout');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET idle_in_transaction_session_timeout');
$node->reload;
application_stop($app);
poll_ok($node, <<~'SQL', 'clean-up is ADVICE after a leak');
	SELECT status = 'ADVICE' AND evidence LIKE 'leak suspects: 1 %, and 0 now;%'
	FROM connpool_audit()
	WHERE practice = 'resource clean-up'
	SQL

# monitoring
like(
	audit('monitoring', 'status, evidence'),
	pattern(
		'^OK\|\d+ samples taken and \d+ missed since the start;',
		'12 of 15 metrics raise alerts; statements are counted$'),
	'monitoring is OK with samples, alerts and counted statements');
is( $node->safe_psql('postgres', <<~'SQL'),
		SET connpool_monitor.track_queries = off;
		SELECT status FROM connpool_audit() WHERE practice = 'monitoring'
		SQL
	'OK', 'monitoring does not depend on the track_queries of the session that reads');
$node->append_conf('postgresql.conf', 'connpool_monitor.track_queries = off');
$node->reload;
poll_ok($node, <<~'SQL', 'monitoring is ADVICE if statements are not counted');
	SELECT status = 'ADVICE' AND evidence LIKE '%statements are not counted'
	FROM connpool_audit()
	WHERE practice = 'monitoring'
	SQL
my @off = map { "connpool_monitor.${_}_warning = -1\nconnpool_monitor.${_}_critical = -1" }
  split /\n/, $node->safe_psql('postgres', 'SELECT metric_name FROM get_connection_stats()');
$node->append_conf('postgresql.conf', join("\n", @off));
$node->reload;
poll_ok($node, <<~'SQL', 'monitoring is WARNING if no metric raises alerts');
	SELECT status = 'WARNING' AND evidence LIKE '%; 0 of 15 metrics raise alerts;%'
	FROM connpool_audit()
	WHERE practice = 'monitoring'
	SQL

# privileges and search path
$node->safe_psql('postgres', <<~'SQL');
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE SCHEMA trap;
	CREATE FUNCTION trap.length(text) RETURNS int LANGUAGE plpgsql
	  AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
	GRANT USAGE ON SCHEMA trap TO monitor
	SQL
is( $node->safe_psql(
		'postgres',
		'SET search_path = trap, pg_catalog, public; SELECT count(*) FROM connpool_audit()',
		extra_params => [ '-U', 'monitor' ]),
	'7',
	'a member of pg_monitor can call connpool_audit() with any search path');
my ($status, $out, $err) =
  $node->psql('postgres', 'SELECT * FROM connpool_audit()', extra_params => [ '-U', 'app' ]);
like(
	$err,
	qr/permission denied for function connpool_audit/,
	'a role without privileges cannot call connpool_audit()');

done_testing();
