# SPDX-License-Identifier: PostgreSQL
# Measures for bench/fleet: adds servers to the targets of Prometheus in three steps, measures at
# each step, and prints a table. Then prints each missed limit, and exits with 1 if there is any.
use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use List::Util  qw(max sum0);
use POSIX       ();
use Time::HiRes qw(time);

my ($api, $port, $real, $simulated, $interval, $history, $max_busy, %pid) = @ARGV;
my $intervals = 4;    # in a measurement
my $json = JSON::PP->new->utf8;
# connect to the loopback address without the proxy that the environment may name
my $http = HTTP::Tiny->new(timeout => 300, proxy => undef, http_proxy => undef);
my (@rows, @columns, %cell, %failed);

# Set a cell in the last column of the table. Rows keep the order in which they got their first
# cells.
sub note
{
	my ($row, $format, $value) = @_;
	push @rows, $row if !$cell{$row};
	$cell{$row}[$#columns] = sprintf $format, $value;
	return;
}

sub get
{
	my ($path) = @_;
	my $answer = $http->get("http://$api/$path");
	die "Prometheus: $answer->{status} $answer->{content}\n" unless $answer->{success};
	return $answer->{content};
}

# Send a form and return the status and the first bytes of the answer. Uses a plain socket, because
# HTTP::Tiny sends the form after the headers, which a delayed acknowledgement makes 40 ms slower.
sub post
{
	my ($path, %form) = @_;
	my $body = $http->www_form_urlencode(\%form);
	my $socket = IO::Socket::INET->new(PeerAddr => $api) or die "Prometheus: $@\n";
	my ($text, $more) = ('', '');
	$body = join "\r\n", "POST /$path HTTP/1.0", "Host: $api",
	  'Content-Type: application/x-www-form-urlencoded', 'Content-Length: ' . length $body, '',
	  $body;
	while ($body ne '')
	{
		substr $body, 0, syswrite($socket, $body) // die("Prometheus: $!\n"), '';
	}
	while (sysread $socket, $more, 1 << 17) { $text .= $more if length $text < 1000; }
	my ($status) = $text =~ m{^HTTP/\S+ (\d+)} or die "Prometheus ended\n";
	return ($status, substr $text, 0, 1000);
}

sub data { return $json->decode(get("api/v1/$_[0]"))->{data}; }

# Return the value of a query, or 0 if it has none.
sub value
{
	my ($query) = @_;
	my ($first) =
	  @{ data('query?' . $http->www_form_urlencode({ query => $query }))->{result} };
	return $first ? $first->{value}[1] : 0;
}

# Return a metric of Prometheus itself, summed over its labels.
sub own_metric
{
	my ($name) = @_;
	return sum0(get('metrics') =~ /^\Q$name\E(?:\{.*\})? (\S+)$/mg);
}

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

sub spew
{
	my ($file, $text) = @_;
	open(my $out, '>', $file) or die "$file: $!\n";
	print $out $text;
	close $out or die "$file: $!\n";
	return;
}

# Return the seconds of processor time that a process has used.
sub processor_seconds
{
	my ($who) = @_;
	my (undef, $after_name) = slurp("/proc/$pid{$who}/stat") =~ /^(.*)\) (.*)/s;
	my ($user, $system) = (split ' ', $after_name)[ 11, 12 ];
	return ($user + $system) / POSIX::sysconf(POSIX::_SC_CLK_TCK);
}

# Return the memory of Prometheus in megabytes: VmRSS is the current value, VmHWM the largest one
# since reset_peak().
sub megabytes
{
	my ($what) = @_;
	my ($kb) = slurp("/proc/$pid{prometheus}/status") =~ /^$what:\s+(\d+) kB/m;
	return $kb / 1024;
}

sub reset_peak { return spew("/proc/$pid{prometheus}/clear_refs", '5'); }

# Write the targets: all real servers and some simulated ones, three in a cluster.
sub write_targets
{
	my ($count) = @_;
	my @targets;
	foreach my $server (0 .. $real + $count - 1)
	{
		my $number = $server - $real;
		my $address = sprintf '127.0.%d.%d:%d', 1 + $server / 250, 1 + $server % 250, $port;
		my $name = $number < 0 ? "real$server" : "db$number";
		my $cluster = $number < 0 ? $name : 'cluster' . int($number / 3);
		my %labels = (instance => "$name.example.com:9188", cluster => $cluster);
		push @targets, { targets => [$address], labels => \%labels };
	}
	spew('targets.new', $json->encode(\@targets));
	rename('targets.new', 'targets.json') or die "targets.json: $!\n";
	return;
}

# Wait until all servers are up and the history of the simulated ones is complete.
sub wait_for_servers
{
	my ($count) = @_;
	my $until = time() + 900;
	my $recent = 2 * $interval;
	my ($up, $current);
	while (time() < $until)
	{
		$up = value('count(up == 1)');
		$current = value("count(last_over_time(connpool_build_info[${recent}s]))");
		return if $up == $count && $current == $count;
		sleep 2;
	}
	die "$up of $count servers are up, and $current have current values\n";
}

# Let Prometheus free the memory of the answers with history, which real servers do not send. This
# collects garbage repeatedly, because buffers survive one collection, and waits until the process
# has returned the memory. Meanwhile the rules run over complete data.
sub settle
{
	my $before = megabytes('VmRSS');
	foreach my $turn (1 .. 12)
	{
		get('debug/pprof/heap?gc=1');
		sleep $interval;
		my $now = megabytes('VmRSS');
		last if $turn > 2 && $now > 0.98 * $before;
		$before = $now;
	}
	return;
}

