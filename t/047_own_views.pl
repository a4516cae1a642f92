# SPDX-License-Identifier: PostgreSQL
# The privileges on a view of the extension decide which roles can read it, as for PostgreSQL's own
# views, also by column and through views of users. Calling the functions behind the views directly
# gives no further access: a view shows its function a number, the pass, which only views can read.
# Needs sessions of several roles.
# scripts/test: slow, 15 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;

my $node = new_node('own_views');
my @views = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT c.relname FROM pg_depend d
JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'v'
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor') ORDER BY 1
SQL
cmp_ok(scalar @views, '>', 20, 'the extension has more than twenty views');

# Return a call of the function behind a view, with $pass as the pass.
sub call
{
	my ($view, $pass) = @_;
	return "$view($pass)"
	  unless $view =~ /^connpool_(sessions|running_queries|connection_states|clients)$/;
	return "connpool_live_sessions('$view', $pass)";
}

# Role keeper owns views over those of the extension. Role reader was granted keeper's views and
# nothing else. Role columnist was granted the first column of each view of the extension. Role
# invoked was granted the views of the extension, and those views of keeper that have
# security_invoker.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE keeper LOGIN IN ROLE pg_monitor;
CREATE ROLE reader LOGIN;
CREATE ROLE columnist LOGIN;
CREATE ROLE invoked LOGIN;
CREATE ROLE nobody LOGIN;
CREATE SCHEMA own AUTHORIZATION keeper;
GRANT USAGE ON SCHEMA own TO PUBLIC;
GRANT CREATE ON SCHEMA public TO reader;
SQL
my (%first, %second);
my $setup = '';
foreach my $view (@views)
{
	($first{$view}, $second{$view}) = split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT quote_ident(attname) FROM pg_attribute
WHERE attrelid = '$view'::regclass AND attnum IN (1, 2) ORDER BY attnum
SQL
	$setup .= <<"SQL";
SET ROLE keeper;
CREATE VIEW own.$view AS SELECT * FROM $view;
CREATE VIEW own.invoker_$view WITH (security_invoker) AS SELECT * FROM $view;
GRANT SELECT ON own.$view, own.invoker_$view TO reader;
GRANT SELECT ON own.invoker_$view TO invoked;
RESET ROLE;
GRANT SELECT ($first{$view}) ON $view TO columnist;
GRANT SELECT ON $view TO invoked;
SQL
}
$node->safe_psql('postgres', $setup);

# Run statements in one session of a role. Return the errors, one a line.
sub failures
{
	my ($role, @statements) = @_;
	my (undef, undef, $errors) = $node->psql(
		'postgres',
		"\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n" . join(";\n", @statements),
		extra_params => [ '-U', $role ],
		on_error_stop => 0);
	return join "\n", $errors =~ /ERROR:  (.*)$/mg;
}

# Return the errors of refused reads of these views.
sub refused
{
	return join "\n", map { "42501: permission denied for view $_" } @_;
}

sub value_for
{
	my ($role, $query) = @_;
	return $node->safe_psql('postgres', $query, extra_params => [ '-U', $role ]);
}

# --- what the privileges of views allow
is(failures('reader', map { "TABLE own.$_" } @views),
	'', 'a role that was granted a view over a view of the extension can read it');
is(failures('reader', map { ("PREPARE p_$_ AS TABLE own.$_", ("EXECUTE p_$_") x 7) } @views),
	'', 'a prepared statement over such a view works with custom and generic plans');
is(failures('reader', 'CREATE VIEW over AS TABLE own.connpool_leaks', 'TABLE over'),
	'', 'a view over such a view can be read');
is(failures('columnist', map { "SELECT $first{$_} FROM $_" } @views),
	'', 'a role that was granted a column of a view can read that column');
is(failures('columnist', map { "SELECT count(*) FROM $_" } @views),
	'', 'a role that was granted a column of a view can count its rows');
is(failures('invoked', map { "TABLE own.invoker_$_" } @views),
	'', 'a view with security_invoker can be read by a role that may read both views');
