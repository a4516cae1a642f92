# SPDX-License-Identifier: PostgreSQL
# The worker copes with consoles that are absent, hang, send nonsense, ask for passwords or TLS or
# keep libpq busy, with consoles of every version of PgBouncer, with server connections to another
# cluster, and with a thousand polls. Needs consoles that misbehave, which t/Console.pm
# simulates.
# scripts/test: slow, 70 s
use strict;
use warnings FATAL => 'all';

use File::Basename;
use List::Util qw(sum0);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;
use Console;
use Http;

my $user = getpwuid($<);
my $node = new_node(
	'consoles',
	"connpool_monitor.pgbouncer_interval = '100ms'\nrestart_after_crash = on\n",
	no_extension => 1);
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');

# Configure the consoles and restart. A string is used as it is.
sub ask
{
	my (%consoles) = @_;
	my $setting = join '; ', map {
		"$_="
		  . (
			ref $consoles{$_}
			? 'host=' . $consoles{$_}->host . ' port=' . $consoles{$_}->port . " user=$user"
			: $consoles{$_})
	} sort keys %consoles;
	$setting =~ s/'/''/g;
	$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer = '$setting'");
	$node->restart;
	return;
}

sub errors
{
	return $node->safe_psql('postgres',
		'SELECT pooler, up, last_error FROM connpool_pgbouncer ORDER BY 1');
}

