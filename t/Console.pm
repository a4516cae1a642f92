# SPDX-License-Identifier: PostgreSQL
# Simulated consoles: those of PgBouncer versions that are not installed, with the columns that the
# source of each release has, and those that misbehave. Tests use a real PgBouncer for all other
# cases.
package Console;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use POSIX ();

# the processes end with the test that started them
my ($parent, @children) = ($$);
END { kill 'KILL', @children if @children && $$ == $parent; }

my @old_pools = qw(sv_active sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode);
my @new_pools =
  qw(cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel sv_being_canceled
  sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode);
my @counts = qw(xact_count query_count);
my @times = qw(xact_time query_time wait_time);
my @parses = qw(client_parse_count server_parse_count bind_count);

# Return the columns of SHOW POOLS in 1.version.
sub pool_columns
{
	my ($version) = @_;
	return (
		qw(database user cl_active cl_waiting),
		$version >= 18 ? @new_pools : ($version >= 16 ? 'cl_cancel_req' : (), @old_pools),
		$version >= 24 ? 'load_balance_hosts' : ());
}

sub server_columns
{
	my ($version) = @_;
	return (
		qw(type user database),
		$version >= 23 ? 'replication' : (),
		qw(state addr port local_addr local_port connect_time request_time wait wait_us
		  close_needed ptr link remote_pid tls),
		$version >= 18 ? 'application_name' : (),
		$version >= 21 ? 'prepared_statements' : (),
		$version >= 24 ? 'id' : ());
}

sub stat_columns
{
	my ($version) = @_;
	my @assignment = $version >= 23 ? 'server_assignment_count' : ();
	my @rest = (@times, $version >= 24 ? @parses : (), $version >= 26 ? 'client_login_count' : ());
	return (
		'database',
		map({ "total_$_" } @assignment, @counts, qw(received sent), @rest),
		map({ "avg_$_" } @assignment, @counts, qw(recv sent), @rest));
}

