# SPDX-License-Identifier: PostgreSQL
# pg_upgrade preserves objects, privileges and policies, whether it copies, links or swaps files,
# to and from a server that does not preload the library, and from older versions of PostgreSQL
# whose programs are in CONNPOOL_OLD_BINDIRS. No worker may run during the upgrade. Afterwards
# counters start at zero without a warning.
# scripts/test: slow, 27 s
use strict;
use warnings FATAL => 'all';

use Cwd;
use File::Basename;
use File::Find;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Console;
use Http;

# objects, privileges and policies of users
my $made = <<'SQL';
CREATE ROLE plain LOGIN;
CREATE ROLE app LOGIN;
ALTER ROLE app SET connpool_monitor.pool_max = 7;
ALTER ROLE app IN DATABASE postgres SET connpool_monitor.pool_max_uses = 9;
ALTER DATABASE postgres SET connpool_monitor.pool_idle_timeout = '10min';
CREATE VIEW ours AS
SELECT application_name, count(*) AS connections
FROM connpool_sessions
GROUP BY 1;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM get_connection_stats();
GRANT SELECT ON ours, connpool_pools TO plain;
GRANT EXECUTE ON FUNCTION connpool_metrics() TO plain;
REVOKE EXECUTE ON FUNCTION connpool_health() FROM PUBLIC;
SQL
my $asked = <<'SQL';
SELECT count(*) > 0 FROM ours;
SELECT count(*) > 5 FROM kept;
SELECT has_table_privilege('plain', 'ours', 'SELECT'),
       has_table_privilege('plain', 'connpool_pools', 'SELECT'),
       has_table_privilege('plain', 'connpool_errors', 'SELECT'),
       has_function_privilege('plain', 'connpool_metrics()', 'EXECUTE'),
       has_function_privilege('plain', 'connpool_health()', 'EXECUTE');
SELECT string_agg(setconfig::text, ' ' ORDER BY setconfig::text) FROM pg_db_role_setting;
SQL
my $answers =
	"t\nt\nt|t|f|t|f\n"
  . '{connpool_monitor.pool_idle_timeout=10min} {connpool_monitor.pool_max=7} '
  . '{connpool_monitor.pool_max_uses=9}';

my $both = 'pg_stat_statements, connpool_monitor';
my $help = `pg_upgrade --help`;

# Listen on a port, so that a worker can neither listen there nor connect unnoticed.
sub occupied
{
	return IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => http_port(),
		Listen => 5,
		ReuseAddr => 1) // die "cannot listen: $!";
}

# Return whether a client has connected.
sub called { return scalar IO::Select->new(shift)->can_read(0) ? 'yes' : 'no'; }

my $console = Console->new(Console::answers(18));
my $pooler = "pooler=host=@{[ $console->host ]} port=@{[ $console->port ]} user=nobody";