# Wait until each console is down with its expected error, and assert that. On a busy machine a
# console may first run into the limit of time; the retry then has the expected error.
sub errors_are
{
	my (%expected) = @_;
	my %is;
	wait_until(
		sub {
			%is = map { split /\|f\|/, $_, 2 } grep { /\|f\|/ } split /\n/, errors();
			return !grep { ($is{$_} // '') ne $expected{$_}[0] } keys %expected;
		});
	is($is{$_}, $expected{$_}[0], $expected{$_}[1]) foreach sort keys %expected;
	return;
}

# Return the processes that poll the consoles for the worker.
sub children
{
	my ($pid) = @_;
	return split ' ', `ps -o pid= --ppid $pid`;
}
sub is_gone { my ($pid) = @_; return `ps -o stat= -p $pid` !~ /^[^Z]/; }

sub memory_of
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /VmRSS:\s+(\d+)/ ? $1 : die 'no size';
}

# values that the setting refuses, without quoting a possible secret
my %refused = (
	'main=host=127.0.0.1 password=geheim' => qr/A password does not belong here/,
	q{main=host=x PASSWORD = 'geheim'} => qr/A password does not belong here/,
	q{main=host=x dbname='host=y password=geheim'} => qr/dbname must be the plain name/,
	'main=host=x dbname=postgresql://u:geheim@y/pgbouncer' => qr/dbname must be the plain name/,
	'main=host=x passwrd=geheim' => qr/Only keywords of libpq/,
	'main=host=x service=geheim' => qr/Only keywords of libpq/,
	'main=host=x sslpassword=geheim' => qr/A password does not belong here/,
	('n' x 64) . '=host=geheim' => qr/longer than 63 characters/,
	'main=host=' . ('x' x 1024) . 'geheim' => qr/longer than 1023 bytes/,
	'main=postgresql://stats:geheim@localhost/pgbouncer' => qr/are not accepted/,
	'host=127.0.0.1 geheim' => qr/Each console begins with a name|A console is written as/,
	'=host=geheim' => qr/Each console begins with a name/,
	q{main=host='geheim} => qr/A quoted value has no closing quote/,
	'main=host=geheim; main=host=b' => qr/Two consoles have the same name/,
	join(';', map { "c$_=host=geheim" } 1 .. 17) => qr/more than 16 consoles/);
foreach my $value (sort keys %refused)
{
	my ($status, $out, $err) = $node->psql('postgres',
		"SET log_min_error_statement = panic; ALTER SYSTEM SET connpool_monitor.pgbouncer = "
		  . ($value =~ s/'/''/gr =~ s/^(.*)$/'$1'/sr));
	like($err, $refused{$value}, "the setting refuses: $value");
	unlike($err, qr/geheim/, "the error does not quote: $value");
}
is(join("\n", grep { /geheim/ && !/LOG:  statement: / } split /\n/, slurp_file($node->logfile)),
	'', 'the server log does not quote a refused value outside the statements that it logs');

# consoles that are absent at the start, hang before or after the login, or send nonsense
my %bad = (
	hang => Console->new('hang'),
	trickle => Console->new('trickle'),
	mute => Console->new('mute'),
	garbage => Console->new('garbage'),
	errors => Console->new('errors'),
	other => Console->new({}),
	copy => Console->new('copy'));
my $good = Console->new(Console::answers(18));
my $before = -s $node->logfile;
ask(%bad,
	good => $good,
	away => 'host=127.0.0.1 port=1',
	nobody => 'host=/nowhere',
	odd => 'port=nonsense');
poll_ok(
	$node,
	'SELECT count(*) = 10 FROM connpool_pgbouncer WHERE last_error IS NOT NULL',
	'all consoles but the good one have failed');
my %said = map { my ($pooler, $up, $error) = split /\|/; ($pooler => "$up $error") } split /\n/,
  errors();
like(
	$said{away},
	qr/^f .*port 1 failed: Connection refused/,
	'last_error of a closed port is the error of connect()');
like(
	$said{nobody},
	qr/^f .*No such file/,
	'last_error of a missing socket is the error of connect()');
like(
	$said{odd},
	qr/^f invalid .*"nonsense"/,
	'last_error of an invalid value is the error of libpq');
is( $said{hang},
	'f no connection within the time limit',
	'a console that never completes the login has failed in time');
is( $said{trickle},
	'f no connection within the time limit',
	'a console that sends a byte a second has failed in time');
is( $said{mute},
	'f no complete answer within the time limit',
	'a console that never answers a query has failed in time');
like($said{garbage}, qr/^f ./, 'a console that sends random bytes has failed');
like(
	$said{errors},
	qr/^f ERROR:  not here/,
	'last_error of a console that refuses the query is its error');
is( $said{other},
	'f its answer lacks the expected columns: is it PgBouncer?',
	'a console that answers with another column has failed');
is( $said{copy},
	'f it answers with COPY: is it PgBouncer?',
	'a console that begins a COPY has failed');
is($said{good}, 't ', 'the good console is up');
$node->safe_psql('postgres', $_) foreach 'CREATE DATABASE passing', 'DROP DATABASE passing';
poll_ok($node, <<~'SQL', 'each console is retried after a pause');
	SELECT bool_and(retry_at <= now() + interval '60 s') AND bool_and(polls = 0)
	FROM connpool_pgbouncer
	WHERE NOT up
	SQL
my $down = 'WARNING:  connpool_monitor: PgBouncer '
  . '"(hang|trickle|mute|garbage|errors|other|copy|away|nobody|odd)" does not answer';
wait_until(sub { log_count($node, $down, $before) >= 10 });
is(log_count($node, $down, $before), 10, 'the server log has one line for each console');
# the first pause is 1.2 s at most, and the second one 1.6 s at least
my $is_retried = q{max(retry_at) - now() > interval '1.3 s'};
poll_ok($node, "SELECT $is_retried FROM connpool_pgbouncer", 'the pauses between retries grow');
is(log_count($node, 'WARNING:  connpool_monitor: PgBouncer', $before),
	10, 'retries log no further line');
ok(samples_on_time($node), 'ten samples in a row are on time beside consoles that fail');
is( $node->safe_psql('postgres', 'SELECT problem FROM connpool_info()'),
	'no answer from PgBouncer '
	  . join(', ',
		map { qq{"$_"} } sort qw(hang trickle mute garbage errors other copy away nobody odd))
	  . ': see last_error in connpool_pgbouncer',
	'connpool_info() names the consoles that do not answer');
$_->stop foreach values %bad, $good;

# rows without end do not fill the memory, and nothing else that libpq queues makes the worker grow
my %greedy = map { $_ => Console->new($_) } qw(flood notifications parameters welcome notices);
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '10s'");
ask(%greedy);
poll_ok(
	$node,
	q{SELECT last_error IS NOT NULL FROM connpool_pgbouncer WHERE pooler = 'flood'},
	'a console that sends rows without end has failed');
poll_ok(
	$node,
	'SELECT count(*) = 5 FROM connpool_pgbouncer WHERE last_error IS NOT NULL',
	'consoles that send messages without end have failed');
errors_are(
	flood =>
	  [ 'it sends more than the limit of 32 MB', 'last_error reports an answer that is too long' ],
	notifications =>
	  [ 'it sends notifications: is it PgBouncer?', 'last_error reports notifications' ],
	parameters => [
		'it sends more than it was asked for: is it PgBouncer?',
		'last_error reports too many parameters'
	],
	notices => [ 'it sends more than the limit of 32 MB', 'last_error reports too many notices' ],
	welcome => [
		'it sends too much before it accepts the connection: is it PgBouncer?',
		'last_error reports too many messages before the login'
	]);
my $first = memory_of(worker_pid($node, 'pgbouncer'));
$node->poll_query_until('postgres',
	q{SELECT bool_and(retry_at > now() + interval '1.3 s') FROM connpool_pgbouncer})
  or die 'the consoles are not retried';
cmp_ok(
	memory_of(worker_pid($node, 'pgbouncer')),
	'<',
	$first + 10_000,
	'the memory of the worker does not grow with each retry');
$_->stop foreach values %greedy;

# many rows are accepted
my $large = Console->new(
	Console::answers(
		18,
		servers => [
			map {
				{
					type => 'S',
					user => "user $_",
					database => 'shop',
					addr => '10.0.0.1',
					local_addr => '10.0.0.2',
					ptr => '0x5581d3a3c2e0',
					link => '0x5581d3a3c2e0',
					remote_pid => 4000000 + $_,
					application_name => 'x' x 60
				}
			} 1 .. 60000
		]));
my $crowd = Console->new(
	Console::answers(18, servers => [ map { { remote_pid => 4000000 + $_ } } 1 .. 100_003 ]));
# this is also the limit of time for an answer
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '4s'");
ask(large => $large, crowd => $crowd);
poll_ok(
	$node,
	q{SELECT polls > 1 FROM connpool_pgbouncer WHERE pooler = 'large'},
	'a console with sixty thousand servers is read twice');
poll_ok(
	$node,
	q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'crowd'},
	'a console with more servers than are kept is up');
is(errors(), "crowd|t|\nlarge|t|", 'consoles with many servers are up without an error');
is( $node->safe_psql('postgres', 'SELECT pooler, rows_dropped FROM connpool_pgbouncer ORDER BY 1'),
	"crowd|3\nlarge|0",
	'servers beyond a hundred thousand count as dropped');
$_->stop foreach $large, $crowd;
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '100ms'");

# a console that starts later, and a real one that stops, restarts and is paused
my $pooler = start_pooler($node);
my $late = start_pooler($node);
stop_pooler($late);
ask(real => $pooler, late => $late);
poll_ok(
	$node,
	q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'real'},
	'a real PgBouncer is up');
poll_ok(
	$node,
	q{SELECT NOT up AND last_error IS NOT NULL FROM connpool_pgbouncer WHERE pooler = 'late'},
	'a PgBouncer that has not started is down');
restart_pooler($late);
poll_ok(
	$node,
	q{SELECT count(*) = 2 FROM connpool_pgbouncer WHERE up},
	'a PgBouncer that has started is up');
system_or_bail('psql', '-XAtq', '-h', $pooler->host, '-p', $pooler->port, '-c', 'PAUSE',
	'pgbouncer');
my $polls =
  $node->safe_psql('postgres', q{SELECT polls FROM connpool_pgbouncer WHERE pooler = 'real'});
poll_ok(
	$node,
	"SELECT up AND polls > $polls FROM connpool_pgbouncer WHERE pooler = 'real'",
	'a paused PgBouncer is polled');
my $log = -s $node->logfile;
stop_pooler($pooler);
restart_pooler($pooler);
poll_ok($node, <<~'SQL', 'a restarted PgBouncer is up');
	SELECT up AND last_success > now() - interval '1 s'
	FROM connpool_pgbouncer
	WHERE pooler = 'real'
	SQL
stop_pooler($_) foreach $pooler, $late;

# passwords come from the password file only; a wrong one is retried after a minute
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/users", qq{"stats" "right"\n});
my $locked =
  start_pooler($node, auth_type => 'md5', auth_file => "$directory/users", stats_users => 'stats');

sub passfile
{
	my ($name, $password) = @_;
	append_to_file("$directory/$name", "*:*:*:stats:$password\n");
	chmod 0600, "$directory/$name";
	return
		'host='
	  . $locked->host
	  . ' port='
	  . $locked->port
	  . " user=stats passfile='$directory/$name'";
}
$ENV{PGPASSWORD} = 'right';
ask(right => passfile('right', 'right'),
	wrong => passfile('wrong', 'geheim'),
	none => 'host=' . $locked->host . ' port=' . $locked->port . ' user=stats passfile=/nowhere');
delete $ENV{PGPASSWORD};
poll_ok(
	$node,
	q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'right'},
	'a console with the right password is up');
poll_ok(
	$node, <<~'SQL',
			SELECT count(*) = 2
			FROM connpool_pgbouncer
			WHERE retry_at BETWEEN now() + interval '50 s' AND now() + interval '60 s'
			SQL
	'consoles with a wrong and without a password are retried after a minute');
like(
	errors(),
	qr/^none\|f\|.*password.*\nright\|t\|\nwrong\|f\|.*password authentication failed/s,
	'last_error reports that the password is wrong');

# a console that fails for another reason after it got the password is retried soon
my %fails = map { $_ => Console->new($_) } qw(lose full);
append_to_file("$directory/any", "*:*:*:*:geheim\n");
chmod 0600, "$directory/any";
ask(map {
		$_ => join ' ',
		  'host=' . $fails{$_}->host, 'port=' . $fails{$_}->port,
		  "user=$user passfile='$directory/any'"
	} keys %fails);
poll_ok($node, 'SELECT count(last_error) = 2 FROM connpool_pgbouncer', 'both consoles fail');
is( $node->safe_psql(
		'postgres', q{SELECT bool_and(retry_at < now() + interval '40 s')
	FROM connpool_pgbouncer}),
	't',
	'a console that does not refuse the password is retried sooner than after a minute');
like(
	errors(),
	qr/^full\|f\|.* FATAL:  no more connections allowed\nlose\|f\|.*closed the connection/s,
	'last_error has the reason of each console');
$_->stop foreach values %fails;
unlike(errors() . slurp_file($node->logfile, $log),
	qr/geheim/, 'neither last_error nor the log has a password');
stop_pooler($locked);

# A console that keeps libpq computing: the worker kills its process and stays responsive. The
# limit of time for an answer is a second.
my $scram = Console->new('scram');
append_to_file("$directory/any", "*:*:*:*:any\n");
chmod 0600, "$directory/any";
ask(    scram => 'host='
	  . $scram->host
	  . ' port='
	  . $scram->port
	  . " user=$user passfile='$directory/any'");
poll_ok(
	$node,
	'SELECT last_error IS NOT NULL FROM connpool_pgbouncer',
	'a console that asks for two thousand million iterations has failed');
is( errors(),
	'scram|f|no connection within the time limit',
	'a console that keeps libpq computing fails at the limit of time');
my $worker = worker_pid($node, 'pgbouncer');
my (@child, %proc);

# Read the command line, the environment and the open files of a process that polls a console.
# Returns nothing if the process is not connected to the console yet, or if it has ended, which it
# does after a second.
sub look_at
{
	my ($pid) = @_;
	my @files = map { readlink } grep { !/\/2$/ } glob("/proc/$pid/fd/*");
	my ($command, $environment) = eval {
		map { slurp_file("/proc/$pid/$_") } qw(cmdline environ);
	};
	return if @files != 3 || grep { !defined } @files, $command, $environment;
	return (
		command => $command,
		environment => $environment,
		files => join(' ', map { s/\d+//gr } @files));
}
ok( wait_until(
		sub {
			@child = children($worker);
			%proc = look_at($child[0]) if @child;
			return scalar keys %proc;
		}),
	'a process polls the console again');
like(
	$proc{command},
	qr/^connpool_monitor_console\0scram\0[0-9.]+\0$/,
	'the command line of the process has nothing but the name of the console and the version');
unlike($proc{environment}, qr/PGPASSWORD/, 'the environment of the process has no password');
is( $proc{files},
	'socket:[] socket:[] socket:[]',
	'the process has no files but its sockets to the worker and the console');
is( scalar(
		$node->psql(
			'postgres',
			"SET statement_timeout = '60 s';\nCREATE DATABASE passing;\nDROP DATABASE passing;")),
	0,
	'a database can be dropped while the process computes');
ok(wait_until(sub { is_gone($child[0]) }), 'the process ends after its deadline');

# the worker or its process is killed
ok(wait_until(sub { @child = children($worker) }), 'a process polls the console once more');
kill 'KILL', $worker;
ok(wait_until(sub { is_gone($child[0]) }),
	'a process that computes ends when its worker is killed');
$node->poll_query_until('postgres', 'SELECT last_error IS NOT NULL FROM connpool_pgbouncer')
  or die 'the server does not restart';
$worker = worker_pid($node, 'pgbouncer');
ok(wait_until(sub { @child = children($worker) }), 'the next worker starts a process');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok(wait_until(sub { is_gone($child[0]) }),
	'a process that computes ends when its worker is terminated');
$node->poll_query_until('postgres', <<~"SQL");
	SELECT count(*) = 1
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor pgbouncer' AND pid <> $worker
	SQL
$worker = worker_pid($node, 'pgbouncer');
ok(wait_until(sub { @child = children($worker) }), 'another worker starts a process');
my $began = time;
$node->stop('fast');
cmp_ok(
	time - $began,
	'<',
	$PostgreSQL::Test::Utils::timeout_default,
	'a fast stop does not wait for libpq');
ok(wait_until(sub { is_gone($child[0]) }), 'a fast stop leaves no process');
$scram->stop;
$node->start;

my $answering = Console->new(Console::answers(18));
ask(answering => $answering);
poll_ok($node, 'SELECT up FROM connpool_pgbouncer', 'a console is up');
$log = -s $node->logfile;
@child = children(worker_pid($node, 'pgbouncer'));
is(scalar @child, 1, 'one process polls the console and stays');
foreach my $signal (qw(KILL STOP))
{
	my ($last, $now) = children(worker_pid($node, 'pgbouncer'));
	kill $signal, $last;
	ok( wait_until(
			sub {
				($now) = children(worker_pid($node, 'pgbouncer'));
				defined $now && $now != $last;
			}),
		"another process follows after SIG$signal");
	poll_ok(
		$node,
		q{SELECT up AND last_success > now() - interval '1 s' FROM connpool_pgbouncer},
		"the console is up after SIG$signal");
}
is(log_count($node, 'does not answer', $log),
	1, 'a process that was killed is replaced without a message, a stopped one is logged');
$worker = worker_pid($node, 'pgbouncer');
@child = children($worker);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($worker)");
wait_samples($node, 5);
is(join(' ', children($worker)), "@child", 'cancelling the worker does not end its process');
$node->stop('immediate');
ok(wait_until(sub { is_gone($child[0]) }), 'an immediate stop ends the process');
$node->start;

# without the program: use a copy of the files of PostgreSQL
my ($bindir, $libdir, $sharedir) =
  map { chomp(my $is = `$ENV{PG_CONFIG} --$_`); $is } qw(bindir pkglibdir sharedir);
my $copied = PostgreSQL::Test::Utils::tempdir_short();
foreach my $path ($bindir, $libdir, $sharedir)
{
	system_or_bail('mkdir', '-p', $copied . dirname($path));
	system_or_bail('cp', $path eq $bindir ? '-r' : '-rs', $path, $copied . $path);
}
my $program = "$copied$libdir/connpool_monitor_console";
unlink $program or die "cannot remove $program: $!";
my $lacking = PostgreSQL::Test::Cluster->new('lacking', install_path => dirname("$copied$bindir"));
$lacking->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$lacking->append_conf(
	'postgresql.conf', "shared_preload_libraries = 'pg_stat_statements, connpool_monitor'
connpool_monitor.pgbouncer_interval = '100ms'
connpool_monitor.pgbouncer = 'answering=host="
	  . $answering->host . ' port=' . $answering->port . " user=$user'");
$lacking->start;
$lacking->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');
my $missing = qq{could not execute "$program": No such file or directory};
poll_ok(
	$lacking,
	"SELECT $is_retried FROM connpool_pgbouncer",
	'without the program the console is retried');
is($lacking->safe_psql('postgres', 'SELECT pooler, up, last_error FROM connpool_pgbouncer'),
	"answering|f|$missing", 'last_error names the program that is missing');
is(log_count($lacking, quotemeta qq{PgBouncer "answering" does not answer: $missing}),
	1, 'the server log names the program that is missing once');
symlink "$libdir/connpool_monitor_console", $program or die "cannot link $program: $!";
poll_ok(
	$lacking,
	q{SELECT up FROM connpool_pgbouncer},
	'the console is up when the program is there');
$lacking->stop('fast');
$answering->stop;

# TLS
system_or_bail(
	'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
	'-subj', '/CN=pooler', '-days', '2', '-keyout', "$directory/key",
	'-out', "$directory/cert");
my $port = PostgreSQL::Test::Cluster::get_free_port();
# Without client_tls_ca_file PgBouncer would use the CA certificates of the machine, which may have
# none.
my $tls = start_pooler(
	$node,
	listen_addr => '127.0.0.1',
	listen_port => $port,
	client_tls_sslmode => 'require',
	client_tls_key_file => "$directory/key",
	client_tls_cert_file => "$directory/cert",
	client_tls_ca_file => "$directory/cert"
);
ask(plain => "host=127.0.0.1 port=$port user=$user sslmode=disable",
	tls => "host=127.0.0.1 port=$port user=$user sslmode=require");
poll_ok(
	$node,
	q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'tls'},
	'a console that requires TLS is up with sslmode=require');
poll_ok(
	$node,
	q{SELECT last_error LIKE '%SSL required%' FROM connpool_pgbouncer WHERE pooler = 'plain'},
	'a console that requires TLS is down with sslmode=disable');
stop_pooler($tls);

# consoles of every version, whose columns are found by name
my %row = (
	database => 'shop',
	user => 'web',
	cl_active => 3,
	cl_waiting => 7,
	cl_cancel_req => 1,
	cl_active_cancel_req => 2,
	maxwait => 2,
	maxwait_us => 345678,
	pool_mode => 'transaction',
	load_balance_hosts => 'disable');
my %stat = (
	database => 'shop',
	total_xact_count => 11,
	total_wait_time => 22,
	avg_query_time => 33,
	total_bind_count => 44,
	total_server_assignment_count => 55,
	total_client_login_count => 66);
my %versions = map {
	(   "v$_" => Console->new(
			Console::answers(
				$_,
				pools => [ \%row ],
				stats => [ \%stat ],
				config => [
					{ key => 'pool_mode', value => 'transaction' },
					{ key => 'default_pool_size', value => 20 },
					$_ >= 21 ? { key => 'max_prepared_statements', value => 200 } : ()
				])))
} 15 .. 26;
ask(%versions);
poll_ok(
	$node,
	'SELECT count(*) = 12 FROM connpool_pgbouncer WHERE up',
	'consoles of twelve versions are up');
my %columns = map { /^(\d+)\|(.*)/ } split /\n/, $node->safe_psql('postgres', <<~'SQL');
	SELECT substr(pooler, 2), p.cl_active, p.cl_waiting, p.wait_time, p.pool_mode, p.cl_cancel_req,
	       p.cl_active_cancel_req, p.load_balance_hosts,
	       s.total_xact_count, s.total_wait_time, s.avg_query_time,
	       s.total_server_assignment_count, s.total_bind_count, s.total_client_login_count,
	       b.max_prepared_statements, b.default_pool_size, b.version
	FROM connpool_pgbouncer b
	JOIN connpool_pgbouncer_pools p USING (pooler)
	JOIN connpool_pgbouncer_stats s USING (pooler)
	SQL
foreach my $version (15 .. 26)
{
	my @is = (
		$version == 16 || $version == 17 ? 1 : '',
		$version >= 18 ? 2 : '',
		$version >= 24 ? 'disable' : '',
		$version >= 23 ? 55 : '',
		$version >= 24 ? 44 : '',
		$version >= 26 ? 66 : '',
		$version >= 21 ? 200 : '');
	is( $columns{$version},
		join('|',
			3, 7, 2345.678, 'transaction', @is[ 0 .. 2 ],
			11, 22, 33, @is[ 3 .. 6 ],
			20, "1.$version.0"),
		"1.$version: columns of the version have values and others are NULL");
}
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT current_value FROM get_connection_stats() WHERE metric_name = 'pool_waiting_clients'
		SQL
	'84', 'pool_waiting_clients is the sum over all consoles');
$_->stop foreach values %versions;

# rows that are too many, values that are too long or not numbers
my $wild = Console->new(
	Console::answers(
		18,
		pools => [
			map {
				{
					database => "db$_",
					user => 'u' x 300,
					maxwait => -1,
					maxwait_us => '9223372036854775807'
				}
			} 1 .. 300
		],
		stats => [
			{
				database => "\xff\xfe'\"",
				total_xact_count => '1e5',
				total_query_count => -1,
				total_received => '99999999999999999999'
			}
		],
		servers => [ map { { remote_pid => $_ } } '', -1, 'x', 4294967296, 1 ]));
ask(wild => $wild);
poll_ok(
	$node,
	q{SELECT up AND rows_dropped = 44 FROM connpool_pgbouncer},
	'rows above the maximum count as dropped');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*), max(length(role)), count(maxwait), count(maxwait_us), count(wait_time)
		FROM connpool_pgbouncer_pools
		SQL
	'256|63|0|0|0',
	'a wait that is negative or impossibly long is NULL, and a name that is too long is cut');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT database, num_nonnulls(total_xact_count, total_query_count, total_received), total_sent
		FROM connpool_pgbouncer_stats
		SQL
	q{??'"|0|0},
	'statistics that are negative or not a number are NULL, and invalid bytes are shown as ?');
