# SPDX-License-Identifier: PostgreSQL
# The recorded time of a statement includes its commit and excludes the pauses of its client.
# Compares the times with sleeps of known length and with a commit that waits for a synchronous
# standby that is down. Needs a client that pauses in the middle of the protocol.
#
# Sleeps are lower bounds. The upper bounds are times that the client measured, because everything
# takes longer on a busy machine.
# scripts/test: slow, 18 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Connpool;
use Wire;

my $node = new_node('times', <<'CONF', allows_streaming => 1);
connpool_monitor.slow_statement_time = '150ms'
connpool_monitor.slow_statements_kept = 20
CONF
my $user = $node->safe_psql('postgres', 'SELECT session_user');
$node->safe_psql('postgres',
	'CREATE TABLE t (id int); CREATE EXTENSION IF NOT EXISTS pg_stat_statements');

sub ended
{
	my ($application) = @_;
	$node->poll_query_until('postgres',
		"SELECT connections = 0 FROM connpool_pools WHERE application_name = '$application'")
	  or die "the session of $application does not end";
	return;
}

sub slow_times
{
	my ($application) = @_;
	return split /\n/, $node->safe_psql('postgres', <<~"SQL");
		SELECT elapsed_time
		FROM connpool_slow_statements
		WHERE application_name = '$application'
		ORDER BY finished_at
		SQL
}

# A client that pauses for 0.2 s, which is longer than slow_statement_time, wherever the protocol
# allows. All times are in milliseconds.
my $pause = 200;
my %paused;

# Pause, within a transaction or outside. Record the time, which a busy machine extends.
sub think
{
	my ($where) = @_;
	my $from = time;
	sleep($pause / 1000);
	$paused{$where} += 1000 * (time - $from);
	return;
}

# Run a client in a session of its own, and wait for the end of the session. Return how long the
# client took.
sub client
{
	my ($application, $run) = @_;
	%paused = (within => 0, outside => 0);
	my $wire = Wire->connect_to($node, $application, user => $user);
	my $from = time;
	$run->($wire);
	my $took = 1000 * (time - $from);
	$wire->end;
	ended($application);
	return $took;
}

my $took = client(
	'thinker',
	sub {
		my ($wire) = @_;
		$wire->query('SELECT 1');
		think('outside');
		$wire->query('BEGIN; SELECT 1');
		think('within');
		$wire->query('DECLARE c CURSOR FOR SELECT generate_series(1, 9)');
		think('within');
		$wire->query('FETCH 3 FROM c');
		think('within');
		$wire->query('COMMIT');
		$wire->parse('s', 'SELECT generate_series(1, 9)')->sync;
		think('outside');
		$wire->extended('BEGIN');
		$wire->bind_to('p', 's')->sync;
		think('within');
		$wire->execute('p', 3)->sync;
		think('within');
		$wire->execute('p', 3)->flush->read_until('s');
		think('within');
		$wire->execute('p')->sync;
		think('within');
		$wire->extended('COMMIT');
		$wire->parse('', 'INSERT INTO t VALUES (1)')->bind_to('', '')->flush->read_until('2');
		think('within');
		$wire->execute('')->flush->read_until('C');
		think('within');
		$wire->sync;
	});
my $worked = $took - $paused{within} - $paused{outside};
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT queries, failed_queries, transactions
		FROM connpool_pools
		WHERE application_name = 'thinker'
		SQL
	'10|0|5', 'each statement of a client that pauses counts once');
cmp_ok(
	$node->safe_psql(
		'postgres',
		q{SELECT avg_time * queries FROM connpool_pools WHERE application_name = 'thinker'}),
	'<=',
	$worked + 10,
	'the times of statements do not include the pauses of the client');
is(scalar(grep { $_ > $worked + 10 } slow_times('thinker')),
	0, 'no statement counts as slow because its client pauses');

sub busy_time
{
	return $node->safe_psql('postgres',
		"SELECT round(busy_time) FROM connpool_pools WHERE application_name = '$_[0]'");
}
my $busy = busy_time('thinker');
ok( $busy >= $paused{within} - 10 && $busy <= $took - $paused{outside} + 10,
	'busy_time includes the pauses within transactions, and no others') or diag($busy);

# busy_time starts with each transaction, even if one string contains several. In the extended
# protocol a transaction starts at Parse or Bind, so busy_time includes planning.
$node->safe_psql('postgres', <<~'SQL');
	CREATE FUNCTION planned() RETURNS int IMMUTABLE LANGUAGE plpgsql
	  AS $$BEGIN PERFORM pg_sleep(0.2); RETURN 1; END$$
	SQL
$took = client(
	'planner',
	sub {
		my ($wire) = @_;
		foreach (1 .. 3)
		{
			$wire->extended('SELECT planned()');
			think('outside');
		}
	});
