# SPDX-License-Identifier: PostgreSQL
# While pgbench clients of five pools compute, wait for a lock, write temporary files, sleep, and
# think within transactions, avg_sessions in connpool_load_stats and connpool_load() agrees, within
# the error of sampling, with other measurements of the same sessions: a loop that reads
# pg_stat_activity ten times a second, pg_wait_sampling's profile, the times of statements in
# pg_stat_statements, and busy_time in connpool_pools. Needs concurrent clients.
#
# How far may they differ? Within the window, the number of sessions in a class has variance v. If
# the samples were at independent random times, the mean of n samples would have a standard error
# of sqrt(v / n). The loop takes one sample at a random time in each tenth of a second; the error
# of such samples is never larger. The sampler takes samples at even intervals. Their error is not
# larger either, if the load usually changes more between two distant times than between two close
# times. That is true of clients that wait for random times.
#
# An estimate for a longer time than the window would have a larger error, because successive
# samples are alike. The figures show that error in the column "longer", computed from the means of
# $batches parts of the window.
#
# limit() allows four standard errors, and adds a term for classes that few samples found, whose
# error is not normally distributed (Bernstein's inequality). Counted times include the whole of a
# statement that was open when the window began, and nothing of one that was open when it ended;
# edge() allows for these.
#
# With CONNPOOL_LOAD_SECONDS=600, measures for ten minutes at the default sample_interval, prints
# the figures, and requires that load and busy_time agree within 5 %.
# scripts/test: slow, 14 s
use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run;
use List::Util qw(sum0);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use lib $FindBin::RealBin;
use Connpool;

my $seconds = $ENV{CONNPOOL_LOAD_SECONDS} // 10;
my $is_long = $seconds >= 300;
my $batches = 20;

# The pools: a role, a number of clients, and their script. A wait takes up to 80 ms.
my %clients = (computing => 2, locking => 4, sleeping => 5, spilling => 1, thinking => 3);
my $clients = sum0(values %clients);
my $compute = <<'SQL';
\set n random(1, 200000)
SELECT count(*) FROM generate_series(1, :n);
\set ms random(1, 80)
\sleep :ms ms
SQL
my %script = (
	computing => $compute,
	locking => <<'SQL',
\set ms random(1, 40)
BEGIN;
UPDATE counter SET n = n + 1;
SELECT pg_sleep(:ms / 1000.0);
COMMIT;
SQL
	sleeping => <<'SQL',
\set ms random(1, 80)
SELECT pg_sleep(:ms / 1000.0);
\set ms random(1, 80)
\sleep :ms ms
SQL
	spilling => $compute,
	thinking => <<'SQL');
\set ms random(1, 80)
BEGIN;
SELECT 1;
\sleep :ms ms
COMMIT;
\sleep :ms ms
SQL
my @roles = sort keys %script;

# The statements whose time, in pg_stat_statements, a pool spends in one class
my %statement = (
	'computing cpu' => '%generate_series%',
	'locking lock' => 'UPDATE%',
	'locking timeout' => '%pg_sleep%',
	'sleeping timeout' => '%pg_sleep%');

chomp(my $libraries = `$ENV{PG_CONFIG} --pkglibdir`);
my $has_wait_sampling = -e "$libraries/pg_wait_sampling.so";
my $node = new_node(
	'agreement',
	"log_statement = none\nconnpool_monitor.sample_interval = " . ($is_long ? "'1s'" : "'100ms'"),
	preload => 'pg_stat_statements, connpool_monitor'
	  . ($has_wait_sampling ? ', pg_wait_sampling' : ''));
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE computing LOGIN;
CREATE ROLE locking LOGIN;
CREATE ROLE sleeping LOGIN;
CREATE ROLE spilling LOGIN;
CREATE ROLE thinking LOGIN;
ALTER ROLE computing SET work_mem = '64MB'; -- so that it writes no temporary files
CREATE TABLE counter (n int) WITH (fillfactor = 10);
INSERT INTO counter VALUES (0);
GRANT ALL ON counter TO locking;
SQL
$node->safe_psql('postgres', 'CREATE EXTENSION pg_wait_sampling') if $has_wait_sampling;

