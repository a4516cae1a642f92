# SPDX-License-Identifier: PostgreSQL
# The workers do not obstruct the server: databases can be created, copied and dropped, the server
# stops as fast as without the workers, a worker that ends is restarted, the server recovers from a
# crash, and readers do not delay the sampler. Needs servers that stop, crash and are suspended.
# scripts/test: slow, 25 s
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Connpool;

my $node = new_node('out_of_the_way', <<'CONF');
restart_after_crash = on
max_connections = 30
connpool_monitor.save_interval = '1s'
CONF
wait_samples($node, 2);

# every database can be a template, and can be dropped, even one that has the extension
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION connpool_monitor CASCADE');
$node->safe_psql('app', 'SELECT count(*) FROM connpool_history()');
foreach my $template (qw(app template1 postgres))
{
	my $maintenance = $template eq 'postgres' ? 'template1' : 'postgres';
	my ($status, undef, $stderr) =
	  $node->psql($maintenance, "CREATE DATABASE copy TEMPLATE $template");
	is($status, 0, "CREATE DATABASE TEMPLATE $template works while the sampler runs")
	  or diag $stderr;
	is( $node->safe_psql(
			'copy', "SELECT count(*) FROM pg_extension WHERE extname = 'connpool_monitor'"),
		$template eq 'template1' ? '0' : '1',
		"the copy of $template has the extension if $template has it");
	($status, undef, $stderr) = $node->psql($maintenance, 'DROP DATABASE copy');
	is($status, 0, "DROP DATABASE works on the copy of $template") or diag $stderr;
}
foreach my $round (1 .. 20)
{
	$node->safe_psql('postgres', 'CREATE DATABASE fleeting');
	$node->safe_psql('postgres', 'DROP DATABASE fleeting');
}
$node->safe_psql('postgres', 'DROP DATABASE app');
pass('CREATE and DROP DATABASE work while the sampler takes ten samples a second');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'the sampler is attached to no database');
	SELECT datid IS NULL FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'
	SQL

# the postmaster restarts a sampler that was terminated, and the history remains
my $old = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
my $first = $node->safe_psql('postgres',
	q{SELECT min(sample_time) FROM connpool_history(NULL, now() - interval '5 minutes')});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
poll_ok($node, <<~"SQL", 'another sampler starts after the sampler was terminated');
	SELECT count(*) = 1
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor sampler' AND pid <> $old
	SQL
wait_samples($node, 2);
is( $node->safe_psql(
		'postgres',
		q{SELECT min(sample_time) FROM connpool_history(NULL, now() - interval '5 minutes')}),
	$first,
	'the history survives the end of the sampler');
is($node->safe_psql('postgres', 'SELECT sampler_running FROM connpool_info()'),
	't', 'connpool_info() reports that the new sampler runs');

# pg_ctl stop -m fast takes less than a second longer than without the extension
sub time_of_stop
{
	my ($which) = @_;
	my $began = time;
	$which->stop('fast');
	return time - $began;
}
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
my ($without, $with);
# a busy machine can delay one stop, but not the same server in each of five rounds
foreach my $round (1 .. 5)
{
	$bare->start;
	$node->start if $round > 1;
	$without = time_of_stop($bare);
	$with = time_of_stop($node);
	last if $with < $without + 1;
}
cmp_ok(
	$with, '<',
	$without + 1,
	sprintf(
		'a fast stop takes less than a second longer with the extension (%.2f s, %.2f s)',
		$with, $without));

# SIGKILL to the sampler makes the postmaster restart all processes
$node->start;
wait_samples($node, 2);
my $victim = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
kill 'KILL', $victim;
poll_ok($node, <<~"SQL", 'the server restarts after the sampler was killed');
	SELECT samples >= 2 AND count(pid) = 1
	FROM connpool_info(), pg_stat_activity
	WHERE backend_type = 'connpool_monitor sampler' AND pid <> $victim
	GROUP BY samples
	SQL
poll_is(
	$node, 'SELECT sampler_running, problem IS NULL FROM connpool_info()',
	't|t', 'the sampler runs after the restart, without a problem');

# while the sampler and the saver are suspended, health is degraded and the history gets no rows
my @frozen = map { worker_pid($node, $_) } 'sampler', 'saver';
kill 'STOP', @frozen;
my $before = $node->safe_psql('postgres', 'SELECT now()');
poll_ok(
	$node,
	q{SELECT connpool_health() ->> 'status' = 'degraded'},
	'health is degraded while no samples are taken');
poll_is(
	$node,
	'SELECT problem FROM connpool_info()',
	'the sampler has taken no sample for ten intervals; the saver has saved nothing for ten '
	  . 'intervals, so a crash would lose all statistics since last_saved',
	'connpool_info() reports that the sampler and the saver are suspended');
my $after = $node->safe_psql('postgres', 'SELECT now()');
kill 'CONT', @frozen;
wait_samples($node, 2);
poll_is(
	$node, q{SELECT connpool_health() ->> 'status'},
	'healthy', 'health recovers when the sampler is resumed');
is( $node->safe_psql('postgres', <<~"SQL"),
		SELECT count(*) FROM connpool_history('total_connections', '$before', '$after')
		SQL
	'0', 'the history has no rows of the time in which the sampler was suspended');
is($node->safe_psql('postgres', 'SELECT samples_missed > 10 FROM connpool_info()'),
	't', 'samples_missed counts the samples of the time in which the sampler was suspended');

# clients that read all views without pause do not delay the sampler
my $script = $node->basedir . '/readers.sql';
append_to_file(
	$script,
	join("\n",
		'SELECT count(*) FROM connpool_history();',
		'TABLE connpool_alerts;',
		'SELECT * FROM get_connection_stats();',
		'SELECT connpool_health();',
		'TABLE connpool_sessions;',
		'TABLE connpool_leaks;',
		'TABLE connpool_blocked_queries;',
		''));
my $readers = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '8', '-j', '2', '-T', '3600', '-f', $script,
		$node->connstr('postgres') . ' application_name=readers'
	],
	'>',
	'/dev/null',
	'2>',
	'/dev/null');
poll_ok(
	$node,
	q{SELECT sum(queries) > 100 FROM connpool_pools WHERE application_name = 'readers'},
	'eight clients read all views without pause');
ok(samples_on_time($node), 'ten samples in a row are on time beside clients that read all views');
poll_ok(
	$node,
	q{SELECT sum(connections) = 8 FROM connpool_pools WHERE application_name = 'readers'},
	'the eight clients still run');
$readers->kill_kill;

$node->stop('fast');
done_testing();
