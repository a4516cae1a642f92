# SPDX-License-Identifier: PostgreSQL
# PgBouncer's consoles as they should not be: away, hanging, talking nonsense, asking
# for passwords and TLS, keeping libpq busy; consoles of every version; another cluster's
# connections; and ten thousand questions.
# scripts/test: slow, 110 s
use strict;
use warnings FATAL => 'all';

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;
use Console;

my $user = getpwuid($<);
my $node = new_node(
	'consoles',
	"connpool_monitor.pgbouncer_interval = '100ms'\nrestart_after_crash = on\n",
	no_extension => 1);
$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE');

# Name the consoles in a setting of their own, and restart. A string is taken as it is.
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

# The worker of a cluster, and the processes that ask the consoles for it.
sub worker_pid
{
	my ($cluster) = @_;
	return $cluster->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'connpool_monitor pgbouncer'});
}

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

# Wait until a condition holds, without asking the server. Returns whether it did, in time.
sub wait_until
{
	my ($condition) = @_;
	my $tries = 20 * $PostgreSQL::Test::Utils::timeout_default;
	select undef, undef, undef, 0.05 until $condition->() || !$tries--;
	return $tries >= 0;
}

# What the setting refuses, without quoting what could be a secret.
my %refused = (
	'main=host=127.0.0.1 password=geheim' => qr/A password does not belong here/,
	q{main=host=x PASSWORD = 'geheim'} => qr/A password does not belong here/,
	q{main=host=x dbname='host=y password=geheim'} => qr/dbname is the plain name/,
	'main=host=x dbname=postgresql://u:geheim@y/pgbouncer' => qr/dbname is the plain name/,
	'main=host=x passwrd=geheim' => qr/Keywords are those of libpq/,
	'main=host=x service=geheim' => qr/Keywords are those of libpq/,
	'main=host=x sslpassword=geheim' => qr/A password does not belong here/,
	('n' x 64) . '=host=geheim' => qr/longer than 63 characters/,
	'main=host=' . ('x' x 1024) . 'geheim' => qr/longer than 1023 bytes/,
	'main=postgresql://stats:geheim@localhost/pgbouncer' =>
	  qr/addresses with "..." are not taken|are not taken/,
	'host=127.0.0.1 geheim' => qr/Each console begins with a name|A console is written as/,
	'=host=geheim' => qr/Each console begins with a name/,
	q{main=host='geheim} => qr/A quoted value does not end/,
	'main=host=geheim; main=host=b' => qr/Two consoles have the same name/,
	join(';', map { "c$_=host=geheim" } 1 .. 17) => qr/more than 16 consoles/);
foreach my $value (sort keys %refused)
{
	my ($status, $out, $err) = $node->psql('postgres',
		"SET log_min_error_statement = panic; ALTER SYSTEM SET connpool_monitor.pgbouncer = "
		  . ($value =~ s/'/''/gr =~ s/^(.*)$/'$1'/sr));
	like($err, $refused{$value}, "refused: $value");
	unlike($err, qr/geheim/, 'and not quoted');
}
is(join("\n", grep { /geheim/ && !/LOG:  statement: / } split /\n/, slurp_file($node->logfile)),
	'', 'nor in the server log, but for the statements that it is told to log');

# Away at the start; hanging before and after the login; nonsense; refusing questions.
my %bad = (
	hang => Console->new('hang'),
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
	'SELECT count(*) = 9 FROM connpool_pgbouncer WHERE last_error IS NOT NULL',
	'all but one have failed');
my %said = map { my ($pooler, $up, $error) = split /\|/; ($pooler => "$up $error") } split /\n/,
  errors();
like($said{away}, qr/^f .*port 1 failed: Connection refused/, 'nobody listens');
like($said{nobody}, qr/^f .*No such file/, 'no socket');
like($said{odd}, qr/^f invalid .*"nonsense"/, 'a value that libpq does not take');
is($said{hang}, 'f no connection within its time', 'one that does not let in');
is($said{mute}, 'f no whole answer within its time', 'one that does not answer');
like($said{garbage}, qr/^f ./, 'one that talks nonsense');
like($said{errors}, qr/^f ERROR:  not here/, 'one that refuses');
is( $said{other},
	'f it answered nothing that it was asked for: is it PgBouncer?',
	'one that answers something else');
is( $said{copy},
	'f it answers with COPY: is it PgBouncer?',
	'one that begins a COPY, of which libpq sees no end');
is($said{good}, 't ', 'and one that is well');
$node->safe_psql('postgres', $_) foreach 'CREATE DATABASE passing', 'DROP DATABASE passing';
poll_ok($node, <<~'SQL', 'each is tried again, after a pause');
	SELECT bool_and(retry_at BETWEEN now() AND now() + interval '13 s') AND bool_and(polls = 0)
	FROM connpool_pgbouncer
	WHERE NOT up
	SQL
is( log_count(
		$node,
		'WARNING:  connpool_monitor: PgBouncer "(hang|mute|garbage|errors|other|copy|away|nobody|odd)" does not answer',
		$before),
	9,
	'the server log has one line of each');
poll_ok($node, q{SELECT max(retry_at) - now() > interval '3 s' FROM connpool_pgbouncer},
	'pauses grow');
is(log_count($node, 'WARNING:  connpool_monitor: PgBouncer', $before), 9, 'and the log does not');
is( $node->safe_psql(
		'postgres', q{SELECT samples_missed = 0 AND problem IS NULL FROM connpool_info()}),
	't',
	'nothing else suffers');
$_->stop foreach values %bad, $good;

# Rows without end are not kept without end.
my $flood = Console->new('flood');
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '10s'");
ask(flood => $flood);
poll_ok(
	$node,
	'SELECT last_error IS NOT NULL FROM connpool_pgbouncer',
	'one that does not end has failed');
is(errors(), 'flood|f|it answers more than can be read', 'before it has filled the memory');
$flood->stop;

# Nor anything else that libpq would keep: the worker grows by little, and says why it gives up.
my %greedy = map { $_ => Console->new($_) } qw(notifications parameters welcome);
ask(%greedy);
poll_ok(
	$node,
	'SELECT count(*) = 3 FROM connpool_pgbouncer WHERE last_error IS NOT NULL',
	'consoles that send what nobody asked for have failed');
my %reason = map { split /\|f\|/ } split /\n/, errors();
is( $reason{notifications},
	'it sends notifications: is it PgBouncer?',
	'notifications are none of PgBouncer');
is( $reason{parameters},
	'it sends more than it was asked for: is it PgBouncer?',
	'values of parameters are counted');
is( $reason{welcome},
	'it sends too much before it lets in: is it PgBouncer?',
	'so is what comes before a session is open');
my $first = memory_of(worker_pid($node));
$node->poll_query_until('postgres',
	q{SELECT bool_and(retry_at > now() + interval '3 s') FROM connpool_pgbouncer});
cmp_ok(
	memory_of(worker_pid($node)),
	'<',
	$first + 10_000,
	'the memory of the worker does not grow with each try');
$_->stop foreach values %greedy;

# Many rows are none too many.
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
ask(large => $large);
poll_ok(
	$node,
	'SELECT polls > 1 FROM connpool_pgbouncer',
	'sixty thousand servers are read, and again');
is(errors(), 'large|t|', 'without a word');
$large->stop;
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '100ms'");

# One that comes later, and a real one that goes, comes back, and is paused.
my $pooler = start_pooler($node);
my $late = start_pooler($node);
stop_pooler($late);
ask(real => $pooler, late => $late);
poll_ok($node, q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'real'}, 'a real one answers');
poll_ok(
	$node,
	q{SELECT NOT up AND last_error IS NOT NULL FROM connpool_pgbouncer WHERE pooler = 'late'},
	'one is not there yet');
restart_pooler($late);
poll_ok($node, q{SELECT count(*) = 2 FROM connpool_pgbouncer WHERE up}, 'it comes');
system_or_bail('psql', '-XAtq', '-h', $pooler->host, '-p', $pooler->port, '-c', 'PAUSE',
	'pgbouncer');
my $polls =
  $node->safe_psql('postgres', q{SELECT polls FROM connpool_pgbouncer WHERE pooler = 'real'});
poll_ok(
	$node,
	"SELECT up AND polls > $polls FROM connpool_pgbouncer WHERE pooler = 'real'",
	'a paused one answers');
my $log = -s $node->logfile;
stop_pooler($pooler);
restart_pooler($pooler);
poll_ok($node, <<~'SQL', 'one that was restarted answers');
	SELECT up AND last_success > now() - interval '1 s'
	FROM connpool_pgbouncer
	WHERE pooler = 'real'
	SQL
stop_pooler($_) foreach $pooler, $late;

# Passwords from the password file only; a refused one is tried again after a minute.
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
poll_ok($node, q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'right'}, 'the right password');
poll_ok($node, <<~'SQL', 'a wrong one and a missing one are tried again after a minute');
	SELECT count(*) = 2
	FROM connpool_pgbouncer
	WHERE retry_at BETWEEN now() + interval '50 s' AND now() + interval '60 s'
	SQL
like(
	errors(),
	qr/^none\|f\|.*password.*\nright\|t\|\nwrong\|f\|.*password authentication failed/s,
	'which is said');
unlike(errors() . slurp_file($node->logfile, $log), qr/geheim/, 'but not the password');
stop_pooler($locked);

# A console that keeps libpq computing: the worker kills the process, and answers meanwhile.
my $scram = Console->new('scram');
append_to_file("$directory/any", "*:*:*:*:any\n");
chmod 0600, "$directory/any";
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '3s'");
ask(    scram => 'host='
	  . $scram->host
	  . ' port='
	  . $scram->port
	  . " user=$user passfile='$directory/any'");
poll_ok(
	$node,
	'SELECT last_error IS NOT NULL FROM connpool_pgbouncer',
	'a console that asks for two thousand million iterations has failed');
is(errors(), 'scram|f|no connection within its time', 'because of its deadline');
my $worker = worker_pid($node);
my @child;
ok(wait_until(sub { @child = children($worker) }), 'a process tries again');
like(
	slurp_file("/proc/$child[0]/cmdline"),
	qr/^connpool_monitor_console\0scram\0[0-9.]+\0$/,
	'which shows the name of the console and nothing of the password file');
unlike(slurp_file("/proc/$child[0]/environ"),
	qr/PGPASSWORD/, 'and has no password in its environment');
is( join(
		' ', sort map { readlink($_) =~ s/\d+//gr } grep { !/\/2$/ } glob("/proc/$child[0]/fd/*")),
	'socket:[] socket:[] socket:[]',
	'nor files of the server: it has the worker and the console');
is( scalar(
		$node->psql(
			'postgres',
			"SET statement_timeout = '20 s';\nCREATE DATABASE passing;\nDROP DATABASE passing;")),
	0,
	'a database can be dropped meanwhile');
ok(wait_until(sub { is_gone($child[0]) }), 'the process is gone after the deadline');

# The worker may be killed at any moment, its process too.
ok(wait_until(sub { @child = children($worker) }), 'a process tries again');
kill 'KILL', $worker;
ok(wait_until(sub { is_gone($child[0]) }),
	'a process that is busy ends when the worker was killed');
$node->poll_query_until('postgres', 'SELECT last_error IS NOT NULL FROM connpool_pgbouncer')
  or die 'the server does not restart';
$worker = worker_pid($node);
ok(wait_until(sub { @child = children($worker) }), 'the next worker has a process');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok(wait_until(sub { is_gone($child[0]) }), 'which ends with it');
$node->poll_query_until('postgres', <<~"SQL");
	SELECT count(*) = 1
	FROM pg_stat_activity
	WHERE backend_type = 'connpool_monitor pgbouncer' AND pid <> $worker
	SQL
$worker = worker_pid($node);
ok(wait_until(sub { @child = children($worker) }), 'another worker has a process');
my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 20, 'a fast stop does not wait for libpq');
ok(wait_until(sub { is_gone($child[0]) }), 'and leaves no process');
$scram->stop;
$node->append_conf('postgresql.conf', "connpool_monitor.pgbouncer_interval = '100ms'");
$node->start;

my $answering = Console->new(Console::answers(18));
ask(answering => $answering);
poll_ok($node, 'SELECT up FROM connpool_pgbouncer', 'a console answers');
$log = -s $node->logfile;
@child = children(worker_pid($node));
is(scalar @child, 1, 'over one process that stays');
foreach my $signal (qw(KILL STOP))
{
	my ($last, $now) = children(worker_pid($node));
	kill $signal, $last;
	ok(wait_until(sub { ($now) = children(worker_pid($node)); defined $now && $now != $last }),
		"there is another after SIG$signal");
	poll_ok(
		$node,
		q{SELECT up AND last_success > now() - interval '1 s' FROM connpool_pgbouncer},
		"the console answers after SIG$signal");
}
is(log_count($node, 'does not answer', $log),
	1, 'one that was killed is replaced without a message, one that is stopped takes too long');
$worker = worker_pid($node);
@child = children($worker);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($worker)");
wait_samples($node, 5);
is(join(' ', children($worker)), "@child", 'a cancelled query does not concern it');
$node->stop('immediate');
ok(wait_until(sub { is_gone($child[0]) }), 'an immediate stop leaves no process');
$node->start;

# Without the program: of PostgreSQL's files, copied.
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
$lacking->init;
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
	q{SELECT max(retry_at) - now() > interval '3 s' FROM connpool_pgbouncer},
	'without the program the console is tried again');
is($lacking->safe_psql('postgres', 'SELECT pooler, up, last_error FROM connpool_pgbouncer'),
	"answering|f|$missing", 'and says what is missing');
is(log_count($lacking, quotemeta qq{PgBouncer "answering" does not answer: $missing}),
	1, 'as the server log does, once');
symlink "$libdir/connpool_monitor_console", $program or die "cannot link $program: $!";
poll_ok($lacking, q{SELECT up FROM connpool_pgbouncer}, 'it answers when the program is there');
$lacking->stop('fast');
$answering->stop;

# TLS required.
system_or_bail(
	'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
	'-subj', '/CN=pooler', '-days', '2', '-keyout', "$directory/key",
	'-out', "$directory/cert");
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $tls = start_pooler(
	$node,
	listen_addr => '127.0.0.1',
	listen_port => $port,
	client_tls_sslmode => 'require',
	client_tls_key_file => "$directory/key",
	client_tls_cert_file => "$directory/cert",
	client_tls_ca_file => "$directory/cert"
);    # without, it looks for those of the machine, which may have none
ask(plain => "host=127.0.0.1 port=$port user=$user sslmode=disable",
	tls => "host=127.0.0.1 port=$port user=$user sslmode=require");
poll_ok($node, q{SELECT up FROM connpool_pgbouncer WHERE pooler = 'tls'}, 'TLS');
poll_ok(
	$node,
	q{SELECT last_error LIKE '%SSL required%' FROM connpool_pgbouncer WHERE pooler = 'plain'},
	'is asked for where it is required');
stop_pooler($tls);

# The consoles of every version: columns by name.
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
poll_ok($node, 'SELECT count(*) = 12 FROM connpool_pgbouncer WHERE up', 'twelve versions');
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
	is( $node->safe_psql('postgres', <<~"SQL"),
			SELECT p.cl_active, p.cl_waiting, p.wait_time, p.pool_mode, p.cl_cancel_req,
			       p.cl_active_cancel_req, p.load_balance_hosts,
			s.total_xact_count, s.total_wait_time, s.avg_query_time,
			  s.total_server_assignment_count, s.total_bind_count, s.total_client_login_count,
			  b.max_prepared_statements, b.default_pool_size, b.version
			FROM connpool_pgbouncer b
			JOIN connpool_pgbouncer_pools p USING (pooler)
			JOIN connpool_pgbouncer_stats s USING (pooler)
			WHERE pooler = 'v$version'
			SQL
		join('|',
			3, 7, 2345.678, 'transaction', @is[ 0 .. 2 ],
			11, 22, 33, @is[ 3 .. 6 ],
			20, "1.$version.0"),
		"1.$version: columns that it has, and NULL for others");
}
is($node->safe_psql('postgres', <<~'SQL'), '84', 'waiting clients of all');
	SELECT current_value FROM get_connection_stats() WHERE metric_name = 'pool_waiting_clients'
	SQL
