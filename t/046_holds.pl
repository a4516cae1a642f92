# SPDX-License-Identifier: PostgreSQL
# The columns queries and holds of connpool_leaks show how many statements a suspect has run, and
# which locks and transaction ids it holds. Needs sessions that stay in a transaction, and a
# standby.
# scripts/test: slow, 16 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('holds', <<'CONF', allows_streaming => 1);
max_prepared_transactions = 5
connpool_monitor.leak_age = '100ms'
connpool_monitor.leak_idle_age = '1h'
CONF
sql($node, <<'SQL');
CREATE TABLE orders (a int PRIMARY KEY);
CREATE TABLE stock (a int);
CREATE SCHEMA "My Schema";
CREATE TABLE "My Schema"."Odd "" Name" (a int);
CREATE ROLE viewer LOGIN;
GRANT SELECT ON connpool_leaks TO viewer;
CREATE DATABASE "other db";
SELECT format('CREATE TABLE many_%s (a int)', i) FROM generate_series(1, 12) i \gexec
SQL
$node->safe_psql('other db', 'CREATE TABLE far (a int)');
my $user = sql($node, 'SELECT current_user');
my @as_viewer = (extra_params => [ '-U', 'viewer' ]);

# Return the column holds of the session of an application.
sub holds
{
	my ($application, @options) = @_;
	my $row = "FROM connpool_leaks WHERE application_name = '$application'";
	$node->poll_query_until('postgres', "SELECT count(*) = 1 $row")
	  or die "$application is no suspect";
	return sql($node, "SELECT coalesce(holds, 'NULL') $row", @options);
}

my $writer = session($node, 'writer');

# Return what a session holds after statements in a transaction of its own.
sub holds_after
{
	my ($statements) = @_;
	$writer->query_safe("BEGIN; $statements");
	my $holds = holds('writer');
	$writer->query_safe('ROLLBACK');
	return $holds;
}

$writer->query_safe(<<'SQL');
BEGIN;
SELECT * FROM stock;
LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO stock VALUES (1);
SQL
is( holds('writer'),
	'ShareRowExclusiveLock on public.orders, RowExclusiveLock on public.stock, '
	  . 'AccessShareLock on public.stock; xid 1 transaction old',
	'locks are listed by mode and relation, the strongest first, then the age of the xid');
my $queries = q{SELECT queries FROM %s WHERE application_name = 'writer'};
is( sql($node, sprintf $queries, 'connpool_leaks'),
	sql($node, sprintf $queries, 'connpool_sessions'),
	'the column queries agrees with connpool_sessions');
is(holds('writer', @as_viewer),
	'NULL', 'a role that may not see the session does not see what it holds');
is( sql($node, 'SELECT queries IS NULL, query FROM connpool_leaks', @as_viewer),
	't|<insufficient privilege>',
	'a role that may not see the session does not see its number of statements');
$writer->query_safe('ROLLBACK');

$writer->query_safe(<<'SQL');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM "My Schema"."Odd "" Name";
SQL
sql($node, 'INSERT INTO stock VALUES (2)') foreach 1 .. 3;
is( holds('writer'),
	'AccessShareLock on "My Schema"."Odd "" Name"; xmin 3 transactions old',
	'names are quoted where necessary, and the age of the snapshot is given');
is(sql($node, <<'SQL'), 't', 'the age of the snapshot is that of backend_xmin');
SELECT holds LIKE '%; xmin ' || age(a.backend_xmin) || ' transactions old'
FROM connpool_leaks l JOIN pg_stat_activity a USING (pid)
SQL
$writer->query_safe('ROLLBACK');

is( holds_after('SELECT pg_advisory_xact_lock(-7), pg_advisory_xact_lock_shared(1, -2)'),
	'ExclusiveLock on advisory lock -7, ShareLock on advisory lock (1, -2)',
	'advisory locks are named by their keys');
like(
	holds_after('LOCK TABLE ' . join(', ', map { "many_$_" } 1 .. 12)),
	qr/^AccessExclusiveLock on public\.many_1, .*public\.many_10 and 2 more/,
	'ten locks are listed and the others counted');
like(
	holds_after('CREATE TABLE fresh (a int)'),
	qr/^AccessExclusiveLock on relation \d+, .*on object 2200 of pg_namespace; xid 1 trans/,
	'a relation that is not committed is listed by its OID');
is(holds_after(''), 'NULL', 'a transaction without statements holds nothing');

