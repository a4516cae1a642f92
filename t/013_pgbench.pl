# SPDX-License-Identifier: PostgreSQL
# With a known number of transactions from many clients at once, over each
# protocol, with and without reconnecting, every sum is exactly that number:
# in the pools, in the totals, in the histogram, while clients run and after.
# scripts/test: slow, 20 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('pgbench', "max_connections = 40\n");
my ($clients, $transactions) = (8, 50);
my $all = $clients * $transactions;
my $dir = PostgreSQL::Test::Utils::tempdir();

append_to_file("$dir/select.sql", "SELECT 1;\n");
append_to_file("$dir/block.sql", "BEGIN;\nSELECT 1;\nINSERT INTO t VALUES (1);\nEND;\n");
$node->safe_psql('postgres', 'CREATE TABLE t (id int)');

sub run_pgbench
{
	my ($application, @options) = @_;
	my ($stdout, $stderr);
	my $ok;
	{
		# for pgbench only, not for the psql that looks afterwards
		local $ENV{PGAPPNAME} = $application;
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		$ok = IPC::Run::run(
			[
				'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, @options,
				'postgres'
			],
			'>',
			\$stdout,
			'2>',
			\$stderr);
	}
	ok($ok, "$application: pgbench runs") or diag($stderr);
	poll_ok(
		$node,
		"SELECT connections = 0 FROM connpool_pools WHERE application_name = '$application'",
		"$application: all its sessions have ended");
	return;
}

foreach my $mode ('simple', 'extended', 'prepared')
{
	foreach my $reconnect ([], ['-C'])
	{
		my $application = "$mode @$reconnect";

		run_pgbench($application, '-M', $mode, @$reconnect, '-f', "$dir/select.sql");
		is( $node->safe_psql(
				'postgres',
				"SELECT queries, failed_queries FROM connpool_pools WHERE application_name = '$application'"
			),
			"$all|0",
			"$application: every statement");
		my $sessions = $node->safe_psql('postgres',
			"SELECT sessions_opened - sessions_closed, sessions_opened FROM connpool_pools WHERE application_name = '$application'"
		);
		# pgbench looks around with one session of its own
		is( $sessions,
			'0|' . (@$reconnect ? $all + 1 : $clients + 1),
			"$application: every session");
		# who reconnects may be there again before the process that served it is gone
		my $most = @$reconnect ? 3 * $clients : $clients;
		ok( $node->safe_psql('postgres',
				"SELECT peak_connections BETWEEN 2 AND $most + 1 FROM connpool_pools WHERE application_name = '$application'"
			) eq 't',
			"$application: a peak that can be");
	}
	run_pgbench("$mode block", '-M', $mode, '-f', "$dir/block.sql");
	# preparing a statement is a transaction too, unless it happens within one
	my $most = $mode eq 'prepared' ? $all + 4 * $clients : $all;
	is( $node->safe_psql(
			'postgres',
			"SELECT queries, failed_queries, transactions BETWEEN $all AND $most FROM connpool_pools WHERE application_name = '$mode block'"
		),
		4 * $all . '|0|t',
		"$mode: statements and transactions of a block");
}

# one look at all of them: nothing may be added in between, so everything is in one query
is( $node->safe_psql(
		'postgres', q{SELECT p.queries - s.total_queries, h.queries - s.total_queries
	FROM (SELECT sum(queries) AS queries FROM connpool_pools) p,
	     (SELECT sum(queries) AS queries FROM connpool_query_histogram) h, connpool_query_stats s WHERE s.period = 'since_reset'}
	),
	'0|0',
	'pools, histogram and total agree');

# sums do not fall, nor run ahead, while clients reconnect as fast as they can
{
	my $watcher = session($node, 'watcher');
	local $ENV{PGAPPNAME} = 'storm';
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $storm = IPC::Run::start(
		[
			'pgbench', '-n', '-C', '-c', $clients, '-j', 2, '-t', 200, '-f', "$dir/select.sql",
			'postgres'
		],
		'>',
		'/dev/null',
		'2>',
		'/dev/null');
	my $expected = 200 * $clients;
	my ($last, $fallen, $disagreed, $looks) = (0, 0, 0, 0);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $of_storm = 0;

	while ($of_storm < $expected && time < $deadline)
	{
		my ($queries, $balance, $stormed) = split /\|/, $watcher->query_safe(
			q{SELECT sum(queries), sum(sessions_opened - sessions_closed - sessions_abandoned - sessions_failed - sessions_killed - connections),
				sum(queries) FILTER (WHERE application_name = 'storm') FROM connpool_pools});
		$fallen++ if $queries < $last;
		$disagreed++ if $balance != 0;
		$last = $queries;
		$of_storm = $stormed || 0;
		$looks++;
	}
	$storm->finish;
	ok($looks > 10, "looked $looks times");
	is($fallen, 0, 'the sum of statements never fell');
	is($disagreed, 0, 'opened was always ended and open');
	$watcher->quit;
}
poll_ok(
	$node,
	q{SELECT connections = 0 FROM connpool_pools WHERE application_name = 'storm'},
	'the storm is over');
is( $node->safe_psql(
		'postgres',
		q{SELECT queries, sessions_opened FROM connpool_pools WHERE application_name = 'storm'}),
	200 * $clients . '|' . (200 * $clients + 1),
	'and was counted to the last');

# nor while each statement goes over to another pool, as behind PgBouncer: whoever reads asks for quiet
{
	my $watcher = session($node, 'watcher');
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	append_to_file("$dir/names.sql",
		"SET application_name = 'left';\nSET application_name = 'right';\n");
	my $storm = IPC::Run::start(
		[ 'pgbench', '-n', '-c', $clients, '-j', 2, '-T', 10, '-f', "$dir/names.sql", 'postgres' ],
		'>', '/dev/null', '2>', '/dev/null');
	my ($last, $last_shown, $fallen, $disagreed, $looks) = (0, 0, 0, 0, 0);
	my $deadline = time + 8;
	while (time < $deadline)
	{
		my ($queries, $difference) = split /\|/,
		  $watcher->query_safe(
			q{SELECT sum(queries), sum(sessions_opened - sessions_closed - sessions_abandoned - sessions_failed - sessions_killed - connections) FROM connpool_pools}
		  );
		my $shown = 0;
		$shown += $_
		  foreach $watcher->query_safe('SELECT connpool_metrics()') =~
		  /^connpool_queries_total\{.*\} (\d+)$/mg;
		$fallen++ if $queries < $last || $shown < $last_shown;
		$disagreed++ if $difference != 0 || $queries > 1e15 || $shown > 1e15;
		($last, $last_shown) = ($queries, $shown);
		$looks++;
	}
	$storm->kill_kill;
	cmp_ok($looks, '>', 10, "looked $looks times");
	cmp_ok($last, '>', 1000, 'at what moved all the time');
	is($fallen, 0, 'no sum fell');
	is($disagreed, 0, 'nor was any of them wrong');
	leave($watcher);
}

$node->stop('fast');
done_testing();
