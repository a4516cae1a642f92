# SPDX-License-Identifier: PostgreSQL
# Counters, history and alerts are complete after a regular stop and restart, and complete up to
# the last save after a crash. No damaged file keeps the server from starting. Needs servers that
# stop and crash, and damaged files.
# scripts/test: slow, 37 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use Connpool;

my $settings = <<'CONF';
connpool_monitor.save_interval = '1s'
connpool_monitor.slow_statement_time = '50ms'
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = '1h'
connpool_monitor.leak_age = '1ms'
connpool_monitor.idle_in_transaction_warning = 1
max_connections = 20
restart_after_crash = on
CONF
my $node = new_node('main', $settings);
my $file = $node->data_dir . '/pg_stat/connpool_monitor.stat';

# values that a restart must restore, except those that these queries themselves change
my %questions = (
	queries => <<'SQL',
SELECT sum(queries), sum(failed_queries), sum(transactions)
FROM connpool_pools WHERE application_name LIKE 'app%'
SQL
	pools => <<'SQL',
SELECT string_agg(format('%s %s %s %s %s %s', application_name, sessions_opened, sessions_closed,
                         sessions_killed, peak_connections, queries),
                  ', ' ORDER BY application_name)
FROM connpool_pools WHERE application_name LIKE 'app%'
SQL
	errors => <<'SQL',
SELECT string_agg(format('%s %s %s', sqlstate, errors, last_seen), ', ' ORDER BY sqlstate)
FROM connpool_errors WHERE sqlstate IN ('22012', '3D000')
SQL
	rejections => <<'SQL',
SELECT string_agg(format('%s %s %s', reason, rejections, last_seen), ', ' ORDER BY reason)
FROM connpool_rejections WHERE reason <> 'starting_up' AND reason <> 'shutting_down'
SQL
	rejection_log => <<'SQL',
SELECT string_agg(l::text, ', ' ORDER BY at)
FROM connpool_rejection_log l WHERE reason = 'no_database'
SQL
	slow => <<'SQL',
SELECT string_agg(format('%s %s %s', finished_at, application_name, elapsed_time),
                  ', ' ORDER BY finished_at)
FROM connpool_slow_statements WHERE application_name LIKE 'app%'
SQL
	maximum => q{SELECT max_time > 100 FROM connpool_query_stats WHERE period = 'since_reset'},
	alerts => <<'SQL',
SELECT string_agg(format('%s %s %s', metric_name, status, since), ', ' ORDER BY metric_name)
FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'
SQL
	log => <<'SQL',
SELECT string_agg(format('%s %s %s %s', at, metric_name, to_status, message), ', ' ORDER BY at)
FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'
SQL
	reset => q{SELECT stats_reset FROM connpool_info()},
	first_sample => q{SELECT min(sample_time) FROM connpool_history('total_connections')},
	minutes => <<'SQL',
SELECT min(sample_time) FROM connpool_history('total_connections', resolution => '1 minute')
SQL
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
	connects($node->connstr('nowhere'));
	my $held = session($node, 'app held');
	$held->query_safe('BEGIN');
	poll_ok(
		$node,
		q{SELECT status <> 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
		'the sampler raises an alert');
	$held->query_safe('COMMIT');
	leave($held);
	# the alert stays, because alert_clear_after is an hour
	wait_samples($node, 3);
	return;
}

# --- a regular stop
make_history();
my $before = answers();
$node->stop('fast');
ok(-f $file, 'a fast stop writes the statistics file');
is(sprintf('%o', (stat $file)[2] & 0777), '600', 'only the owner can read the file');
$node->start;
my $after = answers();
is($after->{$_}, $before->{$_}, "a fast stop keeps $_") foreach sort keys %questions;
like($before->{queries}, qr/^\d+\|3\|/, 'the saved counters include three failed statements');
my $opened = sql($node, <<~'SQL');
	SELECT sessions_opened = connections + sessions_closed + sessions_abandoned +
	       sessions_failed + sessions_killed
	FROM connpool_session_stats
	SQL
is($opened, 't',
	'sessions opened are those that ended plus those that are open, after a fast stop');

# --- a crash: the server restores the state of the last save
foreach my $how ('immediate', 'SIGKILL')
{
	make_history();
	my $open = session($node, 'app open');
	wait_saved($node);
	$before = answers();
	my $start = sql($node, 'SELECT pg_postmaster_start_time()');
	if ($how eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid =
		  sql($node, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'app open'});
		PostgreSQL::Test::Utils::system_log('kill', '-9', $pid);
		$node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'app open'});
	}
	$after = answers();
	foreach (sort keys %questions)
	{
		# the session that the crash ended counts as killed
		$before->{pools} =~ s/app open (\d+) (\d+) 0/app open $1 $2 1/ if $how eq 'immediate';
		$before->{pools} =~ s/app open (\d+) (\d+) 1 1/app open $1 $2 2 1/ if $how eq 'SIGKILL';
		is($after->{$_}, $before->{$_}, "$how: a crash keeps $_");
	}
	is( sql($node, <<~'SQL'),
			SELECT sessions_opened = connections + sessions_closed + sessions_abandoned +
			       sessions_failed + sessions_killed
			FROM connpool_session_stats
			SQL
		't', "$how: sessions opened are those that ended plus those that are open");
	eval { $open->quit };
}

