# SPDX-License-Identifier: PostgreSQL
# The documentation agrees with itself and with the server: links and anchors exist, README.md
# stays within its size, every SQL example runs and has the columns that its output shows, and
# doc/reference.md lists every column, setting and metric family with its type. Needs the files of
# the project.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

my $root = $ENV{TESTDIR};
my @pages = map { substr($_, length("$root/")) }
  glob("$root/*.md $root/doc/*.md $root/monitoring/*.md $root/src/*.md");
my %text = map { $_ => slurp_file("$root/$_") } @pages;
# the tutorial pages, in the order in which a newcomer meets them; README.md creates the extension
my @tutorial = ('README.md', grep { m{^doc/} } @pages);

# Return a page without its blocks of code and its inline code.
sub prose
{
	my ($page) = @_;
	return $text{$page} =~ s/^ *```.*?^ *```$//gmsr =~ s/`[^`\n]*`//gr;
}

# Return the anchors that GitHub generates for the headings of a page.
sub anchors_of
{
	my ($page) = @_;
	my $without_code = $text{$page} =~ s/^ *```.*?^ *```$//gmsr;
	my (%seen, %anchors);

	foreach my $heading ($without_code =~ /^#+ (.*)$/mg)
	{
		my $anchor = lc $heading =~ s/[^\w\s-]//gr;
		$anchor =~ s/ /-/g;
		my $count = $seen{$anchor}++;
		$anchors{ $count ? "$anchor-$count" : $anchor } = 1;
	}
	return \%anchors;
}

# Return the blocks of SQL of a page, each with the output that follows it.
sub examples_of
{
	my ($page) = @_;
	my @examples;
	while ($text{$page} =~ /^ *```sql\n(.*?)^ *```\n(?: *```\n(.*?)^ *```$)?/gms)
	{
		push @examples, [ $1, $2 // '' ];
	}
	return @examples;
}

# Return the column names of an output of psql, as 'a b c', or '' if it is not a table.
sub columns_of_output
{
	my ($output) = @_;
	if ($output =~ /^ *-\[ RECORD 1 \]/)
	{
		my ($record) = $output =~ /RECORD 1 \][-+]*\n(.*?)(?:^ *-\[|\z)/ms;
		return join ' ', $record =~ /^ *(\w+) +\|/mg;
	}
	my ($header) = $output =~ /\A(.*)\n *-+(?:\+-+)*\n/ or return '';
	return join ' ', map { s/^ +| +$//gr } split /\|/, $header;
}

# Return the rows of the tables below a heading of reference.md, as lists of cells.
sub rows_below
{
	my ($heading) = @_;
	my ($level) = $heading =~ /^(#+)/;
	my ($section) =
	  $text{'doc/reference.md'} =~ /^\Q$heading\E\n(.*?)(?=^#{1,${\length $level}} |\z)/ms
	  or return ();
	return map { [ split / *\| */, s/^\| *| *\|$//gr ] }
	  grep { !/^\|-|^\| (?:column|setting|family) / } $section =~ /^(\|.*\|)$/mg;
}

subtest 'the targets of links exist' => sub {
	foreach my $page (@pages)
	{
		foreach my $link (prose($page) =~ /\]\(([^)\s]+)\)/g)
		{
			next if $link =~ /^https?:/;
			my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
			my $target =
			  $file eq '' ? $page : dirname($page) eq '.' ? $file : dirname($page) . "/$file";
			1 while $target =~ s{(?:^|/)(?!\.\.)[^/]+/\.\.(?=/)}{}g && $target =~ s{^/}{};
			ok(-e "$root/$target", "$page: $link is a file") or next;
			ok(anchors_of($target)->{$anchor}, "$page: $link is a heading") if defined $anchor;
		}
	}
};

subtest 'pages have the required form' => sub {
	my $lines = () = $text{'README.md'} =~ /\n/g;
	cmp_ok($lines, '<=', 300, 'README.md has at most 300 lines');
	cmp_ok(length $text{'README.md'}, '<=', 16 * 1024, 'README.md has at most 16 kB');
	foreach my $page (grep { !m{^src/} } @pages)
	{
		my @long = grep { length > 99 && !/^ *\|/ } split /\n/,
		  prose($page) =~ s/[^\x00-\x7f]+/./gr;
		is(join("\n", @long), '', "$page has lines under 100 characters");
		unlike($text{$page}, qr/^\w*=> |^\$ /m, "$page has no prompts in front of commands");
	}
	foreach my $page (grep { m{^doc/} } @pages)
	{
		like(
			$text{$page},
			qr/\A# .*\n\n(?:(?!\n#).)*?\bFor the (?:person|developer|DBA)/s,
			"$page begins with its audience");
	}
	my ($listener) = $text{'doc/alerts.md'} =~ /^```python\n(.*?)^```$/ms;
	is( $listener,
		slurp_file("$root/monitoring/forward-alerts.py"),
		'doc/alerts.md shows monitoring/forward-alerts.py unchanged');
};

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('main', <<"CONF", no_extension => 1);
max_worker_processes = 16
connpool_monitor.pgbouncer = 'main=host=127.0.0.1 port=1'
CONF
$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") foreach qw(shop analyst);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('postgres', 'CREATE DATABASE ops');

subtest 'SQL examples run and have the columns that the page shows' => sub {
	foreach my $page (@tutorial)
	{
		foreach (examples_of($page))
		{
			my ($sql, $output) = @$_;
			my ($out, $err);
			# as a user pastes it, with the footer that ends each result
			IPC::Run::run(
				[
					'psql', '-XqA', '-F', ' ',
					'-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres')
				],
				'<',
				\$sql,
				'>',
				\$out,
				'2>',
				\$err);
			my ($name) = $sql =~ /(\S.*)/;
			is($? >> 8, 0, "$page: the example runs: $name") or diag($err);
			my $shown = columns_of_output($output) or next;
			# expanded output of unaligned psql: a line "name value" for each column
			my ($last) = ($out =~ /((?:.*\n)*?)\(\d+ rows?\)\n\z/ ? $1 : $out) =~
			  /(?:\A|\(\d+ rows?\)\n)([^\n]*)(?:(?!\(\d+ rows?\)\n).)*\z/s;
			if ($sql =~ /\\gx\s*\z/)
			{
				my %columns = map { $_ => 1 } $out =~ /^(\w+) ?/mg;
				is(join(' ', grep { !$columns{$_} } split / /, $shown),
					'', "$page: the output has the columns of: $name");
			}
			else
			{
				is($last, $shown, "$page: the output has the columns of: $name");
			}
		}
	}
};

subtest 'doc/reference.md agrees with the extension' => sub {
	my %short = ('timestamp with time zone' => 'timestamptz');
	my (%is, %said);

	# objects: views by their columns, and functions that are neither behind a view nor parts of
	# reports
	foreach (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
  AND d.deptype = 'e'
UNION ALL
SELECT p.proname, coalesce(a.name, ''), coalesce(format_type(a.type, NULL), '')
FROM pg_depend d
JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
LEFT JOIN LATERAL
  (SELECT * FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) a (name, type, mode)
   WHERE mode IN ('o', 't') AND p.proname <> 'connpool_live_sessions') a ON true
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'connpool_monitor')
  AND d.deptype = 'e'
  AND NOT EXISTS (SELECT FROM pg_class v WHERE v.relname = p.proname)
  AND p.proname NOT LIKE '\_connpool%'
SQL
	{
		my ($object, $column, $type) = split /\|/;
		$is{$object}{$column} = $short{$type} // $type;
	}
	foreach my $object (
		$text{'doc/reference.md'} =~ /^## Objects\n(.*?)^## /ms ? $1 =~ /^### (\w+)$/mg : ())
	{
		$said{$object} = { map { $_->[0] => $_->[1] } rows_below("### $object") };
		$said{$object}{''} = '' unless %{ $said{$object} };
	}
	is_deeply(\%said, \%is, 'the reference lists all objects, columns and types');

	# names such as "cl_…" and "…_setup_time" stand for all columns that begin or end so, but not
	# the units "…_time" and "…_seconds"
	my %explained = map { $_ => 1 } $text{'doc/numbers.md'} =~ /(\w+)/g;
	my @begin = $text{'doc/numbers.md'} =~ /\b(\w+_)…/g;
	my @end = grep { !/^_(?:time|seconds)$/ } $text{'doc/numbers.md'} =~ /…(_\w+)/g;
	my @unexplained;
	foreach my $object (grep { !/^_/ } sort keys %is)
	{
		foreach my $name ($object, sort grep { $_ ne '' } keys %{ $is{$object} })
		{
			push @unexplained, "$object: $name"
			  unless $explained{$name}
			  || grep({ index($name, $_) == 0 } @begin)
			  || grep { substr($name, -length $_) eq $_ } @end;
		}
	}
	is(join("\n", @unexplained), '', 'doc/numbers.md explains all objects and columns');

	my %settings = map { s/^connpool_monitor\.//r => 1 } split /\n/,
	  $node->safe_psql('postgres',
		q{SELECT name FROM pg_settings WHERE name LIKE 'connpool_monitor.%'});
	is_deeply({ map { $_->[0] => 1 } rows_below('## Settings') },
		\%settings, 'the reference lists all settings');

	my $metrics = $node->safe_psql('postgres', 'SELECT connpool_metrics()');
	my %families = $metrics =~ /^# TYPE (\S+) (\S+)$/mg;
	my @rows = rows_below('## Metrics over HTTP');
	is_deeply({ map { $_->[0] => $_->[1] } @rows },
		\%families, 'the reference lists all metric families with their types');

	# only labels of families with samples can be compared
	my (%used, %documented);
	foreach ($metrics =~ /^(\w+\{[^}]*\}) /mg)
	{
		my ($family) = /^(\w+)/;
		$family =~ s/_(?:bucket|sum|count)$// unless $families{$family};
		$used{"$family $_"} = 1 foreach /(\w+)="/g;
	}
	foreach my $row (@rows) { $documented{"$row->[0] $_"} = 1 foreach split /, /, $row->[2]; }
	is(join("\n", grep { !$documented{$_} } sort keys %used),
		'', 'the reference lists all labels of the families');

	my @metrics = map { $_->[0] } grep { $_->[0] ne 'metric' } rows_below('## Metrics');
	is( join(' ', @metrics),
		$node->safe_psql(
			'postgres', q{SELECT string_agg(metric_name, ' ') FROM get_connection_stats()}),
		'the reference lists all metrics in the order of get_connection_stats()');
};
$node->stop('fast');
done_testing();
