# SPDX-License-Identifier: PostgreSQL
# HTTP: what is served, to whom, and what happens to it when the server is full, starting,
# recovering, a standby; a token; counters that never fall.
# scripts/test: slow, 28 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use JSON::PP;
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

# What is where.
is(get($port, $_)->{status}, 200, "$_ is there")
  foreach qw(/ /metrics /health/database /api/status /api/pools /api/alerts /api/pgbouncer);
my $health = get_json($port, '/health/database');
is($health->{database}{status}, 'healthy', 'health');
is("$health->{pool}{active} $health->{pool}{total}", '0 0', 'asking takes no connection');
is($health->{database}{stats}{maxConnections}, 20, 'and is that of SQL');
is( header('content-type', '/metrics'),
	'text/plain; version=0.0.4; charset=utf-8',
	'Prometheus text');
is(header('content-type', '/health/database'), 'application/json; charset=utf-8', 'JSON');
my %openmetrics = (Accept =>
	  'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1');
is( header('content-type', '/metrics', %openmetrics),
	'application/openmetrics-text; version=1.0.0; charset=utf-8',
	'OpenMetrics when asked for');
is( header(
		'content-type', '/metrics',
		Accept => 'application/openmetrics-text;q=0.1,text/plain;q=0.9'),
	'text/plain; version=0.0.4; charset=utf-8',
	'but not when the other is preferred');
is( header('content-type', '/metrics', Accept => 'application/openmetrics-text;q=0'),
	'text/plain; version=0.0.4; charset=utf-8',
	'nor when it is refused');
