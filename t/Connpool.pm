# SPDX-License-Identifier: PostgreSQL
# Helpers shared by the TAP tests: a cluster with the extension preloaded, SQL in a node or in
# an open session, and waiting for a condition or for the sampler's next samples.
#
# A test must pass at any speed of the machine. A session that has just ended may still hold its
# slot, and a sample may be late. So tests poll for a condition instead of reading a value once.
package Connpool;

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use Exporter 'import';
our @EXPORT =
  qw(new_node sql poll_ok poll_is poll_session wait_until wait_samples samples_on_time wait_saved
  worker_pid stat_of poll_stat alert_of log_count session leave connects random_from pattern
  compile_unit sealed extension_members build_clock set_clock start_with_clock);

# Replace poll_query_until() of PostgreSQL::Test::Cluster. It polls only ten times a second, which
# adds up to minutes over all files, and it limits the number of attempts. This one polls more
# often, until the time allowed has passed.
{
	no warnings 'redefine';
	*PostgreSQL::Test::Cluster::poll_query_until = sub {
		my ($node, $database, $query, $expected) = @_;
		$expected //= 't';
		my ($output, $errors);

		return 1 if wait_until(
			sub {
				connects($node->connstr($database), $query, \$output, \$errors);
				chomp($output, $errors);
				return $output eq $expected && $errors eq '';
			});
		diag(   "the output of this query did not become \"$expected\":\n$query\n"
			  . "last output:\n$output\nlast errors:\n$errors");
		return 0;
	};
}

