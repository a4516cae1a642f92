# SPDX-License-Identifier: PostgreSQL
# Views show text from other databases, whose encoding may differ or be SQL_ASCII, and in which one
# queryid may belong to different statements. No such text makes a query fail, whatever the
# encodings of the reader's database and client. Needs databases and clients of several encodings.
# scripts/test: slow, 6 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('text', <<'CONF');
pg_stat_statements.track = 'all'
connpool_monitor.slow_statement_time = '100ms'
connpool_monitor.slow_query_mean_time = 0
connpool_monitor.leak_age = '100ms'
connpool_monitor.blocked_age = '50ms'
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');

# databases of three encodings, each with the extension
my %databases = (latin => 'LATIN1', ascii => 'SQL_ASCII');
foreach my $database (sort keys %databases)
{
	$node->safe_psql('postgres', <<~"SQL");
		CREATE DATABASE $database TEMPLATE template0 ENCODING '$databases{$database}'
		  LC_COLLATE 'C' LC_CTYPE 'C'
		SQL
	$node->safe_psql($database, 'CREATE EXTENSION connpool_monitor CASCADE');
}
$node->safe_psql('postgres', <<~'SQL');
	CREATE ROLE app LOGIN;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE TABLE held (i int);
	INSERT INTO held VALUES (1)
	SQL

# Open a session that runs statements and stays open. psql would set its own client_encoding first.
sub odd_session
{
	my ($database, $application, @statements) = @_;
	my $wire = Wire->connect_to($node, $application, user => $user, database => $database);
	$wire->query($_) foreach @statements;
	return $wire;
}

# The byte E9 in the text of a statement in pg_stat_statements, in an open transaction, in
# statements that run, and in names.
$node->safe_psql('ascii',
	qq{CREATE ROLE "r\xe9" LOGIN; CREATE DATABASE "d\xe9" ENCODING 'SQL_ASCII' TEMPLATE template0}
);
my $other = Wire->connect_to($node, "a\xe9", user => 'app', database => 'ascii');
$other->query("SELECT 'x' AS \"caf\xe9\", pg_sleep(0.2)");
my $leak =
  odd_session('latin', 'leak', "SET client_encoding = 'LATIN1'", "BEGIN; SELECT 'caf\xe9'");
my $runs = odd_session('latin', 'runs', "SET client_encoding = 'LATIN1'");
$runs->send_message('Q', "SELECT 'caf\xe9', pg_sleep(600)\0");
my $holder = odd_session('ascii', 'holder', "BEGIN; SELECT pg_advisory_lock(1) AS \"\xe9\"");
my $waiter = odd_session('ascii', 'waiter');
$waiter->send_message('Q', "SELECT pg_advisory_lock(1) AS \"\xe9\xe9\"\0");
my $named = Wire->connect_to($node, 'named', user => "r\xe9", database => "d\xe9");
$named->query('SELECT 1');
# a character that LATIN1 does not have
my $euro =
  odd_session('postgres', 'euro', "SET client_encoding = 'UTF8'", "BEGIN; SELECT '\xe2\x82\xac'");
# Do not read pg_stat_activity, whose function writes beyond its copy of such a text.
poll_ok($node, <<~'SQL', 'two statements with invalid bytes run');
	SELECT count(*) = 2
	FROM connpool_sessions
	WHERE application_name IN ('runs', 'waiter') AND state = 'active'
	SQL
wait_samples($node, 5);

my @views = split /\n/, $node->safe_psql('postgres', <<~'SQL');
	SELECT c.relname
	FROM pg_depend d
	JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'v'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
	ORDER BY 1
	SQL
my @queries = (
	(map { "TABLE $_" } @views),
	'SELECT * FROM connpool_audit()',
	'SELECT * FROM connpool_session_history()',
	'SELECT * FROM connpool_load()',
	'SELECT connpool_metrics()',
	'SELECT connpool_health()');

