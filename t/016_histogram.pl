# SPDX-License-Identifier: PostgreSQL
# Each percentile of the histogram lies in the bucket of the exact percentile, which a model
# computes from all values. Compiles the arithmetic alone, which needs no server.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use POSIX qw(ceil);
use Test::More;
use Connpool;

my $input = PostgreSQL::Test::Utils::tempdir() . '/input';
my $histogram = compile_unit('histogram', 'base/histogram');

my $random = random_from(42);

my %inputs = (
	constant => [ (1000) x 5000 ],
	'small' => [ map { int($random->() * 20) } 1 .. 5000 ],
	uniform => [ map { int($random->() * 100000) } 1 .. 20000 ],
	bimodal => [
		map {
			$random->() < 0.7 ? 100 + int($random->() * 20) : 2_000_000 + int($random->() * 50000)
		} 1 .. 20001
	],
	'heavy-tailed' => [ map { int(50 / (1 - $random->() * 0.999999)**1.5) } 1 .. 20000 ],
	'one value' => [123456],
	'hours' => [ map { int(3_600_000_000 * (1 + 50 * $random->())) } 1 .. 1000 ],
	'powers of two' => [ map { (2**$_ - 1, 2**$_, 2**$_ + 1) } 3 .. 36 ]);

foreach my $name (sort keys %inputs)
{
	my @values = @{ $inputs{$name} };
	my @sorted = sort { $a <=> $b } @values;
	unlink($input);
	append_to_file($input, join("\n", @values) . "\n");
	my @lines = split /\n/, `$histogram < $input`;
	my @percentiles = split / /, shift @lines;
	my ($outside, $wide) = (0, 0);

	foreach my $i (0 .. $#values)
	{
		my ($lower, $upper) = split / /, $lines[$i];
		$outside++ unless $values[$i] >= $lower && ($upper eq 'inf' || $values[$i] < $upper);
		$wide++ if $upper ne 'inf' && $lower >= 8 && $upper - $lower > $lower / 8;
	}
	is($outside, 0, "$name: every value is in its bucket");
	is($wide, 0, "$name: no bucket is wider than an eighth of its lower bound");
	foreach my $p (0.50, 0.95, 0.99)
	{
		my $exact = $sorted[ ceil($p * @sorted) - 1 ];
		my $got = shift @percentiles;
		# the bucket of the exact value, computed without shifts
		my ($lower, $upper) = ($exact, $exact + 1);
		if ($exact >= 8)
		{
			my $octave = 8;
			$octave *= 2 while $octave * 2 <= $exact;
			my $width = $octave / 8;
			$lower = int($exact / $width) * $width;
			$upper = $lower + $width;
			# the last bucket has no end
			($lower, $upper) = (2**37 - 2**33, 9**9**9) if $exact >= 2**37 - 2**33;
		}
		ok( $got >= $lower && $got <= $upper && $got <= $sorted[-1],
			"$name: percentile $p lies in the bucket of the exact value"
		) or diag("$got, exactly $exact, bucket $lower to $upper");
	}
}
done_testing();
