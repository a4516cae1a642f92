# SPDX-License-Identifier: PostgreSQL
# Every refused connection, by its reason, and every error by its SQLSTATE. It
# takes servers that are full, starting, stopping and misconfigured, and clients
# that send half of the protocol, as fast as they can.
# scripts/test: slow, 44 s
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $node = new_node('refusals', <<'CONF', allows_streaming => 1);
max_connections = 12
superuser_reserved_connections = 3
authentication_timeout = 1s
log_min_messages = warning
CONF
my $super = $node->safe_psql('postgres', 'SELECT session_user');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN PASSWORD 'right';
CREATE ROLE one LOGIN CONNECTION LIMIT 1;
CREATE ROLE two LOGIN;
CREATE ROLE nobody_in;
CREATE ROLE walker LOGIN REPLICATION;
CREATE DATABASE small CONNECTION LIMIT 0;
CREATE DATABASE closed;
REVOKE CONNECT ON DATABASE closed FROM PUBLIC;
SQL
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', <<'HBA');
local all unlisted reject
local all app,ghost password
local replication walker trust
local all all trust
HBA
$node->reload;

my $watcher = session($node, 'watcher');
sub watch { return $watcher->query_safe($_[0]) }

sub refusals
{
	return watch(
		q{SELECT string_agg(reason || ' ' || rejections, ', ') FROM connpool_rejections WHERE rejections > 0}
	);
}

# Attempt a connection with libpq; false when it was refused. No retry with TLS.
sub attempt
{
	my ($conninfo) = @_;
	return connects($node->connstr('postgres') . " sslmode=disable gssencmode=disable $conninfo");
}

# Send a startup packet by hand; the first byte of the answer, or '' for none.
sub start_up
{
	my (%parameters) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or return ('', undef);
	my $body =
	  pack('N', 196608) . join('', map { "$_\0$parameters{$_}\0" } sort keys %parameters) . "\0";
	my $answer = '';

	$socket->syswrite(pack('N', length($body) + 4) . $body);
	$socket->sysread($answer, 1);
	return ($answer, $socket);
}

is( watch('SELECT string_agg(reason, \' \') FROM connpool_rejections'),
	'too_many reserved role_limit database_limit authentication hba no_database starting_up shutting_down other',
	'every reason has its row');
is(refusals(), '', 'and none has happened');

# one of each
ok(!attempt('user=unlisted dbname=postgres'), 'pg_hba.conf rejects');
is(refusals(), 'hba 1', 'hba');
ok(!attempt('user=app dbname=postgres password=wrong'), 'a wrong password');
ok( !attempt('user=ghost dbname=postgres password=wrong'),
	'a missing role that is asked for a password');
ok(!attempt('user=phantom dbname=postgres'), 'a missing role');
ok(!attempt('user=nobody_in dbname=postgres'), 'a role that may not log in');
is(refusals(), 'authentication 4, hba 1', 'authentication');
ok(!attempt("user=$super dbname=nowhere"), 'a missing database');
# not as the role with a limit: a process that is still ending would count for it
ok(!attempt('user=two dbname=small'), 'a database that is full');
ok(!attempt('user=two dbname=closed'), 'no CONNECT privilege');
my ($first, $one) = start_up(user => 'one', database => 'postgres');
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'one' AND state = 'idle'});
ok(!attempt('user=one dbname=postgres'), 'a role that is full');
$one->close;
is(refusals(), 'role_limit 1, database_limit 1, authentication 4, hba 1, no_database 1, other 1',
	'limits');

# authentication_timeout; and clients that leave without an answer, which are none
my ($answer, $slow) = start_up(user => 'app', database => 'postgres');
is($answer, 'R', 'a client is asked for its password');
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..400 LOOP
	EXIT WHEN (SELECT rejections = 5 FROM connpool_rejections WHERE reason = 'authentication');
	PERFORM pg_sleep(0.05); END LOOP; END $$});
like(refusals(), qr/authentication 5/, 'who does not answer in time is refused');
foreach (1 .. 5)
{
	my (undef, $left) = start_up(user => 'app', database => 'postgres');
	$left->close;
	my $silent = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port);
	$silent->close;
}
$node->poll_query_until('postgres',
	q{SELECT current_value = 2 FROM get_connection_stats() WHERE metric_name = 'total_connections'}
);
is( refusals(),
	'role_limit 1, database_limit 1, authentication 5, hba 1, no_database 1, other 1',
	'who leaves without an answer is no refusal');