cmp_ok(busy_time('planner'), '>=', 590, 'busy_time includes planning');
cmp_ok(
	busy_time('planner'), '<=',
	$took - $paused{outside} + 10,
	'busy_time does not include the time between transactions');
$took = client(
	'parser',
	sub {
		my ($wire) = @_;
		$wire->parse('', 'SELECT 1')->flush->read_until('1');
		think('within');
		$wire->bind_to('', '')->execute('')->sync;
		think('outside');
		$wire->parse('', 'SELECT 1/0')->flush->read_until('1');
		think('within');
		$wire->bind_to('', '')->execute('')->sync;
		think('outside');
		$wire->query('SELEC');
	});
cmp_ok(
	busy_time('parser'), '>=',
	$paused{within} - 10,
	'busy_time includes a pause after Parse, even if the statement fails');
cmp_ok(
	busy_time('parser'), '<=',
	$took - $paused{outside} + 10,
	'busy_time does not include pauses between transactions');

# after a failed block, ROLLBACK AND CHAIN begins another one, which ends with the COMMIT
$took = client(
	'chained',
	sub {
		my ($wire) = @_;
		$wire->query($_) foreach 'BEGIN', 'SELECT 1/0', 'ROLLBACK AND CHAIN', 'COMMIT';
		think('outside');
		$wire->query('SELECT 1');
	});
cmp_ok(
	busy_time('chained'), '<=',
	$took - $paused{outside} + 10,
	'busy_time does not include the time after a chained block has ended');
$took = client(
	'string',
	sub {
		my ($wire) = @_;
		$wire->query(<<~'SQL');
			BEGIN;
			SELECT pg_sleep(0.2);
			COMMIT;
			SELECT pg_sleep(0.2);
			COMMIT;
			SELECT 1 / length(pg_sleep(0.2)::text)
			SQL
	});
cmp_ok(busy_time('string'), '>=', 590, 'busy_time includes all transactions of one string');
cmp_ok(busy_time('string'), '<=', $took + 10,
	'busy_time includes no transaction of a string twice');

# Assert that each message of an application has one slow statement, of at least 199 ms, and that
# no statement took longer than its message. @took has the times of the messages, in their order.
sub times_agree
{
	my ($application, $name, @took) = @_;
	my @times = grep { $_ >= 199 } slow_times($application);
	is(scalar(@times), scalar(@took), "$name is slow")
	  or diag($node->safe_psql('postgres', <<~"SQL"));
		SELECT elapsed_time, sqlstate, query
		FROM connpool_slow_statements
		WHERE application_name = '$application'
		ORDER BY finished_at
		SQL
	is(scalar(grep { ($times[$_] // 0) > $took[$_] + 10 } 0 .. $#took),
		0, "$name took no longer than its message")
	  or diag("@times");
	return;
}

# Run each message and return how long it took the client.
sub timed
{
	return map { my $from = time; $_->(); 1000 * (time - $from) } @_;
}

# statements that sleep for 200 ms, in every form
my $wire = Wire->connect_to($node, 'sleeper', user => $user);
my @took = timed(
	sub { $wire->query('SELECT pg_sleep(0.2)') },
	sub { $wire->query('SELECT 1; SELECT pg_sleep(0.2); SELECT 2') },
	sub { $wire->query('PREPARE p AS SELECT pg_sleep(0.2); EXECUTE p') },
	sub { $wire->query('DO $$ BEGIN PERFORM pg_sleep(0.1); PERFORM pg_sleep(0.1); END $$') },
	sub {
		$wire->query('BEGIN; DECLARE c CURSOR FOR SELECT pg_sleep(0.2); FETCH 1 FROM c; COMMIT');
	},
	sub { $wire->query('COPY (SELECT pg_sleep(0.2)) TO STDOUT') },
	sub { $wire->extended('SELECT pg_sleep(0.2)') },
	sub {
		$wire->parse('', 'SELECT pg_sleep(0.1) FROM generate_series(1, 2)')->bind_to('', '')
		  ->execute('', 1)->execute('')->sync;
	},
	sub {
		$wire->parse('', 'SELECT pg_sleep(0.2)')->bind_to('', '')->execute('')
		  ->parse('', 'SELECT 1')->bind_to('', '')->execute('')->sync;
	},
	sub {
		$wire->query("SET statement_timeout = '200ms'");
		$wire->query('SELECT pg_sleep(10)');
	});
$wire->end;
ended('sleeper');
times_agree('sleeper', 'each of ten statements that sleep', @took);
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT sqlstate, count(*)
		FROM connpool_slow_statements
		WHERE application_name = 'sleeper' AND elapsed_time >= 199
		GROUP BY 1
		ORDER BY 1
		SQL
	"00000|9\n57014|1", 'the slow statements include one that a timeout cancelled');
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT DISTINCT query
		FROM connpool_slow_statements
		WHERE application_name = 'sleeper' AND query ~ '^SELECT pg_sleep\(\$1\)$'
		SQL
	'SELECT pg_sleep($1)', 'connpool_slow_statements shows normalized text');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM connpool_slow_statements WHERE query ~ '^SELECT.*0\.[12]'}),
	'0',
	'connpool_slow_statements shows no literals');