# Return the milliseconds that each group of rules has last taken. A rule that fails is a failure.
sub group_times
{
	my %ms;
	foreach my $group (@{ data('rules')->{groups} })
	{
		$ms{ $group->{name} } = 1000 * $group->{evaluationTime};
		$failed{ "the rule $_->{name}: " . ($_->{lastError} // $_->{health}) } = 1
		  foreach grep { $_->{health} ne 'ok' } @{ $group->{rules} };
	}
	return %ms;
}

# Measure scrapes and rules over some intervals.
sub measure
{
	my ($count) = @_;
	my $missed_metric = 'prometheus_rule_group_iterations_missed_total';
	my $missed = own_metric($missed_metric);
	my %before = map { ($_ => processor_seconds($_)) } keys %pid;
	my $from = time();
	my (%ms, $memory);
	foreach my $turn (1 .. $intervals)
	{
		sleep $interval;
		my %last = group_times();
		$ms{$_} += $last{$_} / $intervals foreach keys %last;
		$memory = max($memory // 0, megabytes('VmRSS'));
	}
	my %busy =
	  map { ($_ => 100 * (processor_seconds($_) - $before{$_}) / (time() - $from)) } keys %pid;
	my $series = own_metric('prometheus_tsdb_head_series');
	my ($slowest) = sort { $ms{$b} <=> $ms{$a} } keys %ms;

	note('series of a server', '%.0f', value('avg(scrape_samples_scraped)'));
	note('  with those of recording rules', '%.0f', $series / $count);
	note('series of all servers', '%d', $series);
	note('samples scraped a second', '%.0f', value('sum(scrape_samples_scraped)') / $interval);
	note('memory, MB', '%.0f', $memory);
	note('  kB for each series', '%.1f', 1024 * $memory / $series);
	note('processor time, % of a core', '%.1f', $busy{prometheus});
	note('  of the simulated servers', '%.1f', $busy{simulator});

	foreach ([ 'a scrape of a real server', 'real' ], [ '  of a simulated server', 'db' ])
	{
		my $seconds = value("avg(scrape_duration_seconds{instance=~\"$_->[1].*\"})");
		note("$_->[0], ms", '%.1f', 1000 * $seconds);
	}
	note('all rules, ms', '%.0f', sum0(values %ms));
	note('  the slowest group, ms', '%.0f', $ms{$slowest});
	note('  its name', '%s', $slowest =~ s/^connpool_//r);
	note('alerts that fire',
		'%d', scalar grep { $_->{state} eq 'firing' } @{ data('alerts')->{alerts} });
	$failed{"with $count servers, evaluations of rules were missed"} = 1
	  if own_metric($missed_metric) > $missed;
	$failed{"with $count servers, the simulated ones take over $max_busy % of a core"} = 1
	  if $busy{simulator} > $max_busy;
	return;
}

# Measure the panels of the dashboard for some instances, as Grafana requests an hour: one value
# for each interval, and rates over four intervals. The time of a panel is the sum of the times of
# its queries, with the transfer of the answers.
sub measure_panels
{
	my @instances = @_;
	my $end = int time();
	my %range = (start => $end - $history, end => $end, step => $interval);
	my %variable = (
		job => '(connpool)',
		instance => '(' . join('|', map { s/\./\\\\./gr } @instances) . ')',
		__rate_interval => 4 * $interval . 's');
	my (@panels, %ms);

	foreach my $line (split /\n/, slurp('queries'))
	{
		my ($panel, $how, $query) = $line =~ /panel "(.*)" \w+\t(\w+)\t(.*)/
		  or die "queries: $line\n";
		$query =~ s{\$(\w+)}{$variable{$1} // die "there is no value for the variable $1\n"}ge;
		my ($path, %times) = $how eq 'range' ? ('query_range', %range) : ('query', time => $end);
		$panel .= ', now' if $how eq 'instant';
		push @panels, $panel if !exists $ms{$panel};
		my $from = time();
		my ($status, $text) = post("api/v1/$path", query => $query, %times);
		$ms{$panel} += 1000 * (time() - $from);
		$failed{ "the panel $panel for " . @instances . " servers: $text" } = 1 if $status != 200;
	}
	note('all panels, ms', '%.0f', sum0(values %ms));
	note("  $_", '%.1f', $ms{$_}) foreach @panels;
	return;
}

sub print_table
{
	my $format = '%-' . max(map { length } @rows) . 's' . '  %12s' x @columns . "\n";
	printf $format, '', @columns;
	printf $format, $_, map { $_ // '' } @{ $cell{$_} }[ 0 .. $#columns ] foreach @rows;
	return;
}

$| = 1;
my %steps = map { (int($simulated / $_) => 1) } 1, 2, 4;
foreach my $step (sort { $a <=> $b } grep { $_ > 0 } keys %steps)
{
	my $count = $real + $step;
	print "== $count servers\n";
	write_targets($step);
	wait_for_servers($count);
	push @columns, "$count servers";
	settle();
	measure($count);
	reset_peak();
	my @instances = @{ data('label/instance/values') };
	measure_panels(@instances);
	note('memory while all panels load, MB', '%.0f', megabytes('VmHWM'));
}
push @columns, 'one of them';
measure_panels('db0.example.com:9188');
print "\n";
print_table();
print "\n", map { "FAILED: $_\n" } sort keys %failed if %failed;
exit(%failed ? 1 : 0);
