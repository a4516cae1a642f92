# SPDX-License-Identifier: PostgreSQL
# Every refused connection counts under its reason, and every error under its SQLSTATE. Needs
# servers that are full, starting, stopping and misconfigured, and clients that send half of the
# protocol as fast as they can. CONNPOOL_STORM sets how often they try.
# scripts/test: slow, 16 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('refusals', <<'CONF', allows_streaming => 1);
listen_addresses = '127.0.0.1'
max_connections = 12
superuser_reserved_connections = 3
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

my $errors = <<'SQL';
SELECT string_agg(sqlstate || ' ' || coalesce(condition_name, '-') || ' ' || errors || ' '
                  || retryable, ', ' ORDER BY sqlstate)
FROM connpool_errors
SQL

sub refusals
{
	return sql($watcher, <<~'SQL');
		SELECT string_agg(reason || ' ' || rejections, ', ')
		FROM connpool_rejections
		WHERE rejections > 0
		SQL
}

# Connect with libpq, without a retry for TLS; returns false if the server refuses.
sub attempt
{
	my ($conninfo) = @_;
	return connects($node->connstr('postgres') . " sslmode=disable gssencmode=disable $conninfo");
}

# Send a startup packet. Return the socket and the first byte of the answer, '' if there is none.
sub start_up
{
	my (%parameters) = @_;
	my $socket = Wire::start_up($node, %parameters) or return (undef, '');
	my $answer = '';

	$socket->sysread($answer, 1);
	return ($socket, $answer);
}

# Send a startup packet that the server refuses, and wait until its process no longer holds a slot.
sub start_up_refused
{
	my ($socket) = start_up(@_);

	1 while $socket->sysread(my $rest, 8192);
	return;
}

is( sql($watcher, 'SELECT string_agg(reason, \' \') FROM connpool_rejections'),
	'too_many reserved role_limit database_limit authentication hba no_database starting_up '
	  . 'shutting_down other',
	'connpool_rejections has a row for each reason');
is(refusals(), '', 'no refusal counts at first');

# refusals for each reason
ok(!attempt('user=unlisted dbname=postgres'), 'pg_hba.conf rejects a connection');
is(refusals(), 'hba 1', 'a rejection by pg_hba.conf counts as hba');
ok(!attempt('user=app dbname=postgres password=wrong'), 'the server refuses a wrong password');
ok(!attempt('user=ghost dbname=postgres password=wrong'),
	'the server refuses a role that does not exist after asking for its password');
ok(!attempt('user=phantom dbname=postgres'), 'the server refuses a role that does not exist');
ok(!attempt('user=nobody_in dbname=postgres'), 'the server refuses a role without LOGIN');
is(refusals(), 'authentication 4, hba 1', 'these four refusals count as authentication');
ok(!attempt("user=$super dbname=nowhere"), 'the server refuses a missing database');
# not as role one, because a backend that has not ended yet would count towards its limit
ok(!attempt('user=two dbname=small'), 'the server refuses a database at its connection limit');
ok(!attempt('user=two dbname=closed'), 'the server refuses a role without CONNECT privilege');
my ($one) = start_up(user => 'one', database => 'postgres');
poll_session($watcher,
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'one' AND state = 'idle'});
ok(!attempt('user=one dbname=postgres'), 'the server refuses a role at its connection limit');
$one->close;
is( refusals(),
	'role_limit 1, database_limit 1, authentication 4, hba 1, no_database 1, other 1',
	'connection limits, missing databases and missing privileges count under their own reasons');

# The end of authentication_timeout counts as a refusal. A client that disconnects before the
# server lets it in or refuses it does not count. Only the first client gets the short timeout,
# because the others could exceed it on a busy machine.
sql($watcher, q{ALTER SYSTEM SET authentication_timeout = '1s'});
$node->reload;
my ($slow, $answer) = start_up(user => 'app', database => 'postgres');
is($answer, 'R', 'the server asks a client for its password');
sql($watcher, 'ALTER SYSTEM RESET authentication_timeout');
$node->reload;
poll_session($watcher,
	q{SELECT rejections = 5 FROM connpool_rejections WHERE reason = 'authentication'});
like(
	refusals(),
	qr/authentication 5/,
	'a client that does not answer within authentication_timeout counts as authentication');

