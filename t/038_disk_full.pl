# SPDX-License-Identifier: PostgreSQL
# If the disk is full, the server keeps running, the file of statistics stays as it was, the error
# is logged once, and saving succeeds again when there is room. The test restarts itself in a
# namespace in which the data directory is on a small file system. Needs unshare and mount.
# scripts/test: slow, 11 s
use strict;
use warnings FATAL => 'all';

use Test::More;

# The new process needs the standard output, which PostgreSQL::Test::Utils redirects after BEGIN.
BEGIN
{
	if (!$ENV{CONNPOOL_SMALL_DISK})
	{
		my $small = "$ENV{TESTDIR}/small_disk";
		mkdir $small;
		# mount needs root of a namespace and PostgreSQL refuses root: nest two namespaces
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
use Time::HiRes ();

$PostgreSQL::Test::Utils::tmp_check = $ENV{CONNPOOL_SMALL_DISK};

my $node = new_node('full', <<'CONF');
connpool_monitor.save_interval = '1s'
connpool_monitor.alert_after = 0
connpool_monitor.idle_in_transaction_warning = 1
max_wal_size = '32MB'
CONF
my $file = $node->data_dir . '/pg_stat/connpool_monitor.stat';
my $incidents = $node->data_dir . '/pg_stat/connpool_monitor.incidents';
my $filler = $node->data_dir . '/filler';

sub counted
{
	return sql($node,
		q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'});
}

sub fill_disk
{
	my $written = 0;
	open my $out, '>', $filler or die $!;
	# never fill a disk that others use
	while (syswrite $out, 'x' x 65536)
	{
		die 'the disk is not a small one' if ++$written > 16 * 200;
	}
	1 while syswrite $out, 'x';
	like($!, qr/No space left/, 'the disk is full');
	close $out;
	return;
}

my $held = session($node, 'held');
$held->query_safe('BEGIN');
poll_ok($node, 'SELECT count(*) = 1 FROM connpool_incidents', 'an incident begins');
ok(wait_until(sub { -e $incidents }), 'the incident is saved');
sql($node, 'SELECT 1') foreach 1 .. 20;
my $now = sql($node, 'SELECT clock_timestamp()');
poll_ok(
	$node,
	"SELECT last_saved > '$now' FROM connpool_info()",
	'a save succeeds while there is room');
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
	'53100', 'the error of a statement that needs room counts as disk_full');
# fill the room that the statement released
fill_disk();
poll_ok($node, <<~'SQL', 'a save fails and connpool_info() reports the error');
	SELECT last_save_error LIKE 'could not write file%No space left on device'
	       AND problem LIKE '%the last save failed%'
	FROM connpool_info()
	SQL
# Read the files only now, because a save may succeed while the failed statement releases its room.
my $whole = slurp_file($file);
my $recorded = slurp_file($incidents);
my $full_since = sql($node, 'SELECT clock_timestamp()');
wait_samples($node, 20);
ok(samples_on_time($node), 'ten samples in a row are on time while the disk is full');
# If a save succeeded before the files were read, the log has its recovery and another warning.
my $warning = 'WARNING:  connpool_monitor: could not write file .*: No space left on device';
my $recovery = 'LOG:  connpool_monitor: everything is saved again';
is(log_count($node, $warning, $offset) - log_count($node, $recovery, $offset),
	1, 'the failed save is logged once');
ok(slurp_file($file) eq $whole, 'the file of the last save is unchanged');
ok(slurp_file($incidents) eq $recorded, 'the file of incidents is unchanged');
# each attempt to save writes a temporary file and removes it
foreach my $saved ($file, $incidents)
{
	ok(wait_until(sub { !-e "$saved.tmp" }), "no temporary file of $saved is left");
}
is(sql($node, <<~"SQL"), 't', 'the session history continues in shared memory');
	SELECT count(*) > 0
	FROM connpool_session_history('$full_since', clock_timestamp())
	WHERE application_name = 'held'
	SQL
unlink($filler);
$now = sql($node, 'SELECT clock_timestamp()');
ok( wait_until(sub { slurp_file($incidents) ne $recorded }),
	'the incident is saved when there is room again');
poll_ok(
	$node,
	"SELECT last_save_error IS NULL AND last_saved > '$now' FROM connpool_info()",
	'a save succeeds when there is room again');
ok( wait_until(
		sub { log_count($node, $warning, $offset) == log_count($node, $recovery, $offset) }),
	'the first save after the error is logged');

# the disk is full when the server stops
my $queries = counted();
my $kept = sql($node, 'SELECT count(*) FROM connpool_session_history(NULL, now())');
# the saver writes the session history after the statistics, for which it sets last_saved
wait_saved($node, 2);
fill_disk();
$node->stop('fast');
like(
	slurp_file($node->logfile, $offset),
	qr/database system is shut down/,
	'the server stops though the disk is full');
unlink($filler);
$offset = -s $node->logfile;
$node->start;
cmp_ok(counted(), '>=', $queries, 'the counters of the last save are restored after the stop');
is(log_count($node, 'is not used', $offset), 0,
	'the file of the last save is used after the stop');
cmp_ok(sql($node, 'SELECT count(*) FROM connpool_session_history(NULL, now())'),
	'>=', $kept, 'the session history of the last save is restored after the stop');
poll_ok(
	$node,
	'SELECT last_saved > pg_postmaster_start_time() FROM connpool_info()',
	'the file of the session history is checked after the stop');
is(log_count($node, 'damaged', 0), 0, 'no segment of the session history is damaged');
is(sql($node, 'SELECT id, snapshots > 0 FROM connpool_incidents'),
	'1|t', 'an incident outlives a full disk');

# the server crashes while the disk is full, in the middle of an incident
my @open = map { session($node, "open $_") } 1 .. 8;
$open[0]->query_safe('BEGIN');
poll_ok(
	$node,
	'SELECT ended_at IS NULL AND peak_connections >= 9 FROM connpool_incidents LIMIT 1',
	'an incident is in progress');
my ($incident, $peak) = split /\n/, sql($node, <<~'SQL');
	SELECT concat_ws('|', id, started_at, message, refused) || E'\n' || peak_connections
	FROM connpool_incidents LIMIT 1
	SQL
my $since = Time::HiRes::time();
ok(wait_until(sub { ((Time::HiRes::stat($incidents))[9] // 0) > $since }),
	'the incident in progress is saved');
fill_disk();
$node->stop('immediate');
unlink($filler);
eval { $_->quit } foreach @open;
$node->start;
is(sql($node, 'SELECT id, started_at, message, refused FROM connpool_incidents LIMIT 1'),
	$incident, 'a crash while the disk is full keeps the incident');
is( sql($node, "SELECT peak_connections >= $peak, snapshots > 0 FROM connpool_incidents LIMIT 1"),
	't|t',
	'the incident kept its peak and its snapshots');
$node->stop;
done_testing();