# Return columns and rows. Each row is given as a hash; columns that the hash lacks are 0.
sub table
{
	my ($columns, @rows) = @_;
	return [
		$columns,
		map {
			my $row = $_;
			[ map { $row->{$_} // '0' } @$columns ]
		} @rows
	];
}

# Return the answers of a console of 1.version.
sub answers
{
	my ($version, %rows) = @_;
	return {
		'SHOW VERSION' => table(['version'], { version => "PgBouncer 1.$version.0" }),
		'SHOW DATABASES' => table([qw(name host port)], @{ $rows{databases} // [] }),
		'SHOW SERVERS' => table([ server_columns($version) ], @{ $rows{servers} // [] }),
		'SHOW POOLS' => table([ pool_columns($version) ], @{ $rows{pools} // [] }),
		'SHOW STATS' => table([ stat_columns($version) ], @{ $rows{stats} // [] }),
		'SHOW CONFIG' => table([qw(key value)], @{ $rows{config} // [] })
	};
}

# answers by query, cached because building one with a hundred thousand rows takes seconds
my %messages;

sub message { my ($type, $body) = @_; return $type . pack('N', length($body) + 4) . $body; }
sub ready   { return message('Z', 'I'); }

sub rows_message
{
	my ($columns, @rows) = @{ $_[0] };
	my $text = message('T',
		pack('n', scalar @$columns)
		  . join('', map { "$_\0" . pack('NnNnNn', 0, 0, 25, 65535, 4294967295, 0) } @$columns));
	$text .= message('D', pack('n', scalar @$_) . join('', map { pack('N', length $_) . $_ } @$_))
	  foreach @rows;
	return $text . message('C', "SHOW\0") . ready();
}

# Start a console that listens on a Unix socket, whose directory and port the methods host and port
# return. $answers is a hash as from answers(), or the name of a fault that reply() and serve()
# simulate. An answer may also be a function that returns it.
sub new
{
	my ($class, $answers) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir_short();
	my $port = 6543;
	my $socket = IO::Socket::UNIX->new(
		Type => SOCK_STREAM,
		Local => "$directory/.s.PGSQL.$port",
		Listen => 20) or die "cannot listen: $!";
	my $pid = fork() // die 'cannot fork';
	if ($pid == 0)
	{
		serve($socket, $answers);
		POSIX::_exit(0);
	}
	push @children, $pid;
	return bless { host => $directory, port => $port, pid => $pid }, $class;
}

sub host { return $_[0]{host}; }
sub port { return $_[0]{port}; }
sub stop { my ($self) = @_; kill 'KILL', $self->{pid}; waitpid $self->{pid}, 0; return; }

# Serve several clients at a time. A long answer delays the other clients until its client has
# read it or is gone.
sub serve
{
	my ($socket, $answers) = @_;
	my $select = IO::Select->new($socket);
	my %buffer;

	local ($SIG{PIPE}, $SIG{CHLD}) = ('IGNORE', 'IGNORE');
	while (my @ready = $select->can_read)
	{
		foreach my $client (@ready)
		{
			if ($client == $socket)
			{
				my $new = $socket->accept or next;
				$select->add($new);
				$buffer{$new} = undef;
				next;
			}
			my $got = sysread $client, my $bytes, 65536;
			if (!$got)
			{
				$select->remove($client);
				close $client;
				next;
			}
			if ($answers eq 'trickle')
			{
				trickle($client) if fork() == 0;
				next;
			}
			# the first message is the startup packet; later ones are queries, or a password
			if ($answers eq 'lose' && defined $buffer{$client})
			{
				$select->remove($client);
				close $client;
				next;
			}
			my $reply = reply($bytes, defined $buffer{$client}, $answers);
			$buffer{$client} = 1;
			syswrite $client, $reply if defined $reply;
		}
	}
	return;
}

# Send the messages that accept the client, one byte a second, without a final ReadyForQuery.
sub trickle
{
	my ($client) = @_;
	my $messages = message('R', pack('N', 0)) . message('S', "server_version\0001.0/bouncer\0");
	foreach my $byte (split //, $messages)
	{
		syswrite $client, $byte or last;
		sleep 1;
	}
	POSIX::_exit(0);
}

sub reply
{
	my ($bytes, $is_open, $answers) = @_;

	return if $answers eq 'hang';
	return pack('C*', map { int rand 256 } 1 .. 2000) if $answers eq 'garbage';
	return message('R', pack('N', 0))
	  . message('A', pack('N', 1) . "channel\0" . 'x' x 100 . "\0") x 500000
	  if $answers eq 'welcome' && !$is_open;
	return message('R', pack('N', 3)) if $answers =~ /^(?:lose|full)$/ && !$is_open;
	return message('E', "SFATAL\0C53300\0Mno more connections allowed\0\0") if $answers eq 'full';
	return message('R', pack('N', 10) . "SCRAM-SHA-256\0\0") if $answers eq 'scram' && !$is_open;
	# libpq computes two billion hashes in one call
	return message('R', pack('N', 11) . "r=$1console,s=c2FsdA==,i=2000000000")
	  if $answers eq 'scram' && $bytes =~ /^p.*r=([^,]+)/s;
	return message('R', pack('N', 0)) . message('S', "server_version\0001.0/bouncer\0") . ready()
	  if !$is_open;
	return if $answers eq 'mute';
	return message('H', pack('Cn', 0, 0)) if $answers eq 'copy';
	# notifications and parameter values, which libpq queues
	return message('A', pack('N', 1) . "channel\0" . 'x' x 100 . "\0") x 500000
	  if $answers eq 'notifications';
	return message('N', "SNOTICE\0C00000\0M" . 'x' x 100 . "\0\0") x 500000
	  if $answers eq 'notices';
	return
	  join('', map { message('S', "parameter_$_\0" . 'x' x 100 . "\0") } 1 .. 15000)
	  . rows_message([ ['version'], ['PgBouncer 1.18.0'] ])
	  if $answers eq 'parameters';
	# a hundred megabytes of rows, and no CommandComplete
	return message('T',
		pack('n', 1) . "version\0" . pack('NnNnNn', 0, 0, 25, 65535, 4294967295, 0))
	  . message('D', pack('nN', 1, 1000) . 'x' x 1000) x 100000
	  if $answers eq 'flood';
	my ($query) = $bytes =~ /^Q....([^\0]*)\0/s;
	return message('E', "SERROR\0C42601\0Mnot here\0\0") . ready()
	  if !defined $query || $answers eq 'errors';
	return rows_message($answers->{$query}->()) if ref $answers->{$query} eq 'CODE';
	return $messages{$query} //= rows_message($answers->{$query} // [ ['nothing'] ]);
}

1;