$wild->stop;

# counts of clients and connections that PgBouncer cannot have
my %counts = (
	huge => [ cl_waiting => '9223372036854775807' ],
	above => [ cl_active => '2147483648' ],
	negative => [ cl_waiting => '-3' ],
	word => [ sv_idle => 'many' ],
	empty => [ cl_waiting => '' ]);
my %miscounts =
  map { $_ => Console->new(Console::answers(18, pools => [ ({ $counts{$_}->@* }) x 2 ])) }
  keys %counts;
my $most = Console->new(
	Console::answers(
		18, pools => [ map { { database => "db$_", cl_waiting => '2147483647' } } 1, 2 ]));
ask(%miscounts, most => $most);
errors_are(
	map {
		$_ => [
			"its answer has an invalid $counts{$_}[0]: is it PgBouncer?",
			"last_error reports an invalid number of connections: $counts{$_}[1]"
		]
	} keys %counts);
poll_ok(
	$node,
	q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'most'},
	'a console with the highest number of clients is up');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT sum(cl_waiting),
		       (SELECT current_value || ' ' || status
		        FROM get_connection_stats()
		        WHERE metric_name = 'pool_waiting_clients')
		FROM connpool_pgbouncer_pools
		SQL
	'4294967294|2147483647 CRITICAL',
	'pool_waiting_clients is its maximum if more clients wait, and invalid numbers do not count');
