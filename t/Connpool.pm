# SPDX-License-Identifier: PostgreSQL
# What the TAP tests share: a cluster with the extension preloaded, and waiting
# for the sampler by its sequence number instead of by the clock.
package Connpool;

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use Exporter 'import';
our @EXPORT =
  qw(new_node wait_samples stat_of alert_of log_count session leave poll_ok connects extension_members);

# PostgreSQL::Test::Cluster waits a tenth of a second between two looks at what it polls for,
# which adds up to minutes over all files. A fifth of that will do.
{
	no warnings qw(redefine prototype);
	*PostgreSQL::Test::Cluster::usleep = sub { Time::HiRes::usleep($_[0] / 5) };
}

# A cluster that samples ten times a second; settings are added to its
# configuration. Options: preload (default: both libraries), standby, extension.
sub new_node
{
	my ($name, $settings, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $preload = $options{preload} // 'pg_stat_statements, connpool_monitor';

	# the same encoding everywhere, whatever the locale of who runs the tests
	$node->init(
		allows_streaming => $options{allows_streaming} // 0,
		extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '$preload'
autovacuum = off
connpool_monitor.sample_interval = '100ms'
CONF
	$node->append_conf('postgresql.conf', $settings) if $settings;
	$node->start unless $options{stopped};
	$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE')
	  unless $options{stopped} || $options{no_extension};
	return $node;
}

# Wait until the sampler has taken that many more samples.
sub wait_samples
{
	my ($node, $count) = @_;
	my $target = $node->safe_psql('postgres', "SELECT samples + $count FROM connpool_info()");

	$node->poll_query_until('postgres', "SELECT samples >= $target FROM connpool_info()")
	  or die 'the sampler does not sample';
	return;
}

# One row of get_connection_stats() as 'current|max|status'.
sub stat_of
{
	my ($node, $metric) = @_;
	return $node->safe_psql('postgres',
		"SELECT current_value, max_value, status FROM get_connection_stats() WHERE metric_name = '$metric'"
	);
}

sub alert_of
{
	my ($node, $metric) = @_;
	return $node->safe_psql('postgres',
		"SELECT status FROM connpool_alerts WHERE metric_name = '$metric'");
}

# How many lines of the server's log, from an offset on, match the pattern?
sub log_count
{
	my ($node, $pattern, $offset) = @_;
	my $log = substr(slurp_file($node->logfile), $offset // 0);
	my $count = () = $log =~ /$pattern/mg;
	return $count;
}

# A psql that stays connected, with an application name.
sub session
{
	my ($node, $application, %options) = @_;
	my $psql = $node->background_psql($options{dbname} // 'postgres', on_error_stop => 0);
	# the time allowed is for each query, not for all that the session is asked
	$psql->set_query_timer_restart;
	$psql->query_safe("SET application_name = '$application'");
	return $psql;
}

# Let a session go. The time allowed is for this, not from its last query on: a
# session may have been held for longer than that.
sub leave
{
	my ($psql) = @_;
	$psql->{timeout}->start;
	$psql->quit;
	return;
}

# The query for all that belongs to the extension in a database (but the types of rows, which
# 17 does not list): what it is, who else than its
# owner may what with it (17 has added to an owner's rights), what it says and, when servers
# that print it alike are compared, what it does.
sub extension_members
{
	my (%options) = @_;
	my $does =
	  $options{definitions}
	  ? q{CASE WHEN p.oid IS NOT NULL THEN pg_get_functiondef(p.oid) WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END}
	  : 'NULL';
	return <<"SQL";
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS what,
       (SELECT string_agg(format('%s %s%s', a.grantee::regrole, a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ', ' ORDER BY a.grantee::regrole::text, a.privilege_type)
        FROM aclexplode(coalesce(p.proacl, c.relacl, acldefault('f', p.proowner))) a WHERE a.grantee <> coalesce(p.proowner, c.relowner)) AS rights,
       obj_description(d.objid, d.classid::regclass::name) AS says,
       (SELECT string_agg(format('%s %s %s', attnum, attname, atttypid::regtype), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS columns,
       $does AS does
FROM pg_depend d
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)
ORDER BY 1
SQL
}

# Does psql get in? Asked so that it is told nothing over its standard input, where one that
# is refused is gone before it was told.
sub connects
{
	my ($conninfo) = @_;
	my ($out, $err);
	return IPC::Run::run([ 'psql', '-XAtq', '-d', $conninfo, '-c', 'SELECT 1' ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
}

sub poll_ok
{
	my ($node, $query, $name) = @_;
	ok($node->poll_query_until('postgres', $query), $name);
	return;
}

1;