# --- a crash does not undo a reset, even if the sampler takes no sample before it
sql($node, <<'SQL');
ALTER SYSTEM SET connpool_monitor.save_interval = '1h';
ALTER SYSTEM SET connpool_monitor.sample_interval = '1min';
SQL
$node->reload;
ok( wait_until(
		sub {
			my $samples = sql($node, 'SELECT samples FROM connpool_info()');
			Time::HiRes::usleep(300_000);
			return sql($node, 'SELECT samples FROM connpool_info()') == $samples;
		}),
	'the sampler waits for its next sample');
isnt(alert_of($node, 'idle_in_transaction'), 'OK', 'an alert is raised before the reset');
sql($node, 'SELECT connpool_reset()');
is(alert_of($node, 'idle_in_transaction'), 'OK', 'a reset clears alerts at once');
poll_ok(
	$node,
	'SELECT last_saved > stats_reset FROM connpool_info()',
	'the saver saves a reset at once');
$node->stop('immediate');
$node->start;
is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
	'0', 'counts from before a reset do not return after a crash');
is( sql($node,
		q{SELECT count(*) FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'}),
	'0',
	'the alert log from before a reset does not return after a crash');
is(alert_of($node, 'idle_in_transaction'),
	'OK', 'alerts from before a reset do not return after a crash');
sql($node, <<'SQL');
ALTER SYSTEM RESET connpool_monitor.save_interval;
ALTER SYSTEM RESET connpool_monitor.sample_interval;
ALTER SYSTEM SET connpool_monitor.blocked_age = '50ms';
SQL
$node->restart;

# --- files that the server cannot use
my ($holder, $waiter) = map { session($node, $_) } 'holder', 'waiter';
sql($holder, 'SELECT pg_advisory_lock(1)');
$waiter->query_until(qr/started/, "\\echo started\nSELECT pg_advisory_lock(1);\n");
poll_ok($node, 'SELECT count(*) > 0 FROM connpool_lock_log', 'a wait for a lock is logged');
leave($_) foreach $holder, $waiter;
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

my $not_used = 'WARNING:  connpool_monitor: file "pg_stat/connpool_monitor.stat" is not used: it';

# Start the server with a file that $prepare damages; the log must give the reason.
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
	is(log_count($node, "$not_used $reason", $offset),
		1, "the log has the reason why a file $name is not used");
	is( log_count(
			$node, qr/DETAIL:  It is kept as "pg_stat\/connpool_monitor.stat.unusable"/, $offset),
		1,
		"the log has the new name of a file $name");
	ok(-e "$file.unusable" || -l "$file.unusable", "the server keeps a file $name");
	is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
		'0', "a file $name restores no counters");
	is(sql($node, <<~'SQL'), '0', "a file $name restores no history");
		SELECT count(*)
		FROM connpool_history(NULL, now() - interval '7 days')
		WHERE sample_time < date_trunc('minute', pg_postmaster_start_time())
		SQL
	wait_samples($node, 2);
	$node->stop('fast');
	return;
}
unusable('that is empty', 'is truncated', sub { write_file('') });
unusable(
	'that is truncated',
	'is damaged: its checksum is wrong',
	sub { write_file(substr($whole, 0, length($whole) / 2)) });
unusable(
	'changed in one bit',
	'is damaged: its checksum is wrong',
	sub { my $bad = $whole; substr($bad, length($bad) / 2, 1) ^= "\x10"; write_file($bad) });
unusable(
	'of another format',
	'is not a file of connpool_monitor',
	sub { write_file("Lorem ipsum " x 100) });
unusable(
	'of a newer version',
	'was written by a newer version',
	sub { my $bad = $whole; substr($bad, 8, 1) = "\x63"; write_file($bad) });
unusable('that is a directory', 'is not a regular file', sub { unlink($file); mkdir($file) });
rmdir("$file.unusable");
unusable('that is a pipe', 'is not a regular file',
	sub { unlink($file); system('mkfifo', $file) });