$_->stop foreach values %miscounts, $most;

# Prometheus rejects a scrape that has a series twice. This console has names that differ only
# after 63 bytes, a pool in several rows, and a pool that is called "other", like the series in
# which pools without series of their own are counted.
my $twins = Console->new(
	Console::answers(
		18,
		pools => [
			map({ {
						database => 'shop',
						user => 'u' x 63 . $_,
						cl_waiting => 1,
						maxwait => $_ % 3,
						maxwait_us => $_
			} } 1 .. 3),
			map({ { database => 'other', user => 'other', cl_waiting => 1 } } 1 .. 2),
			map({ { database => "db$_", user => 'web', cl_waiting => 1 } } 1 .. 80)
		]));
ask(twins => $twins);
# at most fifty pools, one of them called "other", have eight series each; the console has one more
poll_is($node, <<~'SQL', '401|401|85', 'each series of a pool appears once');
		SELECT count(*), count(DISTINCT series), sum(waiting)
		FROM (SELECT (regexp_match(line, '^(connpool_pgbouncer_[^ ]*) '))[1] AS series,
		             (regexp_match(line, 'state="waiting"\} ([0-9]+)$'))[1]::int AS waiting
		      FROM string_to_table(connpool_metrics(), E'\n') line
		      WHERE line LIKE 'connpool\_pgbouncer\_%') s
		SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*) = count(DISTINCT (database, role)), sum(cl_waiting),
		       max(cl_waiting) FILTER (WHERE database = 'shop'),
		       max(wait_time) FILTER (WHERE database = 'shop'), count(cl_cancel_req)
		FROM connpool_pgbouncer_pools
		SQL
	't|85|3|2000.002|0',
	'connpool_pgbouncer_pools merges rows with the same names: sums, and the longest wait');