# Run all queries in one session. Return the errors, each after its query, and the results.
sub read_all
{
	my ($database, $encoding) = @_;
	my ($status, $out, $errors) = $node->psql(
		$database,
		join("\n", "SET client_encoding = '$encoding';", map { "$_;" } @queries),
		on_error_stop => 0);
	my @failed = map { /^psql:<stdin>:(\d+): (ERROR: .*)/ ? "$queries[$1 - 2]: $2" : () }
	  split /\n/, $errors;
	push @failed, "psql: $status $errors" if $status != 0;
	return (join("\n", @failed), $out);
}

foreach my $database ('postgres', 'latin', 'ascii')
{
	foreach my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII', 'EUC_JP')
	{
		# PostgreSQL has no conversion between these two
		next if $database eq 'latin' && $encoding eq 'EUC_JP';
		my ($failed, $answers) = read_all($database, $encoding);
		is($failed, '', "every view can be read in $database by a client with encoding $encoding");
		next if $encoding ne 'UTF8';
		ok(utf8::decode($answers), "a UTF8 client of $database receives valid UTF-8");
	}
}

sub in_utf8 { return $node->safe_psql('postgres', "SET client_encoding = 'UTF8'; $_[0]"); }
is( in_utf8(q{SELECT query FROM connpool_leaks WHERE application_name = 'leak'}),
	"BEGIN; SELECT 'caf\xc3\xa9'",
	'a query of a LATIN1 database is converted to UTF-8');
is( in_utf8(q{SELECT query FROM connpool_blocked_queries WHERE application_name = 'waiter'}),
	'SELECT pg_advisory_lock(1) AS "??"',
	'bytes that are valid in no encoding are replaced');
# PostgreSQL itself replaces them in an application_name, since 16 by their numbers
like(in_utf8(q{SELECT application_name FROM connpool_sessions WHERE role = 'app'}),
	qr/^a(\?|\\xe9)$/, 'invalid bytes of an application_name are replaced');
is(in_utf8(q{SELECT database, role FROM connpool_sessions WHERE application_name = 'named'}),
	'd?|r?', 'invalid bytes in names of databases and roles are replaced');
is( $node->safe_psql('postgres', <<~'SQL'),
		SET client_encoding = 'LATIN1';
		SELECT query FROM connpool_leaks WHERE application_name = 'euro'
		SQL
	"BEGIN; SELECT '?'",
	'a character that the client does not have is replaced');
is( in_utf8(<<~'SQL'),
		SELECT query
		FROM slow_queries
		WHERE database = 'ascii' AND query LIKE '%pg_sleep%' AND role = 'app'
		SQL
	'SELECT $1 AS "caf?", pg_sleep($2)',
	'only the invalid bytes of a statement are replaced');
is( in_utf8(
		q{SELECT query FROM connpool_slow_statements WHERE role = 'app' AND query LIKE '%sleep%'}),
	'SELECT $1 AS "caf?", pg_sleep($2)',
	'connpool_slow_statements shows the replaced text too');

# databases of one template share queryids
$node->safe_psql('postgres', 'CREATE DATABASE template_of_both');
$node->safe_psql('template_of_both', 'CREATE TABLE t (i int); INSERT INTO t VALUES (1)');
foreach my $number (1, 2)
{
	$node->safe_psql('postgres', "CREATE DATABASE copy_$number TEMPLATE template_of_both");
	$node->safe_psql("copy_$number", <<~"SQL");
		ALTER TABLE t RENAME COLUMN i TO renamed_$number;
		SELECT pg_sleep(0.15), renamed_$number FROM t
		SQL
}
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT database, query
		FROM connpool_slow_statements
		WHERE database LIKE 'copy%' AND query LIKE '%pg_sleep%'
		ORDER BY 1
		SQL
	"copy_1|SELECT pg_sleep(\$1), renamed_1 FROM t\ncopy_2|SELECT pg_sleep(\$1), renamed_2 FROM t",
	'each statement has the text of its own database');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(DISTINCT queryid)
		FROM connpool_slow_statements
		WHERE database LIKE 'copy%' AND query LIKE '%pg_sleep%'
		SQL
	'1',
	'statements of copies of one template share a queryid');