is(failures('keeper', <<'SQL'), '', 'views of the extension work in subqueries');
CREATE TABLE own.notes AS SELECT pid FROM connpool_sessions;
SELECT * FROM own.notes n WHERE EXISTS (SELECT FROM own.connpool_sessions s WHERE s.pid = n.pid);
SELECT (SELECT count(*) FROM own.connpool_sessions s WHERE s.pid = n.pid) FROM own.notes n
SQL
is(failures('keeper', map { 'SELECT * FROM ' . call($_, 'NULL') } @views),
	'', 'a role that may read a view may call the function behind it');

my $idle = session($node, 'idle');
my $state = q{SELECT coalesce(state, 'hidden') FROM own.connpool_sessions
	WHERE application_name =};
is(value_for('reader', "$state 'idle'"),
	'hidden',
	'a view over connpool_sessions hides the sessions of other roles from an ordinary reader');
is(value_for('reader', "SET application_name = 'mine'; $state 'mine'"),
	'active', q{a view over connpool_sessions shows its reader the reader's own session});
is(value_for('keeper', "$state 'idle'"),
	'idle', 'a view over connpool_sessions shows a member of pg_monitor all sessions');
leave($idle);

# --- what PostgreSQL refuses
is(failures('columnist', map { "SELECT $second{$_} FROM $_" } @views),
	refused(@views), 'a role that was granted a column of a view cannot read another column');
is(failures('columnist', map { "TABLE $_" } @views),
	refused(@views), 'a role that was granted a column of a view cannot read the whole view');
is(failures('reader', map { "TABLE $_" } @views),
	refused(@views),
	'a role that was granted only a view of a user cannot read the extension\'s view below it');
is(failures('reader', map { "TABLE own.invoker_$_" } @views),
	refused(@views),
	'a view with security_invoker cannot be read by a role that may not read the view below');

# --- what the functions behind the views refuse
foreach my $pass ('NULL', '0', '1', '-1', '(SELECT pass FROM _connpool_view_pass)')
{
	is(failures($_, map { 'SELECT * FROM ' . call($_, $pass) } @views),
		refused(@views), "$_ cannot call the functions behind the views with the pass $pass")
	  foreach 'reader', 'columnist', 'nobody';
	my %call = map { $_ => call($_, $pass) } @views;
	is( failures(
			'columnist',
			map {
				"SELECT f.* FROM (SELECT $first{$_} FROM $_) v
			RIGHT JOIN $call{$_} f ON true"
			} @views),
		refused(@views),
		"a granted column beside the call does not allow it with the pass $pass");
	is( failures(
			'reader', map { "SELECT f.* FROM own.$_ v RIGHT JOIN $call{$_} f ON true" } @views),
		refused(@views),
		"a granted view beside the call does not allow it with the pass $pass");
	is( failures(
			'reader',
			map { ("PREPARE p_$_ AS SELECT * FROM $call{$_}", "TABLE own.$_", "EXECUTE p_$_") }
			  @views),
		refused(@views),
		"a granted view that was read before does not allow the call with the pass $pass");
}
is( failures(
		'nobody',
		'SELECT * FROM connpool_live_sessions(NULL)',
		q{SELECT * FROM connpool_live_sessions('pg_class')}),
	<<'ERRORS' =~ s/\n$//r,
22023: "(null)" is not a view over sessions
22023: "pg_class" is not a view over sessions
ERRORS
	'connpool_live_sessions() refuses names that are no views over sessions');
is( failures(
		'keeper',
		map {
			(   'SET ROLE pg_monitor',
				"TABLE $_",
				'SET ROLE pg_read_all_stats',
				'SELECT * FROM ' . call($_, 'NULL'))
		} @views),
	refused(@views),
	'the current role decides, not the session user');

# --- the pass
my $count = 'SELECT count(*) FROM _connpool_view_pass';
is($node->safe_psql('postgres', $count), 0, 'a superuser does not see the pass');
is(value_for('keeper', $count), 0, 'a member of pg_monitor does not see the pass');
value_for('reader', 'CREATE VIEW my_view AS TABLE _connpool_view_pass');
is(value_for('reader', 'SELECT count(*) FROM my_view'),
	0, 'a view of a user does not see the pass');
$node->safe_psql('postgres',
	"CREATE FUNCTION see_pass() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS '$count'");
is(value_for('reader', 'SELECT see_pass()'), 0, 'a function of a superuser does not see the pass');

# A predicate with a side effect, which tries each number of a row as the pass.
value_for('reader', <<'SQL');
CREATE TABLE tried (number text, opened boolean);
CREATE FUNCTION tries(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
DECLARE number text;
BEGIN
	FOR number IN SELECT match[1] FROM regexp_matches($1, '-?\d{1,19}', 'g') match LOOP
		BEGIN
			PERFORM connpool_leaks(number::bigint);
			INSERT INTO tried VALUES (number, true);
		EXCEPTION WHEN insufficient_privilege OR numeric_value_out_of_range THEN
			INSERT INTO tried VALUES (number, false);
		END;
	END LOOP;
	RETURN true;
END $$;
SQL
is(failures('reader', map { "SELECT * FROM own.$_ v WHERE tries(v::text)" } @views),
	'', 'a predicate with side effects runs over each view');
is(value_for('reader', 'SELECT count(*) > 10, bool_or(opened) FROM tried'),
	't|f', 'a predicate with side effects does not see the pass');
my $table = 'foreign table _connpool_view_pass';
is( failures('reader', 'INSERT INTO _connpool_view_pass VALUES (1)'),
	"42501: permission denied for $table",
	'an ordinary role cannot write the pass');
my $forge = 'CREATE FOREIGN TABLE mine (pass bigint) SERVER _connpool_view_pass';
is( failures('reader', $forge),
	'42501: permission denied for foreign server _connpool_view_pass',
	'an ordinary role cannot make a table like that of the pass');

# --- careless grants
$node->safe_psql('postgres', <<'SQL');
GRANT USAGE ON FOREIGN SERVER _connpool_view_pass TO reader;
GRANT ALL ON ALL TABLES IN SCHEMA public TO nobody;
REVOKE ALL ON connpool_leaks FROM nobody;
SQL
is( failures(
		'reader', $forge,
		'CREATE VIEW my_pass AS TABLE mine',
		'SELECT * FROM connpool_leaks((SELECT pass FROM mine))',
		'SELECT * FROM connpool_leaks((SELECT pass FROM my_pass))'),
	refused(('connpool_leaks') x 2),
	'a table like that of the pass is empty when its owner reads it');
is( failures(
		'nobody',
		'SELECT * FROM connpool_leaks((SELECT pass FROM _connpool_view_pass))',
		'TABLE connpool_leaks',
		'TABLE connpool_errors'),
	refused(('connpool_leaks') x 2),
	'a view that was revoked after a grant on all tables is refused');
like(
	failures('nobody', 'INSERT INTO _connpool_view_pass VALUES (1)'),
	qr/^\w{5}: cannot insert into foreign table "_connpool_view_pass"$/,
	'a role with all privileges on the table of the pass cannot write it');

# --- changes of privileges and owners
$node->safe_psql('postgres', 'REVOKE SELECT ON connpool_leaks FROM pg_monitor');
is( failures('keeper', 'TABLE connpool_leaks', 'SELECT * FROM connpool_leaks()'),
	refused(('connpool_leaks') x 2),
	'a view that was revoked from pg_monitor is refused to its members');
is( failures('reader', 'TABLE own.connpool_leaks'),
	refused('connpool_leaks'),
	'a view of a user is refused once its owner may not read the extension\'s view below it');
$node->safe_psql('postgres', 'GRANT SELECT ON connpool_leaks TO keeper');
is(failures('reader', 'TABLE own.connpool_leaks'),
	'', 'a grant to the owner of such a view makes it readable again');
$node->safe_psql('postgres', <<'SQL');
ALTER VIEW connpool_errors OWNER TO keeper;
GRANT SELECT ON connpool_errors TO nobody;
SQL
is(failures('nobody', 'TABLE connpool_errors'),
	'', 'roles with SELECT can read a view of the extension that an ordinary role owns');
is( failures('reader', 'TABLE own.connpool_errors'),
	refused('connpool_errors'),
	'other roles cannot read a view of the extension that an ordinary role owns');

# --- pg_dump by the owner of the database, an ordinary role
$node->safe_psql('postgres', 'CREATE ROLE landlord LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER landlord');
$node->safe_psql('shop', 'CREATE EXTENSION connpool_monitor CASCADE');
$node->command_ok(
	[
		'pg_dump', '-d', $node->connstr('shop'),
		'-U', 'landlord', '-f', PostgreSQL::Test::Utils::tempdir() . '/shop.sql'
	],
	'an ordinary role that owns a database can dump it');

$node->stop;
done_testing();
