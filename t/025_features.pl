# SPDX-License-Identifier: PostgreSQL
# Session features that a pooler in transaction mode breaks are detected in each application that
# uses them, and in no similar application that does not. As a check, each application also runs
# through a real PgBouncer in transaction mode: its results must differ there if it uses such a
# feature, and must be the same if it does not. Needs applications and PgBouncer.
# scripts/test: slow, 15 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Application;
use Connpool;

# PgBouncer keeps connections of all applications open. With this sample_interval, no pool has
# enough samples for advice before five minutes have passed.
my $node = new_node('features', <<'CONF');
max_connections = 300
connpool_monitor.sample_interval = '1s'
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION take_lock() RETURNS void LANGUAGE plpgsql
  AS $$ BEGIN PERFORM pg_advisory_lock(42); END $$;
CREATE FUNCTION take_lock_for_transaction() RETURNS void LANGUAGE plpgsql
  AS $$ BEGIN PERFORM pg_advisory_xact_lock(43); END $$;
SQL

my $my_locks =
  q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()};
# the feature that an application uses, its name, and its steps
my @applications = (
	[ 'set', 'sets', [ q{SET work_mem = '3MB'}, 'SHOW work_mem' ] ],
	[
		undef, 'sets_locally',
		[ 'BEGIN', q{SET LOCAL work_mem = '3MB'}, 'SHOW work_mem', 'COMMIT', 'SHOW work_mem' ]
	],
	[
		undef,
		'sets_tracked',
		[
			q{SET TimeZone = 'Asia/Tokyo'},
			'SHOW TimeZone',
			q{SET datestyle TO 'German'},
			q{SELECT DATE '2026-11-23'}
		]
	],
	[
		'set', 'resets',
		[
			q{ALTER ROLE CURRENT_USER SET lock_timeout = '7s'},
			'SET lock_timeout = 0',
			'RESET lock_timeout',
			'ALTER ROLE CURRENT_USER RESET lock_timeout',
			q{SET work_mem = '5MB'},
			'SHOW work_mem'
		]
	],
	[
		'set',
		'sets_characteristics',
		[
			'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE',
			'SHOW default_transaction_isolation'
		]
	],
	[
		undef,
		'sets_transaction',
		[
			'BEGIN', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE',
			'SHOW transaction_isolation', 'COMMIT'
		]
	],
	[ 'set', 'set_config', [ q{SELECT set_config('work_mem', '3MB', false)}, 'SHOW work_mem' ] ],
	[
		'set',
		'set_config_by_parameter',
		[
			{
				text => 'SELECT set_config($1, $2, $3)',
				values => [ 'work_mem', '3MB', JSON::PP::false() ]
			},
			'SHOW work_mem'
		]
	],
	[
		undef,
		'set_config_locally',
		[
			'BEGIN',
			q{SELECT set_config('work_mem', '3MB', true)},
			'SHOW work_mem',
			'COMMIT', 'SHOW work_mem'
		]
	],
	[
		undef,
		'set_config_locally_by_parameter',
		[
			'BEGIN',
			{
				text => 'SELECT set_config($1, $2, $3)',
				values => [ 'work_mem', '3MB', JSON::PP::true() ]
			},
			'SHOW work_mem',
			'COMMIT'
		]
	],
	[
		undef, 'rolls_back',
		[ 'BEGIN', q{SET work_mem = '3MB'}, 'LISTEN never', 'ROLLBACK', 'SELECT 1 AS one' ]
	],
	[
		'listen', 'listens',
		[ 'LISTEN news', q{NOTIFY news, 'x'}, { wait => 200 }, 'SELECT 1 AS one' ]
	],
	[ undef, 'notifies', [ q{NOTIFY news, 'x'}, 'SELECT 1 AS one' ] ],
	[
		'with_hold_cursor',
		'holds',
		[
			'BEGIN', 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)',
			'COMMIT', 'FETCH ALL FROM c'
		]
	],
	[
		undef,
		'fetches',
		[
			'BEGIN', 'DECLARE c CURSOR FOR SELECT generate_series(1, 3)',
			'FETCH ALL FROM c', 'COMMIT'
		]
	],
	[ 'sql_prepare', 'prepares', [ 'PREPARE p AS SELECT 1 AS one', 'EXECUTE p' ] ],
	[
		undef,
		'parameters',
		[
			{ text => 'SELECT $1::int AS one', values => [1] },
			{ text => 'SELECT $1::int AS one', values => [2] }
		]
	],
	[
		'temp_table', 'temporary',
		[ 'CREATE TEMP TABLE mine (a int)', 'SELECT count(*) FROM mine' ]
	],
	[
		'temp_table', 'temporary_as',
		[ 'SELECT 1 AS one INTO TEMP mine_too', 'SELECT * FROM mine_too' ]
	],
	[
		'temp_table',
		'temporary_by_path',
		[
			'BEGIN',
			'SET LOCAL search_path = pg_temp',
			'CREATE TABLE mine_by_path (a int)',
			'COMMIT',
			'SELECT count(*) FROM pg_temp.mine_by_path'
		]
	],
	[
		undef,
		'sets_for_transaction',
		[
			'BEGIN', q{SET transaction_isolation = 'serializable'},
			'SHOW transaction_isolation', 'COMMIT'
		]
	],
	[
		undef,
		'temporary_dropped',
		[
			'BEGIN', 'CREATE TEMP TABLE mine (a int) ON COMMIT DROP',
			'SELECT count(*) FROM mine', 'COMMIT'
		]
	],
	[ 'load', 'loads', [ q{LOAD 'auto_explain'}, 'SHOW auto_explain.log_min_duration' ] ],
	[ 'advisory_lock', 'locks', [ 'SELECT pg_advisory_lock(1)', $my_locks ] ],
	[ 'advisory_lock', 'tries_locks', [ 'SELECT pg_try_advisory_lock_shared(1, 2)', $my_locks ] ],
	[ 'advisory_lock', 'locks_in_a_function', [ 'SELECT take_lock()', $my_locks ] ],
	[
		'advisory_lock', 'locks_in_an_expression',
		[ 'DO $$ BEGIN IF pg_try_advisory_lock(44) THEN NULL; END IF; END $$', $my_locks ]
	],
	[ undef, 'explains_a_lock', [ 'EXPLAIN (COSTS OFF) SELECT pg_advisory_lock(3)', $my_locks ] ],
	[ undef, 'fails_to_lock', [ 'SELECT pg_try_advisory_lock(99)', $my_locks ] ],
	[
		undef,
		'unlocks_in_its_transaction',
		[
			'BEGIN', 'SELECT pg_advisory_lock(4)',
			'SELECT pg_advisory_xact_lock(5)', 'SELECT pg_advisory_unlock(4)',
			'COMMIT', $my_locks
		]
	],
	[
		undef, 'locks_for_a_transaction',
		[ 'BEGIN', 'SELECT pg_advisory_xact_lock(2)', $my_locks, 'COMMIT', $my_locks ]
	],
	[
		undef,
		'locks_for_a_transaction_in_a_function',
		[ 'BEGIN', 'SELECT take_lock_for_transaction()', $my_locks, 'COMMIT' ]
	],);