# --- counts of sessions by pool and class
# A measurement is a hash. A key is a pool and a class, as in "computing cpu"; the value is an
# average. The class 'busy' is the sum of the classes other than idle, and the pool 'all' the sum
# of the pools. A series has the same keys; its values are arrays with a count for each sample.

sub class_of
{
	my ($state, $type) = @_;
	return 'idle' if $state eq 'idle';
	return 'idle_in_transaction' if $state =~ /^idle in transaction/;
	return 'cpu' if $type eq '';
	return $type =~ /^(?:lock|lwlock|io|client|ipc|timeout)$/i ? lc $type : 'other';
}

# Return the keys of a measurement to which a count of sessions belongs.
sub keys_of
{
	my ($role, $class) = @_;
	return "$role idle" if $class eq 'idle';
	return ("$role busy", 'all busy') if $class eq 'busy';
	return ("$role $class", "$role busy", 'all busy');
}

# Return a measurement from the rows of a query: role, class, average.
sub averages
{
	my ($session, $query) = @_;
	my %averages;
	foreach my $row (split /\n/, $session->query_safe($query))
	{
		my ($role, $class, $average) = split /\|/, $row;
		$averages{$_} += $average foreach keys_of($role, $class);
	}
	return \%averages;
}

# Return the averages and the variances of a series of $n samples.
sub moments
{
	my ($series, $n) = @_;
	my (%mean, %variance);
	foreach my $key (keys %$series)
	{
		my @counts = map { $_ // 0 } @{ $series->{$key} };
		$mean{$key} = sum0(@counts) / $n;
		$variance{$key} = (sum0(map { $_**2 } @counts) - $n * $mean{$key}**2) / ($n - 1);
	}
	return (\%mean, \%variance);
}

# Return the standard error of the mean of these counts as an estimate for a longer time.
sub error_for_longer
{
	my ($counts, $n) = @_;
	my @sums = (0) x $batches;
	$sums[ int($_ * $batches / $n) ] += $counts->[$_] // 0 foreach 0 .. $n - 1;
	my @means = map { $_ * $batches / $n } @sums;
	my $mean = sum0(@means) / $batches;
	return sqrt(sum0(map { ($_ - $mean)**2 } @means) / ($batches - 1) / $batches);
}

# Return by how much two averages may differ, from the variance and the numbers of samples.
sub limit
{
	my ($variance, @samples) = @_;
	my $inverse = sum0(map { 1 / $_ } @samples);
	return 4 * sqrt($variance * $inverse) + 16 / 3 * $inverse;
}

my %longest;    # by role, in seconds: the longest transaction, at most

# Return by how much a counted time, as an average, may differ because of open transactions.
sub edge
{
	my ($role) = @_;
	return sum0(map { $longest{$_} * $clients{$_} } $role eq 'all' ? @roles : $role) / $seconds;
}

# --- the clients and the readers
my @pgbench;
my $dir = PostgreSQL::Test::Utils::tempdir();
foreach my $role (@roles)
{
	append_to_file("$dir/$role.sql", $script{$role});
	my @connection = ('-h', $node->host, '-p', $node->port, '-U', $role);
	push @pgbench,
	  IPC::Run::start(
		[
			'pgbench', '-n', '-T', $seconds + 120,
			'-c', $clients{$role}, '-f', "$dir/$role.sql",
			@connection, 'postgres'
		],
		'<',
		'/dev/null',
		'>',
		"$dir/$role.out",
		'2>',
		"$dir/$role.err");
}
my $role_list = join ', ', map { "'$_'" } @roles;
poll_ok($node, <<~"SQL", 'all clients are connected');
	SELECT count(*) = $clients FROM pg_stat_activity
	WHERE usename IN ($role_list)
	SQL

# pg_wait_sampling counts how often it found a process waiting. A session that always waits shows
# how often it looked.
my $metronome = session($node, 'metronome');
my $metronome_pid = $metronome->query_safe('SELECT pg_backend_pid()');
$metronome->query_until(qr/started/, "\\echo started\nSELECT pg_sleep(3600);\n");

my $reader = session($node, 'reader');
$reader->query_safe('SELECT pg_wait_sampling_reset_profile()') if $has_wait_sampling;
my $since = $reader->query_safe(<<'SQL');
SELECT quote_literal(clock_timestamp()) FROM connpool_reset('counters'), pg_stat_statements_reset()
SQL

# --- the window
my %seen;
my $reads = 0;
my $from = time;
foreach my $tenth (0 .. 10 * $seconds - 1)
{
	my $wait = $from + ($tenth + rand) / 10 - time;
	next if $wait < -0.1;    # the loop is late: skip this tenth
	sleep $wait if $wait > 0;
	foreach my $row (split /\n/, $reader->query_safe(<<~"SQL"))
		SELECT usename, state, coalesce(wait_event_type, ''), count(*)
		FROM pg_stat_activity WHERE usename IN ($role_list) GROUP BY 1, 2, 3
		SQL
	{
		my ($role, $state, $type, $count) = split /\|/, $row;
		$seen{$_}[$reads] += $count foreach keys_of($role, class_of($state, $type));
	}
	$reads++;
}
my $until = $reader->query_safe('SELECT quote_literal(clock_timestamp())');

# --- read the other measurements, all at once
my $stats = averages($reader, <<~"SQL");
	SELECT role, wait_class, avg_sessions FROM connpool_load_stats
	WHERE period = 'since_reset' AND role IN ($role_list)
	SQL
my $busy_time = averages($reader, <<~"SQL");
	SELECT role, 'busy', busy_time / 1000 / extract(epoch FROM $until - ${since}::timestamptz)
	FROM connpool_pools WHERE role IN ($role_list)
	SQL
# the slowest execution of each statement, and the pauses of the client
%longest = map { split /\|/ } split /\n/, $reader->query_safe(<<~"SQL");
	SELECT rolname, 0.1 + sum(max_exec_time) / 1000
	FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid
	WHERE rolname IN ($role_list) GROUP BY 1
	SQL
my %exact;
foreach my $key (sort keys %statement)
{
	my ($role) = split / /, $key;
	$exact{$key} = $reader->query_safe(<<~"SQL");
		SELECT sum(total_exec_time) / 1000 / extract(epoch FROM $until - ${since}::timestamptz)
		FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid
		WHERE rolname = '$role' AND query LIKE '$statement{$key}'
		SQL
}
my $profile = $has_wait_sampling ? averages($reader, <<~"SQL") : {};
	SELECT CASE WHEN pid = $metronome_pid THEN 'metronome' ELSE usename END,
	       lower(event_type), sum(count)
	FROM pg_wait_sampling_profile JOIN pg_stat_activity USING (pid)
	WHERE pid = $metronome_pid OR usename IN ($role_list) GROUP BY 1, 2
	SQL
my $profiles = $profile->{'metronome timeout'} // 0;
$_ /= $profiles foreach values %$profile;
my $load = averages($reader, <<~"SQL");
	SELECT role, wait_class, avg_sessions FROM connpool_load($since, $until)
	WHERE role IN ($role_list)
	SQL
my %recorded;
my %number;    # of a sample, by its time
foreach my $row (split /\n/, $reader->query_safe(<<~"SQL"))
	SELECT sample_time, role, state, coalesce(wait_event_type, ''), count(*)
	FROM connpool_session_history($since, $until)
	WHERE role IN ($role_list) GROUP BY 1, 2, 3, 4 ORDER BY 1
	SQL
{
	my ($at, $role, $state, $type, $count) = split /\|/, $row;
	$number{$at} = keys %number unless exists $number{$at};
	my $i = $number{$at};
	$recorded{$_}[$i] += $count foreach keys_of($role, class_of($state, $type));
}
$_->signal('TERM') foreach @pgbench;
$_->finish foreach @pgbench;
$node->stop;
eval { $_->{run}->finish } foreach $metronome, $reader;

# --- do they agree?
my $samples = keys %number;
my ($mean, $variance) = moments(\%seen, $reads);
my ($of_rows) = moments(\%recorded, $samples);
cmp_ok($samples, '>=', 30, 'the sampler took at least 30 samples');
cmp_ok($reads, '>=', 30, 'the loop read pg_stat_activity at least 30 times');

my %all = (%$mean, %$stats);
my @keys = sort grep { !/ idle$/ } keys %all;
my @figures = (
	"$samples samples, $reads reads of pg_stat_activity, $profiles profiles, $seconds s",
	sprintf(
		'%-31s %8s %8s %8s %8s %8s %8s %8s',
		'', 'stats', 'load()', 'activity', 'profile', 'counted', 'error', 'longer'));
my @deviations;    # in standard errors

# Assert that the average of a key in connpool_load_stats is that of another measurement.
sub agrees
{
	my ($key, $other, $limit, $name) = @_;
	my $ours = $stats->{$key} // 0;
	ok(abs($ours - $other) <= $limit, "$key: connpool_load_stats agrees with $name")
	  or diag(sprintf '%.4f and %.4f differ by more than %.4f', $ours, $other, $limit);
	return;
}

foreach my $key (@keys)
{
	my ($role, $class) = split / /, $key;
	my $v = $variance->{$key} // 0;
	my $seen = $mean->{$key} // 0;
	my $counted = $class eq 'busy' ? $busy_time->{$key} : $exact{$key};
	my $profiled = $class =~ /^(?:lock|lwlock|io|ipc|timeout)$/ ? $profile->{$key} // 0 : undef;

	agrees($key, $seen, limit($v, $samples, $reads), 'a loop over pg_stat_activity');
	agrees($key, $profiled, limit($v, $samples, $profiles), 'the profile of pg_wait_sampling')
	  if $has_wait_sampling && defined $profiled;
	agrees($key, $counted, edge($role) + limit($v, $samples), 'counted times')
	  if defined $counted;

	# a sample more or less at either end of the window
	agrees($key, $load->{$key}    // 0, 2 * $clients / $samples, 'connpool_load()');
	agrees($key, $of_rows->{$key} // 0, 2 * $clients / $samples, 'connpool_session_history()');

	push @deviations, (($stats->{$key} // 0) - $seen) / sqrt($v / $samples + $v / $reads)
	  if $v > 0;
	push @figures, sprintf '%-31s %8.3f %8.3f %8.3f %8s %8s %8.3f %8.3f', $key,
	  $stats->{$key} // 0, $load->{$key} // 0, $seen,
	  map({ defined $_ ? sprintf('%.3f', $_) : '' } $profiled, $counted), sqrt($v / $samples),
	  error_for_longer($recorded{$key} // [], $samples);
}

# pg_wait_sampling does not distinguish idle sessions from those that wait within a transaction
if ($has_wait_sampling)
{
	foreach my $role (@roles)
	{
		my $v = $variance->{"$role busy"};
		my $waiting = sum0(map { $stats->{"$role $_"} // 0 } 'client', 'idle_in_transaction') +
		  ($mean->{"$role idle"} // 0);
		my $profiled = $profile->{"$role client"} // 0;
		my $limit = limit($v, $samples, $reads, $profiles);
		ok(abs($waiting - $profiled) <= $limit, "$role: waits for clients agree with the profile")
		  or diag(sprintf '%.4f and %.4f differ by more than %.4f', $waiting, $profiled, $limit);
	}
}
my $ratio = $stats->{'all busy'} / $busy_time->{'all busy'};
cmp_ok(abs($ratio - 1), '<=', 0.05, 'load and busy_time agree within 5 %') if $is_long;
push @figures, sprintf('load divided by busy_time: %.4f', $ratio),
  sprintf('differences from activity, in standard errors: %.2f (root mean square)',
	sqrt(sum0(map { $_**2 } @deviations) / @deviations));
note("| $_") foreach @figures;
done_testing();