# Return a cluster that takes ten samples a second, with the extension in the database postgres and
# with $settings in its configuration. Options: preload (default: both libraries),
# allows_streaming, stopped, no_extension.
sub new_node
{
	my ($name, $settings, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $preload = $options{preload} // 'pg_stat_statements, connpool_monitor';

	# the same encoding and locale on every machine
	$node->init(
		allows_streaming => $options{allows_streaming} // 0,
		extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '$preload'
autovacuum = off
connpool_monitor.sample_interval = '100ms'
CONF
	$node->append_conf('postgresql.conf', $settings) if $settings;
	$node->start unless $options{stopped};
	$node->safe_psql('postgres', 'CREATE EXTENSION connpool_monitor CASCADE')
	  unless $options{stopped} || $options{no_extension};
	return $node;
}

# Run SQL in the database postgres of a node, or in an open session, and return its output.
# Options are those of safe_psql and apply to nodes only.
sub sql
{
	my ($where, $query, %options) = @_;
	return $where->query_safe($query) if $where->can('query_safe');
	return $where->safe_psql('postgres', $query, %options);
}

# Assert that the query returns true within the time allowed.
sub poll_ok
{
	my ($node, $query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until('postgres', $query), $name);
}

# Assert that the output of the query, in a node or an open session, becomes the expected one
# within the time allowed.
sub poll_is
{
	my ($where, $query, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $output;
	wait_until(sub { $output = sql($where, $query); return $output eq $expected });
	return is($output, $expected, $name);
}

# Call the condition every 20 ms, after two seconds every 100 ms, until it returns true. Returns
# false if it does not within the time allowed.
sub wait_until
{
	my ($condition) = @_;
	my $started = Time::HiRes::time();

	until ($condition->())
	{
		my $waited = Time::HiRes::time() - $started;
		return 0 if $waited > $PostgreSQL::Test::Utils::timeout_default;
		Time::HiRes::usleep($waited < 2 ? 20_000 : 100_000);
	}
	return 1;
}

# Wait until the query returns true in an open session, without a new connection.
sub poll_session
{
	my ($psql, $query) = @_;
	wait_until(sub { $psql->query_safe($query) eq 't' }) or die "never true: $query";
	return;
}

# Wait, in a node or an open session, until the sampler has completed $count more samples. To test
# what a sample finds after a change, wait for two: the first one may have begun before the change.
# Two suffice for a reload as well, provided that a new connection was opened after it.
sub wait_samples
{
	my ($where, $count) = @_;
	my $target = sql($where, "SELECT samples + $count FROM connpool_info()");

	wait_until(sub { sql($where, "SELECT samples >= $target FROM connpool_info()") eq 't' })
	  or die 'the sampler takes no samples';
	return;
}

# Wait until ten samples in a row were on time. Returns false if that does not happen within the
# time allowed. A busy machine delays a sample now and then, so no test may require that all
# samples are on time. But something that delays every tenth sample makes this function fail.
sub samples_on_time
{
	my ($node) = @_;
	my $missed = 'SELECT samples_missed FROM connpool_info()';

	return wait_until(
		sub {
			my $before = $node->safe_psql('postgres', $missed);
			wait_samples($node, 10);
			return $node->safe_psql('postgres', $missed) == $before;
		});
}

# Wait until the saver has begun and completed a save, or $count of them.
sub wait_saved
{
	my ($node, $count) = @_;

	foreach (1 .. $count // 1)
	{
		my $now = sql($node, 'SELECT quote_literal(clock_timestamp())');
		wait_until(sub { sql($node, "SELECT last_saved > $now FROM connpool_info()") eq 't' })
		  or die 'nothing is saved';
	}
	return;
}

# Return the pid of a worker, or 0 if it does not run. Some workers, such as http, are not in
# pg_stat_activity.
sub worker_pid
{
	my ($node, $name) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @found = grep { /connpool_monitor $name\b/ } `ps -o pid=,args= --ppid $postmaster`;
	return @found == 1 && $found[0] =~ /(\d+)/ ? $1 : 0;
}

sub stat_query
{
	my ($metric) = @_;
	return <<~"SQL";
		SELECT current_value, max_value, status
		FROM get_connection_stats()
		WHERE metric_name = '$metric'
		SQL
}

# Return the row of a metric in get_connection_stats() as 'current|max|status'.
sub stat_of
{
	my ($where, $metric) = @_;
	return sql($where, stat_query($metric));
}

# Assert that this row becomes the expected one within the time allowed.
sub poll_stat
{
	my ($where, $metric, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll_is($where, stat_query($metric), $expected, $name);
}

# Return the status of a metric in connpool_alerts.
sub alert_of
{
	my ($node, $metric) = @_;
	return sql($node, "SELECT status FROM connpool_alerts WHERE metric_name = '$metric'");
}

# Count the lines of the server's log after an offset that match the pattern.
sub log_count
{
	my ($node, $pattern, $offset) = @_;
	my $log = substr(slurp_file($node->logfile), $offset // 0);
	my $count = () = $log =~ /$pattern/mg;
	return $count;
}

# Return a psql that stays connected, with an application name. Options: dbname, role.
sub session
{
	my ($node, $application, %options) = @_;
	my $psql = $node->background_psql(
		$options{dbname} // 'postgres',
		on_error_stop => 0,
		extra_params => $options{role} ? [ '-U', $options{role} ] : []);
	# the time allowed is for each query, not for all queries of the session
	$psql->set_query_timer_restart;
	$psql->query_safe("SET application_name = '$application'");
	return $psql;
}

# End a session. Restart its timer first: the session may have been idle for longer than the
# time allowed.
sub leave
{
	my ($psql) = @_;
	$psql->{timeout}->start;
	$psql->quit;
	return;
}

# Return a function that returns random numbers from 0 to below 1, the same numbers in every run.
sub random_from
{
	my ($state) = @_;
	return sub {
		$state = ($state * 1103515245 + 12345) % 2147483648;
		return $state / 2147483648;
	};
}

# Return a regular expression of parts, joined by spaces, for texts longer than a line.
sub pattern
{
	my $text = join ' ', @_;
	return qr/$text/;
}

# Compile t/unit/$name.c with source files of the extension, without the server, and return the
# path of the program. The linker drops functions that the program does not call.
sub compile_unit
{
	my ($name, @sources) = @_;
	my $program = PostgreSQL::Test::Utils::tempdir() . "/$name";
	chomp(my ($include, $libraries) = `$ENV{PG_CONFIG} --includedir-server --pkglibdir`);
	is( system($ENV{CC} // 'cc', split(' ', $ENV{COPT} // ''),
			'-O1', '-Wall',
			'-ffunction-sections', '-Wl,--gc-sections',
			'-I', $include,
			'-I', "$ENV{TESTDIR}/src",
			'-o', $program,
			map({ "$ENV{TESTDIR}/$_.c" } "t/unit/$name", map { "src/$_" } @sources),
			'-L', $libraries,
			'-lpgport', '-lm'),
		0,
		"t/unit/$name.c compiles without the server") or BAIL_OUT('no compiler');
	return $program;
}

# Append the CRC-32C to the contents of a statistics file.
sub sealed
{
	my ($body) = @_;
	my @table =
	  map { my $c = $_; $c = $c & 1 ? ($c >> 1) ^ 0x82F63B78 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
	my $crc = 0xFFFFFFFF;

	$crc = ($crc >> 8) ^ $table[ ($crc ^ $_) & 255 ] foreach unpack('C*', $body);
	return $body . pack('L', $crc ^ 0xFFFFFFFF);
}

# Return a query that lists the members of the extension in a database: the object, the privileges
# of roles other than its owner, its comment and its columns. With the option definitions, adds the
# definition, whose text depends on the server's version. Two more things depend on the version and
# are always left out: row types, which are not members of extensions since PostgreSQL 17, and the
# owner's privileges, to which 17 added MAINTAIN.
sub extension_members
{
	my (%options) = @_;
	my $definition = $options{definitions} ? <<~'SQL' : 'NULL';
		CASE WHEN p.oid IS NOT NULL THEN pg_get_functiondef(p.oid)
		     WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END
		SQL
	return <<~"SQL";
		SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS object,
		       (SELECT string_agg(format('%s %s%s', a.grantee::regrole, a.privilege_type,
		                                 CASE WHEN a.is_grantable THEN '*' END),
		                          ', ' ORDER BY a.grantee::regrole::text, a.privilege_type)
		        FROM aclexplode(coalesce(p.proacl, c.relacl, acldefault('f', p.proowner))) a
		        WHERE a.grantee <> coalesce(p.proowner, c.relowner)) AS rights,
		       obj_description(d.objid, d.classid::regclass::name) AS comment,
		       (SELECT string_agg(format('%s %s %s', attnum, attname, atttypid::regtype),
		                          ', ' ORDER BY attnum)
		        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS columns,
		       $definition AS definition
		FROM pg_depend d
		LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
		AND (p.oid IS NOT NULL OR c.oid IS NOT NULL)
		ORDER BY 1
		SQL
}

# Return true if psql can connect and run a query. Its output and errors go to the references. The
# query is an argument of psql, because psql exits if the server refuses it, and writing to its
# standard input would then fail.
sub connects
{
	my ($conninfo, $query, $output, $errors) = @_;
	return IPC::Run::run(
		[ 'psql', '-XAtq', '-d', $conninfo, '-c', $query // 'SELECT 1' ],
		'<', '/dev/null', '>', $output // \my $unread,
		'2>', $errors // \my $ignored);
}

# The library that shows a server another system clock (t/unit/clock.c), and the file with its
# offset.
my ($clock_library, $clock_file);

# Compile that library, or skip the test if it cannot be loaded.
sub build_clock
{
	plan skip_all => 'with a sanitizer, a server cannot preload the library that sets the clock'
	  if $ENV{CONNPOOL_MONITOR_SANITIZERS};
	my $directory = PostgreSQL::Test::Utils::tempdir();

	($clock_library, $clock_file) = ("$directory/clock.so", "$directory/clock");
	is( system($ENV{CC} // 'cc',
			'-O1', '-Wall', '-shared', '-fPIC', '-o', $clock_library,
			"$ENV{TESTDIR}/t/unit/clock.c"),
		0,
		'the library that sets the clock compiles') or BAIL_OUT('no compiler');
	set_clock(0);
	return;
}

# Set the clock of all servers that start_with_clock() has started to the true time plus a number
# of seconds. It changes at once in all processes.
sub set_clock
{
	my ($offset) = @_;
	# one write, because running processes read the file at any time
	open my $file, (-e $clock_file ? '+<' : '>'), $clock_file or die $!;
	syswrite($file, pack('q', $offset)) == 8 or die $!;
	close $file;
	return;
}

# Start a server whose clock set_clock() sets.
sub start_with_clock
{
	my ($node) = @_;
	local $ENV{LD_PRELOAD} = $clock_library;
	local $ENV{CLOCK_FILE} = $clock_file;
	$node->start;
	return;
}

1;