$twins->stop;

# A console cannot create an unbounded number of series in /metrics. This one returns three pools
# that stay, and sixty with new names in each answer.
my $answers = Console::answers(18);
my $made_up = 0;
$answers->{'SHOW POOLS'} = sub {
	my @pools = map { { database => $_, user => 'web', cl_active => 1 } } 'a' .. 'c',
	  map { 'made_up_' . $made_up++ } 1 .. 60;
	return Console::table([ Console::pool_columns(18) ], @pools);
};
my $inventive = Console->new($answers);
ask(inventive => $inventive);

sub clients_of
{
	return series($node->safe_psql('postgres', 'SELECT connpool_metrics()'),
		'pgbouncer_client_connections');
}
my %seen;
poll_ok($node, 'SELECT up FROM connpool_pgbouncer', 'the console with new names is up');
my $polled = $node->safe_psql('postgres', 'SELECT polls FROM connpool_pgbouncer');
foreach my $more (0 .. 5)
{
	$node->poll_query_until('postgres', "SELECT polls >= $polled + $more FROM connpool_pgbouncer");
	/database="(\w+)"/ and $seen{$1} = 1 foreach keys %{ clients_of() };
}
delete $seen{other};
cmp_ok(scalar keys %seen,
	'<=', 50, 'a console with new names in each answer gets at most fifty series');
