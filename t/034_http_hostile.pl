# SPDX-License-Identifier: PostgreSQL
# HTTP: clients that are slow, idle, half gone, many, or send nonsense cost themselves
# only. The next good request is answered, memory does not grow, the worker stays.
# scripts/test: slow, 21 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Time::HiRes qw(time);

# how many idle connections and random bytes: ten thousand and a million
my $idle = $ENV{CONNPOOL_IDLE_CONNECTIONS} // 10_000;
my $noise = 1_000_000;

my $port = http_port();
my $node = new_node('hostile', <<"CONF");
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.sample_interval = '1s'
CONF
my $worker = worker_pid($node);
my $start = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

sub memory_kb { my ($kb) = slurp_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m; return $kb; }
sub files     { my @open = glob "/proc/$worker/fd/*"; return scalar @open; }

# A good request, within a second or at the next try, for it may come while others are shut out.
sub is_served
{
	my ($name) = @_;
	my $before = time;
	my $answer;
	do { $answer = get($port, '/health/database') }
	  until $answer->{status} == 200 || time > $before + 10;
	is($answer->{status}, 200, "$name: a good request is answered");
	cmp_ok(time - $before, '<', 5, "$name: soon");
	is(worker_pid($node), $worker, "$name: by the same worker");
	return;
}

# Warmed up: what is allocated once has been.
get($port, $_)
  foreach (
	'/', '/metrics',
	'/api/status', '/api/pools',
	'/api/alerts', '/api/history?metric=total_connections') x 5;
is_served('at first');
my ($memory, $files) = (memory_kb(), files());

# Slowloris: a byte now and then.
my @slow = map { http_connect($port) } 1 .. 150;
foreach my $round (1 .. 3)
{
	$_->syswrite(substr('GET / HTTP/1.1', $round - 1, 1)) foreach @slow;
	is_served("slowloris, round $round");
}
close $_ foreach @slow;

# Idle ones, as many as this process may have at a time; those that came first are shut.
my ($opened, @connections) = (0);
while ($opened < $idle)
{
	my $socket = http_connect($port);
	push @connections, $socket if $socket;
	$opened++;
	close shift @connections if @connections > 800;
	is_served("$opened idle connections") if $opened % 2500 == 0;
}
cmp_ok(files(), '<', 300, 'of which it keeps some hundreds at most');
close $_ foreach @connections;

# Those that do not read, or are half gone.
@connections = map { http_connect($port) } 1 .. 100;
foreach my $socket (@connections)
{
	$socket->syswrite("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" x 20);
	shutdown $socket, 1;
}
is_served('clients that do not read');
close $_ foreach @connections;

# Nonsense, in pieces of all sizes, and random bytes.
my @nonsense = (
	"\0" x 100,
	"GET",
	"GET / HTTP/9.9\r\n\r\n",
	"\r\n" x 1000,
	"GET / HTTP/1.1\r\nHost\r\n\r\n",
	"GET  HTTP/1.1\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
	"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
	"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
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

# Fifty that scrape as fast as they can.
my $missed = $node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()');
my @scrapers;
foreach (1 .. 50)
{
	my $pid = fork // die 'cannot fork';
	if (!$pid)
	{
		my $until = time + 5;
		get($port, '/metrics') while time < $until;
		require POSIX;
		POSIX::_exit(0);
	}
	push @scrapers, $pid;
}
waitpid $_, 0 foreach @scrapers;
is_served('fifty scrapers');
is($node->safe_psql('postgres', 'SELECT samples_missed FROM connpool_info()'),
	$missed, 'no sample came late by an interval');

# Nothing stayed.
my $tries = 200;
select undef, undef, undef, 0.1 while files() > $files + 5 && $tries--;
cmp_ok(files(), '<=', $files + 5, 'connections are gone');
SKIP:
{
	skip 'a sanitizer keeps what is freed', 1 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	cmp_ok(memory_kb(), '<', $memory + 4096, 'memory has not grown')
	  or diag("$memory kB before, " . memory_kb() . ' kB after');
}
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$start, 'the server was not restarted');
unlike(
	slurp_file($node->logfile),
	qr/PANIC|terminated by signal|connpool_monitor http" \(PID \d+\) exited/,
	'and nothing crashed');
is(log_count($node, 'libmicrohttpd|HTTP'), 1, 'the server log has not been flooded');
$node->stop;

done_testing();
