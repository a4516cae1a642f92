# SPDX-License-Identifier: PostgreSQL
# Simulates servers for bench/fleet: records two scrapes of each real server and then answers with
# their texts. Counters continue to grow at the recorded rate, and gauges alternate between both
# values. The first answers of a server have the time before its first scrape, in parts, with
# timestamps. Prints "ready" when it listens.
#
# It is a single process, because select() can wait for all sockets, and because it computes a text
# only once for all servers that are scraped within the same second.
use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use List::Util qw(min);
use Socket;

my ($port, $real, $simulated, $pools, $interval, $history) = @ARGV;
my $part = 1095;               # seconds of history in one answer
my $record_seconds = 30;       # between the two scrapes of a real server
my $format = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
my $origin;                    # time at which counters have their first values
my @templates;                 # of each real server
my %texts;                     # computed texts, by template and time
my (@sent_until, @is_live);    # of each simulated server
my %listener;                  # file descriptor => [socket, server]
my %client;                    # file descriptor => [socket, server, request]
my $watched = '';              # the file descriptors of both

sub address
{
	my ($server) = @_;
	return sprintf '127.0.%d.%d', 1 + $server / 250, 1 + $server % 250;
}

# Return the text of a real server. Waits until it has series for all of its pools.
sub scrape
{
	my ($server) = @_;
	my $url = 'http://' . address($server) . ":$port/metrics";
	my $http = HTTP::Tiny->new(proxy => undef, http_proxy => undef);
	my $until = time() + 300;
	while (1)
	{
		my $answer = $http->get($url, { headers => { Accept => $format } });
		die "$url: $answer->{status} $answer->{content}\n" unless $answer->{success};
		my $count = () = $answer->{content} =~ /^connpool_pool_queries_total/mg;
		# one more series has the other pools
		return $answer->{content} if $count > $pools;
		die "$url has series of ", $count - 1, " pools, not $pools\n" if time() > $until;
		sleep 1;
	}
}