# who it was, as they claimed, also where that is no text in this encoding
start_up(user => "l\xe9on", database => "caf\xe9", application_name => 'shop "1"');
start_up(user => 'x' x 100, database => 'nowhere', application_name => '');
is( watch(
		'SELECT reason, database, role, application_name, client_addr, at > now() - interval \'1 min\' FROM connpool_rejection_log LIMIT 2'
	),
	join("\n",
		'authentication|nowhere|' . 'x' x 63 . '|||t',
		'authentication|caf?|l?on|shop "1"||t'),
	'the log has what the clients claimed, cut to a name and made printable');
is( watch('SELECT sum(attempts) FROM connpool_rejection_log'),
	watch('SELECT sum(rejections) FROM connpool_rejections'),
	'the log has all of them');
like(
	watch(
		q{SELECT string_agg(sqlstate || ' ' || coalesce(condition_name, '-') || ' ' || errors || ' ' || retryable, ', ' ORDER BY sqlstate) FROM connpool_errors}
	),
	qr/^28000 invalid_authorization_specification \d+ false, 28P01 invalid_password 2 false, 3D000 invalid_catalog_name 1 false, 42501 insufficient_privilege 1 false, 53300 too_many_connections 2 true, 57014 query_canceled 1 false$/,
	'refusals are errors by SQLSTATE too');

# reset is the superuser's; totals start anew, what has been stays gone
watch('SELECT connpool_reset(\'counters\')');
is(refusals(), '', 'a reset starts counters anew');
is(watch('SELECT count(*) FROM connpool_rejection_log'), '0', 'and the log');
is(watch('SELECT count(*) FROM connpool_errors'), '0', 'and errors');
is(watch('SELECT stats_reset > now() - interval \'1 min\' FROM connpool_info()'),
	't', 'and says when');

# Clients that take turns have a row each, but one address cannot fill the log by varying names.
foreach my $round (1 .. 2)
{
	start_up(user => "stranger_$_", database => 'postgres') foreach 1 .. 90;
}
is(watch(q{SELECT count(*), sum(attempts) FROM connpool_rejection_log}),
	'90|180', 'each of 90 clients that take turns has one row');
start_up(user => "flood_$_", database => 'postgres', application_name => $_) foreach 1 .. 200;
is(watch(q{SELECT count(*), sum(attempts) FROM connpool_rejection_log}),
	'101|380', 'a client that changes its names fills at most 100 rows');
is( watch(
		q{SELECT database, role, application_name, attempts FROM connpool_rejection_log LIMIT 1}),
	'(several)|(several)|(several)|190',
	'its further attempts share one row, and none is lost');
watch('SELECT connpool_reset()');
my ($status, undef, $stderr) = $node->psql('postgres', q{SELECT connpool_reset('nonsense')});
like($stderr, qr/unrecognized reset target: "nonsense".*HINT/s, 'a reset of nonsense is refused');
($status, undef, $stderr) =
  $node->psql('postgres', q{SET ROLE pg_monitor; SELECT connpool_reset()});
like($stderr, qr/permission denied/, 'and one by who may not');

# errors of sessions, counted once whatever they are nested in
watch('SELECT connpool_reset()');
$node->psql('postgres', 'SELECT 1/0') foreach 1 .. 3;
$node->psql('postgres',
	q{DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$});
$node->psql('postgres',
	q{DO $$ BEGIN BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN RAISE EXCEPTION 'outer' USING ERRCODE = 'ZZ123'; END; END $$}
);
$node->psql('postgres', 'SELECT pg_terminate_backend(pg_backend_pid())');
is( watch(
		q{SELECT string_agg(sqlstate || ' ' || coalesce(condition_name, '-') || ' ' || errors || ' ' || retryable, ', ' ORDER BY sqlstate) FROM connpool_errors}
	),
	'22012 division_by_zero 3 false, 57P01 admin_shutdown 1 true, ZZ123 - 1 false',
	'errors are counted by what reached the client');
is(refusals(), '', 'the end of an open session is no refusal');
$node->psql('postgres', 'NONSENSE', replication => 'database');
$node->psql('postgres', 'NONSENSE');
is(watch(q{SELECT errors FROM connpool_errors WHERE sqlstate = '42601'}),
	'1', 'a walsender is no client session');

# more codes than there is room for: nothing is lost
$watcher->query(q{DO $$ BEGIN END $$});
my $codes = $node->basedir . '/codes.sql';
append_to_file(
	$codes,
	join(
		"\n",
		map {
			my $code = sprintf('Q%04d', $_);
			"DO \$\$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '$code'; END \$\$;"
		} 1 .. 300));