$_->stop foreach values %versions;

# Rows that are too many, too long, not numbers.
my $wild = Console->new(
	Console::answers(
		18,
		pools => [
			map {
				{
					database => "db$_",
					user => 'u' x 300,
					cl_active => 'many',
					cl_waiting => '99999999999999999999',
					maxwait => -1
				}
			} 1 .. 300
		],
		stats => [ { database => "\xff\xfe'\"", total_xact_count => '1e5' } ],
		servers => [ map { { remote_pid => $_ } } '', -1, 'x', 4294967296, 1 ]));
ask(wild => $wild);
poll_ok(
	$node,
	q{SELECT up AND rows_dropped = 44 FROM connpool_pgbouncer},
	'rows that are too many are counted');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT count(*), max(length(role)), count(cl_active), count(cl_waiting)
		FROM connpool_pgbouncer_pools
		SQL
	'256|63|0|0',
	'what is no number is NULL, what is too long is cut');
is( $node->safe_psql(
		'postgres', 'SELECT database, total_xact_count IS NULL FROM connpool_pgbouncer_stats'),
	q{??'"|t},
	'and bytes that are no text are shown as ?');
$wild->stop;

# A pid is no proof: these are our sessions' pids, on another connection.
my ($our_port, $our_host) = ($node->port, $node->host);
foreach my $case (
	[ 'another port', 0, { addr => 'unix', port => $our_port + 1 } ],
	[
		'another host', 0,
		{ addr => '10.1.2.3', port => $our_port, local_addr => '10.1.2.4', local_port => 40000 }
	],
	[ 'another directory', 0, { addr => 'unix', port => $our_port, database => 'elsewhere' } ],
	[ 'our directory', 1, { addr => 'unix', port => $our_port, database => 'here' } ])
{
	my ($name, $is_ours, $ends) = @$case;
	# that of the session to come is soon after this one
	my ($last, $most) = (
		$node->safe_psql('postgres', 'SELECT pg_backend_pid()'),
		slurp_file('/proc/sys/kernel/pid_max') + 0);
	my @pids = map { ($last + $_) % $most } 1 .. 10000;
	my $console = Console->new(
		Console::answers(
			18,
			servers => [ map { { type => 'S', user => $user, %$ends, remote_pid => $_ } } @pids ],
			databases => [
				{ name => 'elsewhere', host => '/another/directory' },
				{ name => 'here', host => $our_host }
			]));
	ask(every_pid => $console);
	my $session = session($node, 'session');
	poll_ok($node, <<~'SQL', "$name: asked");
		SELECT (last_success > connected_at + interval '1.1 s')
		FROM connpool_pgbouncer, connpool_sessions
		WHERE application_name = 'session'
		SQL
	is( $node->safe_psql('postgres', <<~'SQL'),
			SELECT pooled_by IS NOT NULL
			FROM connpool_sessions
			WHERE application_name = 'session'
			SQL
		$is_ours ? 't' : 'f',
		"$name: with the same pid is " . ($is_ours ? 'ours' : 'not ours'));
	leave($session);
	$console->stop;
}

# Many questions: the worker does not grow.
my $questions = $ENV{CONNPOOL_POLLS} // 1500;
my $asked = start_pooler($node);
ask(asked => $asked);
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.pgbouncer_interval = '10ms'});
$node->reload;
poll_ok($node, 'SELECT polls > 300 FROM connpool_pgbouncer', 'three hundred questions');
my @processes = (worker_pid($node), children(worker_pid($node)));
my @resident = map { memory_of($_) } @processes;
# in steps, for the time allowed is for a thousand
$node->poll_query_until('postgres', "SELECT polls > $_ FROM connpool_pgbouncer")
  foreach map { 1000 * $_ } 1 .. $questions / 1000;
poll_ok($node, "SELECT polls > $questions FROM connpool_pgbouncer", "$questions questions");
SKIP:
{
	skip 'a sanitizer keeps what is freed', 2 if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	cmp_ok(memory_of($processes[0]) - $resident[0], '<', 200,
		'the worker has not grown by 200 kB');
	cmp_ok(memory_of($processes[1]) - $resident[1], '<', 200, 'nor has the process that asks');
}
stop_pooler($asked);
$node->stop('fast');
done_testing();