# the work of a commit belongs to the statement that commits
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
CREATE TABLE sleepy (id int);
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON sleepy DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION sleeps();
SQL
$wire = Wire->connect_to($node, 'commits', user => $user);
%paused = (within => 0);
@took = timed(
	sub { $wire->query('INSERT INTO sleepy VALUES (1)') },
	sub {
		$wire->query('BEGIN; INSERT INTO sleepy VALUES (1)');
		$wire->query('COMMIT');
	},
	sub {
		$wire->parse('', 'INSERT INTO sleepy VALUES (1)')->bind_to('', '')->execute('')
		  ->flush->read_until('C');
		think('within');
		$wire->sync;
	},
	sub { $wire->query('DECLARE a CURSOR WITH HOLD FOR SELECT pg_sleep(0.2)') },
	sub {
		$wire->query('BEGIN; DECLARE b CURSOR WITH HOLD FOR SELECT pg_sleep(0.2)');
		$wire->query('COMMIT');
	},
	sub { $wire->extended('DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(0.2)') });
$took[2] -= $paused{within};
$wire->end;
ended('commits');
times_agree('commits', 'each of six statements with a slow commit', @took);

# a commit that waits for a standby belongs to the statement that commits
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '*'");
$node->reload;
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'})
  or die 'no synchronous standby';
my %waiting = map { $_ => Wire->connect_to($node, $_, user => $user) }
  ('commit', 'insert', 'extended commit', 'extended insert');
$waiting{'commit'}->query('BEGIN; INSERT INTO t VALUES (1)');
$waiting{'extended commit'}->extended($_) foreach ('BEGIN', 'INSERT INTO t VALUES (1)');
$standby->stop;
$waiting{'extended insert'}->parse('', 'INSERT INTO t VALUES (1)')->bind_to('', '')->execute('')
  ->flush->read_until('C');
think('within');
my $started = time;
$waiting{'commit'}->send_message('Q', "COMMIT\0");
$waiting{'insert'}->send_message('Q', "INSERT INTO t VALUES (1)\0");
$waiting{'extended commit'}->parse('', 'COMMIT')->bind_to('', '')->execute('')
  ->send_message('S', '');
$waiting{'extended insert'}->send_message('S', '');
$node->poll_query_until('postgres',
	q{SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event = 'SyncRep'})
  or die 'the commits do not wait for the standby';
sleep(0.5);
$standby->start;
$_->read_until('Z') foreach values %waiting;
my $waited = (time - $started) * 1000;

foreach my $name (sort keys %waiting)
{
	$waiting{$name}->end;
	ended($name);
	my @slow = grep { $_ >= 490 } slow_times($name);
	is(scalar(@slow), 1, "$name: one statement is slow");
	ok( $slow[0] >= 490 && $slow[0] <= $waited + 10,
		"$name: the statement has the time of the wait") or diag("$slow[0] of $waited ms");
	is( $node->safe_psql('postgres', <<~"SQL"),
			SELECT DISTINCT query FROM connpool_slow_statements
			WHERE application_name = '$name' AND elapsed_time >= 490
			SQL
		$name =~ /commit/ ? 'COMMIT' : 'INSERT INTO t VALUES ($1)',
		"$name: the slow statement has its text");
}
$node->safe_psql('postgres', "ALTER SYSTEM RESET synchronous_standby_names");
$node->reload;
$standby->stop('immediate');

# a mix of short and long statements has the right percentiles
$node->safe_psql('postgres', q{SELECT connpool_reset('counters')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_slow_statements}),
	'0', 'a reset clears slow statements');
