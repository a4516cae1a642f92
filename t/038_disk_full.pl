# SPDX-License-Identifier: PostgreSQL
# A disk that is full, a real one: the test starts itself anew in a namespace of its own
# where the data directory lies on a small file system. The server goes on, the file of
# statistics stays as it was, it is said once, and is over when there is room.
# scripts/test: slow, 8 s
use strict;
use warnings FATAL => 'all';

use Test::More;

# before anything else has taken the standard output, which the new process needs
BEGIN
{
	if (!$ENV{CONNPOOL_SMALL_DISK})
	{
		my $small = "$ENV{TESTDIR}/small_disk";
		mkdir $small;
		# root of a namespace may mount, PostgreSQL wants not to be root: one namespace in another
		my @inside = ('unshare', '-U', "--map-user=$<", '--map-group=' . (split ' ', $()[0]);
		my $why =
		  `unshare -Urm sh -c 'mount -t tmpfs -o size=1m none $small && @inside true' 2>&1`;
		plan skip_all => "no file system of its own here: $why" if $?;
		exec 'unshare', '-Urm', 'sh', '-c',
		  'mount -t tmpfs -o size=192m,mode=755 none "$1" && shift && exec "$@"', 'sh', $small,
		  @inside, 'env', "CONNPOOL_SMALL_DISK=$small", $^X, $0;
	}
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;

$PostgreSQL::Test::Utils::tmp_check = $ENV{CONNPOOL_SMALL_DISK};

my $node = new_node('full', <<'CONF');
connpool_monitor.save_interval = '1s'
max_wal_size = '32MB'
CONF
my $file = $node->data_dir . '/pg_stat/connpool_monitor.stat';
my $filler = $node->data_dir . '/filler';
sub sql { return $node->safe_psql('postgres', @_); }

sub counted
{
	return sql($node, q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'});
}

sub fill_disk
{
	my $written = 0;
	open my $out, '>', $filler or die $!;
	# never a disk that others need too
	while (syswrite $out, 'x' x 65536)
	{
		die 'the disk is not a small one' if ++$written > 16 * 200;
	}
	1 while syswrite $out, 'x';
	like($!, qr/No space left/, 'the disk is full');
	close $out;
	return;
}

sql($node, 'SELECT 1') foreach 1 .. 20;
my $now = sql($node, 'SELECT clock_timestamp()');
poll_ok(
	$node,
	"SELECT last_saved > '$now' FROM connpool_info()",
	'it is saved while there is room');
my $offset = -s $node->logfile;
fill_disk();
isnt(
	(   $node->psql(
			'postgres',
			'CREATE TABLE big AS SELECT repeat($$x$$, 1000) AS t FROM generate_series(1, 100000)')
	)[0],
	0,
	'a statement that needs room fails');
is(sql($node, q{SELECT sqlstate FROM connpool_errors WHERE sqlstate = '53100'}),
	'53100', 'which is counted as what it is');
# that statement's own room is given back
fill_disk();
poll_ok($node, <<~'SQL', 'saving fails, and the view says why');
	SELECT last_save_error LIKE 'could not write file%No space left on device'
	FROM connpool_info()
	SQL
# Not earlier: while the failed statement gave its room back, a save could succeed.
my $whole = slurp_file($file);
wait_samples($node, 30);
is(sql($node, 'SELECT samples_missed <= samples / 5 FROM connpool_info()'), 't', 'samples go on');
is( log_count(
		$node, 'WARNING:  connpool_monitor: could not write file .*: No space left on device',
		$offset),
	1,
	'it is said once');
ok(slurp_file($file) eq $whole, 'what was saved is as it was');
ok(!-e "$file.tmp", 'and nothing half-written lies beside it');
unlink($filler);
poll_ok(
	$node,
	q{SELECT last_save_error IS NULL AND last_saved > now() - interval '1 s' FROM connpool_info()},
	'with room it is saved again');
is( log_count(
		$node, 'LOG:  connpool_monitor: counters, history and alerts are saved again', $offset),
	1,
	'which is said');

# the disk is full when the server stops
my $queries = counted();
$now = sql($node, 'SELECT clock_timestamp()');
$node->poll_query_until('postgres', "SELECT last_saved > '$now' FROM connpool_info()");
fill_disk();
$node->stop('fast');
like(slurp_file($node->logfile, $offset), qr/database system is shut down/, 'the server stops');
unlink($filler);
$offset = -s $node->logfile;
$node->start;
cmp_ok(counted(), '>=', $queries, 'and has the counters of the last save when it is back');
is(log_count($node, 'is not used', $offset), 0, 'whose file was whole');
$node->stop;
done_testing();