unusable(
	'that is large and of another format',
	'is not a file of connpool_monitor',
	sub {
		truncate($file, 1 << 40) or die $!;
		open(my $out, '+<', $file);
		print $out 'x';
		close $out;
	});
unusable('that is unreadable', 'cannot be opened: Permission denied', sub { chmod(0, $file) });
unusable(
	'that is a symbolic link to itself',
	'cannot be opened: Too many levels of symbolic links',
	sub { unlink($file); symlink($file, $file) });

# the check of the header alone: every truncation and many changed bytes
{
	my $check = compile_unit('file_header', 'base/file_header');
	unlink($file);
	write_file($whole);
	chmod(0600, $file);
	my $found = `$check '$file' $identifier 10000`;
	my $size = length($whole);
	is( $found,
		"whole: taken\nforeign: belongs to another cluster\ncut: $size of $size\n"
		  . "changed: 10000\ntaken: 0\n",
		'the check finds every truncation and every changed byte');
}

# --- metrics that are added or removed: the file identifies columns by name
my $body = substr($whole, 0, -4);
is(sealed($body), $whole, 'the checksum that the test computes is that of the saved file');
# In the file, a zero byte and a count stand for a run of zero bytes. The new name is one byte
# shorter, so the run behind it is one byte longer.
(my $renamed = $body) =~ s/idle_in_transaction\0(.)/"metric_of_tomorrow\0" . chr(1 + ord $1)/se;
write_file(sealed($renamed));
$node->start;
is(sql($node, <<~'SQL'), '0', 'a metric that the file lacks gets no history');
	SELECT count(*)
	FROM connpool_history('idle_in_transaction', now() - interval '5 minutes')
	WHERE sample_time < pg_postmaster_start_time()
	SQL
cmp_ok(sql($node, <<~'SQL'), '>', '3', 'other metrics get their history');
	SELECT count(*)
	FROM connpool_history('total_connections', now() - interval '5 minutes')
	WHERE sample_time < pg_postmaster_start_time()
	SQL
is( sql($node,
		q{SELECT count(*) FROM connpool_alert_log WHERE metric_name = 'idle_in_transaction'}),
	'0',
	'a metric that the file lacks gets no alerts');
is(sql($node, q{SELECT count(*) FROM connpool_pools WHERE application_name LIKE 'app%'}),
	'4', 'the server restores pools whichever metrics the file has');
$node->stop('fast');

# --- a valid checksum over invalid content: the server validates all parts before it loads any
# Return the records of a part of the file. In a record, a zero byte precedes the length of a run
# of zero bytes.
sub records
{
	my ($part) = @_;
	$body =~ /\.\Q$part\E (\d+)\n/ or die "the file has no $part";
	my ($size, $at, @records) = ($1, $+[0]);
	while (substr($body, $at++, 1) eq '+')
	{
		my $record = '';
		while (length($record) < $size)
		{
			my $byte = substr($body, $at++, 1);
			$record .= $byte eq "\0" ? $byte x ord(substr($body, $at++, 1)) : $byte;
		}
		push @records, $record;
	}
	return @records;
}

# Return the contents of the file with bytes of a part's first record changed.
sub changed
{
	my ($part, $offset, $bytes) = @_;
	my ($old) = records($part);
	my $new = $old;
	substr($new, $offset, length($bytes)) = $bytes;
	s/(\0{1,255})/"\0" . chr(length $1)/ge foreach $old, $new;
	return $body =~ s/(\.\Q$part\E \d+\n\+)\Q$old\E/$1$new/r;
}
is(substr((records('leak counts'))[0], 0, 40),
	"\0" x 40, 'in the file the first record of leak counts, that of CPM_NO_LEAK, is zero');
my $strange = 'has contents that this version cannot read';
unusable('with a name that does not end',
	$strange, sub { write_file(sealed(changed('pools', 0, 'x' x 64))) });
# the last fields of an alert in the file are its culprit, of 640 bytes, and the id of its metric
unusable(
	'with a culprit that does not end',
	$strange,
	sub {
		write_file(sealed(changed('alerts', length((records('alerts'))[0]) - 648, 'x' x 640)));
	});
unusable('with an unknown reason of a refusal',
	$strange, sub { write_file(sealed(changed('rejection log', 32, "\xff"))) });
# the states of the waiter and of its root blocker, and the mode of the lock
unusable("with an unknown number at $_ in a wait for a lock",
	$strange, sub { write_file(sealed(changed('lock log', $_, "\xff"))) })
  foreach 28, 116, 208;
unusable('with records of another size',
	$strange, sub { write_file(sealed($body =~ s/\.errors 24\n/.errors 32\n/r)) });
unusable('with a run of zeros that is longer than its record',
	$strange, sub { write_file(sealed($body =~ s/(\.leak counts \d+\n\+\0)./$1\xff/sr)) });
