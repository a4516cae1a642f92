# SPDX-License-Identifier: PostgreSQL
# A client that sends single messages of the protocol, which libpq cannot do. It can pause between
# Execute and Sync, fetch a portal in parts, and name portals that do not exist. It supports only
# trust authentication, over a Unix socket unless a start-up packet is sent from an IPv4 address.
package Wire;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Socket qw(SOCK_STREAM SOL_SOCKET SO_RCVTIMEO SO_SNDTIMEO);

# Return a socket that is connected to the server, or undef if the server does not listen. A server
# that does not accept, answer or read fails the test instead of blocking it. With $source, connect
# from that IPv4 address.
sub open_socket
{
	my ($node, $source) = @_;
	my $class = 'IO::Socket::' . ($source ? 'INET' : 'UNIX');
	my $socket = $class->new(Type => SOCK_STREAM, $source ? (LocalAddr => $source) : ())
	  or die "could not create a socket: $!";
	my $timeout = pack('q2', $PostgreSQL::Test::Utils::timeout_default, 0);
	$socket->setsockopt(SOL_SOCKET, $_, $timeout) foreach SO_RCVTIMEO, SO_SNDTIMEO;
	my $address =
	  $source
	  ? Socket::pack_sockaddr_in($node->port, Socket::inet_aton('127.0.0.1'))
	  : Socket::pack_sockaddr_un($node->host . '/.s.PGSQL.' . $node->port);
	return $socket->connect($address) ? $socket : undef;
}

# Send a startup packet with these parameters on a new socket, from the IPv4 address "from" if
# there is one, and return the socket or undef. Call "before_packet", if it is given, as soon as the
# socket is connected.
sub start_up
{
	my ($node, %parameters) = @_;
	my $before_packet = delete $parameters{before_packet};
	my $socket = open_socket($node, delete $parameters{from}) or return;
	my $body =
	  pack('N', 196608) . join('', map { "$_\0$parameters{$_}\0" } sort keys %parameters) . "\0";

	$before_packet->() if $before_packet;
	$socket->syswrite(pack('N', length($body) + 4) . $body);
	return $socket;
}

sub connect_to
{
	my ($class, $node, $application, %options) = @_;
	my $socket = start_up(
		$node,
		user => $options{user},
		database => $options{database} // 'postgres',
		before_packet => $options{before_packet},
		application_name => $application) or die "could not connect: $!";
	my $self = bless { socket => $socket }, $class;

	$self->read_until('Z');
	return $self;
}

sub send_message
{
	my ($self, $type, $body) = @_;
	$self->{socket}->syswrite($type . pack('N', length($body) + 4) . $body);
	return $self;
}

sub read_exactly
{
	my ($self, $length) = @_;
	my $data = '';
	while (length($data) < $length)
	{
		my $count = $self->{socket}->sysread($data, $length - length($data), length($data));
		die "could not read from the server: $!" unless defined $count;
		die 'the server closed the connection' unless $count;
	}
	return $data;
}

# Read up to a message of one of these types. Return the types of all messages, with the SQLSTATE
# after each error.
sub read_until
{
	my ($self, $types) = @_;
	my @seen;
	for (;;)
	{
		my ($type, $length) = unpack('aN', $self->read_exactly(5));
		my $body = $self->read_exactly($length - 4);
		push @seen, $type;
		push @seen, $1 if $type eq 'E' && $body =~ /\0C([0-9A-Z]{5})\0/;
		die "refused: $body" if $type eq 'E' && $types eq 'Z' && !$self->{ready};
		last if index($types, $type) >= 0;
	}
	$self->{ready} = 1 if $seen[-1] eq 'Z';
	return join(' ', @seen);
}

# Send a message of the extended protocol, without reading an answer.
sub parse
{
	my ($self, $name, $sql) = @_;
	return $self->send_message('P', "$name\0$sql\0" . pack('n', 0));
}

sub bind_to
{
	my ($self, $portal, $name) = @_;
	return $self->send_message('B', "$portal\0$name\0" . pack('nnn', 0, 0, 0));
}
sub describe { my ($self, $kind, $name) = @_; return $self->send_message('D', "$kind$name\0") }

sub execute
{
	my ($self, $portal, $rows) = @_;
	return $self->send_message('E', "$portal\0" . pack('N', $rows // 0));
}
sub close_portal { my ($self, $portal) = @_; return $self->send_message('C', "P$portal\0") }
sub flush        { my ($self) = @_;          return $self->send_message('H', '') }
sub sync         { my ($self) = @_; $self->send_message('S', ''); return $self->read_until('Z') }

# Run a simple query and read its result.
sub query
{
	my ($self, $sql) = @_;
	$self->send_message('Q', "$sql\0");
	return $self->read_until('Z');
}

# Send Parse, Bind, Execute and Sync of one statement, and read the result.
sub extended
{
	my ($self, $sql, $rows) = @_;
	return $self->parse('', $sql)->bind_to('', '')->execute('', $rows)->sync;
}

# Let the two sessions of each pair wait for each other's advisory lock until the server cancels
# the statement of one of them, all pairs at the same time, and roll back.
sub deadlock
{
	my (@pairs) = @_;
	my $take = 'SELECT pg_advisory_xact_lock';
	foreach my $i (0 .. $#pairs)
	{
		my ($one, $two) = @{ $pairs[$i] };
		$one->query("BEGIN; $take($i, 1)");
		$two->query("BEGIN; $take($i, 2)");
		$one->send_message('Q', "$take($i, 2)\0");
		$two->send_message('Q', "$take($i, 1)\0");
	}
	# one session of each pair gets an error, and so the other one its lock
	foreach my $session (map { @$_ } @pairs)
	{
		$session->read_until('Z');
		$session->query('ROLLBACK');
	}
	return;
}

sub end
{
	my ($self) = @_;
	$self->send_message('X', '');
	$self->{socket}->close;
	return;
}

# Close the socket without Terminate.
sub abandon { my ($self) = @_; $self->{socket}->close; return }

1;
