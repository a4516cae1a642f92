# SPDX-License-Identifier: PostgreSQL
# A real Prometheus scrapes a primary, its standby and a server with PgBouncer and a token. The
# values that it stores must agree with SQL, its tools must accept both formats, and the alerts of
# monitoring/ must fire and resolve. Needs Prometheus.
# scripts/test: slow, 33 s
use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

my $user = getpwuid($<);
my $monitoring = "$ENV{TESTDIR}/monitoring";
my $directory = PostgreSQL::Test::Utils::tempdir_short();
my %port =
  map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(prometheus primary standby pooled);
my $json = JSON::PP->new->utf8;
# connect to the loopback address without the proxy that the environment may name
my $http = HTTP::Tiny->new(
	timeout => $PostgreSQL::Test::Utils::timeout_default,
	proxy => undef,
	http_proxy => undef);
my $token = 'only-for-this-test';
my ($prometheus, $pooler, %node);

END
{
	# waitpid() must not change the exit status of the test
	local $?;
	if ($prometheus) { kill 'KILL', $prometheus; waitpid $prometheus, 0; }
	stop_pooler($pooler) if $pooler;
}

sub listening { return "connpool_monitor.http_listen = '127.0.0.1:$port{$_[0]}'\n"; }

sub instance { return "instance=\"127.0.0.1:$port{$_[0]}\""; }

# Call $ask until it returns $wanted. Return its last value.
sub wait_for
{
	my ($wanted, $ask) = @_;
	my $answer;
	wait_until(sub { $answer = $ask->(); return $answer eq $wanted; });
	return $answer;
}

# Return data of Prometheus' HTTP API.
sub api
{
	my ($path, %arguments) = @_;
	my $answer = $http->get("http://127.0.0.1:$port{prometheus}/api/v1/$path?"
		  . $http->www_form_urlencode(\%arguments));

	die "Prometheus: $answer->{status} $answer->{content}" unless $answer->{success};
	return $json->decode($answer->{content})->{data};
}

# Return the current values of a query, sorted, or 'none'.
sub values_of
{
	my ($query) = @_;
	my @values = sort map { $_->{value}[1] } @{ api('query', query => $query)->{result} };

	return @values ? join(',', @values) : 'none';
}

sub values_ok
{
	my ($query, $wanted, $name) = @_;
	return is(wait_for($wanted, sub { values_of($query) }), $wanted, $name);
}

sub alert_ok
{
	my ($labels, $wanted, $name) = @_;
	return values_ok("count(ALERTS{alertstate=\"firing\",$labels})", $wanted, $name);
}