$node->psql('postgres', "\\i $codes", on_error_stop => 0);
is( watch(
		q{SELECT sum(errors) FROM connpool_errors WHERE sqlstate LIKE 'Q%' OR sqlstate = 'other'}),
	'300',
	'no error is lost');
is(watch(q{SELECT count(*) FROM connpool_errors WHERE sqlstate LIKE 'Q%'}),
	'63', 'codes that users raise get at most 64 places (ZZ123 has one of them)');
is( watch(
		q{SELECT errors > 0 AND condition_name IS NULL AND NOT retryable FROM connpool_errors WHERE sqlstate = 'other'}
	),
	't',
	'what does not fit is "other"');
$node->psql(
	'postgres',
	q{DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$},
	on_error_stop => 0);
is( watch(
		q{SELECT errors, condition_name, retryable FROM connpool_errors WHERE sqlstate = '40P01'}),
	'1|deadlock_detected|t',
	q{PostgreSQL's own codes always have a place});
my @classes = watch('SELECT connpool_metrics()') =~ /^connpool_errors_total\{class="(\w+)"\}/mg;
is(join(' ', grep { /^[QZ]/ } @classes),
	'', 'a class that PostgreSQL does not define is not a label');
is(scalar(grep { $_ eq 'other' } @classes), 1, 'all undefined classes share one series');
watch(q{SELECT connpool_reset('counters')});
$node->psql(
	'postgres',
	q{DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'ZZ999'; END $$},
	on_error_stop => 0);
is(watch(q{SELECT errors FROM connpool_errors WHERE sqlstate = 'ZZ999'}),
	'1', 'a reset frees the places');

# full: ordinary roles meet the reserved slots, superusers the end
watch('SELECT connpool_reset()');
my @fillers = map { session($node, 'filler') } 1 .. 8;
ok(!attempt('user=one dbname=postgres'), 'only reserved slots are left');
is(refusals(), 'reserved 1', 'reserved');
is( watch(
		q{SELECT current_value, status FROM get_connection_stats() WHERE metric_name = 'rejected_connections'}
	),
	'1|CRITICAL',
	'the metric counts it at once');
push @fillers, map { session($node, 'filler') } 1 .. 3;
ok(!attempt("user=$super dbname=postgres"), 'no slot is left');
is(refusals(), 'too_many 1, reserved 1', 'too_many, from a process without a PGPROC');
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..400 LOOP
	EXIT WHEN (SELECT status = 'CRITICAL' FROM connpool_alerts WHERE metric_name = 'rejected_connections');
	PERFORM pg_sleep(0.05); END LOOP; END $$});
is(log_count($node, 'CRITICAL: rejected_connections is \d refusals?'),
	1, 'which raises its alert without waiting');

# as fast as they can, from several processes at once, for the two slots that are
# left: attempts are answers plus refusals
leave(pop @fillers) foreach 1 .. 2;
$node->poll_query_until('postgres',
	q{SELECT current_value <= 11 FROM get_connection_stats() WHERE metric_name = 'total_connections'}
);
watch('SELECT connpool_reset()');
my ($attempts, $processes) = (5000, 4);
my @children;
foreach my $number (1 .. $processes)
{
	my $pid = fork() // die 'could not fork';
	if ($pid == 0)
	{
		my %answers = (E => 0, R => 0, '' => 0);
		$answers{
			(   start_up(
					user => $super,
					database => 'postgres',
					application_name => "storm $number"))[0]
		  }++
		  foreach 1 .. $attempts;
		append_to_file($node->basedir . "/storm.$number", "$answers{E} $answers{R} $answers{''}");
		require POSIX;
		POSIX::_exit(0);
	}
	push @children, $pid;
}
waitpid($_, 0) foreach @children;
my ($refused, $served, $lost) = (0, 0, 0);
foreach my $number (1 .. $processes)
{
	my ($e, $r, $none) = split / /, slurp_file($node->basedir . "/storm.$number");
	$refused += $e;
	$served  += $r;
	$lost    += $none;
}
is($refused + $served + $lost, $attempts * $processes, 'the storm has made its attempts');
# the last one may have been answered and not be in yet
$watcher->query_safe(
	qq{DO \$\$ BEGIN FOR i IN 1..400 LOOP
	EXIT WHEN (SELECT sum(sessions_opened) >= $served FROM connpool_pools WHERE application_name LIKE 'storm%');
	PERFORM pg_sleep(0.05); END LOOP; END \$\$});
is( watch(q{SELECT sum(sessions_opened) FROM connpool_pools WHERE application_name LIKE 'storm%'}),
	$served, 'each session that was let in is counted');
