# SPDX-License-Identifier: PostgreSQL
# What was counted, sampled and raised survives: a stop to the last statement, a
# crash up to the last save; and no file, whatever became of it, keeps the server
# from starting.
# scripts/test: slow, 32 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $settings = <<'CONF';
connpool_monitor.save_interval = '1s'
connpool_monitor.slow_statement_time = '50ms'
connpool_monitor.alert_after = 0
connpool_monitor.leak_age = '1ms'
connpool_monitor.idle_in_transaction_warning = 1
max_connections = 20
restart_after_crash = on
CONF
my $node = new_node('main', $settings);
my $file = $node->data_dir . '/pg_stat/connpool_monitor.stat';
sub sql { return $node->safe_psql('postgres', shift); }

# All that a restart must bring back, but for what the asking itself adds.
my %questions = (
	queries =>
	  q{SELECT sum(queries), sum(failed_queries), sum(transactions) FROM connpool_pools WHERE application_name LIKE 'app%'},
	pools =>
	  q{SELECT string_agg(format('%s %s %s %s %s %s', application_name, sessions_opened, sessions_closed, sessions_killed, peak_connections, queries), ', ' ORDER BY application_name)
		FROM connpool_pools WHERE application_name LIKE 'app%'},
	errors =>
	  q{SELECT string_agg(format('%s %s %s', sqlstate, errors, last_seen), ', ' ORDER BY sqlstate) FROM connpool_errors WHERE sqlstate IN ('22012', '3D000')},
	rejections =>
	  q{SELECT string_agg(format('%s %s %s', reason, rejections, last_seen), ', ' ORDER BY reason) FROM connpool_rejections WHERE reason <> 'starting_up' AND reason <> 'shutting_down'},
	rejection_log =>
	  q{SELECT string_agg(l::text, ', ' ORDER BY at) FROM connpool_rejection_log l WHERE reason = 'no_database'},
	slow =>
	  q{SELECT string_agg(format('%s %s %s', finished_at, application_name, elapsed_time), ', ' ORDER BY finished_at) FROM connpool_slow_statements WHERE application_name LIKE 'app%'},
	maximum => q{SELECT max_time > 100 FROM connpool_query_stats WHERE period = 'since_reset'},
	alerts =>
	  q{SELECT string_agg(format('%s %s %s', metric_name, status, since), ', ' ORDER BY metric_name) FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
	log =>
	  q{SELECT string_agg(format('%s %s %s %s', at, metric_name, to_status, message), ', ' ORDER BY at) FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'},
	reset => q{SELECT stats_reset FROM connpool_info()},
	first_sample => q{SELECT min(sample_time) FROM connpool_history('total_connections')},
	minutes =>
	  q{SELECT min(sample_time) FROM connpool_history('total_connections', resolution => '1 minute')},
	session_times => q{SELECT sessions_opened >= 2 FROM connpool_session_stats});

sub answers
{
	return { map { $_ => sql($node, $questions{$_}) } keys %questions };
}

sub make_history
{
	foreach my $i (1 .. 3)
	{
		$node->psql('postgres',
			"SET application_name = 'app $i'; SELECT 1; SELECT pg_sleep(0.12); SELECT 1/0");
	}
	$node->psql('nowhere', 'SELECT 1');
	my $held = session($node, 'app held');
	$held->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'an alert is raised');
	$held->query_safe('COMMIT');
	$held->quit;
	# not yet cleared: alert_clear_after is a minute
	wait_samples($node, 3);
	return;
}

sub wait_saved
{
	sql($node, "SELECT pg_sleep(0.01)");
	my $now = sql($node, 'SELECT clock_timestamp()');
	$node->poll_query_until('postgres', "SELECT last_saved > '$now' FROM connpool_info()")
	  or die 'nothing is saved';
	return;
}

# --- a stop in good order
make_history();
my $before = answers();
$node->stop('fast');
ok(-f $file, 'the file is there');
is(sprintf('%o', (stat $file)[2] & 0777), '600', 'and its owner alone may read it');
$node->start;
my $after = answers();
is($after->{$_}, $before->{$_}, "a fast stop: $_") foreach sort keys %questions;
like($before->{queries}, qr/^\d+\|3\|/, 'there was something to compare');
my $opened = sql($node, <<~'SQL');
	SELECT sessions_opened = connections + sessions_closed + sessions_abandoned +
	       sessions_failed + sessions_killed
	FROM connpool_session_stats
	SQL
is($opened, 't', 'sessions opened are those ended and those open');

# --- a crash: what was saved is there
foreach my $how ('immediate', 'SIGKILL')
{
	make_history();
	my $open = session($node, 'app open');
	wait_saved();
	$before = answers();
	my $start = sql($node, 'SELECT pg_postmaster_start_time()');
	if ($how eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'app open'});
		PostgreSQL::Test::Utils::system_log('kill', '-9', $pid);
		$node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'app open'});
	}
	$after = answers();
	foreach (sort keys %questions)
	{
		# the session that was cut off counts as killed
		$before->{pools} =~ s/app open (\d+) (\d+) 0/app open $1 $2 1/ if $how eq 'immediate';
		$before->{pools} =~ s/app open (\d+) (\d+) 1 1/app open $1 $2 2 1/ if $how eq 'SIGKILL';
		is($after->{$_}, $before->{$_}, "$how: $_");
	}
	is(sql($node, <<~'SQL'), 't', "$how: sessions opened are those ended and those open");
		SELECT sessions_opened = connections + sessions_closed + sessions_abandoned +
		       sessions_failed + sessions_killed
		FROM connpool_session_stats
		SQL
	eval { $open->quit };
}

