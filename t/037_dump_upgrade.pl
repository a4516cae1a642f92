# Out of one server and into another: ALTER EXTENSION UPDATE, pg_dump and restore,
# pg_upgrade by copy and by link with the extension installed and preloaded, and from
# older PostgreSQLs whose programs are in CONNPOOL_OLD_BINDIRS, where it is installed too.
use strict;
use warnings FATAL => 'all';

use Cwd;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;

# All that belongs to the extension in a database: what it is, whose, and who may what with it.
my $catalogue = <<'SQL';
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS what,
       coalesce(p.proacl, c.relacl)::text AS acl, coalesce(obj_description(d.objid, d.classid::regclass::name), '') AS comment,
       CASE WHEN p.oid IS NOT NULL THEN md5(pg_get_functiondef(p.oid)) WHEN c.relkind = 'v' THEN md5(pg_get_viewdef(c.oid)) END AS definition
FROM pg_depend d
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
ORDER BY 1
SQL
# what another major version prints in another way: definitions by their text
my $members = $catalogue =~ s/,\s+CASE WHEN.*?END AS definition//sr;

# What users made of it: a view on top, rights, settings of roles and databases.
my $made = <<'SQL';
CREATE ROLE plain LOGIN;
CREATE ROLE app LOGIN;
ALTER ROLE app SET connpool_monitor.pool_max = 7;
CREATE VIEW ours AS SELECT application_name, count(*) AS connections FROM connpool_sessions GROUP BY 1;
GRANT SELECT ON ours, connpool_pools TO plain;
GRANT EXECUTE ON FUNCTION connpool_metrics() TO plain;
SQL
my $asked = <<'SQL';
SELECT count(*) > 0 FROM ours;
SELECT has_table_privilege('plain', 'ours', 'SELECT'), has_table_privilege('plain', 'connpool_pools', 'SELECT'),
       has_function_privilege('plain', 'connpool_metrics()', 'EXECUTE'), has_table_privilege('plain', 'connpool_errors', 'SELECT');
SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE rolname = 'app';
SELECT extversion FROM pg_extension WHERE extname = 'connpool_monitor';
SQL
my $answers = "t\nt|t|t|f\n{connpool_monitor.pool_max=7}\n1.0";

my $node = new_node('main');
sub sql { return $node->safe_psql('postgres', @_); }

# --- updates: from every version there is a script for
{
	my $fresh = sql($catalogue);
	my @versions = split /\n/, sql(q{SELECT version FROM pg_available_extension_versions WHERE name = 'connpool_monitor' ORDER BY 1});
	note "versions: @versions";
	foreach my $version (@versions)
	{
		sql('DROP DATABASE IF EXISTS updated');
		sql('CREATE DATABASE updated');
		$node->safe_psql('updated', "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION connpool_monitor VERSION '$version'; ALTER EXTENSION connpool_monitor UPDATE");
		is($node->safe_psql('updated', $catalogue), $fresh, "$version, updated, is what a new installation is");
	}
	my ($status, undef, $errors) = $node->psql('updated', q{ALTER EXTENSION connpool_monitor UPDATE TO '0.1'});
	like($errors, qr/extension "connpool_monitor" has no update path from version "1.0" to version "0.1"/, 'there is no way back');
	is($node->safe_psql('updated', $catalogue), $fresh, 'and nothing is changed by trying');
	sql('DROP DATABASE updated');
}

