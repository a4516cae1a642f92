# SPDX-License-Identifier: PostgreSQL
# The extension, objects of users that depend on it, privileges and pool policies survive ALTER
# EXTENSION UPDATE from each version that has a script. They also survive pg_dump and restore, even
# on a server that does not preload the library. Needs several servers.
# scripts/test: slow, 12 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;

# --- an updated extension equals one that was created in the new version

my $catalogue = extension_members(definitions => 1);
# the rows of the catalogs that belong to the extension
my $rows = <<'SQL';
SELECT d.classid, d.objid, p.xmin, c.xmin, e.extversion, e.xmin FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
  AND d.deptype = 'e'
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE e.extname = 'connpool_monitor' ORDER BY 1, 2
SQL
my $source = new_node('source', "connpool_monitor.silent_metrics = 'idle_connections'");
my $user = $source->safe_psql('postgres', 'SELECT session_user');
sub in_source { my $database = shift; return $source->safe_psql($database, @_); }
my $fresh = in_source('postgres', $catalogue);
my $default = in_source('postgres',
	q{SELECT default_version FROM pg_available_extensions WHERE name = 'connpool_monitor'});
cmp_ok(scalar(() = $fresh =~ /^(?:function|view) /mg),
	'>', 50, 'the catalogue of members has more than fifty functions and views');
{
	my @versions = split /\n/, in_source('postgres', <<~'SQL');
		SELECT version
		FROM pg_available_extension_versions
		WHERE name = 'connpool_monitor'
		ORDER BY 1
		SQL
	note "versions: @versions";
	foreach my $version (@versions)
	{
		in_source('postgres', 'CREATE DATABASE updated');
		in_source('updated', <<~"SQL");
			CREATE EXTENSION pg_stat_statements;
			CREATE EXTENSION connpool_monitor VERSION '$version'
			SQL
		my $rows_before = in_source('updated', $rows);
		in_source('updated', 'ALTER EXTENSION connpool_monitor UPDATE');
		is(in_source('updated', $catalogue),
			$fresh, "$version: an updated extension equals a new one");
		is(in_source('updated', $rows),
			$rows_before, "$version: an update to the same version changes no row")
		  if $version eq $default;
		in_source('postgres', 'DROP DATABASE updated') unless $version eq $versions[-1];
	}
	my $rows_before = in_source('updated', $rows);
	my (undef, undef, $notice) =
	  $source->psql('updated', "ALTER EXTENSION connpool_monitor UPDATE TO '$default'");
	like(
		$notice,
		qr/NOTICE:  version "\Q$default\E" of extension "connpool_monitor" is already installed/,
		'an update to the installed version is a notice') if $versions[-1] eq $default;
	my $extension = 'extension "connpool_monitor"';
	foreach my $unknown ('9.9', '0.1', 'nonsense')
	{
		my (undef, undef, $errors) =
		  $source->psql('updated', "ALTER EXTENSION connpool_monitor UPDATE TO '$unknown'");
		like(
			$errors,
			qr/ERROR:  $extension has no update path from version "[^"]+" to version "$unknown"/,
			"an update to $unknown is refused");
	}
	is(in_source('updated', $rows), $rows_before, 'a refused update changes no row');
	my (undef, undef, $errors) =
	  $source->psql('template1', q{CREATE EXTENSION connpool_monitor VERSION '9.9' CASCADE});
	like(
		$errors,
		qr/ERROR:  $extension has no installation script nor update path for version "9.9"/,
		'CREATE EXTENSION of an unknown version is refused');
	is(in_source('template1', q{SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'}),
		0, 'a refused CREATE EXTENSION leaves no required extension behind');
	# the comparison detects changes
	foreach my $change (
		'REVOKE SELECT ON connpool_pools FROM pg_monitor',
		q{COMMENT ON VIEW connpool_pools IS 'else'},
		'ALTER FUNCTION get_connection_stats() COST 2')
	{
		isnt(in_source('updated', "BEGIN; $change; $catalogue; ROLLBACK"),
			$fresh, "the comparison detects: $change");
	}
	in_source('postgres', 'DROP DATABASE updated');
}

# --- default privileges of the installing role that differ from PostgreSQL's
in_source('postgres', 'CREATE ROLE outsider LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
in_source('postgres', 'CREATE DATABASE strict');
in_source('strict', <<~'SQL');
	CREATE EXTENSION pg_stat_statements;
	ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
	CREATE EXTENSION connpool_monitor
	SQL
is( $source->safe_psql(
		'strict',
		q{SELECT count(*) > 5, connpool_health() ->> 'status' <> '' FROM get_connection_stats()},
		extra_params => [ '-U', 'outsider' ]),
	't|t',
	'PUBLIC can read counts though default privileges revoke EXECUTE');
foreach my $view (split /\n/, in_source('strict', <<~'SQL'))
		SELECT c.relname
		FROM pg_class c
		JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid
		WHERE e.extname = 'connpool_monitor' AND c.relkind = 'v'
		ORDER BY 1
		SQL
{
	my ($status, undef, $errors) =
	  $source->psql('strict', "SELECT count(*) FROM $view", extra_params => [ '-U', 'watcher' ]);
	is("$status $errors", '0 ', "$view can be read by a member of pg_monitor");
	(undef, undef, $errors) =
	  $source->psql('strict', "SELECT count(*) FROM $view", extra_params => [ '-U', 'outsider' ]);
	like($errors, qr/permission denied for view $view/,
		"$view cannot be read by an ordinary role");
}
in_source('postgres', 'DROP DATABASE strict');

in_source('postgres', 'CREATE DATABASE generous');
in_source('generous', <<~'SQL');
	CREATE EXTENSION pg_stat_statements;
	CREATE ROLE "a reader";
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO outsider, "a reader" WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO outsider;
	CREATE EXTENSION connpool_monitor
	SQL
is( in_source('generous', <<~'SQL'),
		SELECT p.proacl::text !~ 'outsider|reader', p.proacl = i.initprivs,
		       has_table_privilege('outsider', 'connpool_pools', 'SELECT')
		FROM pg_proc p JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass
		WHERE p.proname = 'connpool_reset'
		SQL
	't|t|t',
	'default privileges open views, as of any extension, but not connpool_reset()');
in_source('postgres', 'DROP DATABASE generous');
in_source('postgres', 'DROP ROLE "a reader"');
in_source('postgres', 'DROP ROLE outsider; DROP ROLE watcher');

# --- dumps of a database with the extension in its own schema and objects that depend on it
in_source('postgres', 'CREATE DATABASE shop');
in_source('postgres', $_)
  foreach 'CREATE ROLE plain LOGIN', 'CREATE ROLE app LOGIN',
  q{ALTER ROLE app SET connpool_monitor.pool_max = 7},
  q{ALTER ROLE app IN DATABASE shop SET connpool_monitor.pool_idle_timeout = '10min'},
  q{ALTER DATABASE shop SET connpool_monitor.pool_max_uses = 1000};
in_source('shop', <<'SQL');
CREATE SCHEMA monitoring;
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION connpool_monitor SCHEMA monitoring;
CREATE VIEW ours AS
SELECT application_name, count(*) AS connections
FROM monitoring.connpool_sessions
GROUP BY 1;
CREATE FUNCTION asks() RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
SELECT count(*) FROM monitoring.get_connection_stats();
END;
GRANT USAGE ON SCHEMA monitoring TO plain, app;
GRANT SELECT ON ours, monitoring.connpool_pools TO plain;
GRANT EXECUTE ON FUNCTION monitoring.connpool_metrics(), monitoring.connpool_reset(text) TO plain;
REVOKE EXECUTE ON FUNCTION monitoring.connpool_health() FROM PUBLIC;
REVOKE SELECT ON monitoring.connpool_errors FROM pg_monitor;
SQL

# Return statements for materialized views. They are filled when they are restored, with a
# search_path without the schema of the extension.
sub materialize
{
	return join '',
	  map { "CREATE MATERIALIZED VIEW kept_$_ AS SELECT * FROM monitoring.$_;\n" } @_;
}
my @live = qw(connpool_sessions connpool_running_queries connpool_blocked_queries
  connpool_connection_states connpool_clients connpool_leaks);
my @all = split /\n/, in_source('shop', <<~'SQL');
	SELECT relname
	FROM pg_class
	WHERE relkind = 'v' AND relnamespace = 'monitoring'::regnamespace
	ORDER BY 1
	SQL
cmp_ok(scalar @all, '>', 20, 'the extension has more than twenty views');
in_source('shop',
	materialize(@live)
	  . 'CREATE MATERIALIZED VIEW kept_stats AS SELECT * FROM monitoring.get_connection_stats();');

my $asked = <<'SQL';
SELECT count(*) > 0, asks() > 5 FROM ours;
SELECT has_table_privilege('plain', 'ours', 'SELECT'),
       has_table_privilege('plain', 'monitoring.connpool_pools', 'SELECT'),
       has_table_privilege('plain', 'monitoring.connpool_errors', 'SELECT'),
       has_function_privilege('plain', 'monitoring.connpool_metrics()', 'EXECUTE'),
       has_function_privilege('plain', 'monitoring.connpool_reset(text)', 'EXECUTE'),
       has_function_privilege('plain', 'monitoring.connpool_health()', 'EXECUTE'),
       has_table_privilege('pg_monitor', 'monitoring.connpool_errors', 'SELECT');
SELECT count(*) > 5 FROM kept_stats;
SELECT extversion, extnamespace::regnamespace FROM pg_extension WHERE extname = 'connpool_monitor';
SQL
my $answers = "t|t\nt|t|f|t|t|f|f\nt\n$default|monitoring";
my $policies = <<'SQL';
SELECT coalesce(rolname, '-'), coalesce(datname, '-'), setconfig
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE setconfig::text LIKE '%connpool_monitor%' ORDER BY 1, 2
SQL
my $shop = in_source('shop', $catalogue);
is(in_source('shop', $asked), $answers, 'the source has the objects and privileges of users');
my $policies_before = in_source('shop', $policies);
is( $policies_before,
	"-|shop|{connpool_monitor.pool_max_uses=1000}\n"
	  . "app|-|{connpool_monitor.pool_max=7}\n"
	  . 'app|shop|{connpool_monitor.pool_idle_timeout=10min}',
	'the source has the policies');

my $dir = PostgreSQL::Test::Utils::tempdir();
foreach my $format ('plain', 'custom')
{
	in_source('shop', join ' ', map { "DROP MATERIALIZED VIEW IF EXISTS kept_$_;" } @all);
	in_source('shop', materialize(@all));
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr('shop'), "--format=$format", '-f', "$dir/$format" ],
		"pg_dump succeeds, $format");
	in_source('shop', join ' ', map { "DROP MATERIALIZED VIEW kept_$_;" } @all);
	in_source('shop', materialize(@live));
	$source->command_ok(
		[
			'pg_dump', '-C', '-d', $source->connstr('shop'),
			"--format=$format", '-f', "$dir/created.$format"
		],
		"pg_dump -C succeeds, $format");
	in_source('postgres', "CREATE DATABASE $format TEMPLATE template0");
	my @restore =
	  $format eq 'plain'
	  ? ('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$format")
	  : ('pg_restore', '--exit-on-error', "$dir/$format");
	$source->command_ok(
		[ @restore, '-d', $source->connstr($format) ],
		"$format: the dump is restored with rows of all views");
	is(in_source($format, $catalogue),
		$shop, "$format: the restored extension equals the dumped one");
	is(in_source($format, $asked),
		$answers, "$format: objects and privileges of users are restored");
}
$source->command_ok(
	[ 'pg_dumpall', '-d', $source->connstr('postgres'), '--globals-only', '-f', "$dir/globals" ],
	'pg_dumpall succeeds');
wait_samples($source, 2);
poll_ok(
	$source,
	'SELECT problem IS NULL FROM connpool_info()',
	'connpool_info() reports no problem');
$source->stop;

# into other servers: first roles, then the database with -C
foreach my $preload ('pg_stat_statements, connpool_monitor', '')
{
	my $where = $preload ? 'preloaded' : 'not preloaded';
	my $other =
	  new_node($preload ? 'preloaded' : 'bare', undef, preload => $preload, no_extension => 1);
	foreach my $format ('plain', 'custom')
	{
		my (undef, undef, $errors) =
		  $other->psql('postgres', slurp_file("$dir/globals"), on_error_stop => 0);
		$errors =~ s/^psql:<stdin>:\d+: ERROR:  role "\Q$user\E" already exists\n?//mg;
		is($errors, '', "$where, $format: roles and their policies are restored");
		my @restore =
		  $format eq 'plain'
		  ? ('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/created.$format")
		  : ('pg_restore', '-C', '--exit-on-error', "$dir/created.$format");
		$other->command_ok(
			[ @restore, '-d', $other->connstr('postgres') ],
			"$where, $format: the database is restored");
		is($other->safe_psql('shop', $catalogue),
			$shop, "$where, $format: the restored extension equals the dumped one");
		is($other->safe_psql('shop', $asked),
			$answers, "$where, $format: objects and privileges of users are restored");
		is($other->safe_psql('shop', $policies),
			$policies_before, "$where, $format: all policies are restored");
		# without preloading, settings are placeholders until a function loads the library
		is( $other->safe_psql(
				'shop',
				<<~'SQL',
						SELECT count(*) > 5 FROM monitoring.get_connection_stats();
						SHOW connpool_monitor.pool_max;
						SHOW connpool_monitor.pool_idle_timeout;
						SHOW connpool_monitor.pool_max_uses
						SQL
				extra_params => [ '-U', 'app' ]),
			"t\n7\n10min\n1000",
			"$where, $format: the policies are in force");
		my (undef, undef, $denied) =
		  $other->psql('shop', <<~'SQL', extra_params => [ '-U', 'app' ]);
			SELECT count(*) FROM monitoring.get_connection_stats();
			SET connpool_monitor.pool_max = 70
			SQL
		like(
			$denied,
			qr/permission denied to set parameter "connpool_monitor.pool_max"/,
			"$where, $format: a role cannot change its policy");
		$other->safe_psql('postgres', 'DROP DATABASE shop');
		$other->safe_psql('postgres', "DROP ROLE $_") foreach 'app', 'plain';
	}
	if (!$preload)
	{
		# without the library PostgreSQL accepts any value, and warns when the library is loaded
		$other->safe_psql('postgres', <<~'SQL');
			CREATE ROLE app LOGIN;
			ALTER ROLE app SET connpool_monitor.pool_max = 'many';
			ALTER ROLE app SET connpool_monitor.pool_most = 1
			SQL
		$other->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
		my ($status, $output, $warnings) = $other->psql(
			'postgres',
			q{SELECT count(*) > 5 FROM get_connection_stats(); SHOW connpool_monitor.pool_max},
			extra_params => [ '-U', 'app' ]);
		is("$status $output", "0 t\n0", 'an invalid policy is not in force');
		like(
			$warnings,
			qr/WARNING:  invalid value for parameter "connpool_monitor.pool_max": "many"/,
			'an invalid policy is a warning when the library is loaded');
		like(
			$warnings,
			qr/WARNING:  invalid configuration parameter name "connpool_monitor.pool_most"/,
			'a policy that does not exist is a warning when the library is loaded');
	}
	$other->stop;
}

done_testing();
