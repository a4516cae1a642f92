# SPDX-License-Identifier: PostgreSQL
# connpool_audit(): each of the seven practices judged on evidence, on a server
# where it is kept and on one where it is not.
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
	'the practices of the document, in its order');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*)
		FROM connpool_audit()
		WHERE status NOT IN ('OK', 'ADVICE', 'WARNING', 'UNKNOWN')
		  OR evidence IS NULL
		  OR (status = 'OK') <> (advice IS NULL)
		  AND status <> 'UNKNOWN'
		SQL
	'0',
	'each with its evidence, and with advice where something is to do');

# Before anything was seen.
is(audit('connection pooling', 'status'), 'UNKNOWN', 'pooling: too little was seen');
is( audit('timeouts', 'status, evidence'),
	'UNKNOWN|no ordinary role has had a session yet',
	'timeouts: superusers set what they like');
is(audit('retries', 'status'), 'OK', 'retries: nothing to try again');
is(audit('caching', 'status'), 'OK', 'caching: no candidate');
is(audit('batching', 'status'), 'OK', 'batching: no candidate');
is(audit('resource clean-up', 'status'), 'OK', 'clean-up: no leak');

# Pooling: a pool, and then an application that connects for each statement.
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
	'OK|t', 'pooling: sessions that are used again and again');
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
		'a client that connects 60 times');
}
like(
	audit('connection pooling', 'status, evidence'),
	qr/^(ADVICE|WARNING)\|\d+ sessions opened .*; 1 pool opens sessions for fewer than 5 transactions, most of them direct \(app in postgres\): \d+ sessions with \d/,
	'pooling: is told from the pool beside it');

# Retries: counted by kind, and no verdict, for the server cannot see a retry.
$node->psql('postgres', q{DO $$ BEGIN RAISE EXCEPTION 'x' USING errcode = '40001'; END $$})
  foreach 1 .. 3;
like(audit('retries', 'status, evidence'),
	qr/^UNKNOWN\|3 errors that trying again could help: 40001 serialization_failure 3 times$/,
	'retries');

# Timeouts: missing, then set by role, in the database, and for all.
my $missing =
  qr/^ADVICE\|statement_timeout is set for 0 of 1 and fired \d+ times \(cancelled statements included\), lock_timeout is set for 0 of 1 and fired 0 times \(NOWAIT included\), idle_in_transaction_session_timeout is set for 0 of 1/;
like(audit('timeouts', 'status, evidence'), $missing, 'timeouts: none is set');
like(audit('timeouts', 'advice'), qr/One is missing for app in postgres\.$/, 'and for whom');
$node->safe_psql('postgres', <<~'SQL');
	ALTER ROLE app SET statement_timeout = '300ms';
	ALTER DATABASE postgres SET lock_timeout = '10s'
	SQL
like(
	audit('timeouts', 'status, evidence'),
	qr/^ADVICE\|statement_timeout is set for 1 of 1 .*, lock_timeout is set for 1 of 1 .*, idle_in_transaction_session_timeout is set for 0 of 1/,
	'timeouts: two are set');
$node->append_conf('postgresql.conf', q{idle_in_transaction_session_timeout = '1min'});
$node->reload;
poll_ok(
	$node,
	q{SELECT status = 'OK' AND advice IS NULL FROM connpool_audit() WHERE practice = 'timeouts'},
	'timeouts: all three');
$node->safe_psql('postgres', q{ALTER ROLE app IN DATABASE postgres SET lock_timeout = 0});
like(
	audit('timeouts', 'status, evidence'),
	qr/^ADVICE\|.*lock_timeout is set for 0 of 1/,
	'timeouts: the most specific setting counts, and 0 is none');
$node->safe_psql('postgres', q{ALTER ROLE app IN DATABASE postgres RESET lock_timeout});
$node->psql('postgres', 'SELECT pg_sleep(1)', extra_params => [ '-U', 'app' ]);
like(
	audit('timeouts', 'evidence'),
	qr/statement_timeout is set for 1 of 1 and fired 1 times/,
	'timeouts: how often they fired');