push @applications,
  [
	undef, 'prepares_by_protocol',
	[ map { { name => 'p', text => 'SELECT $1::int AS one', values => [$_] } } 1 .. 3 ]
  ]
  if pooler_version() >= 121;

# the application fails_to_lock does not get this lock
my $holder = session($node, 'holder');
$holder->query_safe('SELECT pg_advisory_lock(99)');

# Each application runs first directly, then through PgBouncer. There it has a pool of its own, so
# that no server connection has the state of another application. After each of its transactions
# another client takes its server connection.
my $pooler = start_pooler(
	$node,
	default_pool_size => 20,
	names => [ map { $_->[1] } @applications ]);
my (@direct, @pooled);
foreach my $application (@applications)
{
	my (undef, $name, $steps) = @$application;
	push @direct, { steps => $steps, as => { name => $name } };
	push @pooled,
	  {
		steps => $steps,
		intrude => JSON::PP::true(),
		as => { name => "pooled_$name", database => $name }
	  };
}
my $direct_results = application($node, { jobs => \@direct });
my $pooled_results = application($pooler, { jobs => \@pooled });
stop_pooler($pooler);

foreach my $application (@applications)
{
	my ($feature, $name) = @$application;
	my $direct = shift @$direct_results;
	my $pooled = shift @$pooled_results;
	my $encode = JSON::PP->new->canonical;
	my $seen = $node->safe_psql('postgres',
		"SELECT session_features FROM connpool_pool_advice WHERE application_name = '$name'");

	ok((!grep { ref $_ eq 'HASH' && $_->{error} } @{ $direct->{results} }),
		"$name: the application runs without an error")
	  or diag($encode->encode($direct));
	is( $seen,
		defined $feature ? "{$feature}" : '{}',
		"$name: the features seen are those that it uses");
	if (defined $feature)
	{
		isnt(
			$encode->encode($pooled),
			$encode->encode($direct),
			"$name: the results differ in transaction mode");
	}
	else
	{
		is( $encode->encode($pooled),
			$encode->encode($direct),
			"$name: the results are the same in transaction mode");
	}
}

# each lock that is taken counts once
$holder->query_safe($_)
  foreach (
	'SELECT pg_advisory_lock(i) FROM generate_series(1, 3) i',
	'SELECT pg_advisory_lock(99)',
	'SELECT pg_advisory_unlock(1)',
	'SELECT pg_advisory_lock(1)');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT uses
		FROM connpool_session_features
		WHERE application_name = 'holder' AND feature = 'advisory_lock'
		SQL
	'5', 'a lock counts when it is taken, and not when its session has it already');
leave($holder);

# each pool has the number of uses since the reset and the time of the last use
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT feature, uses, last_seen > now() - interval '1 hour'
		FROM connpool_session_features
		WHERE application_name = 'resets'
		SQL
	'set|3|t', 'each use of a feature counts, and RESET of a setting is a use');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT recommended_mode, reasons[1]
		FROM connpool_pool_advice
		WHERE application_name = 'listens'
		SQL
	'session|transaction mode would break features that its sessions used: listen (once)',
	'one use of a feature suffices to recommend session mode');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_pool_advice WHERE recommended_mode = 'transaction'}),
	'0',
	'transaction mode is not recommended while too little was observed');

# poolers run these statements before another client gets the connection
my $psql = session($node, 'console');
$psql->query_safe('DISCARD ALL');
$psql->query_safe(<<~'SQL');
	SET application_name = 'console';
	RESET ALL;
	DEALLOCATE ALL;
	CLOSE ALL;
	UNLISTEN *;
	SELECT pg_advisory_unlock_all()
	SQL
$psql->query_safe(q{SET application_name = 'console'});
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_session_features WHERE application_name = 'console'}),
	'0',
	'statements with which poolers reset a connection count as no feature');
leave($psql);

# features survive a restart, but not a reset
my $before = $node->safe_psql('postgres', 'SELECT * FROM connpool_session_features ORDER BY 3, 4');
$node->restart;
is($node->safe_psql('postgres', 'SELECT * FROM connpool_session_features ORDER BY 3, 4'),
	$before, 'features survive a restart');
$node->safe_psql('postgres', 'SELECT connpool_reset()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM connpool_session_features'),
	'0', 'a reset clears features');

done_testing();
