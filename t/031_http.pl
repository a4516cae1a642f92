# SPDX-License-Identifier: PostgreSQL
# The HTTP listener serves its paths in the right formats, enforces limits and tokens, agrees with
# SQL, and answers while the server is full, starting, recovering or a standby. Needs sockets and
# such servers.
# scripts/test: slow, 28 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use IO::Socket::IP;
use JSON::PP;
use Socket qw(AF_INET6);
use lib $FindBin::RealBin;
use Connpool;
use Http;

my $port = http_port();
my $node = new_node('http', <<"CONF");
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.max_pools = 30
connpool_monitor.save_interval = '1h'
max_connections = 20
superuser_reserved_connections = 3
restart_after_crash = on
CONF
$node->safe_psql('postgres', 'CREATE ROLE plain LOGIN');
sub status { return get($port, @_)->{status}; }
sub header { my ($name, @rest) = @_; return get($port, @rest)->{headers}{$name} // ''; }

# Wait until the server has no session. A session may outlast the psql that opened it.
sub no_session
{
	return poll_http($port, '/health/database',
		sub { $_[0]{content} =~ /"totalConnections":0\b/ });
}

subtest 'every path is served in its format' => sub {
	is(get($port, $_)->{status}, 200, "$_ is served")
	  foreach qw(/ /metrics /health/database /api/status /api/load /api/pools /api/alerts
	  /api/incidents /api/pgbouncer);
	no_session() or die 'sessions do not end';
	my $health = get_json($port, '/health/database');
	is($health->{database}{status}, 'healthy', 'a server without problems is healthy');
	is( "$health->{pool}{active} $health->{pool}{total}",
		'0 0',
		'a request over HTTP takes no connection');
	is($health->{database}{stats}{maxConnections},
		20, '/health/database has the maximum of connections');
	is( header('content-type', '/metrics'),
		'text/plain; version=0.0.4; charset=utf-8',
		'/metrics has the Prometheus text format');
	is( header('content-type', '/health/database'),
		'application/json; charset=utf-8',
		'/health/database is JSON');
	my %openmetrics = (Accept => 'application/openmetrics-text;version=1.0.0;q=0.5,'
		  . 'text/plain;version=0.0.4;q=0.3,*/*;q=0.1');
	is( header('content-type', '/metrics', %openmetrics),
		'application/openmetrics-text; version=1.0.0; charset=utf-8',
		'/metrics has the OpenMetrics format if the client prefers it');
	is( header(
			'content-type', '/metrics',
			Accept => 'application/openmetrics-text;q=0.1,text/plain;q=0.9'),
		'text/plain; version=0.0.4; charset=utf-8',
		'/metrics has the text format if the client prefers that');
	is( header('content-type', '/metrics', Accept => 'application/openmetrics-text;q=0'),
		'text/plain; version=0.0.4; charset=utf-8',
		'/metrics has the text format if the client refuses OpenMetrics');
	my $text = get($port, '/metrics', %openmetrics)->{content};
	like($text, qr/\n# EOF\n\z/, 'OpenMetrics ends with EOF');
	like(
		$text,
		qr/^# TYPE connpool_queries counter$/m,
		'a family of counters has no _total in OpenMetrics');
	like(
		$text,
		qr/^connpool_queries_total\{database="postgres"\} \d+$/m,
		'a sample of a counter has _total in OpenMetrics');
	unlike(get($port, '/metrics')->{content}, qr/# EOF/, 'the text format does not end with EOF');
	like(
		get($port, '/metrics')->{content},
		qr/^# TYPE connpool_queries_total counter$/m,
		'a family of counters has _total in the text format');
};

subtest 'other methods, paths, sizes and hosts are refused' => sub {
	my $head = get($port, '/metrics', method => 'HEAD');
	ok( $head->{success}
		  && ($head->{content} // '') eq ''
		  && $head->{headers}{'content-length'} > 1000,
		'HEAD has headers and no body');
	is(status('/metrics', method => $_), 405, "method $_ is refused")
	  foreach qw(POST PUT DELETE OPTIONS PATCH);
	is(header('allow', '/', method => 'POST'),
		'GET, HEAD', 'a refused method gets a list of the allowed ones');
	is(status($_), 404, "path $_ does not exist")
	  foreach '/nothing', '/api', '/api/status/', '/metrics/../etc/passwd', '//';
	like(
		raw($port,
			"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " . ('x' x 40_000) . "\r\n\r\n",
			until => qr/\r\n\r\n/),
		qr{^HTTP/1\.\d 431 },
		'headers that are too large are refused');
	like(
		raw($port,
			'GET /' . ('x' x 40_000) . " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
			until => qr/\r\n\r\n/),
		qr{^HTTP/1\.\d 4(14|31) },
		'a line that is too long is refused');
	is(status('/metrics', Host => 'evil.example:80'),
		403, 'a Host that is neither localhost nor an address is refused');
	is(status('/health/database', Host => 'db.example'),
		200, '/health/database has no names and is served for any Host');
	is(status('/metrics', Host => $_), 200, "Host $_ is served")
	  foreach 'localhost', "127.0.0.1:$port", '[::1]:1';
	my $page = get($port, '/');
	my ($nonce) = ($page->{headers}{'content-security-policy'} // '') =~
	  /^default-src 'none'; style-src 'nonce-([0-9a-f]{32})'; script-src 'nonce-\1'; /;
	ok( $nonce && $page->{content} =~ /<script[^>]* nonce="$nonce"/,
		'the page has a content security policy with its nonce');
	unlike(
		$page->{content},
		qr/\{\{nonce\}\}|https?:\/\/(?!www\.w3\.org)/,
		'the page loads nothing from other hosts');
	isnt(
		header('content-security-policy', '/'),
		$page->{headers}{'content-security-policy'},
		'each response has another nonce');
};

subtest 'requests can share a connection' => sub {
	my $several = raw($port,
			"GET /health/database HTTP/1.1\r\nHost: localhost\r\n\r\n" x 5
		  . "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	is( scalar(() = $several =~ m{^HTTP/1\.1 200 }mg) . ' '
		  . scalar(() = $several =~ m{^HTTP/1\.1 404 }mg),
		'5 1',
		'pipelined requests are all answered');
	like(raw($port, "GET /metrics HTTP/1.0\r\n\r\n", half_close => 1),
		qr/connpool_build_info/, 'HTTP/1.0 is answered on a half-closed connection');
};

# Open $connections, one after the other. Over each, send $requests for $path, and then one for
# $last_path, which is $path by default. Return all answers.
sub flood
{
	my ($port, $path, $connections, $requests, $last_path) = @_;
	my ($answers, $part) = ('', '');
	foreach (1 .. $connections)
	{
		my $socket = http_connect($port);
		$socket->syswrite("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n" x $requests . 'GET '
			  . ($last_path // $path)
			  . " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		$answers .= $part while $socket->sysread($part, 65536);
	}
	return $answers;
}

subtest 'requests are limited to a rate that probes do not share' => sub {
	my $answers = flood($port, '/nothing', 10 => 400, '/health/database');
	my $refused = () = $answers =~ m{^HTTP/1\.1 429 }mg;
	ok($refused >= 500, "at least 500 of 4000 requests at once are refused ($refused)");
	my $answered = () = $answers =~ m{^HTTP/1\.1 404 }mg;
	ok($answered >= 900, "at least 900 of 4000 requests at once are answered ($answered)");
	like($answers, qr/Retry-After: 1/, 'a refused request gets Retry-After');
	like(
		$answers,
		qr{.*HTTP/1\.1 200 .*"status":"healthy"}s,
		'/health/database is answered above the rate');
	ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }),
		'requests are answered again a second later');
};

subtest 'documents agree with SQL' => sub {
	my $state = get_json($port, '/api/status');
	is( $state->{state} . ' ' . ($state->{serverVersion} =~ /^(\d+)/)[0],
		'running ' . int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000),
		'/api/status has the state and the version of the server');
	is_deeply(
		[ map { $_->{name} } @{ $state->{metrics} } ],
		[
			split /\n/,
			$node->safe_psql('postgres', 'SELECT metric_name FROM get_connection_stats()')
		],
		'/api/status has the metrics of get_connection_stats()');
	is_deeply(
		[ map { $_->{reason} } @{ $state->{refusals} } ],
		[ split /\n/, $node->safe_psql('postgres', 'SELECT reason FROM connpool_rejections') ],
		'/api/status has the reasons of connpool_rejections');
	my $session = session($node, "it''s \"<b>\\ü");
	# not the session of a psql of this test that has not ended yet
	my ($pool) = grep { $_->{connections} == 1 && $_->{application} !~ /\.pl$/ }
	  @{ get_json($port, '/api/pools')->{pools} };
	is( $pool->{application}, $node->safe_psql('postgres', <<~'SQL'),
			SELECT application_name
			FROM connpool_pools
			WHERE connections = 1 AND application_name NOT LIKE '%.pl'
			SQL
		'/api/pools has the application name as in SQL');
	is( "$pool->{database} $pool->{role} $pool->{idle}",
		'postgres ' . $node->safe_psql('postgres', 'SELECT current_user') . ' 1',
		'/api/pools has database, role and idle sessions of a pool');
	my $label;
	ok( poll_http(
			$port, '/metrics',
			sub { ($label) = $_[0]{content} =~ /application="(it's \\"(?:[^"\\]|\\.)*)"/ }),
		'quotes are escaped in labels');
	is($label =~ s/\\(.)/$1/gr,
		$pool->{application}, '/metrics has the application name as in SQL');
	my $earliest = time;
	wait_samples($node, 5);
	my $history = get_json($port, '/api/history?metric=total_connections&since=60s');
	ok( @{ $history->{points} } >= 5
		  && $history->{points}[-1][2] >= 1
		  && $history->{unit} eq 'connections',
		'/api/history has points with values and a unit') or diag(JSON::PP->new->encode($history));
	cmp_ok($history->{points}[-1][0] / 1000,
		'>=', $earliest, 'the last point of /api/history is that of a new sample');
	is(status("/api/history?metric=$_"), 400, "/api/history refuses $_")
	  foreach 'nothing', '', 'total_connections&since=yesterday', 'total_connections&since=-5',
	  'total_connections&since=2026-02-30T00:00:00Z', 'total_connections&since=2026-02-30',
	  'total_connections&since=2026-02', 'total_connections&since=2026-02-03T',
	  'total_connections&since=2026-02-03T03', 'total_connections&since=2026-02-03T03:',
	  'total_connections&since=2026-02-03T03:04:',
	  'total_connections&since=2026-02-03T00:00:00%2B01:00', 'total_connections&since=0s&until=1h',
	  'total_connections&since=1e300d';
	is(status('/api/history?metric=total_connections&since=800d&until=500d'),
		200, 'a span before the history is answered with 200');
	is( scalar @{
			get_json($port, '/api/history?metric=total_connections&since=800d&until=500d')
			  ->{points}
		},
		0,
		'a span before the history has no points');

	foreach my $path (
		'/api/history?metric=total_connections&since=60s&since=90s',
		'/api/history?metric=total_connections&metric=total_connections',
		'/api/load?at=a&at=b',
		'/api/load?until=1s&since=60s&until',
		'/api/status?at=1&at=1',
		'/metrics?since=1&since=2',
		'/health/database?at=1&%61t=1')
	{
		my $answer = get($port, $path);
		is($answer->{status}, 400, "$path, which repeats an argument, is refused");
		like(
			$answer->{content},
			qr/metric, at, since and until must be given at most once each/,
			"the answer to $path names the mistake");
	}
	my $of_load = 'the arguments of this path are at, since and until';
	my $of_history = 'the arguments of this path are metric, since and until';
	my %refused = (
		'/api/load?Since=1h' => $of_load,
		'/api/load?since=1h&metric' => $of_load,
		'/api/history?metric=total_connections&%53ince=1h' => $of_history,
		'/api/history?metric=total_connections&at=1h' => $of_history,
		'/api/history?x=1' => $of_history,
		map { $_ => 'this path has no arguments' }
		  qw(/api/status?since=1h /api/pools?at=5m /api/alerts?until=5m
		  /api/incidents?metric=total_connections /api/pgbouncer?x));
	foreach my $path (sort keys %refused)
	{
		my $answer = get($port, $path);
		is($answer->{status}, 400, "$path, which has a wrong argument, is refused");
		is( $answer->{content},
			qq({"error":"$refused{$path}"}\n),
			"the answer to $path names the arguments of the path");
	}
	my %encoded_zero = (
		'/metrics%00x' => 404,
		'/health/database%00' => 404,
		'/api/status?%00' => 400,
		'/api/load?since%00=5m' => 400,
		'/api/load?at=5m%00' => 400,
		'/api/history?metric=total_connections%00' => 400,
		'/api/history?metric=total%5Fconnections%00x' => 400,
		'/api/history?metric=total_connections&since=5m%00' => 400,
		'/api/history?metric=total_connections&until=5m%00&since=10m' => 400);
	is(status($_), $encoded_zero{$_}, "$_, which has an encoded zero byte, is refused")
	  foreach sort keys %encoded_zero;
	is(status('/api/history?metric=total%5Fconnections&sinc%65=5%6d'),
		200, 'other encoded bytes are decoded');
	foreach my $path ('/api/load?until=2d', '/api/history?metric=total_connections&until=2d')
	{
		like(
			get($port, $path)->{content},
			qr/^\{"error":"until is before the default of since, an hour ago"\}/,
			"the answer to $path does not blame an argument that was not given");
	}
	is(status($_), 200, "$_ is served, because its path ignores arguments")
	  foreach '/metrics?match=a&match=b', '/metrics?since=1h', '/health/database?probe=1', '/?x=1';
	is(status($_), 200, "$_, which has no argument, is served")
	  foreach '/api/status?', '/api/load?&since=1h&';
	like(
		raw($port, "GET /health/database HTTP/1.1\r\nConnection: close\r\n\r\n"),
		qr{^HTTP/1\.1 400 },
		'a request of HTTP/1.1 without Host is refused');
	like(
		raw($port, "GET /health/database HTTP/1.0\r\n\r\n"),
		qr{^HTTP/1\.[01] 200 },
		'a request of HTTP/1.0 without Host is answered');
	like(
		raw($port,
			"GET $_ HTTP/1.1\r\nHost: 127.0.0.1\r\nhost: evil.example\r\nConnection: close\r\n\r\n"
		),
		qr{^HTTP/1\.1 400 },
		"a request for $_ with two Host headers is refused"
	) foreach '/health/database', '/metrics', '/nothing';
	like(
		raw($port, "GET /health/database HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
		qr{^HTTP/1\.[01] 400 },
		'a request of HTTP/1.0 with the same Host twice is refused');
	is(status("/api/history?metric=total_connections&since=$_"),
		200, "/api/history accepts since=$_")
	  foreach '5m', '1h', '366d', time - 60, '2026-01-02T03:04:05Z', '2026-01-02T03:04:05.678',
	  '2026-01-02T03:04:05+00:00', '2026-01-02T03:04:05.678901%2B00:00';

	foreach (
		my @moments = (
			[ '2026-01-02', '2026-01-02T00:00:00' ],
			[ '2026-01-02T03:04', '2026-01-02T03:04:00' ],
			[ '2026-01-02T03:04Z', '2026-01-02T03:04:00' ]))
	{
		my ($short, $long) =
		  map { get_json($port, "/api/history?metric=total_connections&since=$_")->{since} // '' }
		  @$_;
		is($short, $long, "since $_->[0] is since $_->[1] UTC");
		isnt($short, '', "/api/history accepts since=$_->[0]");
	}
	cmp_ok(
		scalar @{ get_json($port, '/api/history?metric=total_connections&since=366d')->{points} },
		'<=', 601, '/api/history has no more points than a chart shows');
	leave($session);
};

subtest 'HTTP answers while no connection slot is free' => sub {
	no_session() or die 'sessions do not end';
	my @sessions = map { session($node, 'holder', dbname => 'postgres') } 1 .. 20;
	my $full = get($port, '/health/database');
	is($full->{status}, 503, 'health is 503 while no slot is free');
	like(
		$full->{content},
		pattern(
			'"error":"no connection slot is left for an ordinary role:',
			'20 of 17 usable slots are taken"'),
		'the error of health counts the slots in use');
	my $before = metric($port, 'connections_rejected_total', 'too_many|reserved');
	my $refused_since = time;
	foreach (1 .. 5)
	{
		ok(!connects($node->connstr('postgres')), 'psql is refused');
	}
	is(metric($port, 'connections_rejected_total', 'too_many|reserved') - $before,
		5, 'refusals are counted at once');
	is(metric($port, 'connections', 'state="idle"'), 20, '/metrics counts the idle sessions');
	is(metric($port, 'pool_connections'), 20, '/metrics counts the sessions of all pools');
	ok( poll_http(
			$port,
			'/metrics',
			sub {
				$_[0]{content} =~
				  /^connpool_pool_connections\{[^}]*application="holder",state="idle"\} 20$/m;
			}),
		'the pool of the idle sessions has a series of its own');
	leave($_) foreach @sessions;
	ok(no_session(), 'the sessions have ended');
	my $status = status('/health/database');
  SKIP:
	{
		skip 'no refusal is recent on this slow machine', 1 if time - $refused_since > 8;
		is($status, 503, 'health is 503 after a recent refusal');
	}
	is( metric($port, 'pool_queries_total'),
		metric($port, 'queries_total'),
		'the statements of the pools add up to those of the databases');
};

sub counters
{
	my $text = get($port, '/metrics')->{content};
	return {
		map {
			my $family = $_;
			my $of = series($text, $family);
			map { ("$family$_" => $of->{$_}) } keys %$of
		  } qw(queries_total pool_queries_total query_errors_total connections_opened_total
		  connections_closed_total errors_total)
	};
}

sub sql_queries
{
	return sql($node, q{SELECT sum(queries) FROM connpool_pools});
}
my $queries;

subtest 'series are bounded and counters do not fall' => sub {
	my ($fell, $most, $last, $jumps) = ('', 0, counters(), 0);
	foreach my $round (1 .. 12)
	{
		$node->safe_psql(
			'postgres',
			join '',
			map { "SET application_name = 'n$round.$_'; " . ('SELECT 1; ' x ($_ * $round)) }
			  1 .. 15);
		my $now = counters();
		foreach my $series (keys %$last)
		{
			# one of the twenty pools that have a series may have lost it to another pool
			next if !exists $now->{$series} && $series =~ /^pool_queries_total/;
			$fell .= "$series fell from $last->{$series} to $now->{$series} "
			  if !exists $now->{$series} || $now->{$series} < $last->{$series};
		}
		my $did =
		  $now->{'queries_total{database="postgres"}'} -
		  $last->{'queries_total{database="postgres"}'};
		my $other = 'pool_queries_total{database="other",role="other",application="other"}';
		$jumps++ if $now->{$other} - $last->{$other} > $did;
		my $named = grep { /^pool_queries_total/ } keys %$now;
		$most = $named if $named > $most;
		$last = $now;
	}
	is($fell, '', 'no counter falls while pools are evicted and change names');
	is($jumps, 0, 'the series of other pools grows by no more than the new statements');
	cmp_ok($most, '<=', 21, 'at most twenty pools and the rest have series');
	is($node->safe_psql('postgres', 'SELECT pools_folded > 100 FROM connpool_info()'),
		't', 'pools were evicted');
	$node->safe_psql('postgres', join '',
		map { "SET application_name = 'one of many $_'; SELECT 1;" } 1 .. 10_000);
	my %applications = map { /application="([^"]*)"/ ? ($1 => 1) : () } split /\n/,
	  get($port, '/metrics')->{content};
	cmp_ok(scalar keys %applications,
		'<=', 21, 'ten thousand names later at most twenty pools and the rest have series');

	$queries = sql_queries();
	is(metric($port, 'queries_total'), $queries + 1, 'queries_total has all statements');
	is( metric($port, 'query_duration_seconds_count'),
		$queries + 1,
		'the histogram has all statements');
	my $sum = series(get($port, '/metrics')->{content}, 'query_duration_seconds_bucket');
	is($sum->{'{le="+Inf"}'}, $queries + 1, 'the last bucket of the histogram has all statements');
};

subtest 'counters continue after a restart' => sub {
	my $other_before =
	  counters()->{'pool_queries_total{database="other",role="other",application="other"}'};
	$node->restart;
	ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'HTTP answers after a restart');
	cmp_ok(metric($port, 'queries_total'), '>=', $queries + 1,
		'counters continue after a restart');
	cmp_ok(
		counters()->{'pool_queries_total{database="other",role="other",application="other"}'},
		'<=',
		$other_before + 100,
		'the series of other pools does not jump with a restart');
	$node->safe_psql('postgres', 'SELECT connpool_reset($$counters$$)');
	cmp_ok(metric($port, 'queries_total'), '<', 5, 'counters start at zero after a reset');
};

subtest 'names that look like others or are not UTF-8 make no series appear twice' => sub {
	$node->safe_psql('postgres', $_)
	  foreach 'CREATE DATABASE other', 'CREATE DATABASE "(other)"', 'CREATE ROLE other LOGIN',
	  q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII'};
	$node->safe_psql('latin', qq{CREATE ROLE "r\xf4le" LOGIN; CREATE ROLE "r\xf5le" LOGIN});
	# the byte E9, and the four characters that represent it
	$node->safe_psql('latin', <<~"SQL");
		CREATE DATABASE "caf\xe9" TEMPLATE template0 ENCODING 'SQL_ASCII';
		CREATE DATABASE "caf\\xe9" TEMPLATE template0 ENCODING 'SQL_ASCII'
		SQL
	$node->safe_psql($_, 'SELECT 1') foreach "caf\xe9", 'caf\xe9';
	$node->safe_psql(
		'other',
		q{SET application_name = other; SELECT 1},
		extra_params => [ '-U', 'other' ]);
	$node->safe_psql('(other)', 'SELECT 1');
	# pools get a series once they have existed for some time
	my @roles = map { $node->background_psql('latin', extra_params => [ '-U', $_ ]) } "r\xf4le",
	  "r\xf5le";
	ok( poll_http(
			$port,
			'/metrics',
			sub { $_[0]{content} =~ /role="r\\\\xf4le"/ && $_[0]{content} =~ /role="r\\\\xf5le"/ }
		),
		'bytes that are not UTF-8 are escaped in a role label');
	leave($_) foreach @roles;
	my %twice;
	$twice{$_}++
	  foreach map { /^(connpool_\S+(?: \S+)*?) \S+$/ ? $1 : () } split /\n/,
	  get($port, '/metrics')->{content};
	is(join(' ', grep { $twice{$_} > 1 } sort keys %twice), '', 'no series appears twice');
	like(get($port, '/metrics')->{content},
		qr/database="caf\\\\xe9"/, 'a byte that is not UTF-8 is escaped in a database label');
	like(get($port, '/metrics')->{content},
		qr/database="caf\\\\\\\\xe9"/, 'a backslash that looks like such an escape is doubled');
	my %listed;
	$listed{ $_->{database} }++ foreach @{ get_json($port, '/api/pools')->{pools} };
	is( join(' ', map { "$_ $listed{$_}" } grep { /^caf/ } sort keys %listed),
		'caf\\\\xe9 1 caf\\xe9 1',
		'JSON distinguishes the two names in the same way');
};

# Crash the server, and suspend its recovery after it has begun to read WAL. Returns the pid of the
# suspended process, or nothing if recovery ended before this process could suspend it.
sub crash_into_recovery
{
	my $victim = session($node, 'victim');
	my $log_before = -s $node->logfile;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my ($startup, $log);

	$node->safe_psql('postgres', <<~'SQL');
		CREATE TABLE big (i int, t text);
		INSERT INTO big SELECT i, repeat('x', 100) FROM generate_series(1, 500000) i;
		DROP TABLE big
		SQL
	kill 'KILL', $victim->query_safe('SELECT pg_backend_pid()');
	wait_until(
		sub {
			($startup) = `pgrep -P $postmaster -f startup` =~ /(\d+)/ unless $startup;
			$log = slurp_file($node->logfile, $log_before);
			return $log =~ /redo starts at/;
		}) or die 'no recovery begins';
	kill 'STOP', $startup if $startup;
	eval { leave($victim) };
	return $startup if $startup && slurp_file($node->logfile, $log_before) !~ /redo done at/;
	kill 'CONT', $startup if $startup;
	poll_http($port, '/health/database', sub { $_[0]{status} == 200 });
	return;
}

subtest 'health is 503 during crash recovery' => sub {
	my $http_before = worker_pid($node, 'http');
	my $startup;
	wait_until(sub { $startup = crash_into_recovery() }) or die 'recovery is too fast to suspend';
	ok( poll_http(
			$port,
			'/health/database',
			sub { $_[0]{status} == 503 && $_[0]{content} =~ /the database system is starting up/ }
		),
		'health is 503 during crash recovery');
	kill 'CONT', $startup;
	ok(poll_http($port, '/health/database', sub { $_[0]{status} == 200 }),
		'health is 200 after crash recovery');
	isnt(worker_pid($node, 'http'), $http_before, 'another worker serves HTTP after a crash');
	cmp_ok(metric($port, 'queries_total'), '<', 20, 'counters start at zero after a crash');
};

subtest 'a port that is in use is reported and taken later' => sub {
	my $second = PostgreSQL::Test::Cluster->new('second');
	$second->init;
	$second->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'connpool_monitor'
connpool_monitor.http_listen = '127.0.0.1:$port'
CONF
	$second->start;
	ok( $second->poll_query_until('postgres', 'SELECT true'),
		'a second server starts though its port is in use');
	my $no_port = 'WARNING:  connpool_monitor: HTTP server is not listening at 127.0.0.1, '
	  . 'port \d+: could not bind to it: Address already in use';
	wait_until(sub { log_count($second, $no_port) });
	is(log_count($second, $no_port), 1, 'the second server logs the port in use once');
	is( $second->safe_psql(
			'postgres',
			q{CREATE EXTENSION connpool_monitor CASCADE; SELECT problem FROM connpool_info()}),
		'the HTTP server is not listening: could not bind to it: Address already in use',
		'connpool_info() reports the port in use');
	$node->stop;
	ok( poll_http(
			$port, '/api/status',
			sub { $_[0]{status} == 200 && $_[0]{content} =~ /"state":"running"/ }),
		'the second server listens when the port is free');
	$second->stop;
	$node->start;
};

subtest 'a standby answers in recovery' => sub {
	my $standby_port = http_port();
	my $primary = new_node(
		'primary',
		"connpool_monitor.http_listen = '127.0.0.1:$standby_port'",
		allows_streaming => 1);
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	my $other_port = http_port();
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf',
		"connpool_monitor.http_listen = '127.0.0.1:$other_port'");
	$standby->start;
	ok(poll_http($other_port, '/api/status', sub { $_[0]{content} =~ /"state":"standby"/ }),
		'a standby answers that it is one');
	is(metric($other_port, 'in_recovery') . metric($standby_port, 'in_recovery'),
		'10', 'in_recovery is 1 for the standby and 0 for the primary');
	$standby->stop;
	$standby->append_conf('postgresql.conf', 'hot_standby = off');
	PostgreSQL::Test::Utils::system_log('pg_ctl', '-W', '-D', $standby->data_dir, '-l',
		$standby->logfile, 'start');
	ok( poll_http(
			$other_port, '/health/database',
			sub { $_[0]{status} == 503 && $_[0]{content} =~ /starting up/ }),
		'health is 503 on a standby without hot_standby');
	is(get($other_port, $_)->{status}, 503, "$_ is 503 on a standby without hot_standby")
	  foreach '/metrics', '/api/status', '/api/history?metric=total_connections';
	is(get($other_port, '/')->{status}, 200,
		'the page is served on a standby without hot_standby');
	PostgreSQL::Test::Utils::system_log('pg_ctl', '-D', $standby->data_dir, '-m', 'immediate',
		'stop');
	$primary->stop;
};

my $file = $node->data_dir . '/token';

sub write_token
{
	my ($token, $mode) = @_;
	unlink $file;
	append_to_file($file, $token);
	chmod $mode // 0600, $file;
	return;
}

# Reload the configuration and assert that the server logs the pattern.
sub reload_logs
{
	my ($pattern, $name) = @_;
	my $offset = -s $node->logfile;
	$node->reload;
	ok(wait_until(sub { log_count($node, $pattern, $offset) }), $name);
	return;
}

subtest 'requests need the token of http_token_file' => sub {
	write_token("first-secret\n");
	$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
	$node->reload;
	ok(poll_http($port, '/metrics', sub { $_[0]{status} == 401 }),
		'/metrics is 401 without the token');
	is( header('www-authenticate', '/metrics'),
		'Bearer realm="connpool_monitor"',
		'a refused request is asked for a bearer token');
	is_deeply(
		get($port, '/')->{headers}{'www-authenticate'},
		[ 'Bearer realm="connpool_monitor"', 'Basic realm="connpool_monitor"' ],
		'a browser is asked for a password too');
	is(status($_), 401, "$_ is 401 without the token")
	  foreach '/', '/api/status', '/api/history?metric=total_connections', '/nothing';
	is(status('/metrics', method => 'POST'),
		401, 'a method that is not allowed is 401 without the token');
	is(status('/health/database'), 200, 'health is served without the token');
	is(status('/metrics', Authorization => "Bearer $_"),
		401, "/metrics is 401 with the token '$_'")
	  foreach '', 'first', 'first-secret2', 'FIRST-SECRET', 'x' x 400;
	# Requests without the token have an allowance of their own, and health is not limited. So a
	# flood without the token affects neither requests with it nor probes of health.
	{
		my $refusals = flood($port, '/metrics', 5 => 400);
		like($refusals, qr{^HTTP/1\.1 401 }m, 'a flood without the token is refused');
		like(
			$refusals,
			qr{^HTTP/1\.1 429 }m,
			'a flood without the token exhausts its own allowance');
		like(
			raw($port,
				"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
				  . "Authorization: Bearer first-secret\r\nConnection: close\r\n\r\n"),
			qr{^HTTP/1\.1 200 },
			'a request with the token is answered during the flood');
		my $healthy = () = flood($port, '/health/database', 5 => 600) =~ m{^HTTP/1\.1 200 }mg;
		is($healthy, 5 * 601, 'thousands of probes are answered');
	}
	is(status('/metrics', Authorization => 'Bearer first-secret'),
		200, '/metrics is 200 with the token');
	is(status('/', Authorization => 'Basic ' . 'YW55Ym9keTpmaXJzdC1zZWNyZXQ='),
		200, 'the page is 200 with the token as password');
	is(status('/', Authorization => 'Basic !!!'), 401, 'the page is 401 with invalid credentials');
	is(status('/metrics', Authorization => 'Bearer first-secret', Host => 'metrics.example'),
		200, 'any Host is served with the token');
	write_token('second-secret');
	$node->reload;
	ok( poll_http(
			$port, '/metrics',
			sub { $_[0]{status} == 200 }, Authorization => 'Bearer second-secret'),
		'a new token is in force after a reload');
	is(status('/metrics', Authorization => 'Bearer first-secret'),
		401, 'the previous token is refused');

	foreach my $mode (0400, 0700)
	{
		write_token("secret-$mode", $mode);
		$node->reload;
		ok( poll_http(
				$port, '/metrics',
				sub { $_[0]{status} == 200 }, Authorization => "Bearer secret-$mode"),
			sprintf 'a token file of mode %04o is accepted',
			$mode);
	}
	foreach my $mode (0640, 0604, 0601)
	{
		write_token('third-secret', $mode);
		reload_logs(
			q{WARNING:  connpool_monitor: the file of http_token_file cannot be used: it must }
			  . q{belong to the server's owner, who alone may have access},
			sprintf 'a token file of mode %04o is reported',
			$mode);
	}
	my $refused = q{the file of http_token_file cannot be used: it must belong to the server's }
	  . 'owner, who alone may have access (mode 0600)';
	is($node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
		$refused, 'connpool_info() reports a token file that is refused while HTTP is served');
	write_token('second-secret');
	$node->reload;
	ok( poll_http(
			$port, '/metrics',
			sub { $_[0]{status} == 200 }, Authorization => 'Bearer second-secret'),
		'a token file that was refused is read again after a reload');
	is($node->safe_psql('postgres', 'SELECT problem IS NULL FROM connpool_info()'),
		't', 'connpool_info() reports no problem when the token file is used again');
	unlink $file;
	reload_logs('cannot be used: No such file', 'a token file that disappears is reported');
	is(status('/metrics', Authorization => 'Bearer second-secret'),
		200, 'the last token stays in force after its file has disappeared');
	write_token("two words");
	reload_logs('a token is one line', 'a token of two words is reported');

	foreach my $rest ("x\n", "\nmore\n", "\n" x 50 . 'more')
	{
		write_token('x' x 255 . $rest);
		reload_logs('cannot be used: it has more than 255 bytes',
			'a token file with ' . length($rest) . ' bytes after 255 bytes is reported');
		is(status('/metrics', Authorization => 'Bearer ' . 'x' x 255),
			401, 'the first 255 bytes of a longer file are no token');
	}
	write_token('x' x 255 . "\r\n");
	$node->reload;
	ok( poll_http(
			$port, '/metrics',
			sub { $_[0]{status} == 200 }, Authorization => 'Bearer ' . 'x' x 255),
		'a token may have 255 bytes');
	unlike(slurp_file($node->logfile), qr/-secret/, 'the log has no token');
};

subtest 'an address that other machines reach needs a token' => sub {
	unlink $file;
	$node->append_conf('postgresql.conf', "connpool_monitor.http_listen = '*:$port'");
	$node->restart;
	my $no_token = 'HTTP server is not listening at \*, port \d+: '
	  . 'an address that other machines reach needs a token';
	wait_until(sub { log_count($node, $no_token) });
	is(log_count($node, $no_token), 1, 'the server logs once that the address needs a token');
	like(
		$node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
		qr/^the HTTP server is not listening: an address that .* needs a token: .*; the file of/,
		'connpool_info() reports that a token is needed, and why its file is not used');
	is(status('/health/database'), 599, 'nothing listens without a token');
	write_token('fourth-secret');
	$node->reload;
	ok( poll_http(
			$port, '/metrics',
			sub { $_[0]{status} == 200 }, Authorization => 'Bearer fourth-secret'),
		'HTTP is served with a token');
	like(
		flood($port, '/metrics', 5 => 400),
		qr{^HTTP/1\.1 429 }m,
		'an IPv4 address exhausts its rate on an IPv6 socket');
	my $other =
	  IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port, LocalHost => '127.0.0.2');
	$other->syswrite("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	like(scalar(<$other>), qr{^HTTP/1\.1 401 }, 'another IPv4 address has its own rate');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET connpool_monitor.http_token_file');
	$node->reload;
	ok(poll_http($port, '/health/database', sub { $_[0]{status} == 599 }),
		'nothing listens after the token was removed');
};

subtest 'with http_listen = * a port that is in use for IPv6 alone is reported' => sub {
	my $taken = IO::Socket::IP->new(
		Family => AF_INET6,
		LocalHost => '::',
		LocalPort => $port,
		V6Only => 1,
		ReuseAddr => 1,
		Listen => 1) or plan skip_all => "no IPv6: $@";
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
	$node->restart;
	ok(wait_until(sub { log_count($node, 'HTTP server is (not )?listening at \*', $offset) }),
		'the worker has tried to listen');
	is( $node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
		'the HTTP server is not listening: could not bind to it: Address already in use',
		'connpool_info() reports the port that is in use for IPv6');
	is(status('/health/database'), 599, 'the worker does not listen on IPv4 alone');
	close $taken;
	ok(poll_http($port, '/health/database', sub { $_[0]{status} == 200 }),
		'the worker listens when the port is free');
};

subtest 'invalid values of http_listen are refused' => sub {
	foreach my $bad (
		'127.0.0.1', ':9188', '127.0.0.1:', '127.0.0.1:0',
		'127.0.0.1:70000', '127.0.0.1:http', 'db.example:9188', '::1:9188',
		'[::1]9188', '1.2.3:80', '127.0.0.1:9188 ')
	{
		my ($status, $out, $err) =
		  $node->psql('postgres', "ALTER SYSTEM SET connpool_monitor.http_listen = '$bad'");
		like(
			$err,
			qr/invalid value for parameter "connpool_monitor.http_listen"/,
			"'$bad' is refused");
	}
};
$node->stop;

subtest 'connpool_metrics() works without HTTP and needs a privilege' => sub {
	$node->append_conf('postgresql.conf', "connpool_monitor.http_listen = ''");
	$node->start;
	is($node->safe_psql('postgres', 'SELECT connpool_metrics() ~ $$connpool_build_info$$'),
		't', 'connpool_metrics() returns metrics without HTTP');
	my ($ret, $stdout, $stderr) =
	  $node->psql('postgres', 'SELECT connpool_metrics()', extra_params => [ '-U', 'plain' ]);
	like(
		$stderr,
		qr/permission denied for function connpool_metrics/,
		'connpool_metrics() is refused to a role without the privilege');
	is(worker_pid($node, 'http'), 0, 'no worker runs without http_listen');
};
$node->stop;

done_testing();
