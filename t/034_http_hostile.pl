# SPDX-License-Identifier: PostgreSQL
# HTTP clients do not disturb others, even if they are slow, idle or half closed, send nonsense, or
# open too many connections: the next valid request is answered, memory does not grow, and the
# worker does not end. Needs sockets.
# scripts/test: slow, 21 s
use strict;
use warnings FATAL => 'all';

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Time::HiRes qw(time);

# number of idle connections and of random bytes
my $idle = $ENV{CONNPOOL_IDLE_CONNECTIONS} // 10_000;
my $noise = 1_000_000;

my $port = http_port();
my $node = new_node('hostile', <<"CONF");
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.sample_interval = '1s'
CONF
my $worker = worker_pid($node, 'http');
my $start = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

# without the shared memory that the worker has touched
sub memory_kb
{
	my ($kb) = slurp_file("/proc/$worker/status") =~ /^RssAnon:\s+(\d+)/m;
	return $kb;
}
sub files { my @open = glob "/proc/$worker/fd/*"; return scalar @open; }

# Assert that a valid request is answered, and that it does not wait until the worker gives up the
# other clients, which happens after 20 seconds. Retry, because the request may be refused.
sub is_served
{
	my ($name) = @_;
	my $before = time;
	my $answer;
	wait_until(sub { $answer = get($port, '/health/database'); $answer->{status} == 200 });
	is($answer->{status}, 200, "$name: a valid request is answered");
	cmp_ok(time - $before, '<', 15,
		"$name: the answer does not wait until other clients time out");
	is(worker_pid($node, 'http'), $worker, "$name: the same worker answers");
	return;
}

# warm up, so that memory that the worker allocates once is allocated
get($port, $_)
  foreach (
	'/', '/metrics',
	'/api/status', '/api/pools',
	'/api/alerts', '/api/history?metric=total_connections') x 5;
is_served('at first');
my ($memory, $files) = (memory_kb(), files());

# request targets in absolute form: the host in the target replaces that of the Host header
foreach my $case (
	[ "http://127.0.0.1:$port/metrics", 'localhost', 200 ],
	[ "HTTP://localhost/metrics", 'evil.example', 200 ],
	[ 'http://[::1]:9188/api/history?metric=total_connections', 'localhost', 200 ],
	[ 'http://localhost', 'localhost', 200 ],
	[ 'http://localhost/nothing', 'localhost', 404 ],
	[ 'http://evil.example/metrics', 'localhost', 403 ],
	[ 'http://evil.example/health/database', 'localhost', 200 ],
	[ 'http://127.0.0.1:x@evil.example/metrics', 'localhost', 404 ],
	[ 'http:///metrics', 'localhost', 404 ],
	[ 'ftp://localhost/metrics', 'localhost', 404 ],
	[ 'http://localhost/metrics', undef, 400 ])
{
	my ($target, $host, $status) = @$case;
	my $header = defined $host ? "Host: $host\r\n" : '';
	like(
		raw($port, "GET $target HTTP/1.1\r\n${header}Connection: close\r\n\r\n"),
		qr{^HTTP/1\.1 $status },
		"GET $target with " . ($host ? "Host $host" : 'no Host') . " is answered with $status");
}

# slow clients, which send a byte now and then
my @slow = map { http_connect($port) } 1 .. 150;
foreach my $round (1 .. 3)
{
	$_->syswrite(substr('GET / HTTP/1.1', $round - 1, 1)) foreach @slow;
	is_served("slow clients, round $round");
}
close $_ foreach @slow;

# Idle connections, as many as this process can have open. The oldest are closed.
my ($opened, @connections) = (0);
while ($opened < $idle)
{
	my $socket = http_connect($port);
	push @connections, $socket if $socket;
	$opened++;
	close shift @connections if @connections > 800;
	is_served("$opened idle connections") if $opened % 2500 == 0;
}
cmp_ok(files(), '<', 300, 'the worker keeps at most some hundred idle connections');
close $_ foreach @connections;