foreach (1 .. 5)
{
	my ($left) = start_up(user => 'app', database => 'postgres');
	$left->close;
	Wire::open_socket($node)->close;
}
poll_session($watcher,
	q{SELECT current_value = 1 FROM get_connection_stats() WHERE metric_name = 'total_connections'}
);
is( refusals(),
	'role_limit 1, database_limit 1, authentication 5, hba 1, no_database 1, other 1',
	'a client that disconnects before it is let in or refused does not count as refused');

# the log shows the names that clients claimed, even if they are invalid in the server's encoding
start_up_refused(user => "l\xe9on", database => "caf\xe9", application_name => 'shop "1"');
start_up_refused(user => 'x' x 100, database => 'nowhere', application_name => '');
is( sql($watcher, <<~'SQL'),
		SELECT reason, database, role, application_name, client_addr,
		       at > now() - interval '1 min'
		FROM connpool_rejection_log
		LIMIT 2
		SQL
	join("\n",
		'authentication|nowhere|' . 'x' x 63 . '|||t',
		'authentication|caf?|l?on|shop "1"||t'),
	'the log has the names that clients claimed, truncated and made printable');
is( sql($watcher, 'SELECT sum(attempts) FROM connpool_rejection_log'),
	sql($watcher, 'SELECT sum(rejections) FROM connpool_rejections'),
	'the log and the counters have the same number of refusals');
my $errors_of_refusals = join ', ',
  '28000 invalid_authorization_specification \d+ false',
  '28P01 invalid_password 2 false',
  '3D000 invalid_catalog_name 1 false',
  '42501 insufficient_privilege 1 false',
  '53300 too_many_connections 2 true',
  '57014 query_canceled 1 false';
like(sql($watcher, $errors),
	qr/^$errors_of_refusals$/, 'each refusal counts under its SQLSTATE too');

# a reset clears the counters and logs, and records its time
sql($watcher, 'SELECT connpool_reset(\'counters\')');
is(refusals(), '', 'a reset clears the counters of refusals');
is(sql($watcher, 'SELECT count(*) FROM connpool_rejection_log'),
	'0', 'a reset clears the log of refusals');
is(sql($watcher, 'SELECT count(*) FROM connpool_errors'),
	'0', 'a reset clears the counters of errors');
is(sql($watcher, 'SELECT stats_reset > now() - interval \'1 min\' FROM connpool_info()'),
	't', 'a reset records its time in stats_reset');

# Clients that take turns have a row each, but one address cannot fill the log by varying names.
foreach my $round (1 .. 2)
{
	start_up_refused(user => "stranger_$_", database => 'postgres') foreach 1 .. 90;
}
is(sql($watcher, q{SELECT count(*), sum(attempts) FROM connpool_rejection_log}),
	'90|180', 'each of 90 clients that take turns has one row');
start_up_refused(user => "flood_$_", database => 'postgres', application_name => $_)
  foreach 1 .. 200;
is(sql($watcher, q{SELECT count(*), sum(attempts) FROM connpool_rejection_log}),
	'101|380', 'a client that changes its names fills at most 100 rows');
is( sql($watcher,
		q{SELECT database, role, application_name, attempts FROM connpool_rejection_log LIMIT 1}),
	'(several)|(several)|(several)|190',
	'further attempts of that client share one row, which counts all of them');

# A flood of attempts from many addresses that are refused for one reason evicts no rows of other
# reasons.
sql($watcher, 'SELECT connpool_reset()');
start_up_refused(user => 'phantom', database => 'postgres');
foreach my $address (map { "127.0.0.$_" } 1 .. 11)
{
	start_up_refused(user => "made_up_$_", database => 'postgres', from => $address)
	  foreach 1 .. 101;
}
is( sql($watcher, <<~'SQL'),
		SELECT reason, sum(attempts), count(*) = 1 OR count(*) >= 401 AND count(*) <= 420
		FROM connpool_rejection_log
		GROUP BY reason
		ORDER BY reason
		SQL
	"authentication|1|t\nhba|1111|t",
	'a flood from many addresses fills about 400 rows, and its attempts add up');
is( sql($watcher, <<~'SQL'),
		SELECT reason, database, role, application_name, client_addr, attempts > 600
		FROM connpool_rejection_log
		WHERE attempts > 1
		SQL
	'hba|(several)|(several)|(several)||t',
	'further attempts of such a flood share one row without an address');