# the name of the database of a slow statement may be that of another database later
my $since = $node->safe_psql('postgres', <<~'SQL');
	SELECT min(finished_at) FROM connpool_slow_statements WHERE database = 'copy_1'
	SQL

sub texts_of_copies
{
	return $node->safe_psql('postgres', <<~'SQL');
		SELECT database, query
		FROM connpool_slow_statements
		WHERE queryid IN (SELECT queryid
		                  FROM connpool_slow_statements
		                  WHERE database = 'copy_2' AND query LIKE '%pg_sleep%')
		ORDER BY finished_at
		SQL
}
my $text_of = sub { "SELECT pg_sleep(\$1), renamed_$_[0] FROM t" };
my $texts = join "\n", map { "copy_$_|" . $text_of->($_) } 1, 2;
is(texts_of_copies(), $texts, 'the copies have one slow statement each');
$node->safe_psql('postgres', <<~'SQL');
	ALTER DATABASE copy_1 RENAME TO former_copy_1;
	ALTER DATABASE copy_2 RENAME TO copy_1
	SQL
is(texts_of_copies(), $texts,
	'slow statements keep their texts when another database takes the name of theirs');
$node->safe_psql('copy_1', 'SELECT pg_sleep(0.15), renamed_2 FROM t');
my ($section) = $node->safe_psql('postgres', "SELECT connpool_report('$since')") =~
  /^## Slow statements\n(.*?)^## /ms;
is(scalar(() = $section =~ /^\| copy_\d .*renamed_/mg),
	3, 'a report lists the statements of two databases of one name separately')
  or diag($section);
$node->safe_psql('postgres', 'DROP DATABASE copy_1');
$node->safe_psql('postgres', 'CREATE DATABASE copy_1 TEMPLATE template_of_both');
$node->safe_psql('copy_1', <<~'SQL');
	SET connpool_monitor.slow_statement_time = '1h';
	ALTER TABLE t RENAME COLUMN i TO renamed_3;
	SELECT pg_sleep(0.001), renamed_3 FROM t
	SQL
is( texts_of_copies(),
	"$texts\ncopy_1|" . $text_of->(2),
	'slow statements keep their texts when their database is dropped and created again');
$node->safe_psql('postgres', <<~'SQL');
	SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = 'former_copy_1'
	SQL
is( texts_of_copies(),
	join("\n", 'copy_1|', map { "copy_$_|" . $text_of->(2) } 2, 1),
	'the text is NULL without an entry of the same database');

# the name of the role of a slow statement may be that of another role later
$node->safe_psql('postgres', 'CREATE ROLE renewed LOGIN');
$node->safe_psql(
	'postgres',
	'SELECT pg_sleep(0.15), pg_backend_pid()',
	extra_params => [ '-U', 'renewed' ]);
my $seen_by_renewed = q{SELECT queryid IS NOT NULL, query
  FROM connpool_slow_statements WHERE role = 'renewed' ORDER BY finished_at LIMIT 1};
my $grant = 'GRANT SELECT ON connpool_slow_statements TO renewed';
$node->safe_psql('postgres', $grant);
is( $node->safe_psql('postgres', $seen_by_renewed, extra_params => [ '-U', 'renewed' ]),
	't|SELECT pg_sleep($1), pg_backend_pid()',
	'a role sees the queryid and the text of its slow statement');
$node->safe_psql('postgres', <<~"SQL");
	REVOKE ALL ON connpool_slow_statements FROM renewed;
	DROP ROLE renewed;
	CREATE ROLE renewed LOGIN;
	$grant
	SQL
is( $node->safe_psql('postgres', $seen_by_renewed, extra_params => [ '-U', 'renewed' ]),
	'f|<insufficient privilege>',
	'a role does not see the queryid and the text of a dropped role of the same name');
$node->safe_psql('postgres', 'REVOKE ALL ON connpool_slow_statements FROM renewed');
$node->safe_psql('postgres', q{SET ROLE app; SELECT pg_sleep(0.15) AS as_another});
is( $node->safe_psql(
		'postgres', q{SELECT query FROM connpool_slow_statements WHERE query LIKE '%as_another'}),
	'SELECT pg_sleep($1) AS as_another',
	'a statement that another role ran has its text');

