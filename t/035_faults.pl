# SPDX-License-Identifier: PostgreSQL
# After a worker or a session is killed in any phase, the server restarts with the extension, which
# counts again, and its sums agree. The same holds after immediate stops under load and after
# workers are terminated. Needs processes that are killed.
# scripts/test: slow, 38 s
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Connpool;
use Http;
use Wire;

my $rounds = $ENV{CONNPOOL_FAULT_ROUNDS} // 3;
my $port = http_port();
# a commit can wait for a standby only where standbys may connect
my $node = new_node('faults', <<"CONF", allows_streaming => 1);
restart_after_crash = on
max_connections = 40
synchronous_commit = local
connpool_monitor.max_pools = 30
connpool_monitor.save_interval = '1s'
connpool_monitor.alert_after = 0
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.pgbouncer = 'nobody=host=127.0.0.1 port=1 user=nobody'
CONF
my @opened;    # clients and sockets of the current case
END { finish_all() }

my $user = $node->safe_psql('postgres', 'SELECT session_user');

sub postmaster { return (slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/)[0]; }

# Return the titles of the postmaster's processes by pid.
sub children
{
	my $postmaster = postmaster();
	return map { /^\s*(\d+) (.*)/ ? ($1 => $2) : () } split /\n/,
	  `ps -o pid=,args= --ppid $postmaster`;
}

# Wait until $check returns a true value, and return it.
sub until_true
{
	my ($name, $check) = @_;
	my $value;
	wait_until(sub { $value = $check->() }) or die "$name: not in time";
	return $value;
}

# Return the pid of a worker.
sub worker
{
	my ($name) = @_;
	return until_true(
		"the $name",
		sub {
			my %child = children();
			return (grep { $child{$_} =~ /connpool_monitor $name/ } keys %child)[0];
		});
}

# Start a client that runs until finish_all().
sub start_client
{
	my @command = @_;
	my ($in, $out, $err) = ('', '', '');
	push @opened, IPC::Run::start(\@command, '<', \$in, '>', \$out, '2>', \$err);
	return;
}

