# SPDX-License-Identifier: PostgreSQL
# PostgreSQL begins transactions of its own in an idle session: to deliver notifications, to
# catch up with invalidations and, since 17, to run login triggers. They must not count.
# Needs a client that reads unsolicited messages, which psql does not.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;
use Wire;

my $node = new_node('own');
my $user = $node->safe_psql('postgres', 'SELECT session_user');
my $watcher = session($node, 'watcher');

sub transactions
{
	my ($application) = @_;
	return $watcher->query_safe(
		"SELECT transactions FROM connpool_sessions WHERE application_name = '$application'");
}

$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.pool_max_uses = 10});
$node->reload;

# notifications, to a session that listens
my $listener = Wire->connect_to($node, 'listener', user => $user);
$listener->query('LISTEN news');
is(transactions('listener'), 1, 'LISTEN is one transaction');
$watcher->query_safe("NOTIFY news, 'number $_'") foreach 1 .. 20;
$listener->read_until('A')                       foreach 1 .. 20;
is(transactions('listener'), 1, 'the delivery of 20 notifications adds no transaction');
$listener->query('SELECT 1');
is(transactions('listener'), 2, 'a statement after the notifications adds one transaction');
$listener->extended('SELECT 1') foreach 1 .. 3;
is(transactions('listener'),
	5, 'three statements over the extended protocol are three transactions');
$watcher->query_safe("NOTIFY news, 'number $_'") foreach 1 .. 5;
$listener->read_until('A')                       foreach 1 .. 5;
is(transactions('listener'), 5, 'notifications after these statements add no transaction');
$listener->parse('p', 'SELECT 1')->sync;
is(transactions('listener'), 6, 'a transaction that only prepares a statement counts');
$watcher->query_safe('NOTIFY news');
$listener->read_until('A');
$listener->query('BEGIN; SELECT 1; COMMIT; SELECT 1; COMMIT');
is(transactions('listener'),
	8, 'each transaction of a string counts, whatever the server did before');

# invalidations, to sessions that idle: each has to process those of thousands of tables
my $idler = Wire->connect_to($node, 'idler', user => $user);
$idler->query('SELECT 1');
my $newcomer = Wire->connect_to($node, 'newcomer', user => $user);
foreach my $round (1 .. 12)
{
	$node->safe_psql(
		'postgres', q{DO $$ BEGIN FOR i IN 1 .. 250 LOOP
		EXECUTE 'CREATE TEMP TABLE churn (a int)'; EXECUTE 'DROP TABLE churn'; END LOOP; END $$});
}
is(transactions('idler'), 1, 'invalidations add no transaction to an idle session');
is(transactions('newcomer'),
	0, 'invalidations add no transaction to a session that has run nothing');
is( $watcher->query_safe(<<~'SQL'),
		SELECT string_agg(violations::text, ' ')
		FROM connpool_sessions
		WHERE application_name IN ('idler', 'listener')
		SQL
	'{} {}',
	'neither session violates pool_max_uses');

SKIP:
{
	skip 'login triggers came with 17', 6 if $node->pg_version < 17;
	$node->safe_psql('postgres', <<~'SQL');
		CREATE FUNCTION on_login() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
		  SET work_mem = '5MB';
		  PERFORM set_config('lock_timeout', '5s', false);
		  PERFORM pg_advisory_lock_shared(7);
		  CREATE TEMP TABLE at_login (a int);
		  EXECUTE 'PREPARE at_login AS SELECT 1';
		END $$;
		CREATE EVENT TRIGGER login ON login EXECUTE FUNCTION on_login();
		ALTER EVENT TRIGGER login ENABLE ALWAYS
		SQL
	my $late = Wire->connect_to($node, 'late', user => $user);
	my $features = <<~'SQL';
		SELECT string_agg(feature || ' ' || uses, ', ' ORDER BY feature)
		FROM connpool_session_features
		WHERE application_name = 'late'
		SQL
	is($watcher->query_safe($features),
		'', 'features that a login trigger uses do not count as features of the client');
	$late->query(q{SET work_mem = '6MB'});
	is($watcher->query_safe($features),
		'set 1', 'a feature that the client uses after a login trigger counts');
	is(transactions('late'), 1, 'a login trigger adds no transaction');

	# a login trigger that refuses the session after a while
	$node->safe_psql('postgres', <<~'SQL');
		CREATE ROLE unwelcome LOGIN;
		CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
		  IF session_user = 'unwelcome' THEN
		    CREATE TEMP TABLE refused (a int);
		    PERFORM pg_sleep(0.1);
		    RAISE EXCEPTION 'not today';
		  END IF;
		END $$;
		CREATE EVENT TRIGGER refuse ON login EXECUTE FUNCTION refuse()
		SQL
	my ($output, $errors);
	ok( !connects(
			$node->connstr('postgres') . ' user=unwelcome application_name=unwelcome', undef,
			\$output, \$errors),
		'a login trigger refuses a session');
	like($errors, qr/not today/, 'the client gets the error of the login trigger');
	poll_is(
		$watcher, <<~'SQL',
			SELECT connections, transactions, queries, failed_queries, busy_time
			FROM connpool_pools
			WHERE role = 'unwelcome'
			SQL
		'0|0|0|0|0',
		'a session that a login trigger refused has no transaction and no busy time');
}
$node->stop('fast');
done_testing();
