# SPDX-License-Identifier: PostgreSQL
# The state machine of alerts agrees with a second implementation in Perl over series of 100,000
# samples, with spikes, steps, ramps, gaps, unknown values, thresholds that change and metrics that
# become silent while an alert is raised. The Perl model stores points in time, and the C code
# timers. Compiles the state machine alone, which needs no server.
# scripts/test: slow, 14 s
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $input = PostgreSQL::Test::Utils::tempdir() . '/input';
my $alerts = compile_unit('alerts', 'rules/alerts', 'rules/catalogue');

my $random = random_from(7);

# Return $count samples of a pattern, each as [elapsed, value, warning, critical, silent].
sub series
{
	my ($kind, $count) = @_;
	my @series;
	my $level = 20;
	foreach my $i (1 .. $count)
	{
		my $value = $level;
		if    ($kind eq 'spikes') { $value = $random->() < 0.02 ? 99 : 30 }
		elsif ($kind eq 'steps')
		{
			$level = int($random->() * 110) if $random->() < 0.01;
			$value = $level;
		}
		elsif ($kind eq 'ramps')    { $value = abs(($i % 400) - 200) / 2 + 5 }
		elsif ($kind eq 'flapping') { $value = 75 + int($random->() * 25) }
		elsif ($kind eq 'gaps')
		{
			$level = int($random->() * 110) if $random->() < 0.02;
			$value = $random->() < 0.2 ? 'nan' : $random->() < 0.05 ? 'inf' : $level;
		}
		else { $value = int($random->() * 110) }
		my $elapsed = $i == 1 ? 0 : $kind eq 'gaps' && $random->() < 0.01 ? 10000 : 1000;
		my @thresholds = (80, 95, 0);
		if ($kind eq 'reloads')
		{
			my $phase = int($i / 97) % 6;
			@thresholds = (
				[ 80, 95, 0 ],
				[ -1, 95, 0 ],
				[ 50, -1, 0 ],
				[ 80, 95, 1 ],
				[ -1, -1, 0 ],
				[ 10, 20, 0 ])[$phase]->@*;
			$value = 60 + int($random->() * 40) if int($i / 50) % 2;
		}
		push @series, [ $elapsed, $value, @thresholds ];
	}
	return @series;
}

# Return the expected line for each sample. Samples without a value do not advance the time.
sub model
{
	my ($low_is_bad, $after, $clear, $repeat, @series) = @_;
	my ($time, $clock, $status, $since, $said, $peak) = (0, 1000, 0, 0, 0, 'nan');
	my %up = (1 => 0, 2 => 0);
	my (%met_since, %clear_since, %last_met, @lines);
	foreach my $sample (@series)
	{
		my ($elapsed, $value, $warning, $critical, $silent) = @$sample;
		my %threshold = (1 => $warning, 2 => $critical);
		my $known = $value ne 'nan';
		my $number = $known && $value ne 'inf';
		my $was_up = $up{1} || $up{2};
		$clock += $elapsed * 1000;
		$since ||= $clock;
		foreach my $level (1, 2)
		{
			next unless $silent || $threshold{$level} == -1;
			$up{$level} = 0;
			delete $met_since{$level};
			delete $clear_since{$level};
		}
		my $dropped = $was_up && !$up{1} && !$up{2};
		$time += $elapsed if $known;
		my $met = sub {
			my $t = shift;
			$number && $t != -1 && ($low_is_bad ? $value <= $t : $value >= $t);
		};
		if ($known && !$silent)
		{
			my @first = sort { $low_is_bad ? $b <=> $a : $a <=> $b } grep { $_ != -1 } $warning,
			  $critical;
			$last_met{1} = $first[0] if @first && $met->($first[0]);
			$last_met{2} = $critical if $met->($critical);
		}
		foreach my $level (1, 2)
		{
			next if !$known || $silent || $threshold{$level} == -1;
			# a critical value is a warning too, whatever the warning threshold
			my $is_met = $met->($threshold{$level}) || ($level == 1 && $met->($threshold{2}));
			if ($is_met) { $met_since{$level} //= $time; delete $clear_since{$level} }
			else { delete $met_since{$level}; $clear_since{$level} //= $time if $up{$level} }
			$up{$level} = 1 if !$up{$level} && $is_met && $time - $met_since{$level} >= $after;
			$up{$level} = 0, delete $clear_since{$level}
			  if $up{$level} && !$is_met && $time - $clear_since{$level} >= $clear;
		}
		my $now = $up{2} ? 2 : $up{1} ? 1 : 0;
		my $event = 0;
		if    ($now == 0) { $peak = 'nan' }
		elsif ($number && ($peak eq 'nan' || ($low_is_bad ? $value < $peak : $value > $peak)))
		{
			$peak = $value;
		}
		if ($now != $status)
		{
			# a value that would still meet the former threshold has not recovered
			$event =
				$dropped && $now == 0 ? 2
			  : $now < $status && $met->($last_met{$status}) ? 4
			  : 1;
			($status, $since, $said) = ($now, $clock, $time);
		}
		elsif ($status && $repeat && $time - $said >= $repeat) { $event = 3; $said = $time }
		push @lines,
		  sprintf('%d %d %d%d %.3f %d',
			$event, $status, $up{1}, $up{2}, $peak eq 'nan' ? -1 : $peak, $since);
	}
	return @lines;
}

foreach my $case (
	[ 'total_connections', 0, 'spikes', 30000, 60000, 0 ],
	[ 'total_connections', 0, 'spikes', 0, 0, 0 ],
	[ 'total_connections', 0, 'steps', 30000, 60000, 900000 ],
	[ 'total_connections', 0, 'ramps', 30000, 60000, 0 ],
	[ 'total_connections', 0, 'flapping', 3000, 5000, 20000 ],
	[ 'total_connections', 0, 'gaps', 30000, 60000, 300000 ],
	[ 'total_connections', 0, 'noise', 2000, 2000, 10000 ],
	[ 'total_connections', 0, 'reloads', 5000, 10000, 30000 ],
	[ 'exhaustion_seconds', 1, 'steps', 30000, 60000, 900000 ],
	[ 'exhaustion_seconds', 1, 'gaps', 5000, 10000, 60000 ],
	# an alert without alert_after needs time only to clear
	[ 'rejected_connections', 0, 'gaps', 30000, 20000, 60000 ])
{
	my ($metric, $low_is_bad, $kind, $after, $clear, $repeat) = @$case;
	my @series = series($kind, 100_000);
	# a value reaches WARNING before CRITICAL even if low values are bad
	($_->[2], $_->[3]) = ($_->[3], $_->[2]) foreach $low_is_bad ? @series : ();
	unlink($input);
	append_to_file($input, join('', map { "@$_\n" } @series));
	my @got = split /\n/, `$alerts $metric $after $clear $repeat < $input`;
	my @expected =
	  model($low_is_bad, $metric eq 'rejected_connections' ? 0 : $after, $clear, $repeat, @series);
	my ($first) = grep { ($got[$_] // '') ne $expected[$_] } 0 .. $#expected;
	my $transitions = grep { /^[124]/ } @expected;
	ok(!defined $first && @got == @expected,
		"$metric, $kind: $transitions transitions in 100,000 samples agree with the model")
	  or
	  diag("sample $first (@{ $series[$first] }): got $got[$first], expected $expected[$first]");
	my $least = $kind eq 'spikes' && $after ? 0 : 11;
	cmp_ok($transitions, '>=', $least,
		"$metric, $kind: the series has at least $least transitions");
}
done_testing();