unusable(
	'that ends within a part',
	'has contents that this version cannot read',
	sub { write_file(sealed(substr($body, 0, -100))) });
unusable(
	'with an extra byte',
	'has contents that this version cannot read',
	sub { write_file(sealed($body . 'x')) });

# --- a full disk, and a file that the saver cannot write
write_file($whole);
$node->start;
my $offset = -s $node->logfile;
mkdir("$file.tmp");
poll_ok(
	$node,
	q{SELECT last_save_error LIKE 'could not write file%Is a directory' FROM connpool_info()},
	'connpool_info() reports that the file cannot be written');
wait_samples($node, 25);    # two and a half seconds, so at least two more attempts
is(log_count($node, 'WARNING:  connpool_monitor: could not write file', $offset),
	1, 'the saver logs once that it cannot write the file');
rmdir("$file.tmp");
poll_ok(
	$node,
	q{SELECT last_save_error IS NULL FROM connpool_info()},
	'connpool_info() clears the error after a save');
my $saved_again = 'LOG:  connpool_monitor: everything is saved again';
wait_until(sub { log_count($node, $saved_again, $offset) });
is(log_count($node, $saved_again, $offset), 1, 'the saver logs the first save after an error');

my $sessions = $node->data_dir . '/pg_stat/connpool_monitor.sessions';
my $saver = sql($node, <<'SQL');
SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor saver'
SQL
$offset = -s $node->logfile;
kill 'STOP', $saver;
mkdir("$file.tmp");
mkdir("$sessions.unusable");
append_to_file("$sessions.unusable/obstacle", '');
unlink($sessions);
mkdir($sessions);
kill 'CONT', $saver;
poll_ok(
	$node,
	q{SELECT last_save_error LIKE '%connpool_monitor.sessions%' FROM connpool_info()},
	'connpool_info() reports the last of two files that cannot be written');
is( log_count(
		$node,
		'WARNING:  connpool_monitor: could not write file "pg_stat/connpool_monitor.stat.tmp": '
		  . 'Is a directory',
		$offset),
	1,
	'the saver logs the first of two files that cannot be written');
rmdir($_) foreach "$file.tmp", $sessions;
unlink("$sessions.unusable/obstacle");
rmdir("$sessions.unusable");
poll_ok(
	$node,
	q{SELECT last_save_error IS NULL FROM connpool_info()},
	'connpool_info() clears the error when both files can be written');

symlink('/dev/full', "$file.tmp");
wait_until(sub { log_count($node, 'No space left on device', $offset) });
is( log_count(
		$node,
		'WARNING:  connpool_monitor: could not write file "pg_stat/connpool_monitor.stat.tmp": '
		  . 'No space left on device',
		$offset),
	1,
	'the saver logs a full disk');
poll_ok(
	$node,
	q{SELECT last_save_error IS NULL FROM connpool_info()},
	'the saver saves again after the disk was full');
is( substr(slurp_file($file), 0, 8),
	substr($whole, 0, 8),
	'a failed save leaves the previous file intact');

# --- the postmaster restarts the saver and the sampler after they were terminated
foreach my $worker ('saver', 'sampler')
{
	my $pid =
	  sql($node,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor $worker'");
	sql($node, "SELECT pg_terminate_backend($pid)");
	poll_ok($node, <<~"SQL", "another $worker starts after the $worker was terminated");
		SELECT count(*) = 1
		FROM pg_stat_activity
		WHERE backend_type = 'connpool_monitor $worker' AND pid <> $pid
		SQL
}
$node->stop('fast');

# --- a standby takes over the history of its base backup and no counters, and then keeps its own
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
	'a standby does not have the counters of its base backup');
is( $standby->safe_psql(
		'postgres', q{SELECT count(*) FROM connpool_errors WHERE sqlstate = '22012'}),
	'0',
	'a standby does not have the errors of its base backup');
$standby->psql('postgres', "SET application_name = 'app standby'; SELECT 1/0");
$standby->restart;
is( $standby->safe_psql(
		'postgres', q{SELECT queries FROM connpool_pools WHERE application_name = 'app standby'}),
	'2',
	'the counters of a standby survive a restart'
) or diag($standby->safe_psql('postgres', 'TABLE connpool_pools'));
$standby->promote;
poll_ok($standby, 'SELECT NOT pg_is_in_recovery()', 'the standby is promoted');
$standby->restart;
is( $standby->safe_psql(
		'postgres', q{SELECT queries FROM connpool_pools WHERE application_name = 'app standby'}),
	'2',
	'the counters of a standby survive its promotion and a restart');
$standby->stop('fast');
$primary->stop('fast');
done_testing();
