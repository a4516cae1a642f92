# SPDX-License-Identifier: PostgreSQL
# Every query of the README's runbook runs, for a role that is a pg_monitor, and
# every metric has its entry.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Connpool;

# one PgBouncer that is not there is enough for its metrics to be
my $node = new_node('main', q{connpool_monitor.pgbouncer = 'main=host=127.0.0.1 port=1'});
$node->safe_psql('postgres', 'CREATE ROLE dba LOGIN IN ROLE pg_monitor');
my ($runbook) = slurp_file("$ENV{TESTDIR}/README.md") =~ /^### What to do when an alert is raised\n(.*?)^###/ms;
BAIL_OUT('the README has no runbook') unless $runbook;

my @entries = $runbook =~ /^- \*\*(\w+)\*\*/mg;
is(join(' ', @entries), $node->safe_psql('postgres', q{SELECT string_agg(metric_name, ' ') FROM get_connection_stats()}),
	'every metric has its entry, in the order of the catalogue');
my @queries = map { s/\s+/ /gr } $runbook =~ /`(SELECT [^`]+)`/g;
cmp_ok(scalar(@queries), '>', 15, 'with queries');
foreach my $query (@queries)
{
	$query =~ s/'the_metric'/'total_connections'/;
	my ($status, undef, $error) = $node->psql('postgres', "SET ROLE dba; $query", on_error_stop => 1);
	is($status, 0, $query) or diag($error);
}
$node->stop('fast');
done_testing();