# a utility statement keeps its literals in pg_stat_statements
$node->safe_psql('postgres', q{DO $$ BEGIN PERFORM pg_sleep(0.15), 'secret'; END $$});
my $secrets = q{SELECT count(*) FROM connpool_slow_statements WHERE query LIKE '%secret%'};
is($node->safe_psql('postgres', $secrets),
	'1', 'connpool_slow_statements shows a DO block with its literals');
$node->safe_psql('postgres', 'ALTER SYSTEM SET connpool_monitor.slow_statement_text = off');
$node->reload;
poll_ok(
	$node, <<~'SQL',
			SELECT count(*) > 0 AND count(query) = 0 AND count(queryid) > 0
			FROM connpool_slow_statements
			SQL
	'connpool_slow_statements shows queryids and no text with slow_statement_text off');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET connpool_monitor.slow_statement_text');
$node->reload;
poll_ok(
	$node,
	"SELECT count(query) > 0 FROM connpool_slow_statements",
	'connpool_slow_statements shows the texts again with slow_statement_text on');

# pg_stat_statements in a schema that the caller may not use
$node->safe_psql('postgres',
	'CREATE SCHEMA extensions; ALTER EXTENSION pg_stat_statements SET SCHEMA extensions');
foreach my $query (
	'SELECT count(*) > 0 FROM slow_queries',
	'SELECT count(*) >= 0 FROM connpool_batch_candidates',
	'SELECT count(*) >= 0 FROM connpool_cache_candidates',
	'SELECT count(*) > 0 FROM connpool_audit()',
	'SELECT count(query) > 0 FROM connpool_slow_statements')
{
	is($node->safe_psql('postgres', $query, extra_params => [ '-U', 'watcher' ]),
		't', "a member of pg_monitor without USAGE on the schema can run: $query");
}
$node->safe_psql('postgres', 'GRANT SELECT ON slow_queries TO app');
like(
	$node->safe_psql(
		'postgres',
		q{SELECT query FROM slow_queries WHERE role <> 'app' LIMIT 1},
		extra_params => [ '-U', 'app' ]),
	qr/^<insufficient privilege>$/,
	'text that pg_stat_statements hides from the caller stays hidden');
$node->safe_psql('postgres',
	'REVOKE EXECUTE ON FUNCTION extensions.pg_stat_statements(boolean) FROM PUBLIC');
my ($status, undef, $error) =
  $node->psql('postgres', 'SELECT * FROM slow_queries', extra_params => [ '-U', 'app' ]);
like(
	$error,
	qr/permission denied for function pg_stat_statements/,
	'a caller without EXECUTE on pg_stat_statements() is refused');
is( $node->safe_psql(
		'postgres',
		'SELECT count(*) > 0, count(query) FROM connpool_slow_statements',
		extra_params => [ '-U', 'watcher' ]),
	't|0',
	'connpool_slow_statements has numbers without text for a caller without EXECUTE');
is( $node->safe_psql(
		'postgres', <<~'SQL',
				SELECT count(*) > 0, count(*) FILTER (WHERE status = 'UNKNOWN') > 0
				FROM connpool_audit()
				SQL
		extra_params => [ '-U', 'watcher' ]),
	't|t',
	'connpool_audit() reports the practices that need pg_stat_statements as UNKNOWN');

# application names that look like part of a culprit
my @imitators = map { Wire->connect_to($node, 'web 900 (shop in shop), x', user => $user) } 1 .. 6;
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.total_connections_warning = 1});
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.alert_after = 0});
$node->reload;
poll_ok($node, <<~'SQL', 'a culprit quotes names that have punctuation');
	SELECT culprit LIKE '%"web 900 (shop in shop), x" 6 (%'
	FROM connpool_alerts
	WHERE metric_name = 'total_connections'
	SQL
ok(wait_until(sub { log_count($node, 'DETAIL:  .*"web 900 \(shop in shop\), x" 6 \(') }),
	'the server log quotes names that have punctuation');