is(join(' ', grep { $seen{$_} } 'a' .. 'c'), 'a b c', 'the pools that stay are among them');
is(sum0(values %{ clients_of() }), 63, 'pools without a series count as other');
$inventive->stop;

# the same without a server, over many answers
my $series = compile_unit('pooler_series', 'samples/pooler_state', 'base/pooler');
my @cases = split /\n/, `$series`;
is( $cases[0],
	'new names in each answer: 20 steady pools with series, 30 others',
	'only the first fifty pools get a series while others have new names in each answer');
my ($steady, $created, $allowed) = $cases[1] =~ /(\d+)/g;
is($steady, 20, 'pools that stay keep their series while others take turns');
cmp_ok($created, '<=', $allowed, "names that last create at most $allowed series");
cmp_ok($created, '>', 30, 'a pool that is no longer listed gives its place to another');
is($cases[2], 'after a pause: 20 steady', 'pools have their series after a pause of the console');

# A pid is not enough: the same pids on connections of another server
my ($our_port, $our_link) = ($node->port, PostgreSQL::Test::Utils::tempdir_short() . '/link');
symlink $node->host, $our_link or die "cannot link $our_link: $!";

# Return a console that shows a server connection with each pid that a later session can have.
sub shows_every_pid
{
	my %connection = (type => 'S', user => $user, port => $our_port, @_);
	# the kernel assigns pids in ascending order, so they follow that of this session
	my ($last, $max) = (
		$node->safe_psql('postgres', 'SELECT pg_backend_pid()'),
		slurp_file('/proc/sys/kernel/pid_max') + 0);
	return Console->new(
		Console::answers(
			18,
			servers => [ map { +{ %connection, remote_pid => ($last + $_) % $max } } 1 .. 20000 ],
			databases => [
				{ name => 'elsewhere', host => '/another/directory' },
				{ name => 'here', host => $our_link }
			]));
}
my %others = (
	another_port => { addr => 'unix', port => $our_port + 1 },
	another_host => { addr => '10.1.2.3', local_addr => '10.1.2.4', local_port => 40000 },
	another_directory => { addr => 'unix', database => 'elsewhere' });