$wire = Wire->connect_to($node, 'mix', user => $user);
# on a busy machine a sleep takes longer: the times that the client measured are the upper bounds
my @elapsed;
foreach my $i (0 .. 99)
{
	my $seconds = $i % 10 == 9 ? 0.1 : $i % 10 >= 6 ? 0.03 : 0.005;
	my $from = time;
	$wire->query("SELECT pg_sleep($seconds)");
	push @elapsed, 1000 * (time - $from);
}
@elapsed = sort { $a <=> $b } @elapsed;
my $short = grep { $_ >= 5 && $_ < 24 } @elapsed;
# a percentile lies in the bucket of the exact value, no wider than an eighth of that value
sub at_most { my ($share) = @_; return $elapsed[ $share * $#elapsed ] * 1.125 + 1; }
$wire->query('SELECT 1/0') foreach 1 .. 3;
my $stats = 'FROM connpool_query_stats WHERE period =';
foreach my $period ('last_minute', 'last_hour', 'since_reset')
{
	is( $node->safe_psql('postgres', <<~"SQL"),
			SELECT total_queries >= 103, failed_queries,
			       total_queries = successful_queries + failed_queries $stats '$period'
			SQL
		't|3|t', "$period: each statement counts as successful or failed");
	my ($p50, $p95, $p99, $max, $avg, $rate) =
	  split /\|/,
	  $node->safe_psql('postgres',
		"SELECT p50_time, p95_time, p99_time, max_time, avg_time, success_rate $stats '$period'");
	ok($p50 >= 4.4 && $p50 <= at_most(0.51), "$period: the median is a short sleep") or diag($p50);
	ok($p95 >= 96 && $p95 <= at_most(0.97), "$period: the 95th percentile is a long sleep")
	  or diag($p95);
	ok($p99 >= 96 && $p99 <= $max,
		"$period: the 99th percentile is a long sleep and at most the maximum")
	  or diag("$p99 $max");
	ok($max >= 100 && $max <= at_most(1), "$period: the maximum is the longest sleep")
	  or diag($max);
	ok($rate > 0.9 && $rate < 1, "$period: the success rate is between 90 and 100 percent")
	  or diag($rate);
}
cmp_ok($node->safe_psql('postgres', <<~'SQL'), '>=', $short, 'short sleeps are in short buckets');
	SELECT sum(queries)
	FROM connpool_query_histogram
	WHERE lower_time >= 4.4 AND upper_time <= 28
	SQL
is( $node->safe_psql('postgres', <<~'SQL'),
		SELECT bool_and(upper_time - lower_time <= greatest(lower_time / 8, 0.001) + 1e-9)
		FROM connpool_query_histogram
		SQL
	't',
	'no bucket is wider than an eighth of its lower bound');
my ($slow_before) = split /\|/, stat_of($node, 'slow_statements');
$wire->query('SELECT pg_sleep(0.16)') foreach 1 .. 10;
my ($slow_now, undef, $status) = split /\|/, stat_of($node, 'slow_statements');
cmp_ok($slow_now, '>=', $slow_before + 10, 'slow_statements counts ten more slow statements');
is($status, 'WARNING', 'slow_statements is a WARNING with ten slow statements');
like(stat_of($node, 'failed_query_percent'),
	qr/^[0-9]\|100\|OK$/, 'failed_query_percent is OK while few statements fail');
like(stat_of($node, 'average_query_time_ms'),
	qr/^\d+\|\|OK$/, 'average_query_time_ms has a value and no maximum');
$wire->query('SELECT 1/0') foreach 1 .. 60;
like(
	stat_of($node, 'failed_query_percent'),
	qr/^[2-4][0-9]\|100\|CRITICAL$/,
	'failed_query_percent is CRITICAL when many statements fail');
$wire->query('SELECT pg_sleep(0.16)') foreach 1 .. 15;
is($node->safe_psql('postgres', q{SELECT count(*) FROM connpool_slow_statements}),
	'20', 'connpool_slow_statements keeps the last slow_statements_kept statements');
like(
	$node->safe_psql('postgres', q{SELECT connpool_report(now() - interval '1 day')}),
	qr/^The log of slow statements begins at \d+-\d+-\d+ [^;]+; earlier ones are unknown\.$/m,
	'a report states when a full log of slow statements begins');
is($node->safe_psql('postgres', <<~'SQL'), 't', 'connpool_slow_statements lists the newest first');
	SELECT bool_and(finished_at <= before OR before IS NULL)
	FROM (SELECT finished_at, lag(finished_at) OVER () AS before
	      FROM connpool_slow_statements) s
	SQL

# track_queries = off
$wire->query('SET connpool_monitor.track_queries = off');
my $before = $node->safe_psql('postgres',
	q{SELECT queries, transactions FROM connpool_sessions WHERE application_name = 'mix'});
$wire->query('SELECT 1') foreach 1 .. 5;
$wire->query('SELECT 1/0');
my ($queries, $transactions) = split /\|/, $before;
is( $node->safe_psql(
		'postgres',
		q{SELECT queries, transactions FROM connpool_sessions WHERE application_name = 'mix'}),
	$queries . '|' . ($transactions + 6),
	'track_queries = off counts transactions and no statements');
$wire->end;

# a bucket of a slot overflows
my $full_bucket = compile_unit('full_bucket');
chomp(my $counted = `$full_bucket`);
is( $counted,
	'in the pool: 5 us 4294967295, 9 us 1; in the slot: 5 us 1, 9 us 0; 1 transfers',
	'a session adds its buckets to its pool before a statement would overflow one');

$node->stop('fast');
done_testing();