# a relation of another database
{
	my $far = session($node, 'far', dbname => 'other db');
	my $relation = $node->safe_psql('other db', q{SELECT 'far'::regclass::oid});
	$far->query_safe('BEGIN; LOCK TABLE far IN ACCESS SHARE MODE');
	is( holds('far'),
		qq{AccessShareLock on relation $relation of database "other db"},
		'a relation of another database is listed by its OID and database');
	leave($far);
}

# the view is read repeatedly while tables are created and dropped
{
	my $churn = session($node, 'churn');
	my $failures = 0;
	$churn->query_until(qr/begun/, <<'SQL');
\echo begun
DO $$
BEGIN
	FOR i IN 1 .. 300 LOOP
		CREATE TABLE brief (a int);
		COMMIT;
		DROP TABLE brief;
		COMMIT;
	END LOOP;
END
$$;
SQL
	$writer->query_safe('BEGIN; LOCK TABLE orders');
	foreach (1 .. 20)
	{
		my ($status) = $node->psql('postgres', 'SELECT * FROM connpool_leaks');
		$failures++ if $status != 0;
	}
	is($failures, 0, 'connpool_leaks can be read while tables are created and dropped');
	$writer->query_safe('ROLLBACK');
	leave($churn);
}

# prepared transactions are distinguished, although PostgreSQL shows pid 0 for all of them
sql($node, <<'SQL');
BEGIN; INSERT INTO stock VALUES (3); PREPARE TRANSACTION 'first';
BEGIN; LOCK TABLE orders IN SHARE MODE; PREPARE TRANSACTION 'second';
SQL
poll_ok(
	$node,
	q{SELECT count(*) = 2 FROM connpool_leaks WHERE kind = 'prepared'},
	'two prepared transactions are suspects');
is( sql($node,
		<<'SQL'), <<'ROWS' =~ s/\n\z//r, 'each transaction has its own locks and no statements');
SELECT query, queries IS NULL, regexp_replace(holds, '; xid \d+ transactions? old$', '; aged')
FROM connpool_leaks WHERE kind = 'prepared' ORDER BY query
SQL
PREPARE TRANSACTION 'first'|t|RowExclusiveLock on public.stock; aged
PREPARE TRANSACTION 'second'|t|ShareLock on public.orders; aged
ROWS
sql($node, "ROLLBACK PREPARED '$_'") foreach qw(first second);
leave($writer);

# idle sessions whose pool opened newer ones: one never ran a statement
{
	my ($unused, $used) = map { Wire->connect_to($node, 'pool', user => $user) } 1, 2;
	$used->query('SELECT 1');
	$used->query('SELECT 2');
	sql($node, q{ALTER SYSTEM SET connpool_monitor.leak_idle_age = '300ms'});
	$node->reload;
	sql($node, 'SELECT pg_sleep(0.5)');
	my $newest = Wire->connect_to($node, 'pool', user => $user);
	my $idle = q{FROM connpool_leaks WHERE kind = 'idle'};
	poll_ok($node, "SELECT count(*) = 2 $idle", 'two idle sessions are suspects');
	is(sql($node, "SELECT queries, holds IS NULL $idle ORDER BY queries"),
		"0|t\n2|t",
		'a session that never ran a statement has 0 queries, and neither holds anything');
	$_->end foreach $unused, $used, $newest;
}

# A statement that waits for its client, on a standby.
{
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	my $unload = Wire->connect_to($standby, 'unload', user => $user);
	my $large = q{SELECT repeat('x', 1000) FROM stock, generate_series(1, 20000)};
	$unload->send_message('Q', "COPY ($large) TO STDOUT\0");
	poll_ok(
		$standby,
		q{SELECT count(*) = 1 FROM connpool_leaks WHERE kind = 'waiting_for_client'},
		'a COPY on a standby waits for its client');
	is( $standby->safe_psql('postgres', 'SELECT queries, holds FROM connpool_leaks'),
		'1|AccessShareLock on public.stock; xmin 0 transactions old',
		'a COPY on a standby counts as a statement, and holds a lock and a snapshot');
	sql($node, 'INSERT INTO stock VALUES (4)');
	$node->wait_for_catchup($standby);
	is( $standby->safe_psql('postgres', 'SELECT holds FROM connpool_leaks'),
		'AccessShareLock on public.stock; xmin 1 transaction old',
		'the age of a snapshot on a standby grows with the transactions of the primary');
	$unload->abandon;
	$standby->stop('fast');
}
$node->stop('fast');
done_testing();