my %ours = (our_directory => { addr => 'unix', database => 'here' });
foreach my $connections (\%others, \%ours)
{
	my $consoles = { map { $_ => shows_every_pid($connections->{$_}->%*) } keys %$connections };
	ask(%$consoles);
	my $session = session($node, 'session');
	foreach my $name (sort keys %$consoles)
	{
		# a round that began before the session opened may have ended afterwards
		poll_ok($node, <<~"SQL", "$name: the console was polled after the session opened");
			SELECT last_success > connected_at + interval '1.1 s'
			FROM connpool_pgbouncer, connpool_sessions
			WHERE pooler = '$name' AND application_name = 'session'
			SQL
		my $is_ours = $connections == \%ours;
		is( $node->safe_psql('postgres', <<~"SQL"),
				SELECT coalesce(pooled_by = '$name', false)
				FROM connpool_sessions
				WHERE application_name = 'session'
				SQL
			$is_ours ? 't' : 'f',
			"$name: a session with the pid of a server connection is "
			  . ($is_ours ? 'pooled' : 'not pooled'));
	}
	# this console has neither a pool_mode nor other settings
	like(
		$node->safe_psql('postgres', <<~'SQL'),
			SELECT reasons[array_upper(reasons, 1)]
			FROM connpool_pool_advice
			WHERE application_name = 'session'
			SQL
		qr/^1 of its 1 connections come through PgBouncer our_directory$/,
		'the advice omits settings that the console does not show') if $connections == \%ours;
	leave($session);
	$_->stop foreach values %$consoles;
}