# Functions of a user that have the names of functions of the extension, but other arguments.
$node->safe_psql('postgres', 'CREATE DATABASE crowded');
$node->safe_psql('crowded', <<~'SQL');
	CREATE FUNCTION connpool_leaks(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION connpool_errors(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION connpool_live_sessions(int) RETURNS int LANGUAGE sql AS 'SELECT 1'
	SQL
# Functions and operators of a user that match the arguments of many calls in the extension's views
# and functions better than PostgreSQL's own.
$node->safe_psql('crowded', <<~'SQL');
	CREATE FUNCTION connpool_pools(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
	CREATE FUNCTION create_trap(name text, arguments regtype[]) RETURNS void LANGUAGE plpgsql
	  AS $$
	BEGIN
	    EXECUTE format('CREATE FUNCTION %I(%s) RETURNS boolean LANGUAGE sql AS %L', name,
	                   array_to_string(arguments, ', '), 'SELECT trap()');
	END $$;
	CREATE FUNCTION set_traps(types regtype[]) RETURNS void LANGUAGE plpgsql
	  AS $$
	DECLARE
	    l regtype;
	    r regtype;
	    o text;
	    f text;
	BEGIN
	    FOREACH f IN ARRAY '{array_position, array_agg, avg, bool_and, concat, count, date_trunc, format,
	                         left, lower, max, min, now, replace, round, starts_with, string_agg, sum,
	                         to_char, unnest}'::text[] LOOP
	        FOREACH l IN ARRAY types LOOP
	            PERFORM create_trap(f, ARRAY[l]);
	            FOREACH r IN ARRAY types LOOP
	                PERFORM create_trap(f, ARRAY[l, r]);
	            END LOOP;
	        END LOOP;
	    END LOOP;
	    FOREACH l IN ARRAY types LOOP
	        FOREACH r IN ARRAY types LOOP
	            PERFORM create_trap('trap', ARRAY[l, r]);
	            FOREACH o IN ARRAY '{=, <>, <, <=, >, >=, +, -, *, /, ||, ->, ->>, ~}'::text[] LOOP
	                EXECUTE format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap)',
	                               o, l, r);
	            END LOOP;
	        END LOOP;
	    END LOOP;
	END $$;
	SELECT set_traps('{smallint, integer, bigint, numeric, double precision, text, name, text[],
	                   timestamptz, interval, jsonb}');
	ALTER ROLE app SET statement_timeout = '1h'
	SQL
is(($node->psql('crowded', 'CREATE EXTENSION connpool_monitor CASCADE'))[0],
	0, 'the extension is created beside functions of the same names');
is( $node->safe_psql('crowded', <<~'SQL'),
		SELECT count(*) > 4000,
		       string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ')
		FROM (SELECT 'pg_proc'::regclass AS class, p.oid FROM pg_proc p
		      WHERE p.prosrc = 'SELECT trap()'
		      UNION ALL
		      SELECT 'pg_operator'::regclass, o.oid FROM pg_operator o
		      WHERE o.oprnamespace = 'public'::regnamespace) AS trap
		LEFT JOIN pg_depend d ON d.refclassid = trap.class AND d.refobjid = trap.oid
		     AND d.classid <> 'pg_operator'::regclass
		SQL
	't|', 'no view or function of the extension calls a function or operator of a user');
is($node->safe_psql('crowded', 'SELECT pg_catalog.count(*) FROM connpool_audit()'),
	'7', 'connpool_audit() works beside functions and operators of a user');

# Objects of a user that clash with members of the extension. Most have the name and the arguments
# of a member, and PostgreSQL's own error for them would lack a hint. The others are functions that
# would make calls of the extension's functions ambiguous.
my $member = <<~'SQL';
	WITH member AS (
	    SELECT p.*, c.relname
	    FROM pg_depend d
	    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
	    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	    AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
	)
	SQL