# --- dumps
sql($made);
is(sql($asked), $answers, 'what users make of it');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $before = sql($catalogue);
foreach my $format ('plain', 'custom')
{
	my $file = "$dir/dump.$format";
	$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), "--format=$format", '-f', $file ], "pg_dump, $format");
	sql("CREATE DATABASE $format TEMPLATE template0");
	my @restore = $format eq 'plain' ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file) : ('pg_restore', '--exit-on-error', $file);
	$node->command_ok([ @restore, '-d', $node->connstr($format) ], "restored, $format");
	is($node->safe_psql($format, $catalogue), $before, "$format: the extension is whole");
	is($node->safe_psql($format, $asked), $answers, "$format: and what users made of it");
}
$node->command_ok([ 'pg_dumpall', '-d', $node->connstr('postgres'), '--globals-only', '-f', "$dir/globals" ], 'pg_dumpall');
like(slurp_file("$dir/globals"), qr/ALTER ROLE app SET "?connpool_monitor.pool_max"? TO '7'/, 'has the policies of roles');
{
	# into a server that has the extension and does not preload it
	my $other = new_node('other', undef, preload => 'pg_stat_statements', no_extension => 1);
	$other->psql('postgres', slurp_file("$dir/globals"), on_error_stop => 0);	# one of its roles is there
	$other->safe_psql('postgres', slurp_file("$dir/dump.plain") =~ s/^\\.*\n//mgr);
	is($other->safe_psql('postgres', $asked), $answers, 'restored where it is not preloaded: policies, rights and views are there');
	$other->stop;
}

# --- pg_upgrade
sub upgrade
{
	my ($name, $mode, %options) = @_;
	my $is_older = exists $options{install_path};
	my %settings = (shared_preload_libraries => "'pg_stat_statements, connpool_monitor'", 'connpool_monitor.sample_interval' => "'100ms'",
		'connpool_monitor.save_interval' => "'1s'", 'connpool_monitor.pgbouncer' => "'nobody=host=127.0.0.1 port=1 user=nobody'");
	my ($old, $new) = (PostgreSQL::Test::Cluster->new("old_$name", %options), PostgreSQL::Test::Cluster->new("new_$name"));
	foreach ($old, $new)
	{
		# 18 made checksums the default, and both must be alike
		my @alike = `@{[ $_->installed_command('initdb') ]} --help` =~ /--no-data-checksums/ ? ('--no-data-checksums') : ();
		$_->init(extra => [ '--encoding=UTF8', '--locale=C', @alike ]);
		my $port = http_port();
		$_->append_conf('postgresql.conf', join('', map { "$_ = $settings{$_}\n" } sort keys %settings) . "connpool_monitor.http_listen = '127.0.0.1:$port'\n");
	}
	$old->start;
	$old->safe_psql('postgres', "CREATE EXTENSION connpool_monitor CASCADE; $made");
	my $was = $old->safe_psql('postgres', $is_older ? $members : $catalogue);
	$old->safe_psql('postgres', 'SELECT 1') foreach 1 .. 50;
	$old->stop;
	my @command = ('pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port, $mode);
	@command = grep { $_ ne '--no-sync' } @command unless `pg_upgrade --help` =~ /--no-sync/;
	@command = grep { $_ ne '--copy' } @command unless `pg_upgrade --help` =~ /--copy/;
	my $here = Cwd::getcwd();
	chdir PostgreSQL::Test::Utils::tempdir();
	command_ok([ @command, '--check' ], "$name: pg_upgrade --check");
	command_ok(\@command, "$name: pg_upgrade");
	chdir $here;
	unlike(join('', map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server*.log')), qr/(?:WARNING|ERROR).*connpool/, "$name: nothing of ours in its logs");
	$new->start;
	is($new->safe_psql('postgres', $is_older ? $members : $catalogue), $was, "$name: the extension is whole");
	is($new->safe_psql('postgres', $asked), $answers, "$name: and what users made of it");
	wait_samples($new, 2);
	is($new->safe_psql('postgres', 'SELECT problem FROM connpool_info()'), '', "$name: all of it works");
	is($new->safe_psql('postgres', q{SELECT total_queries < 30 FROM connpool_query_stats WHERE period = 'since_reset'}), 't', "$name: counters begin anew");
	unlike(slurp_file($new->logfile), qr/WARNING:  connpool_monitor: file/, "$name: without a word");
	$new->stop;
	return;
}
$node->stop;
upgrade('copied', '--copy');
upgrade('linked', '--link');
my @older = grep { $_ ne '' } split /:/, $ENV{CONNPOOL_OLD_BINDIRS} // '';
note 'CONNPOOL_OLD_BINDIRS names no older PostgreSQL' unless @older;
upgrade('from_' . (split ' ', `$_/pg_config --version`)[1] =~ s/\W.*//r, '--copy', install_path => dirname($_)) foreach @older;

done_testing();