sql($watcher, 'GRANT SELECT ON connpool_rejection_log TO two');
my $addresses = 'SELECT count(*) > 400, count(client_addr) FROM connpool_rejection_log';
like(sql($watcher, $addresses),
	qr/^t\|4\d\d$/, 'a superuser sees the addresses of refused clients');
is($node->safe_psql('postgres', $addresses, extra_params => [ '-U', 'two' ]),
	't|0', 'a role with only SELECT on the log sees no addresses');
sql($watcher, 'SELECT connpool_reset()');
my ($status, undef, $stderr) = $node->psql('postgres', q{SELECT connpool_reset('nonsense')});
like(
	$stderr,
	qr/unrecognized reset target: "nonsense".*HINT/s,
	'connpool_reset() rejects an unknown target');
($status, undef, $stderr) =
  $node->psql('postgres', q{SET ROLE pg_monitor; SELECT connpool_reset()});
like($stderr, qr/permission denied/, 'a role without the privilege cannot reset');

# an error of a session counts once, however deep it is nested
sql($watcher, 'SELECT connpool_reset()');
$node->psql('postgres', 'SELECT 1/0') foreach 1 .. 3;
$node->psql('postgres',
	q{DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$});
$node->psql('postgres', <<~'SQL');
	DO $$ BEGIN
	  BEGIN PERFORM 1/0;
	  EXCEPTION WHEN division_by_zero THEN RAISE EXCEPTION 'outer' USING ERRCODE = 'ZZ123';
	  END;
	END $$
	SQL
$node->psql('postgres', 'SELECT pg_terminate_backend(pg_backend_pid())');
is( sql($watcher, $errors),
	'22012 division_by_zero 3 false, 57P01 admin_shutdown 1 true, ZZ123 - 1 false',
	'each error that reaches a client counts once under its SQLSTATE');
is(refusals(), '', 'the end of an open session does not count as a refusal');
$node->psql('postgres', 'NONSENSE', replication => 'database');
$node->psql('postgres', 'NONSENSE');
is(sql($watcher, q{SELECT errors FROM connpool_errors WHERE sqlstate = '42601'}),
	'1', 'an error of a walsender does not count');

# more SQLSTATEs than the table has entries: every error counts
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
is( sql($watcher,
		q{SELECT sum(errors) FROM connpool_errors WHERE sqlstate LIKE 'Q%' OR sqlstate = 'other'}),
	'300',
	'all 300 errors count, under their SQLSTATE or as "other"');
is(sql($watcher, q{SELECT count(*) FROM connpool_errors WHERE sqlstate LIKE 'Q%'}),
	'63', 'SQLSTATEs that users invent get at most 64 entries (ZZ123 has one of them)');
is(sql($watcher, <<~'SQL'), 't', 'an SQLSTATE without an entry counts as "other"');
	SELECT errors > 0 AND condition_name IS NULL AND NOT retryable
	FROM connpool_errors
	WHERE sqlstate = 'other'
	SQL
$node->psql(
	'postgres',
	q{DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$},
	on_error_stop => 0);
is( sql($watcher,
		q{SELECT errors, condition_name, retryable FROM connpool_errors WHERE sqlstate = '40P01'}),
	'1|deadlock_detected|t',
	'an SQLSTATE that PostgreSQL defines always has an entry');
my @classes =
  sql($watcher, 'SELECT connpool_metrics()') =~ /^connpool_errors_total\{class="(\w+)"\}/mg;
is(join(' ', grep { /^[QZ]/ } @classes),
	'', 'connpool_errors_total has no label for a class that PostgreSQL does not define');
is(scalar(grep { $_ eq 'other' } @classes), 1, 'all undefined classes share one series');
sql($watcher, q{SELECT connpool_reset('counters')});
$node->psql(
	'postgres',
	q{DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'ZZ999'; END $$},
	on_error_stop => 0);
is(sql($watcher, q{SELECT errors FROM connpool_errors WHERE sqlstate = 'ZZ999'}),
	'1', 'a reset frees the entries of SQLSTATEs that users invented');

# refusals of ordinary roles count as reserved, and of superusers as too_many
sql($watcher, 'SELECT connpool_reset()');
my @fillers = map { session($node, 'filler') } 1 .. 8;
ok(!attempt('user=one dbname=postgres'),
	'the server refuses an ordinary role when only reserved slots are free');