my @clashes = split /\n/, $node->safe_psql('postgres', $member . <<~'SQL');
	SELECT format('FUNCTION %s(%s) RETURNS int LANGUAGE sql AS %L', proname, arguments, 'SELECT 1')
	FROM (SELECT proname, oidvectortypes(proargtypes) AS arguments
	      FROM member WHERE proname IS NOT NULL
	      UNION
	      SELECT proname, unnest('{int DEFAULT 0, VARIADIC int[]}'::text[])
	      FROM member WHERE proname !~ '^_' AND 'pass' <> ALL (coalesce(proargnames, '{}'))) f
	UNION ALL
	SELECT format('TABLE %s (a int)', relname) FROM member WHERE relname IS NOT NULL
	UNION ALL
	SELECT format('DOMAIN %s AS int', relname) FROM member WHERE relname IS NOT NULL
	UNION ALL
	SELECT format('TABLE _%s (a int)', relname) FROM member WHERE relname IS NOT NULL
	UNION ALL
	SELECT format('TYPE _%s AS ENUM ()', relname) FROM member WHERE relname IS NOT NULL
	UNION ALL
	SELECT format('DOMAIN _%s AS int[]', relname) FROM member WHERE relname IS NOT NULL
	SQL
cmp_ok(scalar(@clashes), '>', 150, 'many objects of a user would clash');
$node->safe_psql('postgres', 'CREATE DATABASE taken');
$node->safe_psql('taken', 'CREATE EXTENSION pg_stat_statements');
my (undef, undef, $refusals) = $node->psql(
	'taken',
	join("\n",
		'\set VERBOSITY verbose',
		map { "BEGIN; CREATE $_;\nCREATE EXTENSION connpool_monitor; ROLLBACK;" } @clashes),
	on_error_stop => 0);
is(scalar(() = $refusals =~ /ERROR: /g),
	scalar(@clashes), 'CREATE EXTENSION fails beside each object that clashes');
my $object = qr/(?:function|relation|type) \w+/;
is(scalar(() = $refusals =~ /ERROR:  42710: schema "public" already has $object/g),
	scalar(@clashes), 'each refusal names the object of the user');
is(scalar(() = $refusals =~ /HINT:  Rename or drop $object/g),
	scalar(@clashes), 'each refusal has a hint');

# a schema of the name that CREATE EXTENSION uses for its own
my (undef, undef, $taken) = $node->psql('taken',
	"\\set VERBOSITY verbose\nCREATE SCHEMA _connpool_install; CREATE EXTENSION connpool_monitor");
like(
	$taken,
	qr/ERROR:  42P06: schema "_connpool_install" already exists\nDETAIL: .*\nHINT:  Drop that schema/,
	'CREATE EXTENSION fails with a hint beside a schema named _connpool_install');
is( $node->safe_psql('taken', <<~'SQL'),
			ALTER SCHEMA _connpool_install RENAME TO other_name;
			CREATE EXTENSION connpool_monitor;
			SELECT count(*) FROM pg_namespace WHERE nspname IN ('_connpool_install', 'other_name')
			SQL
	'1',
	'the extension is created after that schema has another name, and drops its own');

# Functions of a user in the schema of pg_stat_statements. Each has the name and the arguments of a
# function of the extension, except that one argument may be of another type. The extension must
# call none of them.
my $rivals = $node->safe_psql('postgres', $member . <<~'SQL');
	SELECT DISTINCT format('CREATE FUNCTION %I(%s) RETURNS int LANGUAGE sql AS %L;', proname,
	    (SELECT string_agg(CASE WHEN a.i = changed THEN other ELSE format_type(a.type, NULL) END,
	                       ', ' ORDER BY a.i)
	     FROM unnest(proargtypes::oid[]) WITH ORDINALITY a (type, i) WHERE a.i <= length),
	    'SELECT 1')
	FROM member,
	     generate_series(greatest(pronargs - pronargdefaults, 1), pronargs) length,
	     generate_series(1, length) changed,
	     unnest('{text, name, integer, numeric, date, timestamp, json, jsonb}'::text[]) other
	SQL
$node->safe_psql('postgres', 'CREATE DATABASE rivals');
$node->safe_psql('rivals', <<~"SQL");
	CREATE EXTENSION pg_stat_statements;
	$rivals
	CREATE SCHEMA connpool;
	CREATE EXTENSION connpool_monitor SCHEMA connpool
	SQL