# Return a template of two scrapes: a list of lines, each as [text] or as [name with labels, kind,
# first value, second value or increase per second, whether it is an integer]. Leaves out
# connpool_in_recovery, which answer() adds.
sub template
{
	my ($first, $second) = @_;
	my ($type, @lines);
	my %later = $second =~ /^([^#\n].*) (\S+)$/mg;
	foreach my $line (split /\n/, $first)
	{
		next if $line =~ /^(?:# EOF|(?:# \w+ )?connpool_in_recovery )/;
		$type = $1 if $line =~ /^# TYPE \S+ (\w+)/;
		my ($name, $from) = $line =~ /^([^#].*) (\S+)$/;
		if (!defined $name)
		{
			push @lines, ["$line\n"];
			next;
		}
		my $to = $later{$name} // $from;
		if    ($name =~ /_timestamp_seconds$/) { push @lines, [ $name, 'time' ]; }
		elsif ($type eq 'gauge')               { push @lines, [ $name, 'gauge', $from, $to ]; }
		else
		{
			my $is_integer = "$from$to" =~ /^\d+$/ ? 1 : 0;
			push @lines, [ $name, 'counter', $from, ($to - $from) / $record_seconds, $is_integer ];
		}
	}
	return \@lines;
}

sub value_at
{
	my ($line, $time) = @_;
	my (undef, $kind, $from, $to, $is_integer) = @$line;
	return $time if $kind eq 'time';
	return $time / $interval % 2 ? $from : $to if $kind eq 'gauge';
	my $value = $from + $to * ($time - $origin);
	return $is_integer ? int $value : $value;
}

# Return the text of a template with the values at one time or, if $until is given, with those from
# one time to another and with timestamps.
sub text_of
{
	my ($number, $time, $until) = @_;
	my $key = join ' ', $number, $time, $until // ();
	my $text = '';
	return $texts{$key} if defined $texts{$key};
	my @times = map { $time + $_ * $interval } 0 .. (($until // $time) - $time) / $interval;
	foreach my $line (@{ $templates[$number] })
	{
		if (@$line == 1) { $text .= $line->[0]; }
		else
		{
			$text .= "$line->[0] " . value_at($line, $_) . (defined $until ? " $_\n" : "\n")
			  foreach @times;
		}
	}
	# limits the memory, because a part of the history has some megabytes
	%texts = () if keys %texts >= 64;
	return $texts{$key} = $text;
}

# Return the next text of a simulated server: a part of its history, or the current values.
sub next_text
{
	my ($server) = @_;
	my $now = time();
	my $last = $now - $now % $interval;
	my $number = $server % $real;
	$sent_until[$server] //= $last - $history;
	$is_live[$server] ||= $sent_until[$server] >= $last - $interval;
	return text_of($number, $now) if $is_live[$server];
	my $from = $sent_until[$server] + $interval;
	$sent_until[$server] = min($from + $part, $last);
	return text_of($number, $from, $sent_until[$server]);
}

# Answer a request. Returns false if the connection is broken; then the next request gets the same
# part of the history. The first of the three servers of a cluster is a primary.
sub answer
{
	my ($socket, $server) = @_;
	my $sent_before = $sent_until[$server];
	my $in_recovery = $server % 3 ? 1 : 0;
	my $text = next_text($server);
	$text .= "# TYPE connpool_in_recovery gauge\nconnpool_in_recovery $in_recovery\n# EOF\n";
	substr $text, 0, 0,
	  "HTTP/1.1 200 OK\r\nContent-Type: $format\r\nContent-Length: " . length($text) . "\r\n\r\n";
	for (my $at = 0; $at < length $text;)
	{
		my $count = syswrite $socket, $text, length($text) - $at, $at;
		if (!defined $count)
		{
			$sent_until[$server] = $sent_before;
			return 0;
		}
		$at += $count;
	}
	return 1;
}

sub watch
{
	my ($socket, $is_watched) = @_;
	return vec($watched, fileno $socket, 1) = $is_watched;
}

# Read from a connection, and answer when a request is complete. Prometheus waits for the answer
# before it sends the next one.
sub serve
{
	my ($client) = @_;
	my ($socket, $server) = @$client;
	my $goes_on = sysread $socket, $client->[2], 8192, length $client->[2];
	if ($goes_on && $client->[2] =~ /\r\n\r\n/)
	{
		$client->[2] = '';
		$goes_on = answer($socket, $server);
	}
	return if $goes_on;
	watch($socket, 0);
	delete $client{ fileno $socket };
	return close $socket;
}

sub open_listeners
{
	foreach my $server (0 .. $simulated - 1)
	{
		my $address = pack_sockaddr_in($port, inet_aton(address($real + $server)));
		socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
		setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!\n";
		bind($socket, $address) or die "bind: $!\n";
		listen($socket, 5) or die "listen: $!\n";
		$listener{ fileno $socket } = [ $socket, $server ];
		watch($socket, 1);
	}
	return;
}

$SIG{PIPE} = 'IGNORE';
$| = 1;
my @first = map { scrape($_) } 0 .. $real - 1;
sleep $record_seconds;
@templates = map { template($first[$_], scrape($_)) } 0 .. $real - 1;
$origin = time() - $history - $interval;
open_listeners();
print "ready\n";

while (1)
{
	next if select(my $ready = $watched, undef, undef, undef) <= 0;
	foreach my $fd (grep { vec $ready, $_, 1 } 0 .. 8 * length($ready) - 1)
	{
		if ($listener{$fd})
		{
			accept(my $socket, $listener{$fd}[0]) or next;
			$client{ fileno $socket } = [ $socket, $listener{$fd}[1], '' ];
			watch($socket, 1);
		}
		elsif ($client{$fd}) { serve($client{$fd}); }
	}
}