# Upgrade a cluster and check the new one. $mode is --copy, --link or --swap. Options: preload_old
# and preload_new (default: both libraries), and install_path of the old PostgreSQL.
sub upgrade
{
	my ($name, $mode, %options) = @_;
	my ($preload_old, $preload_new) =
	  (delete $options{preload_old} // $both, delete $options{preload_new} // $both);
	my ($was_preloaded, $is_preloaded) = map { /connpool_monitor/ ? 1 : 0 } $preload_old,
	  $preload_new;
	my ($old, $new) = (
		PostgreSQL::Test::Cluster->new("old_$name", %options),
		PostgreSQL::Test::Cluster->new("new_$name"));
	my $catalogue = extension_members(definitions => !exists $options{install_path});
	my %preload = ($old => $preload_old, $new => $preload_new);
	my %port = map { $_ => http_port() } $old, $new;

	foreach ($old, $new)
	{
		# 18 enabled checksums by default; the old and the new cluster must agree
		my @alike =
		  `@{[ $_->installed_command('initdb') ]} --help` =~ /--no-data-checksums/
		  ? ('--no-data-checksums')
		  : ();
		$_->init(extra => [ '--encoding=UTF8', '--locale=C', @alike ]);
		$_->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '$preload{$_}'
connpool_monitor.sample_interval = '100ms'
connpool_monitor.save_interval = '1s'
connpool_monitor.pgbouncer_interval = '100ms'
connpool_monitor.pgbouncer = '$pooler'
connpool_monitor.http_listen = '127.0.0.1:$port{$_}'
CONF
	}
	$old->start;
	$old->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
	$old->safe_psql('postgres', $made);
	is($old->safe_psql('postgres', $asked),
		$answers, "$name: the old server has the objects of users");
	my $was = $old->safe_psql('postgres', $catalogue);
	cmp_ok(scalar(() = $was =~ /^(?:function|view) /mg),
		'>', 50, "$name: the catalogue of members has more than fifty functions and views");
	if ($was_preloaded)
	{
		$old->safe_psql('postgres', join ';', ('SELECT 1') x 1000);
		ok(poll_http($port{$old}, '/health/database', sub { $_[0]{status} == 200 }),
			"$name: HTTP is served before the upgrade");
		poll_ok(
			$old,
			'SELECT up FROM connpool_pgbouncer',
			"$name: PgBouncer is polled before the upgrade");
	}
	$old->stop;
	my $old_file = $old->data_dir . '/pg_stat/connpool_monitor.stat';
	my $saved = $was_preloaded ? slurp_file($old_file) : '';
	my $logs_before = -s $old->logfile;

	# Occupy the ports of HTTP and a port for PgBouncer: a worker that runs during the upgrade
	# connects to the latter.
	my @ears = map {
		my $ear = occupied();
		my $console = "host=127.0.0.1 port=@{[ $ear->sockport ]} user=nobody";
		$_->append_conf('postgresql.conf', "connpool_monitor.pgbouncer = 'pooler=$console'");
		$ear
	} $old, $new;
	my @taken = map {
		IO::Socket::INET->new(
			LocalAddr => '127.0.0.1',
			LocalPort => $port{$_},
			Listen => 5,
			ReuseAddr => 1)
		  // die "cannot listen: $!"
	} $old, $new;

	my @command = (
		'pg_upgrade', '-d', $old->data_dir, '-D',
		$new->data_dir, '-b', $old->config_data('--bindir'), '-B',
		$new->config_data('--bindir'), '-s', $new->host, '-p',
		$old->port, '-P', $new->port);
	push @command, '--no-sync' if $help =~ /--no-sync/;
	push @command, $mode if $help =~ /\Q$mode\E\b/;
	my $here = Cwd::getcwd();
	chdir PostgreSQL::Test::Utils::tempdir();
	command_ok([ @command, '--check' ], "$name: pg_upgrade --check succeeds");
	ok(-e $old->data_dir . '/global/pg_control',
		"$name: pg_upgrade --check leaves the old cluster usable");
	# without --retain its logs are removed when it succeeds
	command_ok([ @command, '--retain' ], "$name: pg_upgrade succeeds");
	chdir $here;

	my %log;
	find({ no_chdir => 1, wanted => sub { $log{$_} = slurp_file($_) if /\.log$/ && -f } },
		$new->data_dir . '/pg_upgrade_output.d');
	my @servers =
	  grep { /pg_upgrade_server/ && $log{$_} =~ /database system is ready to accept connections/ }
	  keys %log;
	cmp_ok(scalar @servers, '>', 0, "$name: pg_upgrade leaves logs of its servers");
	my $worker = qr/connpool_monitor (?:sampler|saver|http|pgbouncer|notifier)/;
	my $bad = qr/:  connpool_monitor: |$worker|\b(?:WARNING|ERROR|FATAL|PANIC):/;
	is( join("\n",
			map  { $log{$_} =~ /^(.*(?:$bad).*)$/mg }
			grep { /pg_upgrade_server/ } sort keys %log),
		'',
		"$name: the logs of the servers that pg_upgrade starts have no worker and no warning");
	is( join("\n",
			map  { $log{$_} =~ /^(.*\b(?:WARNING|ERROR|FATAL|PANIC):.*)$/mg }
			grep { !/pg_upgrade_server/ } sort keys %log),
		'',
		"$name: the other logs of pg_upgrade have no warning");
	is(join(' ', map { called($_) } @ears, @taken),
		'no no no no', "$name: no worker connected during the upgrade");
	close $_ foreach @ears, @taken;
	is((-e $new->data_dir . '/pg_stat/connpool_monitor.stat' ? 'a file' : 'no file'),
		'no file', "$name: the new cluster has no file of statistics");
	is(slurp_file($old_file) eq $saved ? 'the same' : 'another',
		'the same', "$name: the old cluster keeps its file of statistics")
	  if $was_preloaded && $mode ne '--swap';
	is(-s $old->logfile, $logs_before, "$name: the old server's own log has not grown");
	is( (-e $old->data_dir . '/global/pg_control' ? 'may' : 'may not'),
		$mode eq '--copy' ? 'may' : 'may not',
		"$name: the old server " . ($mode eq '--copy' ? 'may' : 'may not') . ' be started');

	$_->append_conf('postgresql.conf', "connpool_monitor.pgbouncer = '$pooler'")
	  foreach $old, $new;
	$new->start;
	# by lines, so that a failure shows the first one that differs
	is_deeply(
		[ split /\n/, $new->safe_psql('postgres', $catalogue) ],
		[ split /\n/, $was ],
		"$name: the extension equals that of the old cluster");
	is($new->safe_psql('postgres', $asked),
		$answers, "$name: the new server has the objects and privileges of users");
	is( $new->safe_psql(
			'postgres', <<~'SQL',
					SELECT count(*) > 5 FROM get_connection_stats();
					SHOW connpool_monitor.pool_max;
					SHOW connpool_monitor.pool_max_uses;
					SHOW connpool_monitor.pool_idle_timeout
					SQL
			extra_params => [ '-U', 'app' ]),
		"t\n7\n9\n10min",
		"$name: policies are in force");

	if ($is_preloaded)
	{
		is($new->safe_psql('postgres', <<~'SQL'), 't|0', "$name: counters start at zero");
			SELECT total_queries < 100, failed_queries
			FROM connpool_query_stats
			WHERE period = 'since_reset'
			SQL
		is( $new->safe_psql('postgres', <<~'SQL'),
				SELECT stats_reset >= pg_postmaster_start_time() - interval '1 minute', preloaded
				FROM connpool_info()
				SQL
			't|t', "$name: stats_reset is the start of the new server");
		is($new->safe_psql('postgres', q{SELECT count(*) FROM connpool_alert_log}),
			0, "$name: the alert log is empty");
		wait_samples($new, 3);
		poll_ok(
			$new,
			'SELECT problem IS NULL FROM connpool_info()',
			"$name: connpool_info() reports no problem");
		is( $new->safe_psql(
				'postgres', q{SELECT count(*) > 0 FROM connpool_history('total_connections')}),
			't',
			"$name: the history has samples");
		poll_ok($new, 'SELECT up FROM connpool_pgbouncer', "$name: PgBouncer is polled");
		ok(poll_http($port{$new}, '/health/database', sub { $_[0]{status} == 200 }),
			"$name: HTTP is served");
		poll_ok(
			$new,
			'SELECT last_saved IS NOT NULL AND last_save_error IS NULL FROM connpool_info()',
			"$name: counters are saved");
	}
	else
	{
		is( $new->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
			'connpool_monitor is not in shared_preload_libraries: no history, no alerts',
			"$name: connpool_info() reports that the library is not preloaded");
	}
	# the upgraded extension can be dropped and created again
	$new->safe_psql('postgres',
		'DROP EXTENSION connpool_monitor CASCADE; CREATE EXTENSION connpool_monitor');
	$new->stop;
	# except a session that had not ended when the server stopped
	is( join("\n",
			grep { !/terminating connection due to administrator command/ }
			  slurp_file($new->logfile) =~ /^(.*\b(?:WARNING|ERROR|FATAL|PANIC):.*)$/mg),
		'',
		"$name: the log of the new server has no warning");
	# the files of a linked cluster belong to the new one: the old one must not start again
	if ($mode eq '--copy' && $was_preloaded)
	{
		$old->start;
		cmp_ok(
			$old->safe_psql(
				'postgres',
				q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'}),
			'>', 1000,
			"$name: the old server continues with its counters");
		$old->stop;
	}
	return;
}

upgrade('copied', '--copy');
upgrade('linked', '--link');
upgrade('swapped', '--swap') if $help =~ /--swap/;
upgrade('to_bare', '--link', preload_new => 'pg_stat_statements');
upgrade('from_bare', '--link', preload_old => '');

my @older = grep { $_ ne '' } split /:/, $ENV{CONNPOOL_OLD_BINDIRS} // '';
note 'CONNPOOL_OLD_BINDIRS names no older PostgreSQL' unless @older;
foreach my $bindir (@older)
{
	my $version = (split ' ', `$bindir/pg_config --version`)[1] =~ s/\W.*//r;
  SKIP:
	{
		# 17.12 stores an option of columns (pg_attver) that 18.6 refuses
		skip 'pg_upgrade from 17 to 18 fails for every table, without the extension too', 1
		  if $version == 17 && `pg_config --version` =~ / 18\./;
		upgrade("copied_from_$version", '--copy', install_path => dirname($bindir));
		upgrade("linked_from_$version", '--link', install_path => dirname($bindir));
	}
}

done_testing();