is(refusals(), 'reserved 1', 'the refusal of an ordinary role counts as reserved');
is(sql($watcher, <<~'SQL'), '1|CRITICAL', 'rejected_connections counts a refusal at once');
	SELECT current_value, status
	FROM get_connection_stats()
	WHERE metric_name = 'rejected_connections'
	SQL
push @fillers, map { session($node, 'filler') } 1 .. 3;
ok(!attempt("user=$super dbname=postgres"), 'the server refuses a superuser without a free slot');
is( refusals(),
	'too_many 1, reserved 1',
	'the refusal of a superuser counts as too_many, though its process has no PGPROC');
poll_session($watcher,
	q{SELECT status = 'CRITICAL' FROM connpool_alerts WHERE metric_name = 'rejected_connections'});
is(log_count($node, 'CRITICAL: rejected_connections is \d refusals?'),
	1, 'a refusal raises its alert without alert_after');

# A storm: several processes connect without pause while two slots are free. The attempts must
# equal the opened sessions plus the refusals.
leave(pop @fillers) foreach 1 .. 2;
poll_session($watcher, <<~'SQL');
	SELECT current_value = 10
	FROM get_connection_stats()
	WHERE metric_name = 'total_connections'
	SQL
sql($watcher, 'SELECT connpool_reset()');
is(sql($watcher, <<~'SQL'), '0|OK', 'a reset clears the minute of rejected_connections');
	SELECT current_value, status
	FROM get_connection_stats()
	WHERE metric_name = 'rejected_connections'
	SQL
wait_samples($node, 2);
is(sql($watcher, <<~'SQL'), '0|OK', 'refusals before a reset do not raise their alert again');
	SELECT current_value, status
	FROM connpool_alerts
	WHERE metric_name = 'rejected_connections'
	SQL
my ($attempts, $processes) = ($ENV{CONNPOOL_STORM} // 1000, 4);
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
					application_name => "storm $number"))[1]
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
is( $refused + $served + $lost,
	$attempts * $processes,
	'each attempt of the storm is served, refused or without an answer');
# the server may have answered the last session before counting it
poll_session(
	$watcher,
	qq{SELECT sum(sessions_opened) >= $served FROM connpool_pools
	WHERE application_name LIKE 'storm%'});
is( sql($watcher,
		q{SELECT sum(sessions_opened) FROM connpool_pools WHERE application_name LIKE 'storm%'}),
	$served,
	'each session of the storm that the server let in counts as opened');
is( sql($watcher, 'SELECT sum(rejections) FROM connpool_rejections'),
	$refused + $lost,
	"each of $refused refusals of the storm counts"
) or diag "$served served, $lost without an answer";
cmp_ok($served, '>', 0, "the server lets in $served sessions during the storm");
is(refusals(), "too_many " . ($refused + $lost), 'all refusals of the storm count as too_many');
is( sql($watcher, <<~'SQL'),
		SELECT count(*) < 100,
		       sum(attempts) = (SELECT sum(rejections) FROM connpool_rejections),
		       bool_and(first_at <= at)
		FROM connpool_rejection_log
		SQL
	't|t|t',
	'the log merges the storm into fewer than 100 rows and loses no attempt');
is(sql($watcher, q{SELECT connpool_health() ->> 'status'}),
	'unhealthy', 'health is unhealthy after refusals for lack of a slot');
leave(pop @fillers) foreach 1 .. 5;
poll_session($watcher, <<~'SQL');
	SELECT current_value < 9
	FROM get_connection_stats()
	WHERE metric_name = 'total_connections'
	SQL
my $error = 'a connection was refused within the last 10 seconds because no slot was free';
is( sql($watcher, <<~"SQL"),
		SELECT CASE WHEN max(last_seen) < clock_timestamp() - interval '9 s' THEN '$error'
		            ELSE connpool_health() ->> 'error' END
		FROM connpool_rejections
		SQL
	$error, 'health stays unhealthy for ten seconds after the last refusal');

# connections_per_second counts sessions that opened, and no refused connections
my $script = $node->basedir . '/one.sql';
append_to_file($script, "SELECT 1;\n");
$node->command_ok(
	[ 'pgbench', '-n', '-C', '-c', '2', '-t', '45', '-f', $script, $node->connstr('postgres') ],
	'pgbench opens and closes ninety sessions');