# Assert that an alert with these labels fires, and return it as it was at that time, because it
# may resolve soon.
sub alert_fires
{
	my ($labels, $name) = @_;
	my $alert;
	ok( wait_until(
			sub {
				($alert) = grep {
					my $is = $_;
					$is->{state} eq 'firing'
					  && !grep { ($is->{labels}{$_} // '') ne $labels->{$_} }
					  keys %$labels
				} @{ api('alerts')->{alerts} };
				return defined $alert;
			}),
		$name);
	return $alert;
}

# Return an answer of a server with its metrics.
sub scrape
{
	my ($name, $accept) = @_;
	my $answer = $http->get("http://127.0.0.1:$port{$name}/metrics",
		{ headers => { Authorization => "Bearer $token", $accept ? (Accept => $accept) : () } });

	die "$name: $answer->{status} $answer->{content}" unless $answer->{success};
	return $answer;
}

# Run a program with a text as its input. Return its exit status and output.
sub judge
{
	my ($text, @program) = @_;
	my $said = '';

	IPC::Run::run(\@program, '<', \$text, '>', \$said, '2>&1');
	return ($? >> 8, $said);
}

# the servers; one database has a name that must be quoted in every format
my $odd = "odd \"n\xc3\xa4me\" \\n {a=1}";
$node{primary} =
  new_node('primary', "max_connections = 30\n" . listening('primary'), allows_streaming => 1);
$node{primary}->backup('backup');
$node{standby} = PostgreSQL::Test::Cluster->new('standby');
$node{standby}->init_from_backup($node{primary}, 'backup', has_streaming => 1);
$node{standby}->append_conf('postgresql.conf', listening('standby'));
$node{standby}->start;
$node{pooled} = new_node('pooled', "max_connections = 20\n" . listening('pooled'), stopped => 1);
append_to_file("$directory/token", "$token\n");
append_to_file("$directory/wrong", "not-$token\n");
chmod 0600, "$directory/token" or die;
$pooler = start_pooler($node{pooled});
my $console = 'host=' . $pooler->host . ' port=' . $pooler->port . " user=$user";
$node{pooled}->append_conf('postgresql.conf', <<"CONF");
connpool_monitor.pgbouncer = 'front=$console'
connpool_monitor.pgbouncer_interval = '200ms'
connpool_monitor.http_token_file = '$directory/token'
CONF
$node{pooled}->start;
$node{pooled}->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
$node{pooled}->safe_psql('postgres', 'CREATE DATABASE "' . ($odd =~ s/"/""/gr) . '"');
$node{pooled}->safe_psql('postgres', 'CREATE ROLE plain LOGIN');

# The rules must be valid as they are. A copy has seconds where they have minutes.
my ($status, $said) = judge('', 'promtool', 'check', 'rules',
	map { "$monitoring/$_-rules.yml" } qw(recording alerting));
is($status, 0, 'promtool accepts the rules') or diag($said);
my $rules = 0;
foreach my $file (qw(recording alerting))
{
	my $text = slurp_file("$monitoring/$file-rules.yml");
	$rules += () = $text =~ /^ *- (?:record|alert):/mg;
	$text =~ s/^( *for:) \d+m$/$1 1s/mg;
	$text =~ s/\[5m\]/[10s]/g;
	append_to_file("$directory/$file-rules.yml", $text);
}
append_to_file("$directory/prometheus.yml", <<"YAML");
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [recording-rules.yml, alerting-rules.yml]
scrape_configs:
  - job_name: connpool
    static_configs:
      - targets: ['127.0.0.1:$port{primary}', '127.0.0.1:$port{standby}']
        labels: {cluster: shop}
  - job_name: connpool-token
    authorization: {credentials_file: $directory/token}
    static_configs:
      - {targets: ['127.0.0.1:$port{pooled}']}
  - job_name: wrong
    authorization: {credentials_file: $directory/wrong}
    static_configs:
      - {targets: ['127.0.0.1:$port{pooled}']}
YAML
my $log = "$PostgreSQL::Test::Utils::log_path/032_prometheus_prometheus.log";
$prometheus = fork() // die 'cannot fork';
if ($prometheus == 0)
{
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', $log;
	open STDERR, '>&', \*STDOUT;
	exec 'prometheus', "--config.file=$directory/prometheus.yml",
	  "--storage.tsdb.path=$directory/data",
	  "--web.listen-address=127.0.0.1:$port{prometheus}", '--log.level=warn'
	  or POSIX::_exit(127);
}
is(wait_for('200', sub { $http->get("http://127.0.0.1:$port{prometheus}/-/ready")->{status} }),
	'200', 'Prometheus starts')
  or BAIL_OUT('no Prometheus: ' . slurp_file($log));

values_ok('up{job!="wrong"}', '1,1,1', 'three servers are up');
is( wait_for(
		'up ,up ,up ',
		sub {
			return join ',', map { "$_->{health} $_->{lastError}" }
			  grep { $_->{labels}{job} ne 'wrong' } @{ api('targets')->{activeTargets} };
		}),
	'up ,up ,up ',
	'scrapes of these servers succeed');
is( wait_for(
		'401',
		sub {
			my ($target) =
			  grep { $_->{labels}{job} eq 'wrong' } @{ api('targets')->{activeTargets} };
			return $target->{lastError} =~ /status (\d+)/ ? $1 : $target->{lastError};
		}),
	'401',
	'a scrape with another token is refused');
is( wait_for(
		"$rules ok",
		sub {
			my @all = map { @{ $_->{rules} } } @{ api('rules')->{groups} };
			my @bad = grep { $_->{health} ne 'ok' } @all;
			return @bad
			  ? "$bad[0]{name}: $bad[0]{health} " . ($bad[0]{lastError} // '')
			  : scalar(@all) . ' ok';
		}),
	"$rules ok",
	'every rule is loaded and evaluated');

# A family of counters has no _total in OpenMetrics, so this shows that Prometheus requested it.
is( join(',', sort map { $_->{type} } @{ api('targets/metadata', metric => 'connpool_queries') }),
	'counter,counter,counter',
	'Prometheus scrapes OpenMetrics');
is(scalar @{ api('targets/metadata', metric => 'connpool_queries_total') },
	0, 'Prometheus scrapes no text format');

# Compare values with SQL. Nothing else runs at the primary; a statement counts when it has ended.
my @idle = map { session($node{primary}, "shop_$_") } 1 .. 4;
my $in_sql = <<~'SQL';
	SELECT count(*)
	FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
	SQL
poll_ok($node{primary}, "SELECT ($in_sql) = 4", 'four sessions are open at the primary');
values_ok(
	'sum(connpool_connections{' . instance('primary') . '})',
	'4',
	'connpool_connections counts the four sessions');
values_ok('connpool_connections{database="postgres",state="idle",' . instance('primary') . '}',
	'4', 'connpool_connections counts the four sessions as idle');
values_ok(
	'count(connpool_pool_connections{application=~"shop_.",' . instance('primary') . '} == 1)',
	'4', 'connpool_pool_connections counts one session of each application');
my $queries = $node{primary}->safe_psql('postgres',
	q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'});
values_ok(
	'sum(connpool_queries_total{' . instance('primary') . '})',
	$queries + 1,
	'connpool_queries_total agrees with SQL');
my $failed = 0 + $node{primary}->safe_psql('postgres',
	q{SELECT failed_queries FROM connpool_query_stats WHERE period = 'since_reset'});
$node{primary}->psql('postgres', 'SELECT 1/0') foreach 1 .. 3;
values_ok(
	'sum(connpool_query_errors_total{' . instance('primary') . '})',
	$failed + 3,
	'connpool_query_errors_total counts three more failures');
values_ok(
	'connpool_max_connections{' . instance('primary') . '}',
	$node{primary}->safe_psql('postgres', 'SHOW max_connections'),
	'connpool_max_connections agrees with SQL');

foreach my $name (qw(primary standby pooled))
{
	my $expected = $node{$name}->safe_psql('postgres', 'SELECT pg_is_in_recovery()::int');
	values_ok('connpool_in_recovery{' . instance($name) . '}',
		$expected, "connpool_in_recovery of $name agrees with SQL");
}
values_ok('connpool_in_recovery', '0,0,1', 'connpool_in_recovery is 1 for one server');
values_ok('instance:connpool_connections:sum{' . instance('primary') . '}',
	'4', 'a recording rule has the sum of an instance');
values_ok('cluster:connpool_standbys:count{cluster="shop"}',
	'1', 'a recording rule has the number of standbys of the cluster');
my $sampled = $node{standby}
  ->safe_psql('postgres', q{SELECT extract(epoch FROM last_sample) FROM connpool_info()});
values_ok(
	'connpool_sampler_last_success_timestamp_seconds{' . instance('standby') . "} > bool $sampled",
	'1',
	'the standby takes samples');
$node{pooled}->safe_psql($odd, 'SELECT 1');
is( wait_for(
		$odd,
		sub {
			my ($found) =
			  @{ api('query', query => 'connpool_queries_total{database=~"odd.*"}')->{result} };
			my $name = $found ? $found->{metric}{database} : '';
			utf8::encode($name);
			return $name;
		}),
	$odd,
	'an odd database name is unchanged in Prometheus');

# Let other parsers read both formats of every server. Connect a client to PgBouncer first, so that
# the families of a pooler have samples.
my %session = (in => '', out => '');
my $client =
  IPC::Run::start([ 'psql', '-XAtq', '-h', $pooler->host, '-p', $pooler->port, 'postgres' ],
	'<', \$session{in}, '>', \$session{out}, IPC::Run::timeout(600));
$session{in} .= "BEGIN;\nSELECT 'here';\n";
$client->pump until $session{out} =~ /here/;
values_ok('connpool_pgbouncer_client_connections{database="postgres",state="active"}',
	'1', 'a client of PgBouncer counts as active');
values_ok('connpool_pgbouncer_up{pooler="front"}', '1', 'connpool_pgbouncer_up is 1');

# run by Debian's own Python, because Debian's packages are installed for it
my $parser = <<'PYTHON';
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
read = openmetrics if sys.argv[1] == 'openmetrics' else prometheus
families = list(read(sys.stdin.buffer.read().decode('utf-8')))
count = sum(len(family.samples) for family in families)
print(count, len({family.name for family in families}) - len(families))
PYTHON
foreach my $name (qw(primary standby pooled))
{
	my $plain = scrape($name);
	is( $plain->{headers}{'content-type'},
		'text/plain; version=0.0.4; charset=utf-8',
		"$name: the text format is the default");
	($status, $said) = judge($plain->{content}, 'promtool', 'check', 'metrics');
	is("$status $said", '0 ', "$name: promtool accepts the text format without a remark");
	my $open = scrape($name,
		'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1');
	is( $open->{headers}{'content-type'},
		'application/openmetrics-text; version=1.0.0; charset=utf-8',
		"$name: OpenMetrics is served on request");
	like($open->{content}, qr/[^\n]\n# EOF\n\z/, "$name: OpenMetrics ends with EOF");
	unlike($plain->{content}, qr/# EOF/, "$name: the text format does not end with EOF");

	foreach my $pair ([ 'prometheus', $plain ], [ 'openmetrics', $open ])
	{
		my ($format, $answer) = @$pair;
		my $samples = () = $answer->{content} =~ /^[^#\n]/mg;
		($status, $said) = judge($answer->{content}, '/usr/bin/python3', '-c', $parser, $format);
		is("$status $said", "0 $samples 0\n", "$name: all $samples samples are parsed as $format");
	}
}
append_to_file("$directory/exposition.txt", scrape('pooled')->{content});
($status, $said) = judge('', "$monitoring/check", "$directory/exposition.txt");
is($status, 0, 'rules and dashboard use metrics that exist') or diag($said);
like($said, qr/^all is well$/m, 'monitoring/check succeeds');
$session{in} .= "ROLLBACK;\n\\q\n";
$client->finish;

# An alert fires when a metric reaches its threshold, and resolves when the threshold is reset.
my $metric = 'alertname="ConnpoolMetric",metric="total_connections",' . instance('primary');
alert_ok($metric, 'none', 'no alert fires for total_connections at first');
$node{primary}->safe_psql('postgres',
	'ALTER SYSTEM SET connpool_monitor.total_connections_warning = 1; SELECT pg_reload_conf()');
my $alert = alert_fires(
	{ alertname => 'ConnpoolMetric', metric => 'total_connections', severity => 'warning' },
	'an alert fires when total_connections reaches its threshold');
is( $alert->{annotations}{summary},
	"127.0.0.1:$port{primary}: total_connections is WARNING",
	'the summary of the alert names server, metric and status');
$node{primary}->safe_psql('postgres',
	'ALTER SYSTEM RESET connpool_monitor.total_connections_warning; SELECT pg_reload_conf()');
alert_ok($metric, 'none', 'the alert resolves when the threshold is reset');

# An alert fires when connections are refused for lack of a slot, and resolves afterwards.
my $script = "$directory/hold.sql";
append_to_file($script, "SELECT pg_sleep(1)\n");
my $refusals =
  q{SELECT sum(rejections) FROM connpool_rejections WHERE reason IN ('too_many', 'reserved')};
my $before = $node{pooled}->safe_psql('postgres', $refusals);
($status, $said) =
  judge('', 'pgbench', '-n', '-f', $script, '-c', 25, '-j', 1, '-t', 1, '-U', 'plain', '-h',
	$node{pooled}->host, '-p', $node{pooled}->port, 'postgres');
isnt($status, 0, 'pgbench with more clients than slots fails') or diag($said);
my $refused = alert_fires(
	{
		alertname => 'ConnpoolConnectionsRefused',
		severity => 'critical',
		instance => "127.0.0.1:$port{pooled}"
	},
	'an alert fires for refused connections');
like(
	$refused->{annotations}{description},
	qr/^127\.0\.0\.1:\d+ refused about \d+ connections/,
	'the description of the alert has the number of refused connections');
my $rejections = $node{pooled}->safe_psql('postgres', $refusals);
cmp_ok($rejections, '>', $before, 'SQL counts the refused connections');
values_ok(
	'sum(connpool_connections_rejected_total{reason=~"too_many|reserved",'
	  . instance('pooled') . '})',
	$rejections,
	'Prometheus has the same number of refused connections');
alert_ok('alertname="ConnpoolConnectionsRefused"',
	'none', 'the alert resolves when no more connections are refused');

# Alerts fire for a primary that is gone, and one resolves when its standby is promoted.
leave($_) foreach @idle;
$node{primary}->stop('fast');
values_ok('up{' . instance('primary') . '}', '0', 'a server that is stopped is not up');
alert_ok(
	'alertname="ConnpoolDown",' . instance('primary'),
	'1',
	'an alert fires for a server that is stopped');
alert_ok('alertname="ConnpoolPrimaryAbsent",cluster="shop"',
	'1', 'an alert fires for a cluster without a primary');
is( join(
		' ', grep { /<error/ } map { values %{ $_->{annotations} } } @{ api('alerts')->{alerts} }),
	'',
	'annotations have no errors');
values_ok('connpool_in_recovery{cluster="shop"}',
	'1', 'the only server of the cluster is a standby');
$node{standby}->promote;
values_ok('connpool_in_recovery{cluster="shop"}', '0', 'the standby is promoted');
alert_ok('alertname="ConnpoolPrimaryAbsent"',
	'none', 'the alert for a cluster without a primary resolves');
alert_ok('alertname="ConnpoolStandbyAbsent",cluster="shop"',
	'1', 'an alert fires for a cluster without a standby');
alert_ok(
	'alertname="ConnpoolDown",' . instance('primary'),
	'1',
	'the alert for the stopped server still fires');

# the servers survived all of this
is( join(
		',',
		map {
			log_count($_, 'PANIC|TRAP|terminated by signal|WARNING:.*HTTP server is not')
		} @node{qw(primary standby pooled)}),
	'0,0,0',
	'no server crashed or lost its listener');
$node{standby}->stop('fast');
$node{pooled}->stop('fast');
values_ok('sum(up)', '0', 'no server is up in the end');
done_testing();
