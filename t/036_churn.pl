# Databases, roles and the extension itself, created and dropped over and over while
# everything of ours runs: nothing grows, nothing is in anybody's way, and the sums hold.
# CONNPOOL_FAULT_ROUNDS=1000 makes it a thousand.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;

my $rounds = $ENV{CONNPOOL_FAULT_ROUNDS} // 40;
my $port = http_port();
my $node = new_node('churn', <<"CONF");
connpool_monitor.max_pools = 50
connpool_monitor.save_interval = '1s'
connpool_monitor.failed_query_percent_warning = -1
connpool_monitor.connections_per_second_warning = -1
connpool_monitor.http_listen = '127.0.0.1:$port'
max_wal_size = '2GB'
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');
sub sql { return $node->safe_psql('postgres', @_); }

# Kilobytes that a worker has of its own.
sub memory
{
	my ($name) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my ($pid) = map { /^\s*(\d+) .*connpool_monitor $name/ ? $1 : () } `ps -o pid=,args= --ppid $postmaster`;
	return slurp_file("/proc/$pid/smaps_rollup") =~ /^Anonymous:\s+(\d+)/m ? $1 : die "no memory of the $name";
}
sub memories { return { map { $_ => memory($_) } qw(sampler saver http) }; }
sub shared { return sql(q{SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name LIKE 'connpool%'}); }

# So many databases and roles, each of which runs a statement in the other before both are gone.
sub churn
{
	my ($from, $to) = @_;
	my $script = join '', map { <<"SQL" } $from .. $to;
CREATE ROLE role_$_ LOGIN;
ALTER ROLE role_$_ SET connpool_monitor.pool_max = 1;
CREATE DATABASE database_$_ STRATEGY file_copy;
\\c database_$_ role_$_
SELECT 1;
SELECT 1/0;
\\c postgres $user
DROP DATABASE database_$_;
DROP ROLE role_$_;
SQL
	my ($status, undef, $errors) = $node->psql('postgres', $script, on_error_stop => 0);
	$errors =~ s/^psql:<stdin>:\d+: ERROR:  division by zero\n?//mg;
	is($errors, '', "databases and roles $from to $to, with no error but the intended one");
	$node->psql("database_$to", 'SELECT 1');
	get($port, '/metrics');
	return;
}

my $allocated = shared();
my $tenth = int(($rounds + 9) / 10);
churn(1, $tenth);
my $before = memories();
churn($_ + 1, $_ + $tenth) foreach map { $_ * $tenth } 1 .. 9;
my $all = 10 * $tenth;
wait_samples($node, 2);
my $after = memories();
SKIP:
{
	skip 'a sanitizer keeps what is freed', 3 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	cmp_ok($after->{$_} - $before->{$_}, '<', 1024, "the $_ has not grown by a megabyte") or diag("$before->{$_} and then $after->{$_} kB") foreach sort keys %$after;
}
is(shared(), $allocated, 'nor has shared memory');
is(sql('SELECT count(*) <= 51 AND count(*) > 30 FROM connpool_pools'), 't', 'pools are no more than max_pools and the others');
is(sql('SELECT pools_folded > 0 FROM connpool_info()'), $all > 50 ? 't' : 'f', 'the rest was folded');
is(sql(q{SELECT rejections FROM connpool_rejections WHERE reason = 'no_database'}), 10, 'whoever asked for a dropped database was refused and counted');
# the statement that asks is in neither sum yet
is(sql(q{SELECT (SELECT sum(queries) FROM connpool_pools) - total_queries FROM connpool_query_stats WHERE period = 'since_reset'}), 0, 'pools have all statements');
is(sql('SELECT sessions_opened - connections - sessions_closed - sessions_abandoned - sessions_failed - sessions_killed FROM connpool_session_stats'), 0, 'sessions opened are those ended and those open');
is(sql(q{SELECT sum(errors) FROM connpool_errors WHERE sqlstate = '22012'}), $all, 'each failure was counted');
is(sql("SELECT role FROM connpool_pools WHERE database = 'database_$all'"), "role_$all", 'what was dropped keeps its names');
# at 100 ms a machine that is busy with something else misses one now and then
is(sql('SELECT samples_missed <= samples / 20 FROM connpool_info()'), 't', 'the sampler was not held up');

# the extension, while its views are read elsewhere
sql('CREATE DATABASE fresh');
my $script = join '', map { "CREATE EXTENSION connpool_monitor CASCADE;\nSELECT count(*) FROM connpool_sessions;\nDROP EXTENSION connpool_monitor;\n" } 1 .. $all;
my ($status, undef, $errors) = $node->psql('fresh', "SET client_min_messages = error;\n$script", on_error_stop => 1);
is("$status $errors", '0 ', 'the extension was created and dropped as often');
is($node->safe_psql('fresh', q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid NOT IN (SELECT oid FROM pg_extension)}), 0, 'and left nothing behind');
is(sql('SELECT count(*) > 0 FROM connpool_sessions'), 't', 'elsewhere it is there as before');

$node->stop;
unlike(slurp_file($node->logfile), qr/^\S+ \S+ \S+ \[\d+\] (?:\S+ )?(?:WARNING|PANIC):/m, 'the log has no warning');
done_testing();