wait_samples($watcher, 2);
my ($opened) = split /\|/, sql($watcher, <<~'SQL');
	SELECT avg_value * 60
	FROM connpool_history('connections_per_second', now() - interval '5 minutes')
	ORDER BY sample_time DESC
	LIMIT 1
	SQL
cmp_ok($opened, '>=', 89, 'connections_per_second counts the ninety sessions');
cmp_ok($opened, '<=', 90 + $served + 60, 'connections_per_second counts no refused connection');

# connpool_info() reports when the server cannot count refusals
is(sql($watcher, 'SELECT refusals_counted FROM connpool_info()'),
	't', 'connpool_info() reports that refusals are counted');
$node->safe_psql('postgres', q{ALTER SYSTEM SET log_min_messages = 'panic'});
$node->reload;
poll_ok(
	$node,
	"SELECT NOT refusals_counted AND problem LIKE '%so refused connections are not counted%'
	FROM connpool_info()",
	'connpool_info() reports that refusals are not counted if log_min_messages hides FATAL');
$node->safe_psql('postgres', 'ALTER ROLE CURRENT_USER SET log_min_messages = warning');
my $counted = 'SELECT refusals_counted, failures_exact, problem IS NULL FROM connpool_info()';
is($node->safe_psql('postgres', $counted),
	'f|f|f',
	"connpool_info() uses the server's log_min_messages, not the lower one of its reader");
$node->safe_psql('postgres', 'ALTER SYSTEM RESET log_min_messages');
$node->reload;
$node->safe_psql('postgres', "ALTER $_ SET log_min_messages = panic")
  foreach 'ROLE CURRENT_USER', 'DATABASE postgres';
poll_is($node, $counted, 't|t|t',
	"connpool_info() uses the server's log_min_messages, not the higher one of its reader");
$node->safe_psql('postgres', "ALTER $_ RESET log_min_messages")
  foreach 'ROLE CURRENT_USER', 'DATABASE postgres';
$node->safe_psql('postgres', q{ALTER SYSTEM SET log_min_messages = 'log'});
$node->reload;
poll_ok(
	$node,
	'SELECT refusals_counted AND problem IS NULL FROM connpool_info()',
	'connpool_info() reports that refusals are counted with log_min_messages = log');
attempt("user=$super dbname=nowhere");
is(sql($watcher, q{SELECT rejections FROM connpool_rejections WHERE reason = 'no_database'}),
	'1', 'a refusal counts with log_min_messages = log');

# refusals by a server that shuts down
$node->safe_psql('postgres', q{ALTER SYSTEM RESET ALL});
command_ok([ 'pg_ctl', '-D', $node->data_dir, '-m', 'smart', '--no-wait', 'stop' ],
	'a smart shutdown starts while a session is open');
ok(wait_until(sub { return !attempt("user=$super dbname=postgres") }),
	'a server that shuts down refuses connections');
like(
	refusals(),
	qr/shutting_down 1/,
	'a refusal by a server that shuts down counts as shutting_down');
eval { $watcher->quit };
leave($_) foreach @fillers;
ok(wait_until(sub { return !-e $node->data_dir . '/postmaster.pid' }),
	'the smart shutdown ends with the last session');
$node->_update_pid(0);

# refusals by a server that starts: a standby without hot_standby, until it is promoted
$node->append_conf('postgresql.conf', 'hot_standby = off');
$node->set_standby_mode;
command_ok([ 'pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '--no-wait', 'start' ],
	'a standby without hot_standby starts');
my $seen = 0;
wait_until(
	sub {
		my (undef, $first_byte) = start_up(user => $super, database => 'postgres');
		return $first_byte eq 'E' && ++$seen == 5;
	});
is($seen, 5, 'a standby without hot_standby refuses connections');
command_ok([ 'pg_ctl', '-D', $node->data_dir, 'promote' ], 'the standby is promoted');
$node->_update_pid(1);
is( $node->safe_psql('postgres',
		q{SELECT rejections FROM connpool_rejections WHERE reason = 'starting_up'}) >= 5 ? 1 : 0,
	1,
	'refusals before the first session count');

$node->stop('fast');
done_testing();
