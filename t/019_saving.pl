# SPDX-License-Identifier: PostgreSQL
# Saving every second does not delay samples, even with 5,000 pools and a full history. Constructs
# the file, because a real history would take a year to fill.
# scripts/test: slow, 11 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('main', <<'CONF');
connpool_monitor.max_pools = 6000
connpool_monitor.sample_interval = '1s'
connpool_monitor.save_interval = '1s'
CONF
my $file = $node->data_dir . '/pg_stat/connpool_monitor.stat';

# --- a full history: replace the samples and the rollups of a file by full ones
wait_samples($node, 2);
$node->stop('fast');
my ($head, $sample_size, $rollup_size, $tail) =
  slurp_file($file) =~ /^(.*?\.samples (\d+)\n).*?\.rollups (\d+)\n.*?(\.alerts \d+\n.*).{4}\z/s;
my $columns = () = $head =~ /\+[a-z_]+\0/g;
is($sample_size, 52 + 4 * $columns, 'a sample in the file has the size that the test expects');
is($rollup_size, 52 + 12 * $columns, 'a rollup in the file has the size that the test expects');
my $now = (time() - 946684800) * 1_000_000;

# Return records with ascending times. A zero byte precedes the length of a run of zero bytes.
sub rows
{
	my ($rows, $length, $row) = @_;
	my $first = $now - $now % $length - $rows * $length;
	my @records = map { pack('q', $first + $_ * $length) . $row } 0 .. $rows - 1;
	s/(\0{1,255})/"\0" . chr(length $1)/ge foreach @records;
	return join('', map { "+$_" } @records);
}
my $full =
	$head
  . rows(3660, 1_000_000, pack('lff9', 1000, 3, (1) x 9) . pack('f', 3) x $columns)
  . ".rollups $rollup_size\n"
  . rows(10081, 60_000_000, pack('LLf9', 1, 60, (1) x 9) . pack('ffL', 3, 3, 60) x $columns)
  . rows(8785, 3_600_000_000, pack('LLf9', 2, 3600, (1) x 9) . pack('ffL', 3, 3, 3600) x $columns)
  . $tail;
open(my $out, '>:raw', $file) or die $!;
print $out sealed($full);
close $out;
$node->start;
is(sql($node, <<~'SQL') >= 8785, 1, 'the history has all hours');
	SELECT count(*)
	FROM connpool_history('total_connections', '-infinity', 'infinity', '1 hour')
	SQL
is(sql($node, <<~'SQL') >= 10080, 1, 'the history has all minutes');
	SELECT count(*)
	FROM connpool_history('total_connections', '-infinity', 'infinity', '1 minute')
	SQL
is(sql($node, <<~'SQL') >= 8784 * 9, 1, 'the load has all hours and classes');
	SELECT count(*) FROM connpool_load_history('-infinity', 'infinity', '1 hour')
	WHERE avg_sessions = 1
	SQL

# --- 5,000 pools: one for each application_name of a session
my $script = PostgreSQL::Test::Utils::tempdir() . '/names.sql';
append_to_file($script, join('', map { "SET application_name = 'pool $_';\n" } 1 .. 5000));
$node->command_ok([ 'psql', '-X', '-q', '-f', $script, '-d', $node->connstr('postgres') ],
	'a session uses 5,000 application names');
cmp_ok(sql($node, 'SELECT pools_used FROM connpool_info()'), '>=', 5000, 'each name is a pool');

# --- During four saves no sample is late by an interval. If one is late, which a busy machine may
# cause, observe four more saves.
my ($missed, $missed_now, $is_punctual);
wait_until(
	sub {
		my $since = sql($node, 'SELECT clock_timestamp()');
		$missed = sql($node, 'SELECT samples_missed FROM connpool_info()');
		wait_saved($node, 4);
		$is_punctual = sql($node, <<~"SQL");
			SELECT max(sample_time - before) < interval '2 s'
			FROM (SELECT sample_time, lag(sample_time) OVER (ORDER BY sample_time) AS before
			      FROM connpool_history('total_connections', '$since', clock_timestamp(), '1 s')) s
			SQL
		$missed_now = sql($node, 'SELECT samples_missed FROM connpool_info()');
		return $is_punctual eq 't' && $missed_now == $missed;
	});
cmp_ok(-s $file, '>', 3_000_000, 'the file has more than 3 MB');
is(sql($node, 'SELECT last_save_error IS NULL FROM connpool_info()'), 't', 'all saves succeed');
is($is_punctual, 't', 'no sample is late by an interval during four saves');
is($missed_now, $missed, 'the sampler misses no sample during four saves');

my $count_pools =
  q{SELECT count(*), sum(queries) FROM connpool_pools WHERE application_name LIKE 'pool %'};
my $pools = sql($node, $count_pools);
$node->stop('fast');
$node->start;
is(sql($node, $count_pools), $pools, 'a restart restores all pools and their statements');

# --- with fewer slots than saved pools, the other pools are merged into (other) with their counts
my $total = sql($node, 'SELECT sum(queries) FROM connpool_pools');
sql($node, 'ALTER SYSTEM SET connpool_monitor.max_pools = 10');
$node->restart;
my ($after, $used) = split /\|/,
  sql($node, 'SELECT (SELECT sum(queries) FROM connpool_pools), pools_used FROM connpool_info()');
cmp_ok($after, '>=', $total, 'a restart with a smaller max_pools loses no statement');
cmp_ok($after, '<', $total + 20, 'a restart with a smaller max_pools adds no statement');
cmp_ok($used, '<=', 10,
	'after a restart with a smaller max_pools at most max_pools pools are used');
is(sql($node, <<~'SQL'), 't', 'pools and histogram have the same number of statements');
	SELECT (SELECT sum(queries) FROM connpool_query_histogram) -
	       (SELECT sum(queries) FROM connpool_pools) BETWEEN -1 AND 1
	SQL
$node->stop('fast');
done_testing();