sub psql_runs
{
	return start_client('psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $_[0]);
}

sub pgbench_runs
{
	my ($options, $script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	append_to_file($file, $script);
	return start_client('pgbench', '-n', '-T', 3600, @$options, '-f', $file,
		$node->connstr('postgres'));
}

sub finish_all
{
	foreach (@opened)
	{
		eval { ref $_ eq 'IPC::Run' ? $_->kill_kill(grace => 1) : close $_ };
	}
	@opened = ();
	return;
}

# Start a session that is busy until it is killed. Return its pid.
sub busy_with
{
	my ($statement, $state) = @_;
	my $name = 'busy ' . int rand 1e9;
	start_client('psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name='$name'",
		'-c', $statement);
	$state //= q{state = 'active'};
	return until_true(
		$name,
		sub {
			sql($node, <<~"SQL");
				SELECT pid
				FROM pg_stat_activity
				WHERE application_name = '$name' AND query <> '' AND $state
				SQL
		});
}

# Open a session, let $prepare use it, and leave it idle. Return its pid.
sub held_after
{
	my ($prepare) = @_;
	my $name = 'held ' . int rand 1e9;
	my $wire = Wire->connect_to($node, $name, user => $user);
	push @opened, $wire->{socket};
	my $pid = sql($node, "SELECT pid FROM pg_stat_activity WHERE application_name = '$name'");
	$prepare->($wire);
	return $pid;
}

# Send bytes over a new socket. Return the pid of its backend.
sub half_open
{
	my ($bytes) = @_;
	my %before = children();
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "could not connect: $!";
	$socket->syswrite($bytes);
	push @opened, $socket;
	return until_true(
		'a process for the socket',
		sub {
			my %now = children();
			return (grep { !exists $before{$_} } keys %now)[0];
		});
}

# Assert that all workers run, that everything counts, and that the sums agree.
sub all_is_well
{
	my ($name) = @_;
	my @wrong;
	until_true('a connection', sub { connects($node->connstr('postgres')) });
	wait_samples($node, 2);
	worker($_) foreach qw(sampler saver http pgbouncer);
	push @wrong, 'no answer over HTTP'
	  unless poll_http($port, '/health/database', sub { $_[0]{status} == 200 });
	my $counted = <<~'SQL';
		SELECT failed_queries, sessions_opened
		FROM connpool_query_stats, connpool_session_stats
		WHERE period = 'since_reset'
		SQL
	my ($failed, $opened) = split /\|/, sql($node, $counted);
	$node->psql('postgres', 'SELECT 1/0') foreach 1 .. 3;
	my ($failed_after, $opened_after) = split /\|/, sql($node, $counted);
	push @wrong, "$failed and then $failed_after failed" if $failed_after - $failed != 3;
	push @wrong, "$opened and then $opened_after opened" if $opened_after - $opened != 4;
	push @wrong, sql($node, <<~'SQL');
		SELECT 'sessions do not add up: ' || s
		FROM connpool_session_stats s
		WHERE sessions_opened <> connections + sessions_closed + sessions_abandoned
		                         + sessions_failed + sessions_killed;
		SELECT 'pools do not add up: ' || p || ' of ' || total_queries
		FROM connpool_query_stats, (SELECT sum(queries) AS p FROM connpool_pools) pools
		WHERE period = 'since_reset' AND total_queries <> p
		SQL
	# a worker that has just started has not registered yet; nobody listens at the port of PgBouncer
	my $problem;
	wait_until(
		sub {
			$problem = sql($node, 'SELECT problem FROM connpool_info()');
			return $problem =~ /^no answer from PgBouncer "nobody": [^;]*$/;
		}) or push @wrong, $problem || 'PgBouncer answers';
	is(join('; ', grep { $_ ne '' } @wrong), '', $name);
	return;
}

# Kill a process, wait for the restart and check that all workers count.
sub killed
{
	my ($name, $pid) = @_;
	my $from = -s $node->logfile;
	kill 'KILL', $pid or die "$name: no process $pid";
	until_true(
		'the crash',
		sub {
			slurp_file($node->logfile, $from) =~ /all server processes terminated; reinitializing/;
		});
	finish_all();
	all_is_well("the extension works after a kill: $name");
	return;
}

sql($node, 'CREATE DATABASE fresh');
sql($node, 'CREATE TABLE copied (i int)');
sql($node, q{CREATE ROLE app LOGIN PASSWORD 'secret'});
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', "local all app password\nlocal all all trust\n");
$node->reload;
all_is_well('the extension works before any kill');

# --- the workers
killed("the $_", worker($_)) foreach qw(sampler saver http pgbouncer);
{
	# the notifier cannot commit while a commit with NOTIFY waits for a standby
	sql($node, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	$node->reload;
	$node->poll_query_until('postgres',
		q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
	busy_with(
		<<~'SQL',
				BEGIN;
				SET LOCAL synchronous_commit = on;
				NOTIFY something;
				INSERT INTO copied VALUES (1);
				COMMIT
				SQL
		q{wait_event = 'SyncRep'});
	sql($node, "ALTER SYSTEM SET connpool_monitor.$_")
	  foreach q{notify_database = 'postgres'}, 'total_connections_warning = 1';
	$node->reload;
	killed('the notifier', worker('notifier'));
	sql($node, 'ALTER SYSTEM RESET ALL');
	$node->reload;
}

# --- sessions, phase by phase
killed('a client that has sent nothing', half_open(''));
killed('half a startup packet', half_open(pack('NN', 100, 196608)));
my $startup = "user\0app\0database\0postgres\0\0";
killed('while it authenticates', half_open(pack('NN', length($startup) + 8, 196608) . $startup));
killed('idle', held_after(sub { }));
killed('idle in transaction', held_after(sub { $_[0]->query('BEGIN'); $_[0]->query('SELECT 1') }));
killed('in a failed transaction',
	held_after(sub { $_[0]->query('BEGIN'); $_[0]->query('SELECT 1/0') }));
killed('in a statement', busy_with('SELECT pg_sleep(600)'));
killed('in a statement of a function', busy_with('DO $$ BEGIN PERFORM pg_sleep(600); END $$'));
killed(
	'in COPY FROM STDIN',
	held_after(
		sub {
			$_[0]->send_message('Q', "COPY copied FROM STDIN\0");
			$_[0]->read_until('G');
			$_[0]->send_message('d', "1\n");
		}));
killed(
	'between Execute and Sync',
	held_after(
		sub {
			$_[0]->parse('', 'SELECT 1')->bind_to('', '')->execute('')->flush;
			$_[0]->read_until('C');
		}));
killed(
	'with a portal fetched in part',
	held_after(
		sub {
			$_[0]->query('BEGIN');
			$_[0]->parse('', 'SELECT generate_series(1, 100)')->bind_to('p', '')->execute('p', 10)
			  ->flush;
			$_[0]->read_until('s');
		}));
killed(
	'with a cursor on one of our views',
	held_after(
		sub {
			$_[0]->query('BEGIN');
			$_[0]->query(
				'DECLARE c CURSOR FOR SELECT * FROM connpool_sessions, generate_series(1, 1000)');
			$_[0]->query('FETCH 10 FROM c');
		}));
killed(
	'with the extension created and not committed',
	do
	{
		my $name = 'creates';
		my $wire = Wire->connect_to($node, $name, user => $user, database => 'fresh');
		push @opened, $wire->{socket};
		$wire->query($_) foreach 'BEGIN', 'CREATE EXTENSION connpool_monitor CASCADE';
		sql($node, "SELECT pid FROM pg_stat_activity WHERE application_name = '$name'");
	}
);
killed('in a loop of resets',
	busy_with('DO $$ BEGIN LOOP PERFORM connpool_reset(); END LOOP; END $$'));
killed('reading all views', busy_with(<<~'SQL'));
	DO $$ BEGIN
	  LOOP
	    PERFORM count(*) FROM connpool_pools;
	    PERFORM count(*) FROM connpool_sessions;
	    PERFORM length(connpool_metrics());
	  END LOOP;
	END $$
	SQL
killed(
	'in a loop of errors',
	busy_with(
		'DO $$ BEGIN LOOP BEGIN PERFORM 1/0; EXCEPTION WHEN OTHERS THEN END; END LOOP; END $$'));
sql($node, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
$node->reload;
$node->poll_query_until('postgres',
	q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
killed(
	'in a COMMIT that waits for a standby',
	busy_with(
		'SET synchronous_commit = on; INSERT INTO copied VALUES (1)',
		q{wait_event = 'SyncRep'}));
sql($node, 'ALTER SYSTEM RESET synchronous_standby_names');
$node->reload;

# --- any session, under load that connects, evicts pools, fails and is refused
sub load
{
	pgbench_runs([ '-C', '-c', 4 ], "SELECT 1;\n");
	pgbench_runs([ '-c', 4 ], <<'SQL');
\set n random(1, 200)
SET application_name = 'name :n';
SELECT :n;
BEGIN;
INSERT INTO copied VALUES (:n);
END;
SQL
	my $nowhere = 'host=' . $node->host . ' port=' . $node->port . ' dbname=nowhere';
	start_client('bash', '-c', "while :; do psql -XAtq -d '$nowhere'; done");
	return;
}
foreach my $round (1 .. $rounds)
{
	load();
	my $before = sql($node, 'SELECT sum(sessions_opened) FROM connpool_session_stats');
	$node->poll_query_until('postgres',
		"SELECT sessions_opened > $before + 20 FROM connpool_session_stats")
	  or die 'no load';
	my %child = until_true(
		'a session',
		sub {
			my %all = children();
			my @sessions = grep { $all{$_} =~ /pgbench|connpool|\[local\]/ } keys %all;
			return @sessions ? { map { $_ => 1 } @sessions } : undef;
		})->%*;
	my @any = keys %child;
	my $from = -s $node->logfile;
	# if the process has ended in the meantime, kill the next
	until_true(
		'a crash',
		sub {
			kill 'KILL', splice(@any, int rand @any, 1) if @any;
			slurp_file($node->logfile, $from) =~ /terminating any other active server processes/;
		});
	finish_all();
	until_true(
		'the restart',
		sub {
			slurp_file($node->logfile, $from) =~ /database system is ready to accept connections/;
		});
	all_is_well("the extension works after a kill of any session, round $round");
}

# --- immediate stops under load: the file of the last save is whole
foreach my $round (1 .. $rounds)
{
	load();
	my ($start, $counted) = split /\|/, sql($node, <<~'SQL');
		SELECT clock_timestamp(), total_queries
		FROM connpool_query_stats
		WHERE period = 'since_reset'
		SQL
	$node->poll_query_until('postgres', "SELECT last_saved > '$start' FROM connpool_info()")
	  or die 'nothing is saved';
	my $from = -s $node->logfile;
	$node->stop('immediate');
	finish_all();
	$node->start;
	all_is_well("the extension works after an immediate stop under load, round $round");
	is(log_count($node, 'is not used', $from),
		0, "the file is used after an immediate stop, round $round");
	cmp_ok(
		sql($node, q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'}),
		'>=', $counted, "the file has the counters of the last save, round $round");
}

# --- workers that are terminated are restarted and lose nothing
my $queries =
  sql($node, q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'});
foreach my $name (qw(sampler saver http pgbouncer))
{
	my $pid = worker($name);
	kill 'TERM', $pid;
	until_true(
		"another $name",
		sub {
			my %child = children();
			my ($new) = grep { $child{$_} =~ /connpool_monitor $name/ } keys %child;
			return $new && $new != $pid;
		});
}
all_is_well('the extension works after all workers were terminated');
cmp_ok(sql($node, q{SELECT total_queries FROM connpool_query_stats WHERE period = 'since_reset'}),
	'>', $queries, 'no statement is lost when workers are terminated');

$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:/, 'the log has no PANIC');
unlike(
	$log,
	qr/terminated by signal (?!9: Killed)/,
	'no process ended by another signal than SIGKILL');
unlike($log, qr/TRAP:/, 'no assertion failed');
# the log shows warnings: nobody listens at the port of PgBouncer, and metrics raise alerts
my $expected = qr/PgBouncer "nobody" does not answer/;
like($log, qr/WARNING:  connpool_monitor: $expected/, 'the log shows warnings of the extension');
is( join("\n",
		grep { !/$expected|: (?:still )?(?:WARNING|CRITICAL): / }
		  $log =~ /WARNING:  (connpool_monitor: .*)/g),
	'',
	'the extension logged no warning about itself');

done_testing();
