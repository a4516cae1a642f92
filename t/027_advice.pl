# SPDX-License-Identifier: PostgreSQL
# The recommended pool size agrees with a simulation of a queue with known arrivals and service
# times, and suffices when the client's pool is set to it. Needs a load of half a minute, because
# advice needs 300 samples, and PgBouncer.
# scripts/test: slow, 43 s
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use Application;
use Connpool;

my $rate = 20;        # transactions a second, at random moments
my $service = 0.2;    # seconds for each
my $clients = 40;     # more than are ever busy, so that no transaction waits for a connection

my $random = random_from(20261123);

# Simulate transactions that arrive at random and take $seconds each. Return the number of busy
# connections that is not exceeded during 99 % of the time.
sub simulated_size
{
	my ($seconds) = @_;
	my ($time, %spent, @ends) = (0);
	foreach my $arrival (1 .. 200_000)
	{
		my $next = $time - log(1 - $random->()) / $rate;
		while (@ends && $ends[0] <= $next)
		{
			$spent{ scalar @ends } += $ends[0] - $time;
			$time = shift @ends;
		}
		$spent{ scalar @ends } += $next - $time;
		$time = $next;
		push @ends, $time + $seconds;
	}
	my ($below, $size) = (0, -1);
	$below += $spent{ ++$size } // 0 while $below < 0.99 * $time;
	return $size;
}

my $node = new_node('advice', "max_connections = 80\n");
my $script = "$PostgreSQL::Test::Utils::tmp_check/service.sql";
append_to_file($script, "SELECT pg_sleep($service)\n");

# Start pgbench, and collect its output in $$output. Its schedule is the same each time.
sub start_load
{
	my ($where, $name, $seconds, $output) = @_;
	local $ENV{PGAPPNAME} = $name;
	return IPC::Run::start(
		[
			'pgbench', '-n', '-f', $script, '-c', $clients, '-j', 2, '-T', $seconds, '-R', $rate,
			'--random-seed=7', '-h', $where->host, '-p', $where->port, 'postgres'
		],
		'>', $output, '2>&1');
}

# Wait for the end of pgbench, and return its number of transactions.
sub end_load
{
	my ($load, $output) = @_;
	$load->finish or die $$output;
	return $$output =~ /number of transactions actually processed: (\d+)/ ? $1 : die $$output;
}

sub advice
{
	return $node->safe_psql('postgres',
		"SELECT $_[1] FROM connpool_pool_advice WHERE application_name = '$_[0]'");
}

my $started = time;
my $load = start_load($node, 'service', 600, \my $unread);
$node->poll_query_until('postgres',
	q{SELECT transactions >= 20 FROM connpool_pools WHERE application_name = 'service'})
  or die 'the load does not start';
is(advice('service', 'recommended_size IS NULL, recommended_mode IS NULL'),
	't|t', 'a second of load is not enough for advice');
like(
	advice('service', 'reasons[1]'),
	qr/^not enough observed for a size: \d+ of 300 samples, \d+ of 100 transactions$/,
	'the reasons report how much was observed and how much is needed');
# in an open session, because a new psql for each query would keep a processor busy
my $watcher = session($node, 'watcher');
poll_is($watcher, <<~'SQL', 't', 'the extension recommends a size after enough load');
	SELECT recommended_size IS NOT NULL
	FROM connpool_pool_advice
	WHERE application_name = 'service'
	SQL
$load->kill_kill;
poll_is($watcher, <<~'SQL', '0', 'the load ends');
	SELECT connections FROM connpool_pools WHERE application_name = 'service'
	SQL
my $pgbench_seconds = time - $started;
leave($watcher);

# On a busy machine transactions take longer. PostgreSQL measures by how much.
my $executed = $node->safe_psql('postgres',
	q{SELECT mean_exec_time FROM pg_stat_statements WHERE query LIKE 'SELECT pg_sleep(%'});
my $simulated = simulated_size($executed / 1000);
my $size = advice('service', 'recommended_size');
cmp_ok(abs($size - $simulated),
	'<=', 1, "a pool of $size is within one of the $simulated that the simulation needs");
is(advice('service', 'recommended_mode, session_features'),
	'transaction|{}', 'a pool without session features is fit for transaction mode');
