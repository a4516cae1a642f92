# SPDX-License-Identifier: PostgreSQL
# Many clients run a known number of transactions, in each protocol, with and without reconnecting.
# The pools, the totals and the histogram must show exactly that number, and the sums must agree at
# any moment. Needs concurrent clients.
# scripts/test: slow, 15 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

# on a busy machine, backends may still be exiting when their clients have reconnected
my $node = new_node('pgbench', "max_connections = 200\n");
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
		# for pgbench only, not for later psql sessions
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
	ok($ok, "$application: pgbench succeeds") or diag($stderr);
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
		is( $node->safe_psql('postgres', <<~"SQL"),
				SELECT queries, failed_queries
				FROM connpool_pools
				WHERE application_name = '$application'
				SQL
			"$all|0", "$application: each statement counts once");
		my $sessions = $node->safe_psql('postgres', <<~"SQL");
			SELECT sessions_opened - sessions_closed, sessions_opened
			FROM connpool_pools
			WHERE application_name = '$application'
			SQL
		# pgbench opens one more session to inspect the database
		is( $sessions,
			'0|' . (@$reconnect ? $all + 1 : $clients + 1),
			"$application: each session counts once");
		# a client may reconnect before the backends of its earlier sessions have ended
		my $most = @$reconnect ? $all : $clients;
		my $peak = sql($node,
			"SELECT peak_connections FROM connpool_pools WHERE application_name = '$application'");
		ok($peak >= 2 && $peak <= $most + 1,
			"$application: peak_connections is between two and the possible maximum")
		  or diag($peak);
	}
	run_pgbench("$mode block", '-M', $mode, '-f', "$dir/block.sql");
	# preparing a statement is a transaction too, unless it happens within one
	my $most = $mode eq 'prepared' ? $all + 4 * $clients : $all;
	is( $node->safe_psql('postgres', <<~"SQL"),
			SELECT queries, failed_queries, transactions BETWEEN $all AND $most
			FROM connpool_pools
			WHERE application_name = '$mode block'
			SQL
		4 * $all . '|0|t',
		"$mode: each statement and each transaction of a block counts once");
}

# in one query, so that no statement counts between two of the sums
is(sql($node, <<~'SQL'), '0|0', 'pools, histogram and total have the same number of statements');
	SELECT p.queries - s.total_queries, h.queries - s.total_queries
	FROM (SELECT sum(queries) AS queries FROM connpool_pools) p,
	     (SELECT sum(queries) AS queries FROM connpool_query_histogram) h, connpool_query_stats s
	WHERE s.period = 'since_reset'
	SQL

# sums never fall, and sessions add up, while clients reconnect without pause
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
		\my $errors);
	my $expected = 200 * $clients;
	my ($last, $fallen, $disagreed, $reads) = (0, 0, 0, 0);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $of_storm = 0;

	while ($of_storm < $expected && time < $deadline)
	{
		my ($queries, $balance, $stormed) = split /\|/, $watcher->query_safe(<<~'SQL');
			SELECT sum(queries), sum(sessions_opened - sessions_closed - sessions_abandoned
			                         - sessions_failed - sessions_killed - connections),
			       sum(queries) FILTER (WHERE application_name = 'storm')
			FROM connpool_pools
			SQL
		$fallen++ if $queries < $last;
		$disagreed++ if $balance != 0;
		$last = $queries;
		$of_storm = $stormed || 0;
		$reads++;
	}
	$storm->finish or diag($errors);
	ok($reads > 10, "the test reads the sums more than ten times ($reads)");
	is($fallen, 0, 'the sum of statements never falls');
	is($disagreed, 0, 'sessions opened are always those that ended plus those that are open');
	leave($watcher);
}
poll_ok(
	$node,
	q{SELECT connections = 0 FROM connpool_pools WHERE application_name = 'storm'},
	'the sessions of the storm have ended');
is( $node->safe_psql(
		'postgres',
		q{SELECT queries, sessions_opened FROM connpool_pools WHERE application_name = 'storm'}),
	200 * $clients . '|' . (200 * $clients + 1),
	'each statement and each session of the storm counts once');

# sums never fall while each statement moves its session to another pool, as behind PgBouncer
{
	my $watcher = session($node, 'watcher');
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	append_to_file("$dir/names.sql",
		"SET application_name = 'left';\nSET application_name = 'right';\n");
	my $storm = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $clients, '-j', 2, '-T', 600, '-f', "$dir/names.sql",
			'postgres'
		],
		'>',
		'/dev/null',
		'2>',
		'/dev/null');
	my ($first, $last, $last_shown, $fallen, $disagreed, $reads) = (undef, 0, 0, 0, 0, 0);
	my $earliest_end = time + 4;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $earliest_end || (($reads <= 10 || $last - $first <= 1000) && time < $deadline))
	{
		my ($queries, $difference) = split /\|/, $watcher->query_safe(<<~'SQL');
			SELECT sum(queries), sum(sessions_opened - sessions_closed - sessions_abandoned
			                         - sessions_failed - sessions_killed - connections)
			FROM connpool_pools
			SQL
		my $shown = 0;
		$shown += $_
		  foreach $watcher->query_safe('SELECT connpool_metrics()') =~
		  /^connpool_queries_total\{.*\} (\d+)$/mg;
		$first //= $queries;
		$fallen++ if $queries < $last || $shown < $last_shown;
		$disagreed++ if $difference != 0 || $queries > 1e15 || $shown > 1e15;
		($last, $last_shown) = ($queries, $shown);
		$reads++;
	}
	$storm->kill_kill;
	cmp_ok($reads, '>', 10,
		"the test reads the sums more than ten times while sessions change pools ($reads)");
	cmp_ok($last - $first, '>', 1000, 'more than a thousand statements run meanwhile');
	is($fallen, 0, 'no sum falls while sessions change pools');
	is($disagreed, 0, 'no sum is wrong while sessions change pools');
	leave($watcher);
}

$node->stop('fast');
done_testing();
