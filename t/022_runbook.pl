# SPDX-License-Identifier: PostgreSQL
# Each metric, and each finding for which a report has a hint, has an entry in the runbook,
# doc/incident.md, and a member of pg_monitor can run every query in it. Needs to read that file.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

# The metrics of PgBouncer exist if a console is configured, even if it does not answer.
my $node = new_node('main', q{connpool_monitor.pgbouncer = 'main=host=127.0.0.1 port=1'});
$node->safe_psql('postgres', 'CREATE ROLE dba LOGIN IN ROLE pg_monitor');
my ($runbook) = slurp_file("$ENV{TESTDIR}/doc/incident.md") =~ /^## Runbook\n(.*)\z/ms;
BAIL_OUT('doc/incident.md has no runbook') unless $runbook;

my @entries = $runbook =~ /^### (\w+)$/mg;
my $metrics =
  $node->safe_psql('postgres', q{SELECT string_agg(metric_name, ' ') FROM get_connection_stats()});
my $loads = join ' ', map { "${_}_load" } qw(cpu lock lwlock io client ipc timeout other
  idle_in_transaction);
is( join(' ', @entries),
	"$metrics $loads deadlocks new_connections",
	'the runbook has an entry for each metric, wait class and other finding of reports, in order');
is( $node->safe_psql('postgres', <<~"SQL"),
		SELECT count(*) FILTER (WHERE coalesce(_connpool_hint(entry), _connpool_runbook(entry))
		                              IS NULL)
		FROM unnest(string_to_array('@entries', ' ')) entry
		SQL
	'0',
	'reports have a hint for each entry of the runbook');
my @incomplete =
  grep { $_ !~ /^- Causes: .*^- Look: .*^- Do: /ms } $runbook =~ /^### \w+\n(.*?)(?=^###|\z)/msg;
is(join('', @incomplete), '', 'every entry has causes, queries and a remedy');
my @queries = map { s/\s+/ /gr } $runbook =~ /`(SELECT [^`]+)`/g;
cmp_ok(scalar(@queries), '>', 15, 'the runbook has queries');

foreach my $query (@queries)
{
	$query =~ s/'the_metric'/'total_connections'/;
	my ($status, undef, $error) =
	  $node->psql('postgres', "SET ROLE dba; $query", on_error_stop => 1);
	is($status, 0, "a member of pg_monitor can run: $query") or diag($error);
}
$node->stop('fast');
done_testing();