is( watch('SELECT sum(rejections) FROM connpool_rejections'),
	$refused + $lost,
	"each of $refused refusals in a storm is counted"
) or diag "$served served, $lost without an answer";
cmp_ok($served, '>', 0, "while $served were let in");
is(refusals(), "too_many " . ($refused + $lost), 'and for its reason');
is( watch(
		'SELECT count(*) < 100, sum(attempts) = (SELECT sum(rejections) FROM connpool_rejections), bool_and(first_at <= at) FROM connpool_rejection_log'
	),
	't|t|t',
	'a flood of like attempts takes fewer than 100 log rows, and no attempt is lost');
is(watch(q{SELECT connpool_health() ->> 'status'}), 'unhealthy', 'health is unhealthy');
leave(pop @fillers) foreach 1 .. 5;
$watcher->query_safe(
	q{DO $$ BEGIN FOR i IN 1..400 LOOP
	EXIT WHEN (SELECT current_value < 9 FROM get_connection_stats() WHERE metric_name = 'total_connections');
	PERFORM pg_sleep(0.05); END LOOP; END $$});
is( watch(q{SELECT connpool_health() ->> 'error'}),
	'a connection was refused for want of a slot within the last 10 seconds',
	'and stays so for a while after the last refusal');

# sessions that were let in are counted as opened, and make the rate of the last minute
my $script = $node->basedir . '/one.sql';
append_to_file($script, "SELECT 1;\n");
$node->command_ok(
	[ 'pgbench', '-n', '-C', '-c', '2', '-t', '450', '-f', $script, $node->connstr('postgres') ],
	'nine hundred sessions open and close');
my ($opened) = split /\|/,
  watch(
	q{SELECT avg_value * 60 FROM connpool_history('connections_per_second', now() - interval '5 minutes') ORDER BY sample_time DESC LIMIT 1}
  );
cmp_ok($opened, '>=', 890, 'connections_per_second counts them');
cmp_ok($opened, '<=', 900 + $served + 60, 'and nothing but sessions that were let in');

# the server says itself when it cannot count
is(watch('SELECT refusals_counted FROM connpool_info()'), 't', 'refusals are counted');
$node->safe_psql('postgres', q{ALTER SYSTEM SET log_min_messages = 'panic'});
$node->reload;
poll_ok($node, 'SELECT NOT refusals_counted FROM connpool_info()', 'but not when FATAL is hidden');
$node->safe_psql('postgres', q{ALTER SYSTEM SET log_min_messages = 'log'});
$node->reload;
poll_ok($node, 'SELECT refusals_counted FROM connpool_info()', 'LOG does not hide it');
attempt("user=$super dbname=nowhere");
is(watch(q{SELECT rejections FROM connpool_rejections WHERE reason = 'no_database'}),
	'1', 'as is so');

# while the server stops
$node->safe_psql('postgres', q{ALTER SYSTEM RESET ALL});
command_ok([ 'pg_ctl', '-D', $node->data_dir, '-m', 'smart', '--no-wait', 'stop' ],
	'a smart shutdown waits for the watcher');
watch('SELECT pg_sleep(0.2)');
ok(!attempt("user=$super dbname=postgres"), 'which nobody can join');
like(refusals(), qr/shutting_down 1/, 'shutting_down');
eval { $watcher->quit };
leave($_) foreach @fillers;

for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if !-e $node->data_dir . '/postmaster.pid';
	select(undef, undef, undef, 0.05);
}
ok(!-e $node->data_dir . '/postmaster.pid', 'and is over when the last has gone');
$node->_update_pid(0);

# and while it starts: a standby that lets nobody in until it is promoted
$node->append_conf('postgresql.conf', 'hot_standby = off');
$node->set_standby_mode;
command_ok([ 'pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '--no-wait', 'start' ],
	'a standby that accepts nobody starts');
my $seen = 0;
foreach (1 .. 200)
{
	my ($first_byte) = start_up(user => $super, database => 'postgres');
	$seen++ if $first_byte eq 'E';
	last if $seen >= 5;
	select(undef, undef, undef, 0.05);
}
is($seen, 5, 'it refuses');
command_ok([ 'pg_ctl', '-D', $node->data_dir, 'promote' ], 'it is promoted');
$node->_update_pid(1);
is( $node->safe_psql('postgres',
		q{SELECT rejections FROM connpool_rejections WHERE reason = 'starting_up'}) >= 5 ? 1 : 0,
	1,
	'who was refused before anybody could connect is counted');

$node->stop('fast');
done_testing();
