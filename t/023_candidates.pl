# SPDX-License-Identifier: PostgreSQL
# Statements that should be batched or cached are listed, and similar statements that should not
# are absent. Needs thousands of statements of several roles, and servers with other preloaded
# libraries.
# scripts/test: slow, 14 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $batch = 'connpool_batch_candidates';
my $cache = 'connpool_cache_candidates';
my $node = new_node('main', 'pg_stat_statements.max = 5000');

# Run a statement $options{calls} times as a role, with numbers from 1 to 50 for each %d.
sub run_as
{
	my ($role, $statement, %options) = @_;
	my $calls = $options{calls} // 1000;
	my $sql = "SET client_min_messages = warning;\n";
	$sql .= "BEGIN;\n" if $options{transaction};
	$sql .= ($statement =~ s/%d/1 + $_ % 50/er) . ";\n" foreach 1 .. $calls;
	$sql .= "COMMIT;\n" if $options{transaction};
	($options{node} // $node)
	  ->safe_psql($options{dbname} // 'postgres', $sql, extra_params => [ '-U', $role ]);
	return;
}

# Return the condition that finds a statement, with its constants as $1, $2 and so on.
sub is_statement
{
	my ($role, $statement) = @_;
	my $pattern = join('\$\d+', map { quotemeta } split(/%d|'[^']*'|\b\d+\b/, $statement, -1));
	return "query ~ '^$pattern\$' AND role = '$role'";
}

sub row_of
{
	my ($view, $columns, $role, $statement) = @_;
	return $node->safe_psql('postgres',
		"SELECT $columns FROM $view WHERE " . is_statement($role, $statement));
}

# Assert that a statement ran a thousand times and is not listed.
sub is_absent
{
	my ($view, $role, $statement, $why) = @_;
	my $calls = $node->safe_psql(
		'postgres',
		q{SELECT max(calls) FROM (SELECT query, calls, rolname AS role FROM pg_stat_statements
		JOIN pg_roles r ON r.oid = userid) s WHERE } . is_statement($role, $statement));
	is("$calls, " . row_of($view, 'count(*)', $role, $statement),
		'1000, 0', "$why: no row in $view");
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE dba LOGIN IN ROLE pg_monitor;
CREATE ROLE plain LOGIN;
CREATE ROLE looper LOGIN;
CREATE ROLE batcher LOGIN;
CREATE ROLE single LOGIN;
CREATE ROLE inserter LOGIN;
CREATE ROLE nested LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE pinger LOGIN;
ALTER ROLE nested SET pg_stat_statements.track = 'all';
CREATE TABLE item (id int PRIMARY KEY, name text);
INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 50) i;
CREATE TABLE thing (id int, name text);
CREATE TABLE big (id int PRIMARY KEY, name text);
INSERT INTO big SELECT i, 'big ' || i FROM generate_series(1, 5000) i;
CREATE TABLE wide (id int PRIMARY KEY);
INSERT INTO wide SELECT generate_series(1, 1000);
CREATE TABLE busy (LIKE item INCLUDING ALL);
INSERT INTO busy TABLE item;
UPDATE busy SET name = 'a'; UPDATE busy SET name = 'b'; UPDATE busy SET name = 'c';
CREATE TABLE fresh (LIKE item INCLUDING ALL);
INSERT INTO fresh TABLE item;
CREATE TABLE vacant (LIKE item INCLUDING ALL);
INSERT INTO vacant VALUES (1, 'one');
DELETE FROM vacant;
CREATE TABLE connpool_item AS TABLE item;
CREATE SCHEMA app; CREATE TABLE app.slow_queries AS TABLE item;
CREATE TABLE parted (id int, name text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (26);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (26) TO (51);
INSERT INTO parted TABLE item;
CREATE TABLE parted_busy (id int, name text) PARTITION BY RANGE (id);
CREATE TABLE parted_busy_1 PARTITION OF parted_busy FOR VALUES FROM (1) TO (51);
INSERT INTO parted_busy TABLE item;
UPDATE parted_busy SET name = 'a'; UPDATE parted_busy SET name = 'b';
CREATE SCHEMA one; CREATE TABLE one.twice AS TABLE item;
CREATE SCHEMA two; CREATE TABLE two.twice AS TABLE item;
CREATE SCHEMA closed; CREATE TABLE closed.box AS TABLE item;
GRANT USAGE ON SCHEMA one, closed, app TO reader;
GRANT ALL ON ALL TABLES IN SCHEMA public, one, closed, app TO looper, batcher, single, inserter,
  nested, reader, pinger;
ANALYZE item, big, wide, busy, parted, parted_busy, one.twice, two.twice, closed.box, vacant,
  connpool_item, app.slow_queries;
SQL
poll_ok(
	$node, <<~'SQL',
			SELECT bool_and(n_tup_ins + n_tup_upd >= min)
			FROM pg_stat_user_tables
			JOIN (VALUES ('item', 50), ('busy', 200), ('parted_1', 25), ('parted_2', 25),
			             ('parted_busy_1', 150), ('twice', 50), ('box', 50),
			             ('connpool_item', 50), ('slow_queries', 50)) w (relname, min)
			     USING (relname)
			SQL
	'the rows that were written are counted by PostgreSQL');

# loops over single rows
my $by_id = 'SELECT name FROM item WHERE id = %d';
run_as('looper', $by_id, calls => 600, transaction => 1) foreach 1 .. 2;
run_as('batcher', q{SELECT name FROM item WHERE id = ANY ('{%d,2,3,5,7,11}')}, transaction => 1);
run_as('single', $by_id);
run_as('batcher', 'UPDATE item SET name = name WHERE id = %d AND id < 0', calls => 999);
run_as('inserter', q{INSERT INTO thing VALUES (%d, 'thing')}, transaction => 1);
run_as('pinger', 'SELECT %d', transaction => 1);
run_as('pinger', 'SELECT relkind FROM pg_class WHERE oid = %d', transaction => 1);
$node->safe_psql('postgres', <<~'SQL', extra_params => [ '-U', 'nested' ]);
	DO $$ DECLARE i int; BEGIN
	  FOR i IN 1 .. 1000 LOOP
	    EXECUTE $q$ SELECT name FROM item WHERE id = $1 $q$ USING i;
	  END LOOP;
	END $$
	SQL
poll_ok($node, <<~'SQL', 'the sessions of all roles have ended');
	SELECT count(*) = 6
	FROM connpool_pools
	WHERE connections = 0
	  AND role IN ('looper', 'batcher', 'single', 'inserter', 'pinger', 'nested')
	SQL

my $columns = 'calls, rows_per_call, round(calls_per_transaction), confidence';
# two transactions, and two SET before them
is(row_of($batch, $columns, 'looper', $by_id),
	'1200|1|300|high', 'a loop in a transaction is listed with high confidence');
like(
	row_of($batch, 'evidence', 'looper', $by_id),
	pattern(
		'^1200 calls of 1\.0 rows and \d+\.\d{3} ms each, \d+ ms in all;',
		'300\.0 per transaction of this role: in a loop within transactions$'),
	'the evidence of a loop in a transaction has its calls, rows and times');
is( row_of(
		$batch, 'database, mean_time > 0 AND total_time > mean_time, queryid IS NOT NULL',
		'looper', $by_id),
	'postgres|t|t',
	'a candidate has its database, times and queryid');
is_absent(
	$batch, 'batcher',
	q{SELECT name FROM item WHERE id = ANY ('{%d,2,3,5,7,11}')},
	'a statement that asks for several rows at once');
is(row_of($batch, $columns, 'single', $by_id),
	'1000|1|1|low', 'a loop in autocommit is listed with low confidence');
like(
	row_of($batch, 'evidence', 'single', $by_id),
	qr/; 1\.0 per transaction.*a loop in autocommit mode or in many independent requests$/,
	'the evidence of a loop in autocommit names independent requests as another cause');
is( row_of($batch, 'count(*)', 'batcher', 'UPDATE item SET name = name WHERE id = %d AND id < 0'),
	'0',
	'a statement that ran 999 times is not listed');
is(row_of($batch, $columns, 'inserter', 'INSERT INTO thing VALUES (%d, 1)'),
	'1000|1|500|high', 'single-row INSERTs are listed with high confidence');
is_absent($batch, 'pinger', 'SELECT %d', 'a check of the connection');
is_absent($batch, 'pinger', 'SELECT relkind FROM pg_class WHERE oid = %d', 'a read of a catalog');
is_absent($batch, 'nested', $by_id, 'a loop in a function');
is( $node->safe_psql('postgres', "SELECT string_agg(confidence, ' ') FROM $batch"),
	'high high low',
	'candidates are ordered by confidence');

# repeated reads
my %cached = (
	'without parameters' => 'SELECT name FROM item ORDER BY id',
	'of a CTE, without parameters,' =>
	  'WITH busy AS (SELECT name FROM item) SELECT count(*) FROM busy',
	'by key, more often than there are rows' => 'SELECT name FROM item WHERE id = %d',
	'of partitions' => 'SELECT name FROM parted WHERE id = %d',
	'of a CTE that has the name of another table' =>
	  'WITH busy AS (SELECT * FROM item) SELECT name FROM busy WHERE id = %d',
	'with a typed constant, of which pg_stat_statements shows "date $2",' =>
	  q{SELECT name FROM item WHERE id = %d AND date '2020-01-01' < now()},
	'with a parameter in a comment only' => 'SELECT name /* $1x */ FROM fresh ORDER BY id',
	'with a dollar sign in a name' => 'SELECT name AS name$1x FROM fresh ORDER BY name',
	'of a table whose name begins like those of this extension' =>
	  'SELECT name FROM connpool_item WHERE id = %d',
	'of a table that has the name of a view of this extension, in another schema' =>
	  'SELECT name FROM app.slow_queries WHERE id = %d',
	'of a schema that the reader of the view may not use' =>
	  'SELECT name FROM closed.box WHERE id = %d',
	'with an alias that is cut off' => 'SELECT name AS '
	  . 'long_' x 15
	  . ' FROM item WHERE id = %d AND id > 0',);
my %not_cached = (
	'a large table' => 'SELECT name FROM big WHERE id = %d',
	'a table that is written often' => 'SELECT name FROM busy WHERE id = %d',
	'a table that is written often, without parameters' => 'SELECT name FROM busy ORDER BY id',
	'a partition that is written often' => 'SELECT name FROM parted_busy WHERE id = %d',
	'a table that was never analysed' => 'SELECT name FROM fresh WHERE id = %d',
	'a CTE that reads a large table of the same name' => 'WITH big AS (SELECT * FROM big) '
	  . 'SELECT i.name FROM item i JOIN big USING (id) WHERE i.id = %d',
	'a large table after a subquery with a CTE of the same name' => 'SELECT i.name FROM item i, '
	  . '(WITH big AS (SELECT id FROM item) SELECT id FROM big) s JOIN big USING (id) '
	  . 'WHERE i.id = s.id AND i.id = %d',
	'an empty table' => 'SELECT name FROM vacant WHERE id = %d',
	'a name in two schemas' => 'SELECT name FROM twice WHERE id = %d',
	'rows that are not there' => 'SELECT name FROM item WHERE id = 1000 + %d',
	'a function' => 'SELECT now()',
	'a check of the connection' => 'SELECT 1',
	'rows that are locked' => 'SELECT name FROM item WHERE id = %d FOR UPDATE',
	'rows that are deleted' =>
	  'WITH gone AS (DELETE FROM item WHERE id < 0 RETURNING id) SELECT count(*) FROM gone',
	'catalogs' => 'SELECT count(*) FROM pg_namespace',
	'a catalog by its schema' => 'SELECT count(*) FROM information_schema.schemata',
	'a large result' => 'SELECT id FROM wide',);
$node->safe_psql('postgres', 'ALTER ROLE reader SET search_path = public, one');
run_as('reader', $_) foreach values %cached, values %not_cached;
run_as('dba', 'SELECT count(*) FROM connpool_alert_log');
run_as('dba', 'SELECT value FROM connpool_alert_log LIMIT 1');
run_as('dba', 'SELECT max(value) FROM public.connpool_alert_log');

is(row_of($cache, 'calls', 'reader', $cached{$_}), '1000', "a read $_ is listed")
  foreach sort keys %cached;
is_absent($cache, 'reader', $not_cached{$_}, $_) foreach sort keys %not_cached;
is_absent(
	$cache, 'dba',
	'SELECT count(*) FROM connpool_alert_log',
	'a read of a view of this extension');
is_absent(
	$cache, 'dba',
	'SELECT max(value) FROM public.connpool_alert_log',
	'a read of a view of this extension by its schema');
is_absent(
	$batch, 'dba',
	'SELECT value FROM connpool_alert_log LIMIT 1',
	'a read of a view of this extension');
like(
	row_of($cache, 'evidence', 'reader', $cached{'without parameters'}),
	pattern(
		'^1000 calls of 50\.0 rows and .*; no parameters, so every call asks',
		'the same question; rows written to its tables: 50$'),
	'the evidence of a read without parameters has the rows written');
like(
	row_of($cache, 'evidence', 'reader', $cached{'of partitions'}),
	pattern(
		'; its tables have 50 rows in all, so there were 20 calls for each row;',
		'rows written to its tables: 50$'),
	'the evidence of a read by key has the rows of the tables');
is( $node->safe_psql(
		'postgres',
		"SELECT array_agg(total_time) = array_agg(total_time ORDER BY total_time DESC) FROM $cache"
	),
	't',
	'cache candidates are ordered by total time');

# The views cut long texts, and the beginning of one may be a statement with another meaning.
my $cut = "SELECT name FROM item WHERE id = %d" . ' ' x 65_536 . 'LIMIT 1';
run_as('single', $cut);
my $is_cut = q{query LIKE 'SELECT name FROM item WHERE id = $1    %'};
is( $node->safe_psql('postgres', <<~"SQL"),
		SELECT (SELECT calls FROM pg_stat_statements WHERE $is_cut),
		       (SELECT count(*) FROM $batch WHERE $is_cut),
		       (SELECT count(*) FROM $cache WHERE $is_cut)
		SQL
	'1000|0|0',
	'a statement whose text is cut is no candidate');

# statements in another database, whose tables this database cannot examine
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<~'SQL');
	CREATE TABLE item AS SELECT i AS id, i::text AS name FROM generate_series(1, 20) i;
	ANALYZE item;
	GRANT SELECT ON item TO single
	SQL
run_as('single', 'SELECT name FROM item ORDER BY id', dbname => 'other');
run_as('single', "$by_id AND id > 0", dbname => 'other');
like(
	row_of($cache, 'database, evidence', 'single', 'SELECT name FROM item ORDER BY id'),
	qr/^other\|1000 calls.*; the number of writes to its tables is not known$/,
	'a read without parameters in another database is listed with its evidence');
is_absent($cache, 'single', "$by_id AND id > 0", 'a read with parameters in another database');
is(row_of($batch, 'database, confidence', 'single', "$by_id AND id > 0"),
	'other|low',
	'a read with parameters in another database is a batch candidate with low confidence');

# privileges
foreach my $view ($batch, $cache)
{
	my ($status, $count, $notices) = $node->psql(
		'postgres',
		"SELECT count(*) FROM $view WHERE role = 'reader'",
		extra_params => [ '-U', 'dba' ]);
	is("$status $notices", '0 ', "a member of pg_monitor can read $view and gets no notices");
	cmp_ok($count, '>', 1, "a member of pg_monitor sees statements of other roles in $view");
	foreach my $query ("TABLE $view", "SELECT * FROM $view()")
	{
		my (undef, undef, $error) = $node->psql(
			'postgres',
			"\\set VERBOSITY verbose\n$query",
			extra_params => [ '-U', 'plain' ]);
		like(
			$error,
			qr/ERROR:  42501: permission denied for view $view/,
			"$query: a role without privileges is refused");
	}
	$node->safe_psql('postgres', "GRANT SELECT ON $view TO single");
	is( $node->safe_psql(
			'postgres',
			"SELECT DISTINCT role FROM $view",
			extra_params => [ '-U', 'single' ]),
		'single',
		"a role that was granted $view sees only its own statements");
}

# counters reset later than pg_stat_statements cannot be compared with it
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is(row_of($batch, $columns, 'looper', $by_id),
	'1200|1||low', 'a loop has low confidence after a reset of the counters');
run_as('looper', 'SELECT 1', calls => 1300, transaction => 1);
is(row_of($batch, $columns, 'looper', $by_id),
	'1200|1||low',
	'a loop keeps low confidence after its role has run more statements than the loop');
like(
	row_of($batch, 'evidence', 'looper', $by_id),
	qr/; the number of transactions is not known$/,
	'the evidence reports that the number of transactions is unknown');
$node->stop('fast');

# without the counters of this extension, and without pg_stat_statements
my $uncounted = new_node('uncounted', '', preload => 'pg_stat_statements');
$uncounted->safe_psql('postgres',
	'CREATE ROLE looper LOGIN; CREATE TABLE item AS SELECT 1 AS id; GRANT SELECT ON item TO looper'
);
run_as('looper', 'SELECT id FROM item WHERE id = %d', node => $uncounted, transaction => 1);
is($uncounted->safe_psql('postgres', "SELECT $columns FROM $batch"),
	'1000|0.02||low',
	'without preloading a loop has low confidence and no number of transactions');
$uncounted->stop('fast');

my $without = new_node('without', '', preload => 'connpool_monitor');
foreach my $view ($batch, $cache)
{
	my $needed = "$view needs pg_stat_statements to be preloaded";
	my $hint = 'Add pg_stat_statements to shared_preload_libraries';
	my (undef, undef, $error) = $without->psql('postgres', "\\set VERBOSITY verbose\nTABLE $view");
	like(
		$error,
		qr/ERROR:  55000: $needed.*HINT:  $hint/s,
		"without pg_stat_statements $view reports that it needs it");
}
$without->stop('fast');
done_testing();
