# SPDX-License-Identifier: PostgreSQL
# Simulated applications (t/node/application.js, with node-postgres) and a real PgBouncer in front
# of a cluster.
package Application;

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use POSIX ':sys_wait_h';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool qw(wait_until);

use Exporter 'import';
our @EXPORT =
  qw(application application_start application_runs application_end application_stop start_pooler
  restart_pooler stop_pooler pooler_version);

my $json = JSON::PP->new->canonical;

# Return connection options for the socket of a cluster or of a pooler.
sub connection
{
	my ($where, %options) = @_;
	return {
		host => $where->host,
		port => $where->port,
		user => $options{user} // getpwuid($<),
		database => $options{database} // 'postgres',
		application_name => $options{name} // 'application'
	};
}

# Start an application with a job, or with several jobs, each with its options in "as". Options:
# user, database, name. A job without "for" and "steps" runs until application_end().
sub application_start
{
	my ($where, $job, %options) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir_short();
	my %app = (output => "$directory/output", errors => "$directory/errors");
	my @jobs = map { { connection => connection($where, %options, %{ $_->{as} // {} }), %$_ } }
	  @{ $job->{jobs} // [$job] };

	PostgreSQL::Test::Utils::append_to_file("$directory/job",
		$json->encode($job->{jobs} ? { %$job, jobs => \@jobs } : $jobs[0]));
	$app{is_endless} = !grep { exists $jobs[0]{$_} } qw(for steps);
	$app{pid} = fork() // die 'cannot fork';
	if ($app{pid} == 0)
	{
		open STDIN, '<', "$directory/job" or die;
		open STDOUT, '>', $app{output} or die;
		open STDERR, '>', $app{errors} or die;
		exec 'node', 't/node/application.js';
	}
	return \%app;
}

# Return true if the application is still running.
sub application_runs
{
	my ($app) = @_;

	return 0 if defined $app->{status};
	$app->{status} = $? if waitpid($app->{pid}, WNOHANG) == $app->{pid};
	return !defined $app->{status};
}

# Wait for the end of the application, and return its result.
sub application_end
{
	my ($app) = @_;

	kill 'TERM', $app->{pid} if $app->{is_endless};
	wait_until(sub { return !application_runs($app) }) or kill 'KILL', $app->{pid};
	die 'the application failed: ' . PostgreSQL::Test::Utils::slurp_file($app->{errors})
	  if ($app->{status} // 1) != 0;
	return $json->decode(PostgreSQL::Test::Utils::slurp_file($app->{output}));
}

# End an application before its time. It returns no result.
sub application_stop
{
	my ($app) = @_;
	kill 'TERM', $app->{pid} if application_runs($app);
	wait_until(sub { !application_runs($app) }) or die 'the application does not end';
	return;
}

sub application { return application_end(application_start(@_)); }

# Start a PgBouncer in front of a cluster. The result has the methods host and port of a cluster.
# The option "names" lists further names of the database postgres; each has a pool of its own.
sub start_pooler
{
	my ($node, %settings) = @_;
	my $names = delete $settings{names} // [];
	my $directory = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $user = getpwuid($<);
	my %all = (
		listen_addr => '',
		unix_socket_dir => $directory,
		listen_port => $port,
		auth_type => 'any',
		admin_users => $user,
		pool_mode => 'transaction',
		default_pool_size => 2,
		logfile => "$directory/log",
		pidfile => "$directory/pid",
		%settings);
	my $server = 'host=' . $node->host . ' port=' . $node->port . " user=$user";

	PostgreSQL::Test::Utils::append_to_file(
		"$directory/pgbouncer.ini",
		join("\n",
			'[databases]', "* = $server",
			map({ "$_ = $server dbname=postgres" } @$names), '[pgbouncer]',
			map({ "$_ = $all{$_}" } sort keys %all), ''));
	return restart_pooler(
		bless { directory => $directory, port => $all{listen_port}, user => $user },
		'Application::Pooler');
}

# Start a PgBouncer that start_pooler() has configured and that does not run.
sub restart_pooler
{
	my ($pooler) = @_;
	my $program = -x '/usr/sbin/pgbouncer' ? '/usr/sbin/pgbouncer' : 'pgbouncer';
	my $directory = $pooler->{directory};

	# without -q PgBouncer reports on standard error why it does not start
	PostgreSQL::Test::Utils::system_or_bail($program, '-d', "$directory/pgbouncer.ini");
	# the file with its pid, which stop_pooler() needs, appears after its socket
	wait_until(sub { return -S "$directory/.s.PGSQL.$pooler->{port}" && -s "$directory/pid" })
	  or die 'PgBouncer does not start';
	return $pooler;
}

sub stop_pooler
{
	my ($pooler) = @_;
	my ($pid) =
	  -f "$pooler->{directory}/pid"
	  ? PostgreSQL::Test::Utils::slurp_file("$pooler->{directory}/pid") =~ /(\d+)/
	  : ();

	# a PgBouncer started with -d ignores QUIT, and since 1.23 waits for its clients on TERM
	kill 'KILL', $pid if $pid;
	wait_until(sub { return !$pid || !kill(0, $pid) });
	unlink "$pooler->{directory}/pid", "$pooler->{directory}/.s.PGSQL.$pooler->{port}";
	return;
}

# Return the version of PgBouncer as a number: 118 for 1.18.
sub pooler_version
{
	my $program = -x '/usr/sbin/pgbouncer' ? '/usr/sbin/pgbouncer' : 'pgbouncer';
	my ($major, $minor) = `$program --version` =~ /PgBouncer (\d+)\.(\d+)/;
	return 100 * $major + $minor;
}

package Application::Pooler;

sub host { return $_[0]{directory}; }
sub port { return $_[0]{port}; }

1;
