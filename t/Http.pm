# SPDX-License-Identifier: PostgreSQL
# Helpers shared by the tests of HTTP: requests, well-formed and malformed.
package Http;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(SOL_SOCKET SO_RCVTIMEO SO_SNDTIMEO);

use Connpool qw(wait_until);

our @EXPORT = qw(http_port get get_json metric metric_reaching
  series raw http_connect poll_http);

# in seconds; a server that neither answers nor reads fails the test instead of blocking it
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# Return a free port for http_listen.
sub http_port
{
	return PostgreSQL::Test::Cluster::get_free_port();
}

sub get
{
	my ($port, $path, %headers) = @_;
	my $method = delete $headers{method} // 'GET';
	return get_as($port, $path, %headers) if exists $headers{Host};
	my $client = HTTP::Tiny->new(timeout => $timeout);
	my $answer;
	# a fast machine exceeds the rate limit
	wait_until(
		sub {
			$answer =
			  $client->request($method, "http://127.0.0.1:$port$path", { headers => \%headers });
			return $answer->{status} != 429;
		});
	return $answer;
}

# Send a request with the caller's Host header, which HTTP::Tiny does not allow.
sub get_as
{
	my ($port, $path, %headers) = @_;
	my $answer = raw($port,
			"GET $path HTTP/1.1\r\n"
		  . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers)
		  . "Connection: close\r\n\r\n",
		wait => $timeout);
	return { status => $answer =~ m{^HTTP/1\.1 (\d+) } ? $1 : 599, content => $answer };
}

sub get_json
{
	my ($port, $path, %headers) = @_;
	return JSON::PP->new->decode(get($port, $path, %headers)->{content});
}

# Return the series of a family as a hash from labels, as written, to values.
sub series
{
	my ($text, $family) = @_;
	return { map { /^\Qconnpool_$family\E(\{.*\})? (\S+)$/ ? ($1 // '' => $2) : () } split /\n/,
		$text };
}

# Return the sum of a family over the series whose labels match.
sub metric
{
	my ($port, $family, $labels) = @_;
	my $series = series(get($port, '/metrics')->{content}, $family);
	my $sum = 0;
	$sum += $series->{$_} foreach grep { !defined $labels || /$labels/ } keys %$series;
	return $sum;
}

# Wait until the sum of a family's series is the expected one. Returns the last sum.
sub metric_reaching
{
	my ($port, $family, $expected) = @_;
	my $sum;
	wait_until(sub { $sum = metric($port, $family); return $sum == $expected });
	return $sum;
}

# Connect to the port, with further options of IO::Socket::INET. Returns nothing on failure.
sub http_connect
{
	my ($port, %options) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $port,
		Timeout => $timeout,
		%options) or return;
	$socket->setsockopt(SOL_SOCKET, $_, pack('q2', $timeout, 0)) foreach SO_RCVTIMEO, SO_SNDTIMEO;
	return $socket;
}

# Send bytes unchanged, and return all bytes until the server closes the connection. With the
# option until, stop at bytes that match; with wait, stop when none arrive for that many seconds.
sub raw
{
	my ($port, $bytes, %options) = @_;
	my $socket = http_connect($port) or return 'no connection';
	my ($answer, $part) = ('', '');
	local $SIG{PIPE} = 'IGNORE';

	$socket->syswrite($bytes);
	shutdown $socket, 1 if $options{half_close};
	my $select = IO::Select->new($socket);
	while ($select->can_read($options{wait} // $timeout))
	{
		last unless $socket->sysread($part, 65536);
		$answer .= $part;
		last if $options{until} && $answer =~ $options{until};
	}
	close $socket;
	return $answer;
}

# Repeat a request until $wanted accepts the answer. Returns false if it never does.
sub poll_http
{
	my ($port, $path, $wanted, %headers) = @_;
	return wait_until(sub { return $wanted->(get($port, $path, %headers)) });
}

1;