is( advice(
		'service',
		'busy_p50 <= busy_p95 AND busy_p95 <= busy_p99 AND busy_p99 <= busy_max AND busy_max <= 40'
	),
	't',
	'the percentiles of busy connections are in order');
is(advice('service', "observed BETWEEN '29 s' AND interval '1 s' * ($pgbench_seconds + 1)"),
	't', 'observed is the duration of the load');
my $law_of_little = qr/(\S+) transactions a second of (\S+) ms each keep (\S+) connections busy/;
my ($per_second, $each, $law, $sampled) = advice('service', q{array_to_string(reasons, '; ')}) =~
  /$law_of_little \(Little's law\); the mean of the samples is ([\d.]+)/;
cmp_ok(abs($per_second - $rate),
	'<', 4, "Little's law: $per_second transactions arrive each second");
cmp_ok(abs($each - $executed), '<', 30, "Little's law: a transaction takes $each ms");
cmp_ok(abs($law - $per_second * $each / 1000), '<', 0.2,
	"Little's law: $law connections are busy");
cmp_ok(abs($law - $sampled), '<', 0.8, "the sampled number, $sampled, agrees with Little's law");
like(
	advice('service', q{array_to_string(reasons, '; ')}),
	pattern(
		"$size connections sufficed for 99 % of the time:",
		".*all pools together would need \\d+ of 77 usable slots"),
	'the reasons compare the size with the usable slots');

# The client's pool has the recommended size. Compare it with the same load on a pool without a
# limit at the same time, so that the speed of the machine is the same.
my $pooler = start_pooler($node, default_pool_size => $size, max_client_conn => 200);
my @loads = (
	start_load($pooler, 'lowered', 8, \my $lowered),
	start_load($node, 'as_before', 8, \my $as_before));
my $pooled = end_load($loads[0], \$lowered);
my $direct = end_load($loads[1], \$as_before);
stop_pooler($pooler);
cmp_ok(
	$pooled, '>=',
	0.93 * $direct,
	"a pool of $size connections does at least 93 % of the transactions that $clients direct "
	  . "connections do: $pooled of $direct");
is(advice('lowered', "busy_max <= $size"), 't', 'no more connections are busy than the pool has');

# advice survives a restart, but not a reset
my $before = advice('service',
	'busy_p50, busy_p95, busy_p99, busy_max, recommended_size, recommended_mode, observed');
$node->restart;
is( advice(
		'service',
		'busy_p50, busy_p95, busy_p99, busy_max, recommended_size, recommended_mode, observed'),
	$before,
	'advice survives a restart');
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is(advice('service', q{observed, recommended_size IS NULL, busy_p99 IS NULL}),
	'00:00:00|t|t', 'advice starts afresh with a reset');

# the buckets of busy connections, without the server
my $busy = compile_unit('busy', 'base/busy', 'counters/pool_busy');
my ($wrong, $wide, $last) = (0, 0, -1);
my @lines = split /\n/, `$busy`;
is(pop @lines, 'restart 1',
	'a pool whose session left it before the sampler was restarted is not in use afterwards');
my (undef, $samples, $weight, $observed, $median, $p99, $mean) = split / /, pop @lines;

foreach my $line (@lines)
{
	my ($sessions, $bucket, $upper) = split / /, $line;
	$wrong++ if $upper < $sessions || $bucket < $last;
	$wide++ if $upper - $sessions > ($sessions < 128 ? 0 : $sessions / 16);
	$last = $bucket;
}
is("$wrong $wide", '0 0', 'no number of sessions is in a bucket that is too low or too wide');
is($last, 303, 'the last bucket is that of the largest possible number of sessions');
is($observed, '90.00', 'the time observed is the sum of all samples');
cmp_ok($weight, '<=', 14.01, 'the samples together weigh at most as much as two weeks');
cmp_ok($weight, '>=', 7, 'the samples together weigh at least as much as one week');
is($median, 2, 'samples of a month ago hardly count in the median');
is($p99, 5, 'samples of a month ago still count in the 99th percentile');
ok($mean > 2 && $mean < 2.5, 'samples of a month ago hardly count in the mean');
cmp_ok($samples, '<',
	90 * 24 * 60 / 2,
	'the number of samples is halved together with their weight');

done_testing();
