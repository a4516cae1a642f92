# SPDX-License-Identifier: PostgreSQL
# monitoring/forward-alerts.py delivers each transition of an alert to a webhook and a mail server,
# even if these or the database were unavailable for a time. No name of a client's choice becomes
# markup, a line of its own or an error. Needs Python, and servers that accept what it sends.
# scripts/test: slow, 20 s
use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(SOL_SOCKET SO_RCVTIMEO);
use Test::More;
use Connpool;
use Wire;

# another python in the PATH may lack the modules of the distribution
my ($python) =
  grep { system("$_ -c 'import psycopg2' 2>/dev/null") == 0 } qw(python3 /usr/bin/python3);
plan skip_all => 'python3-psycopg2 is missing' unless $python;

my $node = new_node('main', <<'CONF');
connpool_monitor.alert_after = 0
connpool_monitor.alert_clear_after = 0
connpool_monitor.notify_database = 'postgres'
CONF
$node->safe_psql('postgres', 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor');

sub server
{
	return IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1, @_)
	  // die "cannot listen: $!";
}

my $webhook = server();
my $mail = server();

sub accept_from
{
	my ($server) = @_;
	my $seconds = $PostgreSQL::Test::Utils::timeout_default;
	IO::Select->new($server)->can_read($seconds) or return;
	my $client = $server->accept;
	# a client that sends nothing fails the test instead of blocking it
	$client->setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack('q2', $seconds, 0));
	return $client;
}

# Answer one request to the webhook with a status. Return the text of the request.
sub post
{
	my ($status) = @_;
	my $client = accept_from($webhook) // return 'nothing';
	my ($length, $body) = (0, '');
	while (defined(my $line = <$client>))
	{
		$length = $1 if $line =~ /^Content-Length: (\d+)/i;
		last if $line =~ /^\r?$/;
	}
	read $client, $body, $length;
	print $client "HTTP/1.1 $status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	return decode_json($body)->{text};
}

# Receive one mail, as a server without extensions of SMTP. Return its text.
sub receive
{
	my $client = accept_from($mail) // return 'nothing';
	my ($text, $is_data) = ('', 0);
	print $client "220 test\r\n";
	while (defined(my $line = <$client>))
	{
		if    ($is_data && $line eq ".\r\n") { $is_data = 0; print $client "250 taken\r\n"; }
		elsif ($is_data)                     { $text .= $line; }
		elsif ($line =~ /^EHLO/i)            { print $client "502 no\r\n"; }
		elsif ($line =~ /^DATA/i) { $is_data = 1;                print $client "354 go on\r\n"; }
		elsif ($line =~ /^QUIT/i) { print $client "221 bye\r\n"; last; }
		else                      { print $client "250 ok\r\n"; }
	}
	return $text =~ s/\r//gr;
}

sub threshold
{
	my ($value) = @_;
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET connpool_monitor.idle_in_transaction_warning = $value");
	$node->reload;
	return;
}

my ($listener, $log);

sub start_listener
{
	my (%environment) = @_;
	my %all = (ALERTS_FROM => $node->connstr('postgres') . ' user=monitor', %environment);
	local @ENV{ keys %all } = values %all;
	# connect to the loopback address without the proxy that the environment may name
	local $ENV{no_proxy} = '127.0.0.1';
	$log = '';
	$listener = IPC::Run::start([ $python, "$ENV{TESTDIR}/monitoring/forward-alerts.py" ],
		'>', \$log, '2>', \$log);
	poll_ok($node, <<~'SQL', 'forward-alerts.py waits for notifications');
		SELECT count(*) > 0
		FROM pg_stat_activity
		WHERE usename = 'monitor' AND query LIKE '%seq > %'
		SQL
	return;
}
END { $listener->kill_kill if $listener; }

my $idler = session($node, 'idler');
$idler->query_safe('BEGIN');

my $raised =
  qr/^WARNING: idle_in_transaction is 1 of \d+ connections, warning threshold .*\nLargest.*idler/s;
start_listener(WEBHOOK_URL => 'http://127.0.0.1:' . $webhook->sockport . '/hook');
threshold(1);
like(post('200 OK'), $raised, 'the webhook receives the alert with its culprit');
threshold(-1);
like(
	post('503 Unavailable'),
	qr/^OK: idle_in_transaction is 1 /,
	'the webhook receives the end of the alert');
like(
	post('garbage'),
	qr/^OK: idle_in_transaction is 1 /,
	'a message that the webhook refused is sent again');
like(
	post('200 OK'),
	qr/^OK: idle_in_transaction is 1 /,
	'a message is sent again if the answer of the webhook was invalid');
$node->restart;
$idler = session($node, 'idler');
$idler->query_safe('BEGIN');
threshold(1);
like(
	post('200 OK'),
	qr/^WARNING: idle_in_transaction is 1 /,
	'an alert that was raised while the server restarted is sent later');
$listener->kill_kill;
poll_ok(
	$node,
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'monitor'},
	'the listener has ended');

# Names with markup of Slack and Mattermost, a line break and an invalid byte, read in a database
# without an encoding. The server replaces only some of these characters itself.
threshold(-1);
$node->safe_psql('postgres', <<~'SQL');
	CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
	ALTER SYSTEM SET connpool_monitor.notify_database = 'ascii'
	SQL
$node->reload;
$node->safe_psql('ascii', 'CREATE EXTENSION connpool_monitor CASCADE');
# PostgreSQL 19 refuses line feeds in the names of roles, but not other line breaks
my $break = $node->pg_version->major < 19 ? "\n" : "\x0b";
my $forged = "r\xe9\x{c3}\x{a9}${break}OK: \x{e2}\x{80}\x{a8}forged";
$node->safe_psql('ascii', qq{CREATE ROLE "$forged" LOGIN});
my $forger = Wire->connect_to(
	$node,
	'<!channel> @all a@b [Open](https://e) &',
	user => $forged,
	database => 'ascii');
$forger->query('BEGIN');
$idler->quit;
poll_ok(
	$node,
	q{SELECT status = 'OK' FROM connpool_alerts WHERE metric_name = 'idle_in_transaction'},
	'the alert has ended');

start_listener(
	ALERTS_FROM => $node->connstr('ascii') . ' user=monitor',
	WEBHOOK_URL => 'http://127.0.0.1:' . $webhook->sockport . '/hook',
	MAIL_TO => 'dba@example.com',
	SMTP_HOST => '127.0.0.1:' . $mail->sockport);
threshold(1);
my $posted = post('200 OK');
my $role = "r?\x{e9}?OK: ?forged";
like(
	$posted,
	qr/"&lt;!channel&gt; \@\x{200b}all a\@b \[Open\]\x{200b}\(https:\/\/e\) &amp;" 1 \("\Q$role\E"/,
	'names in the text for the webhook are not markup, and invalid bytes do not lose the alert'
) or diag($log);
is(scalar(() = $posted =~ /\v/g), 1, 'a line break in a name does not begin a line');
my $received = receive();
like($received, qr/^To: dba\@example\.com$/m, 'a mail is sent to its recipient');
like(
	$received,
	qr/^Subject:\s+WARNING: idle_in_transaction is 1 /m,
	'the subject of the mail is the message');
unlike($received, qr/^OK: /m, 'a line break in a name does not begin a line of the mail');
$listener->kill_kill;
undef $listener;
$node->stop('fast');
done_testing();