# clients that do not read and are half closed
@connections = map { http_connect($port) } 1 .. 100;
foreach my $socket (@connections)
{
	$socket->syswrite("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" x 20);
	shutdown $socket, 1;
}
is_served('clients that do not read');
close $_ foreach @connections;

# nonsense, and random bytes
my @nonsense = (
	"\0" x 100,
	"GET",
	"GET / HTTP/9.9\r\n\r\n",
	"\r\n" x 1000,
	"GET / HTTP/1.1\r\nHost\r\n\r\n",
	"GET  HTTP/1.1\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
	"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	  . "ffffffffffffffff\r\nx",
	"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
	  . "Content-Length: 5\r\n\r\n0\r\n\r\n",
	"GET /api/history?metric=" . ('%' x 500) . " HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"GET /%zz%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"GET / HTTP/1.1\r\n" . join('', map { "H$_: x\r\n" } 1 .. 2000) . "\r\n",
	"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " . ('A' x 3000) . "\r\n\r\n",
	"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: " . (';q=' x 1000) . "\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . ('x' x 200));
raw($port, $_, wait => 0.2) foreach @nonsense;
is_served('nonsense');
srand 20261124;
my $sent = 0;
while ($sent < $noise)
{
	my $length = 1 + int rand 20_000;
	my $bytes = join '', map { chr int rand 256 } 1 .. $length;
	my $socket = http_connect($port) or next;
	local $SIG{PIPE} = 'IGNORE';
	$socket->syswrite(rand() < 0.3 ? "GET /metrics HTTP/1.1\r\n$bytes" : $bytes);
	close $socket;
	$sent += $length;
}
is_served('a million random bytes');

# fifty clients that scrape without pause until they are killed
my @scrapers;
END { local $?; kill 'KILL', @scrapers if @scrapers; }
foreach (1 .. 50)
{
	my $pid = fork // die 'cannot fork';
	if (!$pid)
	{
		my $until = time + $PostgreSQL::Test::Utils::timeout_default;
		get($port, '/metrics') while time < $until;
		POSIX::_exit(0);
	}
	push @scrapers, $pid;
}
$node->append_conf('postgresql.conf', "connpool_monitor.sample_interval = '500ms'");
$node->reload;
ok(samples_on_time($node), 'ten samples in a row are on time beside fifty scrapers');
is_served('fifty scrapers');
kill 'KILL', @scrapers;
waitpid $_, 0 foreach splice @scrapers;

# The worker runs out of file descriptors, and then all of its connections are closed at once.
{
	my $open = files();
	my $limit = $open + 40;
	system('prlimit', '--pid', $worker, "--nofile=$limit:") == 0 or die 'prlimit failed';
	my @more = map { http_connect($port) // () } 1 .. 60;
	wait_until(sub { files() >= $limit });
	cmp_ok(files() - $open, '<', 60, 'the worker has no file descriptors for all connections');
	kill 'STOP', $worker;
	close $_ foreach splice @more;
	kill 'CONT', $worker;
	is_served('after it had no file descriptor left');
	system('prlimit', '--pid', $worker, '--nofile=1024:') == 0 or die 'prlimit failed';
}

# Send a HEAD request on an open connection. Returns the status; 'closed' if no answer arrives.
sub status_on
{
	my ($socket, $path, $headers) = @_;
	my ($answer, $part) = ('', '');
	local $SIG{PIPE} = 'IGNORE';
	$socket->syswrite("HEAD $path HTTP/1.1\r\nHost: localhost\r\n$headers\r\n");
	$answer .= $part while $answer !~ /\r\n\r\n\z/ && $socket->sysread($part, 65536);
	return $answer =~ m{^HTTP/1\.1 (\d+) } ? $1 : 'closed';
}

# A client that opens more connections than the worker keeps loses its own connections. Those of
# other clients stay open, although they have gone longer without an answer. The first client may
# have the address of the other clients but not their token, or it may use many addresses.
my $token = "Authorization: Bearer secret\r\n";
append_to_file($node->data_dir . '/token', 'secret');
chmod 0600, $node->data_dir . '/token' or die "chmod: $!";
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
$node->reload;
wait_until(sub { get($port, '/metrics')->{status} == 401 }) or die 'no token is required';
foreach my $case (
	[ 'with the token', '/metrics', $token, 'another address', sub { '127.0.0.9' }, '' ],
	[ 'with the token', '/metrics', $token, 'its own address', sub { '127.0.0.1' }, '' ],
	[ 'with the token', '/metrics', $token, '250 addresses', sub { "127.0.9.$_[0]" }, '' ],
	[
		'without a token', '/health/database', '', 'an address that has the token',
		sub { '127.0.0.9' }, $token
	])
{
	my ($kind, $path, $headers, $source, $address, $flood_headers) = @$case;
	my $kept = http_connect($port);
	is(status_on($kept, $path, $headers), 200, "a connection $kind is served");
	my ($served, @flood) = (0);
	foreach my $number (1 .. 250)
	{
		push @flood, http_connect($port, LocalAddr => $address->($number)) // next;
		$served += status_on($flood[-1], '/health/database', $flood_headers) eq '200';
	}
	is($served, 250, "each new connection from $source is served");
	is(status_on($kept, $path, $headers),
		200, "a connection $kind stays open during a flood from $source");
	close $_ foreach $kept, @flood;
}

# Several clients that share an address stay connected during a flood from many addresses, of which
# each opens one connection.
foreach my $case ([ 'no request', 0 ], [ 'one request without the token', 1 ])
{
	my ($kind, $requests) = @$case;
	my @kept = map { http_connect($port) } 1 .. 3;
	status_on($_, '/metrics', $token) foreach @kept;
	my (@flood, @new);
	foreach my $number (1 .. 250)
	{
		push @flood, http_connect($port, LocalAddr => "127.0.8.$number") // next;
		status_on($flood[-1], '/health/database', '') if $requests;
		push @new, http_connect($port) if $number > 220 && $number <= 223;
	}
	is(scalar(grep { status_on($_, '/metrics', $token) eq '200' } @new),
		3, "new connections of one address stay open beside 250 others that send $kind");
	is(scalar(grep { status_on($_, '/metrics', $token) eq '200' } @kept),
		3, "connections with the token of one address stay open beside 250 that send $kind");
	close $_ foreach @kept, @new, @flood;
}

# The client with the token connects, and sends its request only after all connections of a client
# without the token have been answered again and 50 more have opened.
{
	my @flood = map { http_connect($port) // () } 1 .. 200;
	status_on($_, '/health/database', '') foreach @flood;
	my $new = http_connect($port);
	status_on($_, '/health/database', '') foreach @flood;
	push @flood, map { http_connect($port) // () } 1 .. 50;
	my $served = grep { status_on($_, '/health/database', '') eq '200' } @flood[ -50 .. -1 ];
	is($served, 50, 'new connections from an address with too many are served');
	is(status_on($new, '/metrics', $token),
		200, 'a connection that has not sent its token yet stays open during a flood');
	close $_ foreach $new, @flood;
}

# nothing is left
wait_until(sub { files() <= $files + 5 });
cmp_ok(files(), '<=', $files + 5, 'the connections are closed');
SKIP:
{
	skip 'a sanitizer keeps what is freed', 1 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	cmp_ok(memory_kb(), '<', $memory + 4096, 'memory grows by less than 4 MB')
	  or diag("$memory kB before, " . memory_kb() . ' kB after');
}
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$start, 'the server did not restart');
unlike(
	slurp_file($node->logfile),
	qr/PANIC|terminated by signal|connpool_monitor http" \(PID \d+\) exited/,
	'no process crashed');
is(log_count($node, 'libmicrohttpd|HTTP'), 1, 'the server log has one line on HTTP');
$node->stop;

done_testing();