# Caching and batching: as their views say.
is(audit('batching', 'status'), 'OK', 'batching: nothing yet');
$node->safe_psql('postgres',
	q{SELECT connpool_reset('counters'); SELECT pg_stat_statements_reset()});
$node->safe_psql(
	'postgres',
	'BEGIN;' . join('', map { "SELECT id FROM t WHERE id = $_;" } 1 .. 100) x 12 . 'COMMIT',
	extra_params => [ '-U', 'app' ]);
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_batch_candidates WHERE confidence = 'high'}),
	audit('batching', q{substring(evidence FROM '^\d+')}),
	'batching: as many as the view lists');
like(
	audit('batching', 'status, evidence'),
	qr/^ADVICE\|1 statement looks like loops over single rows \(with confidence high\), \d+ ms in all$/,
	'batching: a verdict');
is(audit('caching', 'status, evidence LIKE \'1 statement looks like repeated reads%\''),
	'ADVICE|t', 'caching: twelve reads of each of a hundred rows');

# Clean-up: a leak now, and one that is over.
my $app = application_start(
	$node, { pool => { max => 2 }, clients => 1, for => 4000, forget => 1, pause => 100 },
	user => 'app',
	name => 'forgets');
poll_ok($node, <<~'SQL', 'clean-up: a leak now');
	SELECT status = 'WARNING' AND evidence LIKE
	       '1 leak suspects in % s, 0 of them came back to work, 1 are there now;%'
	FROM connpool_audit()
	WHERE practice = 'resource clean-up'
	SQL
$node->safe_psql('postgres', 'ALTER SYSTEM SET idle_in_transaction_session_timeout = 0');
$node->reload;
poll_ok(
	$node,
	q{SELECT status = 'WARNING' FROM connpool_audit() WHERE practice = 'timeouts'},
	'timeouts: leaks and none against them');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET idle_in_transaction_session_timeout');
$node->reload;
application_end($app);
poll_ok($node, <<~'SQL', 'clean-up: one that is over');
	SELECT status = 'ADVICE' AND evidence LIKE '1 leak suspects %, 0 are there now;%'
	FROM connpool_audit()
	WHERE practice = 'resource clean-up'
	SQL

# Monitoring.
like(
	audit('monitoring', 'status, evidence'),
	qr/^OK\|\d+ samples taken and \d+ missed since the start; 12 of 15 metrics raise alerts; statements are counted$/,
	'monitoring: in order');
$node->append_conf('postgresql.conf', 'connpool_monitor.track_queries = off');
$node->reload;
poll_ok($node, <<~'SQL', 'monitoring: statements are not counted');
	SELECT status = 'ADVICE' AND evidence LIKE '%statements are not counted'
	FROM connpool_audit()
	WHERE practice = 'monitoring'
	SQL
my @off = map { "connpool_monitor.${_}_warning = -1\nconnpool_monitor.${_}_critical = -1" }
  split /\n/, $node->safe_psql('postgres', 'SELECT metric_name FROM get_connection_stats()');
$node->append_conf('postgresql.conf', join("\n", @off));
$node->reload;
poll_ok($node, <<~'SQL', 'monitoring: nobody would be warned');
	SELECT status = 'WARNING' AND evidence LIKE '%; 0 of 15 metrics raise alerts;%'
	FROM connpool_audit()
	WHERE practice = 'monitoring'
	SQL

# Who may ask, and from where.
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
	'pg_monitor may, whatever the search path');
my ($status, $out, $err) =
  $node->psql('postgres', 'SELECT * FROM connpool_audit()', extra_params => [ '-U', 'app' ]);
like($err, qr/permission denied for function connpool_audit/, 'others may not');

done_testing();