# many polls do not make the worker grow
my $questions = $ENV{CONNPOOL_POLLS} // 1000;
my $asked = start_pooler($node);
ask(asked => $asked);
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.pgbouncer_interval = '10ms'});
$node->reload;
poll_ok(
	$node,
	'SELECT polls > 300 FROM connpool_pgbouncer',
	'the console was polled three hundred times');
my @processes = (worker_pid($node, 'pgbouncer'), children(worker_pid($node, 'pgbouncer')));
my @resident = map { memory_of($_) } @processes;
# in steps of a thousand polls, because the time allowed for one wait suffices for no more
$node->poll_query_until('postgres', "SELECT polls > $_ FROM connpool_pgbouncer")
  foreach map { 1000 * $_ } 1 .. $questions / 1000;
poll_ok(
	$node,
	"SELECT polls > $questions FROM connpool_pgbouncer",
	"the console was polled $questions times");
SKIP:
{
	skip 'a sanitizer keeps what is freed', 2 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	cmp_ok(memory_of($processes[0]) - $resident[0],
		'<', 200, 'the worker grows by less than 200 kB');
	cmp_ok(memory_of($processes[1]) - $resident[1],
		'<', 200, 'the process of the console grows by less than 200 kB');
}
stop_pooler($asked);
$node->stop('fast');
done_testing();