is( $node->safe_psql('rivals', <<~'SQL'),
		SELECT count(*) > 500,
		       string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ')
		FROM pg_proc p
		LEFT JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
		WHERE p.pronamespace = 'public'::regnamespace AND p.prosrc = 'SELECT 1'
		SQL
	't|',
	'no function or view of the extension calls a function of a user in another schema');

# connpool_load() keeps texts that do not fit into work_mem in a temporary file
$node->safe_psql('postgres', 'SELECT /* ' . 'x' x 100_000 . ' */ 1');
(undef, undef, my $warnings) =
  $node->psql('postgres', q{SET work_mem = '64kB'; SELECT count(*) FROM connpool_load()});
is($warnings, '', 'reading long texts leaves no temporary file behind');

# Texts are cut after 65,536 bytes. In the first one, the character at that place has two bytes. The
# session that holds the lock and the one that waits run it, so each view shows it.
my $long = "SELECT  /* " . "\xc3\xa9" x 40_000 . ' */ pg_advisory_lock(2)';
my $long_holder = odd_session('postgres', 'long', $long);
my $long_waiter = odd_session('postgres', 'long');
$long_waiter->send_message('Q', "$long\0");
wait_samples($node, 5);
$long_holder->query('SELECT pg_advisory_unlock(2)');
$long_waiter->read_until('Z');
poll_ok(
	$node,
	q{SELECT outcome = 'granted' FROM connpool_lock_log WHERE application_name = 'long'},
	'a session with a long statement gets its lock');
odd_session(
	'latin', 'long',
	"SET client_encoding = 'LATIN1'",
	"SELECT  /* " . "\xe9" x 70_000 . ' */ pg_sleep(0.15)');

sub lengths_in
{
	my ($source) = @_;
	return $node->safe_psql('postgres', <<~"SQL");
		SELECT DISTINCT octet_length(text), right(text, 1)
		FROM (SELECT $source) texts (text)
		WHERE text LIKE 'SELECT  /* %'
		ORDER BY 1
		SQL
}
foreach my $source (
	q{query FROM slow_queries WHERE database = 'postgres'},
	q{query FROM connpool_slow_statements WHERE database = 'postgres'},
	q{query FROM connpool_session_history() WHERE database = 'postgres'},
	q{query FROM connpool_load() WHERE database = 'postgres'},
	'query FROM connpool_lock_log',
	'root_query FROM connpool_lock_log')
{
	is(lengths_in($source), "65535|\xc3\xa9", "a long text is cut before a character: $source");
}
foreach my $view ('slow_queries', 'connpool_slow_statements')
{
	is(lengths_in("query FROM $view WHERE database = 'latin'"),
		"131061|\xc3\xa9", "a long text of a LATIN1 database is cut before its conversion: $view");
}
foreach my $encoding ('LATIN1', 'EUC_JP')
{
	is( scalar(() = $node->safe_psql('postgres', <<~"SQL") =~ /^SELECT  /mg),
			SET client_encoding = '$encoding';
			SELECT query FROM connpool_slow_statements
			SQL
		2,
		"a client with encoding $encoding receives each text that was cut");
}
like(
	$node->safe_psql('postgres', 'SELECT connpool_report()'),
	qr/ Last statement: `SELECT \/\* (?:\xc3\xa9){290}`/,
	'a report shows the first 300 characters of a long text');

# With a text of 1 GB in its file, pg_stat_statements() would fail.
my $texts_file = $node->data_dir . '/pg_stat_tmp/pgss_query_texts.stat';
truncate($texts_file, 1 << 30) or die "$texts_file: $!";
foreach my $view ('slow_queries', 'connpool_slow_statements', 'connpool_load()')
{
	is($node->safe_psql('postgres', "SELECT count(queryid) > 0, count(query) FROM $view"),
		't|0', "with a huge text in pg_stat_statements, the texts are NULL: $view");
}
# shortens the file, which the server would read when it stops
$node->safe_psql('postgres', 'SELECT extensions.pg_stat_statements_reset()');

$node->stop('fast');
done_testing();