# --- a reset does not come back by a crash
sql($node, "ALTER SYSTEM SET connpool_monitor.save_interval = '1h'");
$node->reload;
sql($node, 'SELECT connpool_reset()');
poll_ok($node, 'SELECT last_saved > stats_reset FROM connpool_info()', 'a reset is saved at once');
$node->stop('immediate');
$node->start;
is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
	'0', 'and does not come back');
is(sql($node, q{SELECT count(*) FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'}),
	'0', 'nor does the log');
sql($node, "ALTER SYSTEM RESET connpool_monitor.save_interval");
$node->reload;

# --- files that cannot be used
make_history();
$node->stop('fast');
my $whole = slurp_file($file);
my $identifier = (`pg_controldata -D '@{[ $node->data_dir ]}'` =~ /system identifier:\s+(\d+)/)[0];

sub write_file
{
	my $bytes = shift;
	open(my $out, '>:raw', $file) or die $!;
	print $out $bytes;
	close $out;
	return;
}

sub unusable
{
	my ($name, $reason, $prepare) = @_;
	unlink("$file.unusable");
	rmdir($file);
	unlink($file);
	write_file($whole);
	$prepare->();
	my $offset = -s $node->logfile;
	$node->start;
	is( log_count(
			$node,
			qr/WARNING:  connpool_monitor: file "pg_stat\/connpool_monitor.stat" is not used: it $reason/,
			$offset),
		1,
		"$name: the log says why");
	is( log_count(
			$node, qr/DETAIL:  It is kept as "pg_stat\/connpool_monitor.stat.unusable"/, $offset),
		1,
		"$name: and where it is");
	ok(-e "$file.unusable", "$name: there it is");
	is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
		'0', "$name: nothing of it is loaded");
	is(sql($node, <<~'SQL'), '0', "$name: no history either");
		SELECT count(*)
		FROM connpool_history(NULL, now() - interval '7 days')
		WHERE sample_time < date_trunc('minute', pg_postmaster_start_time())
		SQL
	wait_samples($node, 2);
	$node->stop('fast');
	return;
}
unusable('empty', 'is truncated', sub { write_file('') });
unusable(
	'cut off',
	'is damaged: its checksum is wrong',
	sub { write_file(substr($whole, 0, length($whole) / 2)) });
unusable(
	'a bit changed',
	'is damaged: its checksum is wrong',
	sub { my $bad = $whole; substr($bad, 5000, 1) ^= "\x10"; write_file($bad) });
unusable(
	'something else',
	'is not one of connpool_monitor',
	sub { write_file("Lorem ipsum " x 100) });
unusable(
	'newer',
	'was written by a newer version',
	sub { my $bad = $whole; substr($bad, 8, 1) = "\x63"; write_file($bad) });
unusable('a directory', 'is no regular file', sub { unlink($file); mkdir($file) });
rmdir("$file.unusable");
unusable('a pipe', 'is no regular file', sub { unlink($file); system('mkfifo', $file) });
unusable(
	'large, and something else',
	'is not one of connpool_monitor',
	sub {
		truncate($file, 1 << 40) or die $!;
		open(my $out, '+<', $file);
		print $out 'x';
		close $out;
	});
unusable('unreadable', 'cannot be opened: Permission denied', sub { chmod(0, $file) });

# the same as an arithmetic: every truncation and many changes

{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
	chomp(my $libraries = `$ENV{PG_CONFIG} --pkglibdir`);
	is( system($ENV{CC} // 'cc', split(' ', $ENV{COPT} // ''),
			'-O1', '-I',
			$include, '-I',
			"$ENV{TESTDIR}/src", '-o',
			"$dir/check", "$ENV{TESTDIR}/t/unit/file_header.c",
			"$ENV{TESTDIR}/src/base/file_header.c", '-L',
			$libraries, '-lpgport'),
		0,
		'the check compiles by itself') or BAIL_OUT('no compiler');
	unlink($file);
	write_file($whole);
	chmod(0600, $file);
	my $found = `$dir/check '$file' $identifier 10000`;
	my $size = length($whole);
	is( $found,
		"whole: taken\nforeign: belongs to another cluster\ncut: $size of $size\nchanged: 10000\ntaken: 0\n",
		'no damage passes for whole');
}

# --- metrics that come and go: columns are found by name
sub crc32c
{
	my $crc = 0xFFFFFFFF;
	my @table =
	  map { my $c = $_; $c = $c & 1 ? ($c >> 1) ^ 0x82F63B78 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
	$crc = ($crc >> 8) ^ $table[ ($crc ^ ord($_)) & 255 ] foreach split //, $_[0];
	return $crc ^ 0xFFFFFFFF;
}
sub sealed { my $body = shift; return $body . pack('L', crc32c($body)); }
my $body = substr($whole, 0, -4);
is(sealed($body), $whole, 'the test can seal a file');
(my $renamed = $body) =~ s/idle_in_transaction(\0+)/"metric_of_tomorrow\0" . $1/e;
write_file(sealed($renamed));
$node->start;
is(sql($node, <<~'SQL'), '0', 'a metric that is not in the file has no history');
	SELECT count(*)
	FROM connpool_history('idle_in_transaction', now() - interval '5 minutes')
	WHERE sample_time < pg_postmaster_start_time()
	SQL
cmp_ok(sql($node, <<~'SQL'), '>', '3', 'the others have theirs');
	SELECT count(*)
	FROM connpool_history('total_connections', now() - interval '5 minutes')
	WHERE sample_time < pg_postmaster_start_time()
	SQL
is(sql($node, q{SELECT count(*) FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'}),
	'0', 'and their log');
is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
	'4', 'and what does not go by metrics');
$node->stop('fast');
# sealed again, but senseless: it is gone through before anything is loaded
unusable(
	'senseless',
	'has a content that this version cannot read',
	sub { write_file(sealed(substr($body, 0, -100))) });
unusable(
	'too long',
	'has a content that this version cannot read',
	sub { write_file(sealed($body . 'x')) });

# --- a disk that is full, a file that cannot be written
write_file($whole);
$node->start;
my $offset = -s $node->logfile;
mkdir("$file.tmp");
poll_ok(
	$node,
	q{SELECT last_save_error LIKE 'could not write file%Is a directory' FROM connpool_info()},
	'what cannot be written is told');
wait_samples($node, 30);    # three seconds, in which it is tried three times
is(log_count($node, 'WARNING:  connpool_monitor: could not write file', $offset),
	1, 'in the log once');
wait_samples($node, 2);
rmdir("$file.tmp");
poll_ok(
	$node,
	q{SELECT last_save_error IS NULL FROM connpool_info()},
	'and no longer when it is over');
is( log_count(
		$node, 'LOG:  connpool_monitor: counters, history and alerts are saved again', $offset),
	1,
	'which the log says too');
symlink('/dev/full', "$file.tmp");

for (1 .. 100)
{
	last if log_count($node, 'No space left on device', $offset);
	select(undef, undef, undef, 0.1);
}
is( log_count(
		$node,
		'WARNING:  connpool_monitor: could not write file "pg_stat/connpool_monitor.stat.tmp": No space left on device',
		$offset),
	1,
	'a full disk is told');
poll_ok($node, q{SELECT last_save_error IS NULL FROM connpool_info()}, 'it is tried again');
is(substr(slurp_file($file), 0, 8), substr($whole, 0, 8), 'and the file is whole');

# --- the saver and the sampler are ended: others follow
foreach my $worker ('saver', 'sampler')
{
	my $pid =
	  sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor $worker'");
	sql($node, "SELECT pg_terminate_backend($pid)");
	poll_ok($node, <<~"SQL", "another $worker follows");
		SELECT count(*) = 1
		FROM pg_stat_activity
		WHERE backend_type = 'connpool_monitor $worker' AND pid <> $pid
		SQL
}
$node->stop('fast');

# --- a standby: the history of its primary, and nothing else; then its own
my $primary = new_node('primary', $settings, allows_streaming => 1);
$primary->psql('postgres', "SET application_name = 'app primary'; SELECT 1/0");
$primary->stop('fast');
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', <<~'SQL'), 't', 'a standby has the history of its base backup');
	SELECT count(*) > 0
	FROM connpool_history('total_connections')
	WHERE sample_time < pg_postmaster_start_time()
	SQL
is( $standby->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_pools WHERE application_name = 'app primary'}),
	'0',
	'but not its counts');
is( $standby->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_errors WHERE sqlstate = '22012'}),
	'0',
	'nor its errors');
$standby->psql('postgres', "SET application_name = 'app standby'; SELECT 1/0");
$standby->restart;
is( $standby->safe_psql(
		'postgres', q{SELECT queries FROM connpool_pools WHERE application_name = 'app standby'}),
	'2',
	'what it counts itself survives'
) or diag($standby->safe_psql('postgres', 'TABLE connpool_pools'));
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'promoted');
$standby->restart;
is( $standby->safe_psql(
		'postgres', q{SELECT queries FROM connpool_pools WHERE application_name = 'app standby'}),
	'2',
	'also a promotion and another restart');
$standby->stop('fast');
$primary->stop('fast');
done_testing();
