# SPDX-License-Identifier: PostgreSQL
# The monitor is in nobody's way: databases come and go, the server stops as
# fast as without it, a worker that is ended comes back, a crash is survived,
# and no reader disturbs the sampler.
# scripts/test: slow, 27 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Connpool;

my $node = new_node('out_of_the_way', "restart_after_crash = on\nmax_connections = 30");
wait_samples($node, 2);

# every database can be dropped and be a template, also one that has the extension
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION connpool_monitor CASCADE');
$node->safe_psql('app', 'SELECT count(*) FROM connpool_history()');
foreach my $template (qw(app template1 postgres))
{
	my $maintenance = $template eq 'postgres' ? 'template1' : 'postgres';
	my ($status, undef, $stderr) =
	  $node->psql($maintenance, "CREATE DATABASE copy TEMPLATE $template");
	is($status, 0, "CREATE DATABASE TEMPLATE $template") or diag $stderr;
	is( $node->safe_psql(
			'copy', "SELECT count(*) FROM pg_extension WHERE extname = 'connpool_monitor'"),
		$template eq 'template1' ? '0' : '1',
		'with what it holds');
	($status, undef, $stderr) = $node->psql($maintenance, 'DROP DATABASE copy');
	is($status, 0, 'and DROP DATABASE') or diag $stderr;
}
foreach my $round (1 .. 20)
{
	$node->safe_psql('postgres', 'CREATE DATABASE fleeting');
	$node->safe_psql('postgres', 'DROP DATABASE fleeting');
}
$node->safe_psql('postgres', 'DROP DATABASE app');
pass('databases come and go under a sampler at ten a second');
is( $node->safe_psql(
		'postgres',
		q{SELECT datid IS NULL FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'}
	),
	't',
	'the sampler is attached to no database');

# a sampler that somebody ends is started again, and goes on with what it knows
my $old = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
my $first = $node->safe_psql('postgres',
	q{SELECT min(sample_time) FROM connpool_history(NULL, now() - interval '5 minutes')});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
poll_ok(
	$node,
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler' AND pid <> $old",
	'a sampler that was terminated comes back');
wait_samples($node, 2);
is( $node->safe_psql(
		'postgres',
		q{SELECT min(sample_time) FROM connpool_history(NULL, now() - interval '5 minutes')}),
	$first,
	'the history is kept');
is($node->safe_psql('postgres', 'SELECT sampler_running FROM connpool_info()'),
	't', 'and it is shown as running');

# pg_ctl stop -m fast takes no longer than without the extension
sub time_of_stop
{
	my ($which) = @_;
	my $began = time;
	$which->stop('fast');
	return time - $began;
}
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
my $without = time_of_stop($bare);
my $with = time_of_stop($node);
cmp_ok(
	$with, '<',
	$without + 1,
	sprintf('a fast stop takes %.2f s, and %.2f s without the extension', $with, $without));

# a backend that is killed makes the server start over, and the sampler with it
$node->start;
wait_samples($node, 2);
my $victim = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
kill 'KILL', $victim;
ok($node->poll_query_until('postgres', "SELECT samples >= 2 FROM connpool_info()"),
	'the server restarts after a kill of the sampler');
is($node->safe_psql('postgres', 'SELECT sampler_running, problem IS NULL FROM connpool_info()'),
	't|t', 'and samples again');

# a suspended sampler: health says so, and the gap is a gap
my $frozen = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor sampler'});
my $before = $node->safe_psql('postgres', 'SELECT now()');
kill 'STOP', $frozen;
poll_ok(
	$node,
	q{SELECT connpool_health() ->> 'status' = 'degraded'},
	'health is degraded when nothing is sampled for long');
is( $node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
	'the sampler has taken no sample for ten intervals',
	'and connpool_info() says why');
my $after = $node->safe_psql('postgres', 'SELECT now()');
kill 'CONT', $frozen;
wait_samples($node, 2);
is($node->safe_psql('postgres', q{SELECT connpool_health() ->> 'status'}),
	'healthy', 'it recovers');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM connpool_history('total_connections', '$before'::timestamptz + interval '200 ms', '$after')"
	),
	'0',
	'the time in between has no rows');
is($node->safe_psql('postgres', 'SELECT samples_missed > 10 FROM connpool_info()'),
	't', 'and is counted as missed');

# readers of everything at once, as fast as they can, make no sample late
my $missed = $node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()');
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
$node->command_ok(
	[
		'pgbench', '-n', '-c', '8', '-j', '2', '-T', '5', '-f', $script, $node->connstr('postgres')
	],
	'eight readers of everything');
cmp_ok($node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()') - $missed,
	'<=', 5, 'hardly a round of fifty is late on a machine that is busy');

$node->stop('fast');
done_testing();