my $text = get($port, '/metrics', %openmetrics)->{content};
like($text, qr/\n# EOF\n\z/, 'with its end');
like($text, qr/^# TYPE connpool_queries counter$/m, 'families of counters without _total');
like($text, qr/^connpool_queries_total\{database="postgres"\} \d+$/m, 'their samples with it');
unlike(get($port, '/metrics')->{content}, qr/# EOF/, 'which the other has not');
like(
	get($port, '/metrics')->{content},
	qr/^# TYPE connpool_queries_total counter$/m,
	'where the family has it too');

# Methods, and what is not there.
my $head = get($port, '/metrics', method => 'HEAD');
ok( $head->{success}
	  && ($head->{content} // '') eq ''
	  && $head->{headers}{'content-length'} > 1000,
	'HEAD has headers and no body');
is(status('/metrics', method => $_), 405, "$_ is refused")
  foreach qw(POST PUT DELETE OPTIONS PATCH);
is(header('allow', '/', method => 'POST'), 'GET, HEAD', 'with what is allowed');
is(status($_), 404, "$_ is not there")
  foreach '/nothing', '/api', '/api/status/', '/metrics/../etc/passwd', '//';
like(
	raw($port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " . ('x' x 40_000) . "\r\n\r\n"),
	qr{^HTTP/1\.\d 431 },
	'headers that are too large');
like(
	raw($port, 'GET /' . ('x' x 40_000) . " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
	qr{^HTTP/1\.\d 4(14|31) },
	'a line that is too long');
is(status('/metrics', Host => 'evil.example:80'), 403, 'a name that leads here is no address');
is(status('/health/database', Host => 'db.example'),
	200, 'health is told by any name, for it has nothing but numbers');
is(status('/metrics', Host => $_), 200, "$_ is") foreach 'localhost', "127.0.0.1:$port", '[::1]:1';
my $page = get($port, '/');
my ($nonce) = ($page->{headers}{'content-security-policy'} // '') =~
  /^default-src 'none'; style-src 'nonce-([0-9a-f]{32})'; script-src 'nonce-\1'; /;
ok($nonce && $page->{content} =~ /<script[^>]* nonce="$nonce"/,
	'the page has a policy and its nonce');
unlike(
	$page->{content},
	qr/\{\{nonce\}\}|https?:\/\/(?!www\.w3\.org)/,
	'and asks nothing of anybody else');
isnt(
	header('content-security-policy', '/'),
	$page->{headers}{'content-security-policy'},
	'each time another');

# Many requests on one connection, and without waiting for answers.
my $several = raw($port,
		"GET /health/database HTTP/1.1\r\nHost: localhost\r\n\r\n" x 5
	  . "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
is( scalar(() = $several =~ m{^HTTP/1\.1 200 }mg) . ' '
	  . scalar(() = $several =~ m{^HTTP/1\.1 404 }mg),
	'5 1',
	'pipelined requests');
like(raw($port, "GET /metrics HTTP/1.0\r\n\r\n", half_close => 1),
	qr/connpool_build_info/, 'HTTP/1.0, half closed');

# The rate, of all together; probes have their own.
my ($answers, $part) = ('', '');
foreach (1 .. 10)
{
	my $socket = http_connect($port);
	$socket->syswrite("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" x 400
		  . "GET /health/database HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	$answers .= $part while $socket->sysread($part, 65536);
}
my $refused = () = $answers =~ m{^HTTP/1\.1 429 }mg;
ok($refused >= 500, "more than a thousand at once are refused ($refused of 4000)");
my $answered = () = $answers =~ m{^HTTP/1\.1 404 }mg;
ok($answered >= 900, "and a thousand are not ($answered)");
like($answers, qr/Retry-After: 1/, 'and told when to come back');
like($answers, qr{.*HTTP/1\.1 200 .*"status":"healthy"}s, 'health is still told');
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'a second later all is well');

# Documents agree with SQL.
my $state = get_json($port, '/api/status');
is($state->{state} . ' ' . ($state->{serverVersion} =~ /^(\d+)/)[0],
	'running ' . int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000), 'status');
is_deeply(
	[ map { $_->{name} } @{ $state->{metrics} } ],
	[ split /\n/, $node->safe_psql('postgres', 'SELECT metric_name FROM get_connection_stats()') ],
	'metrics are those of SQL');
is_deeply(
	[ map { $_->{reason} } @{ $state->{refusals} } ],
	[ split /\n/, $node->safe_psql('postgres', 'SELECT reason FROM connpool_rejections') ],
	'so are the reasons of refusals');
my $session = session($node, "it''s \"<b>\\ü");
my ($pool) = grep { $_->{connections} == 1 } @{ get_json($port, '/api/pools')->{pools} };
is($pool->{application}, $node->safe_psql('postgres', <<~'SQL'), 'a name in JSON');
		SELECT application_name
		FROM connpool_pools
		WHERE connections = 1 AND application_name NOT LIKE '%.pl'
		SQL
is( "$pool->{database} $pool->{role} $pool->{idle}",
	'postgres ' . $node->safe_psql('postgres', 'SELECT current_user') . ' 1',
	'and the rest of its pool');
ok(poll_http($port, '/metrics', sub { $_[0]{content} =~ /application="it's \\"<b>\\\\/ }),
	'quotes and backslashes are escaped in labels');
wait_samples($node, 5);
my $history = get_json($port, '/api/history?metric=total_connections&since=60s');
ok( @{ $history->{points} } >= 5
	  && $history->{points}[-1][2] >= 1
	  && $history->{unit} eq 'connections',
	'history') or diag(JSON::PP->new->encode($history));
is(abs($history->{points}[-1][0] / 1000 - time) < 5, 1, 'of now');
is(status("/api/history?metric=$_"), 400, "history of $_")
  foreach 'nothing', '', 'total_connections&since=yesterday', 'total_connections&since=-5',
  'total_connections&since=2026-02-30T00:00:00Z', 'total_connections&since=2026-02-30',
  'total_connections&since=2026-02', 'total_connections&since=2026-02-03T',
  'total_connections&since=2026-02-03T03', 'total_connections&since=2026-02-03T03:',
  'total_connections&since=2026-02-03T03:04:',
  'total_connections&since=2026-02-03T00:00:00%2B01:00', 'total_connections&since=0s&until=1h',
  'total_connections&since=1e300d';
is(status('/api/history?metric=total_connections&since=800d&until=500d'),
	200, 'a span before the history is answered with 200');
is( scalar
	  @{ get_json($port, '/api/history?metric=total_connections&since=800d&until=500d')->{points}
	  },
	0,
	'a span before the history has no points');
like(
	raw($port, "GET /health/database HTTP/1.1\r\nConnection: close\r\n\r\n"),
	qr{^HTTP/1\.1 400 },
	'a request of HTTP/1.1 without Host is refused');
like(
	raw($port, "GET /health/database HTTP/1.0\r\n\r\n"),
	qr{^HTTP/1\.[01] 200 },
	'one of HTTP/1.0 is answered');
like(
	raw($port,
		"GET $_ HTTP/1.1\r\nHost: 127.0.0.1\r\nhost: evil.example\r\nConnection: close\r\n\r\n"),
	qr{^HTTP/1\.1 400 },
	"a request for $_ with two Host headers is refused"
) foreach '/health/database', '/metrics', '/nothing';
like(
	raw($port, "GET /health/database HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
	qr{^HTTP/1\.[01] 400 },
	'also by HTTP/1.0 and for one name twice');
is(status("/api/history?metric=total_connections&since=$_"), 200, "since $_")
  foreach '5m', '1h', '366d', time - 60, '2026-01-02T03:04:05Z', '2026-01-02T03:04:05.678',
  '2026-01-02T03:04:05+00:00', '2026-01-02T03:04:05.678901%2B00:00';

foreach (
	my @moments = (
		[ '2026-01-02', '2026-01-02T00:00:00' ],
		[ '2026-01-02T03:04', '2026-01-02T03:04:00' ],
		[ '2026-01-02T03:04Z', '2026-01-02T03:04:00' ]))
{
	my ($short, $long) =
	  map { get_json($port, "/api/history?metric=total_connections&since=$_")->{since} // '' } @$_;
	is($short, $long, "since $_->[0] is since $_->[1] UTC");
	isnt($short, '', 'which is answered');
}
cmp_ok(scalar @{ get_json($port, '/api/history?metric=total_connections&since=366d')->{points} },
	'<=', 601, 'no more points than a chart can show');
leave($session);

# Full, for ordinary roles and for superusers: psql is refused, HTTP is not.
my @sessions = map { session($node, 'holder', dbname => 'postgres') } 1 .. 20;
my $full = get($port, '/health/database');
is($full->{status}, 503, 'no slot is left: 503');
like(
	$full->{content},
	qr/"error":"no connection slot is left for an ordinary role: 20 of 17 usable slots are taken"/,
	'which is said');
my $before = metric($port, 'connections_rejected_total', 'too_many|reserved');
foreach (1 .. 5)
{
	ok(!connects($node->connstr('postgres')), 'refused');
}
is(metric($port, 'connections_rejected_total', 'too_many|reserved') - $before,
	5, 'refusals are counted as they happen');
is(metric($port, 'connections', 'state="idle"'), 20, 'who holds them');
is(metric($port, 'pool_connections'), 20, 'pools have them all');
ok( poll_http(
		$port,
		'/metrics',
		sub {
			$_[0]{content} =~
			  /^connpool_pool_connections\{[^}]*application="holder",state="idle"\} 20$/m;
		}),
	'and so has one series, once its pool has lasted');
leave($_) foreach @sessions;
ok(poll_http($port, '/health/database', sub { $_[0]{content} =~ /"totalConnections":0/ }),
	'they are gone');
is(status('/health/database'), 503, 'somebody was refused just now: still 503');

is( metric($port, 'pool_queries_total'),
	metric($port, 'queries_total'),
	'the sum over a few pools is that over databases');

# Series are bounded whatever clients call themselves, and counters never fall.
sub counters
{
	my $text = get($port, '/metrics')->{content};
	return {
		map {
			my $family = $_;
			my $of = series($text, $family);
			map { ("$family$_" => $of->{$_}) } keys %$of
		} qw(queries_total pool_queries_total query_errors_total connections_opened_total connections_closed_total errors_total)
	};
}
my ($fell, $most, $last, $jumps) = ('', 0, counters(), 0);
foreach my $round (1 .. 12)
{
	$node->safe_psql('postgres', join '',
		map { "SET application_name = 'n$round.$_'; " . ('SELECT 1; ' x ($_ * $round)) } 1 .. 15);
	my $now = counters();
	foreach my $series (keys %$last)
	{
		# one of the twenty named pools may have lost its name
		next if !exists $now->{$series} && $series =~ /^pool_queries_total/;
		$fell .= "$series fell from $last->{$series} to $now->{$series} "
		  if !exists $now->{$series} || $now->{$series} < $last->{$series};
	}
	my $did =
	  $now->{'queries_total{database="postgres"}'} - $last->{'queries_total{database="postgres"}'};
	my $other = 'pool_queries_total{database="other",role="other",application="other"}';
	$jumps++ if $now->{$other} - $last->{$other} > $did;
	my $named = grep { /^pool_queries_total/ } keys %$now;
	$most = $named if $named > $most;
	$last = $now;
}
is($fell, '', 'no counter fell while pools were folded and changed names');
is($jumps, 0, 'nor did what is called other grow by more than what was done');
cmp_ok($most, '<=', 21, 'no more than twenty pools have series, and the others one');
is($node->safe_psql('postgres', 'SELECT pools_folded > 100 FROM connpool_info()'),
	't', 'pools were folded');
$node->safe_psql('postgres', join '',
	map { "SET application_name = 'one of many $_'; SELECT 1;" } 1 .. 10_000);
my %applications = map { /application="([^"]*)"/ ? ($1 => 1) : () } split /\n/,
  get($port, '/metrics')->{content};
cmp_ok(scalar keys %applications,
	'<=', 21, 'ten thousand names later twenty pools have series, and the others one');

sub sql_queries
{
	return $node->safe_psql('postgres', q{SELECT sum(queries) FROM connpool_pools});
}
my $queries = sql_queries();
is(metric($port, 'queries_total'), $queries + 1, 'all statements');
is(metric($port, 'query_duration_seconds_count'), $queries + 1, 'and in the histogram');
my $sum = series(get($port, '/metrics')->{content}, 'query_duration_seconds_bucket');
is($sum->{'{le="+Inf"}'}, $queries + 1, 'whose last bucket has all');

# A restart in good order goes on; after a crash counters begin anew, so that none falls by a little.
my $other_before =
  counters()->{'pool_queries_total{database="other",role="other",application="other"}'};
$node->restart;
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 200 }), 'it is there after a restart');
cmp_ok(metric($port, 'queries_total'), '>=', $queries + 1, 'counters go on');
cmp_ok(
	counters()->{'pool_queries_total{database="other",role="other",application="other"}'},
	'<=',
	$other_before + 100,
	'and what is called other did not jump');
$node->safe_psql('postgres', 'CREATE TABLE big (i int, t text)');
$node->safe_psql('postgres',
	'INSERT INTO big SELECT i, repeat($$x$$, 100) FROM generate_series(1, 1500000) i');
$node->safe_psql('postgres', 'SELECT connpool_reset($$counters$$)');
is(metric($port, 'queries_total') < 5, 1, 'a reset begins anew');

# Names that could be taken for others', or are no UTF-8, make no series twice.
$node->safe_psql('postgres', $_)
  foreach 'CREATE DATABASE other', 'CREATE DATABASE "(other)"', 'CREATE ROLE other LOGIN',
  q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII'};
$node->safe_psql('latin', qq{CREATE ROLE "r\xf4le" LOGIN; CREATE ROLE "r\xf5le" LOGIN});
# the byte E9, and the four characters by which it is shown
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
# pools have series once they have lasted
my @roles = map { $node->background_psql('latin', extra_params => [ '-U', $_ ]) } "r\xf4le",
  "r\xf5le";
ok( poll_http(
		$port, '/metrics',
		sub { $_[0]{content} =~ /role="r\\\\xf4le"/ && $_[0]{content} =~ /role="r\\\\xf5le"/ }),
	'bytes that are no character are spelled out');
leave($_) foreach @roles;
my %twice;
$twice{$_}++
  foreach map { /^(connpool_\S+(?: \S+)*?) \S+$/ ? $1 : () } split /\n/,
  get($port, '/metrics')->{content};
is(join(' ', grep { $twice{$_} > 1 } sort keys %twice), '', 'no series is there twice');
like(get($port, '/metrics')->{content},
	qr/database="caf\\\\xe9"/, 'a byte that is not UTF-8 is escaped in a database label');
like(get($port, '/metrics')->{content},
	qr/database="caf\\\\\\\\xe9"/, 'and a backslash that looks like such an escape is doubled');

# In crash recovery: 503, and again there when it is over.
my $victim = session($node, 'victim');
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
my $http_before = worker_pid($node);
my $log_before = -s $node->logfile;
kill 'KILL', $pid;
# recovery is held up while we look, but not before it has begun to read WAL, of which there is enough for us to be in time
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my ($startup, $tries) = (undef, 100 * $PostgreSQL::Test::Utils::timeout_default);
while ($tries--)
{
	($startup) = `pgrep -P $postmaster -f 'startup'` =~ /(\d+)/ unless $startup;
	last if $startup && slurp_file($node->logfile, $log_before) =~ /redo starts at/;
	select undef, undef, undef, 0.01;
}
kill 'STOP', $startup if $startup;
ok( poll_http(
		$port, '/health/database',
		sub { $_[0]{status} == 503 && $_[0]{content} =~ /the database system is starting up/ }),
	'in crash recovery health is 503');
kill 'CONT', $startup if $startup;
ok(poll_http($port, '/health/database', sub { $_[0]{status} == 200 }), 'and 200 after it');
isnt(worker_pid($node), $http_before, 'by another worker');
eval { leave($victim) };
cmp_ok(metric($port, 'queries_total'), '<', 20, 'counters began anew');

# A port that is taken, and one that becomes free.
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init;
$second->append_conf('postgresql.conf',
	"shared_preload_libraries = 'connpool_monitor'\nconnpool_monitor.http_listen = '127.0.0.1:$port'"
);
$second->start;
ok( $second->poll_query_until('postgres', 'SELECT true'),
	'a second server on the same port starts all the same');
my $said = 0;
for (1 .. 200)
{
	$said = log_count($second,
		'WARNING:  connpool_monitor: no HTTP at 127.0.0.1, port \d+: could not bind to it: Address already in use'
	);
	last if $said;
	select undef, undef, undef, 0.05;
}
is($said, 1, 'and says so once');
is( $second->safe_psql(
		'postgres',
		q{CREATE EXTENSION connpool_monitor CASCADE; SELECT problem FROM connpool_info()}),
	'no HTTP: could not bind to it: Address already in use',
	'and in connpool_info()');
$node->stop;
ok( poll_http(
		$port, '/api/status', sub { $_[0]{status} == 200 && $_[0]{content} =~ /"state":"running"/ }
	),
	'and takes the port over when it is free');
$second->stop;
$node->start;

# A standby answers, before it is consistent and when it can be asked.
my $standby_port = http_port();
my $primary = new_node(
	'primary',
	"connpool_monitor.http_listen = '127.0.0.1:$standby_port'",
	allows_streaming => 1);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
my $other_port = http_port();
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "connpool_monitor.http_listen = '127.0.0.1:$other_port'");
$standby->start;
ok(poll_http($other_port, '/api/status', sub { $_[0]{content} =~ /"state":"standby"/ }),
	'a standby answers');
is(metric($other_port, 'in_recovery') . metric($standby_port, 'in_recovery'),
	'10', 'and says that it is one');
$standby->stop;
$standby->append_conf('postgresql.conf', 'hot_standby = off');
PostgreSQL::Test::Utils::system_log('pg_ctl', '-W', '-D', $standby->data_dir, '-l',
	$standby->logfile, 'start');
ok( poll_http(
		$other_port, '/health/database',
		sub { $_[0]{status} == 503 && $_[0]{content} =~ /starting up/ }),
	'one that lets nobody in is 503');
is(get($other_port, $_)->{status}, 503, "so is $_")
  foreach '/metrics', '/api/status', '/api/history?metric=total_connections';
is(get($other_port, '/')->{status}, 200, 'the page is there to show it');
PostgreSQL::Test::Utils::system_log('pg_ctl', '-D', $standby->data_dir, '-m', 'immediate', 'stop');
$primary->stop;

# A token.
my $file = $node->data_dir . '/token';

sub write_token
{
	my ($token, $mode) = @_;
	unlink $file;
	append_to_file($file, $token);
	chmod $mode // 0600, $file;
	return;
}

sub reload_says
{
	my ($pattern, $name) = @_;
	my $offset = -s $node->logfile;
	$node->reload;
	my $found = 0;
	for (1 .. 200)
	{
		$found = log_count($node, $pattern, $offset);
		last if $found;
		select undef, undef, undef, 0.05;
	}
	ok($found, $name);
	return;
}
write_token("first-secret\n");
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
$node->reload;
ok(poll_http($port, '/metrics', sub { $_[0]{status} == 401 }), 'without the token: 401');
is( header('www-authenticate', '/metrics'),
	'Bearer realm="connpool_monitor"',
	'with what is asked for');
is_deeply(
	get($port, '/')->{headers}{'www-authenticate'},
	[ 'Bearer realm="connpool_monitor"', 'Basic realm="connpool_monitor"' ],
	'and of a browser for a password');
is(status($_), 401, "$_ too")
  foreach '/', '/api/status', '/api/history?metric=total_connections', '/nothing';
is(status('/metrics', method => 'POST'), 401, 'whatever is asked for');
is(status('/health/database'), 200, 'but not health');
is(status('/metrics', Authorization => "Bearer $_"), 401, "not with '$_'")
  foreach '', 'first', 'first-secret2', 'FIRST-SECRET', 'x' x 400;
# Requests without the token use up nothing of those with it, nor of health.
{
	my ($refusals, $chunk) = ('', '');
	foreach (1 .. 5)
	{
		my $socket = http_connect($port);
		$socket->syswrite("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" x 400
			  . "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		$refusals .= $chunk while $socket->sysread($chunk, 65536);
	}
	like($refusals, qr{^HTTP/1\.1 401 }m, 'a flood without the token is refused');
	like($refusals, qr{^HTTP/1\.1 429 }m, 'a flood without the token exhausts its own allowance');
	like(
		raw($port,
			"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer first-secret\r\nConnection: close\r\n\r\n"
		),
		qr{^HTTP/1\.1 200 },
		'meanwhile a request with the token is answered');
	my $probes = '';
	foreach (1 .. 5)
	{
		my $socket = http_connect($port);
		$socket->syswrite("GET /health/database HTTP/1.1\r\nHost: localhost\r\n\r\n" x 600
			  . "GET /health/database HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		$probes .= $chunk while $socket->sysread($chunk, 65536);
	}
	my $healthy = () = $probes =~ m{^HTTP/1\.1 200 }mg;
	is($healthy, 5 * 601, 'every probe of thousands is answered');
}
is(status('/metrics', Authorization => 'Bearer first-secret'), 200, 'with it: 200');
is(status('/', Authorization => 'Basic ' . 'YW55Ym9keTpmaXJzdC1zZWNyZXQ='),
	200, 'and as the password of Basic, for browsers');
is(status('/', Authorization => 'Basic !!!'), 401, 'but not as nonsense');
is(status('/metrics', Authorization => 'Bearer first-secret', Host => 'metrics.example'),
	200, 'names are no matter then');
write_token('second-secret');
$node->reload;
ok( poll_http(
		$port, '/metrics',
		sub { $_[0]{status} == 200 }, Authorization => 'Bearer second-secret'),
	'another token after a reload');
is(status('/metrics', Authorization => 'Bearer first-secret'), 401, 'and the old one is gone');
write_token('third-secret', 0644);
reload_says('WARNING:  connpool_monitor: the file of http_token_file cannot be used: others than',
	'a file that others may read is not used');
unlink $file;
reload_says('cannot be used: No such file', 'one that vanishes neither');
is(status('/metrics', Authorization => 'Bearer second-secret'), 200, 'the last token stays');
write_token("two words");
reload_says('a token is one line', 'nor one that is none');
unlike(slurp_file($node->logfile), qr/-secret/, 'no token is in the log');

# Others than this machine: only with a token.
unlink $file;
$node->append_conf('postgresql.conf', "connpool_monitor.http_listen = '*:$port'");
$node->restart;
for (1 .. 200)
{
	$said = log_count($node,
		'no HTTP at \*, port \d+: an address that other machines reach needs a token');
	last if $said;
	select undef, undef, undef, 0.05;
}
is($said, 1, 'without a token it does not listen to others, and says why');
like(
	$node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
	qr/^no HTTP: an address that other machines reach needs a token/,
	'in connpool_info() too');
is(status('/health/database'), 599, 'not at all');
write_token('fourth-secret');
$node->reload;
ok( poll_http(
		$port, '/metrics',
		sub { $_[0]{status} == 200 }, Authorization => 'Bearer fourth-secret'),
	'with one it does');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET connpool_monitor.http_token_file');
$node->reload;
ok(poll_http($port, '/health/database', sub { $_[0]{status} == 599 }),
	'and no longer when it is taken away');

# The setting.
foreach my $bad (
	'127.0.0.1', ':9188', '127.0.0.1:', '127.0.0.1:0',
	'127.0.0.1:70000', '127.0.0.1:http', 'db.example:9188', '::1:9188',
	'[::1]9188', '1.2.3:80', '127.0.0.1:9188 ')
{
	my ($status, $out, $err) =
	  $node->psql('postgres', "ALTER SYSTEM SET connpool_monitor.http_listen = '$bad'");
	like($err, qr/invalid value for parameter "connpool_monitor.http_listen"/,
		"'$bad' is refused");
}
$node->stop;

# Not for everybody.
$node->append_conf('postgresql.conf', "connpool_monitor.http_listen = ''");
$node->start;
is($node->safe_psql('postgres', 'SELECT connpool_metrics() ~ $$connpool_build_info$$'),
	't', 'the same from SQL, also without HTTP');
my ($ret, $stdout, $stderr) =
  $node->psql('postgres', 'SELECT connpool_metrics()', extra_params => [ '-U', 'plain' ]);
like($stderr, qr/permission denied for function connpool_metrics/, 'but not for everybody');
is(worker_pid($node), 0, 'without http_listen no worker runs');
$node->stop;

done_testing();
