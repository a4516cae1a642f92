# SPDX-License-Identifier: PostgreSQL
# The page, in a real browser: it shows what SQL says, keeps up by itself, takes names
# for text whatever they are, and says so when the server is gone. With
# CONNPOOL_SCREENSHOTS=directory it leaves pictures of a busy server there, after the
# minutes that its charts show (CONNPOOL_SCREENSHOT_SECONDS, five minutes unless told).
# scripts/test: slow, 82 s
use strict;
use warnings FATAL => 'all';

use IPC::Open2;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use Application;
use Connpool;
use Http;

# Ubuntu's package of that name only says how to install it by another packaging system.
my ($chromium) = grep { `$_ --version 2>/dev/null` =~ /^(?:Chromium|Google Chrome) \d/m }
  grep { defined } $ENV{CHROMIUM}, qw(chromium chromium-browser google-chrome);
plan skip_all => 'no browser that works: neither chromium, chromium-browser nor google-chrome'
  unless $chromium;
$ENV{CHROMIUM} = $chromium;

my $pictures = $ENV{CONNPOOL_SCREENSHOTS};
my $port = http_port();
my $origin = "http://127.0.0.1:$port";
my $node = new_node('page', undef, stopped => 1);
my $pooler =
  start_pooler($node, pool_mode => 'transaction', default_pool_size => 4, max_client_conn => 100);
my $console = 'host=' . $pooler->host . ' port=' . $pooler->port . " user=$pooler->{user}";
# pictures have the interval of every day, tests do not wait for it
my $interval = $pictures ? '1s' : '100ms';
$node->append_conf('postgresql.conf', <<"CONF");
max_connections = 50
superuser_reserved_connections = 3
connpool_monitor.sample_interval = '$interval'
connpool_monitor.http_listen = '127.0.0.1:$port'
connpool_monitor.pgbouncer = 'orders=$console'
connpool_monitor.pgbouncer_interval = '500ms'
connpool_monitor.alert_after = '1s'
connpool_monitor.alert_clear_after = '1s'
connpool_monitor.leak_age = '3s'
CONF
$node->start;
$node->safe_psql('postgres', $_)
  foreach 'CREATE EXTENSION connpool_monitor CASCADE', 'CREATE DATABASE shop',
  'CREATE DATABASE billing',
  'CREATE ROLE shop LOGIN', 'CREATE ROLE billing LOGIN',
  'CREATE ROLE batch LOGIN CONNECTION LIMIT 0';

# The browser, and what it tells.
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my (%seen, @loads, $browser, $to, $from);
$ENV{BROWSER_DIRECTORY} = PostgreSQL::Test::Utils::tempdir_short();
$browser = open2($from, $to, 'node', 't/node/browser.js');

END
{
	# the browser ends with its driver
	local $?;
	my @processes = grep { defined } $browser, @loads;
	kill 'TERM', @processes;
	waitpid $_, 0 foreach @processes;
	stop_pooler($pooler) if $pooler;
}

# A command of the DevTools protocol, or one of t/node/browser.js.
sub browser
{
	my ($method, %params) = @_;
	local $SIG{ALRM} = sub { die "no answer to $method" };
	local $SIG{PIPE} = 'IGNORE';

	alarm $PostgreSQL::Test::Utils::timeout_default;
	print $to $json->encode({ method => $method, params => \%params }), "\n";
	$to->flush;
	my $answer = readline $from;
	alarm 0;
	die 'the browser has ended' unless defined $answer;
	$answer = $json->decode($answer);
	die "$method: $answer->{error}" if $answer->{error};
	return $answer->{result};
}

# The value of an expression in the page; text as bytes, as psql has it.
sub js
{
	my ($expression) = @_;
	my $answer = browser(
		'Runtime.evaluate',
		expression => $expression,
		returnByValue => JSON::PP::true,
		awaitPromise => JSON::PP::true);
	die "$expression: $answer->{exceptionDetails}{exception}{description}"
	  if $answer->{exceptionDetails};
	my $value = $answer->{result}{value};
	utf8::encode($value) if defined $value && !ref $value;
	return $value;
}

# Ask until the answer is what is wanted. A page that is just loading has no body, or is
# another one before it answers: that is no answer, and at the end the reason to die.
sub page_until
{
	my ($expression, $wanted) = @_;
	my $tries = 20 * $PostgreSQL::Test::Utils::timeout_default;
	my $value = eval { js($expression) };
	while (($@ || !$wanted->($value)) && $tries--)
	{
		select undef, undef, undef, 0.05;
		$value = eval { js($expression) };
	}
	die $@ if $@;
	return $value;
}

sub page_is
{
	my ($expression, $wanted, $name) = @_;
	is(page_until($expression, sub { ($_[0] // '') eq $wanted }), $wanted, $name)
	  or diag(js('document.body.innerText'));
	return;
}

sub page_ok
{
	my ($expression, $name) = @_;
	ok(page_until($expression, sub { $_[0] }), $name) or diag(js('document.body.innerText'));
	return;
}

# What has happened since it was last asked for, of a kind.
sub happened
{
	my ($kind) = @_;
	push @{ $seen{ $_->{kind} } }, $_ foreach @{ browser('events') };
	return @{ delete $seen{$kind} // [] };
}

# Nothing but requests to the server itself. What the browser says of answers that
# do not come is not the page's, and is expected while it is being refused.
sub is_quiet
{
	my ($name, %options) = @_;
	my @all = map { happened($_) } qw(console exception dialog log);
	# verbose is advice for who writes forms
	@all = grep {
		!($_->{kind} eq 'log'
			&& ($_->{level} eq 'verbose' || $options{refused} && $_->{source} eq 'network'))
	} @all;
	is(join('; ', map { "$_->{kind}: $_->{text}" } @all),
		'', "$name: nothing on the console, no exception, no dialog");
	my @requests = map { $_->{text} } happened('request');
	is(join(' ', grep { !m{^\Q$origin\E/|^data:,$} } @requests),
		'', "$name: only the server itself is asked");
	return @requests;
}

sub width
{
	my ($width, $height) = @_;
	return browser(
		'Emulation.setDeviceMetricsOverride',
		width => $width,
		height => $height,
		deviceScaleFactor => 1,
		mobile => JSON::PP::false);
}

sub scheme
{
	return browser('Emulation.setEmulatedMedia',
		features => [ { name => 'prefers-color-scheme', value => $_[0] } ]);
}

# In every document: what a policy forbids is told, and tables are easy to read.
browser('Page.addScriptToEvaluateOnNewDocument', source => <<'JS');
addEventListener('securitypolicyviolation', event => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI));
const textOf = selector => document.querySelector(selector).textContent;
const cellsOf = selector => [...document.querySelectorAll(selector + ' tbody tr')].map(row => [...row.cells].map(cell => cell.textContent));
const rowOf = (selector, ...names) => cellsOf(selector).find(row => names.every(name => row.includes(name)));
// paths with data, not only an element: with more points than that
const drawn = points => [...document.querySelectorAll('#grid .mean')].filter(path => path.getAttribute('d').split(/[ML]/).length > points).length;
const wanted = () => document.querySelectorAll('#grid figure').length;
JS

# Sessions of an application in a role and a database, by psql.
sub hold
{
	my ($database, $role, $application, $count) = @_;
	local $ENV{PGAPPNAME} = $application;
	return map {
		my $psql =
		  $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', $role ]);
		$psql->set_query_timer_restart;
		$psql
	} 1 .. $count // 1;
}

# And by pgbench, which does something.
sub load
{
	my ($where, $database, $role, $application, $script, @options) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$application.sql";
	append_to_file($file, $script) unless -f $file;
	my $pid = fork() // die 'cannot fork';
	if ($pid == 0)
	{
		$ENV{PGAPPNAME} = $application;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec 'pgbench', '-n', '-f', $file, '-h', $where->host, '-p', $where->port, '-U', $role,
		  '-T', 1000, @options, "dbname='$database'";
	}
	push @loads, $pid;
	return $pid;
}

sub unload
{
	my @pids = @_;
	kill 'TERM', @pids;
	waitpid $_, 0 foreach @pids;
	@loads = grep {
		my $load = $_;
		!grep { $_ == $load } @pids
	} @loads;
	return;
}

# It loads, and says what SQL says.
width(1280, 1600);
scheme('light');
my $watcher = session($node, 'watcher');
my @web = hold('shop', 'shop', 'web', 5);
browser('Page.navigate', url => "$origin/");
page_is('document.body.dataset.status', 'healthy', 'it says healthy');
page_is(
	'document.title',
	"\xe2\x97\x8f healthy \xe2\x80\x93 connpool_monitor",
	'so does the title');
page_ok(q{/Nothing: all \d+ metrics are in order/.test(textOf('#wrong'))},
	'and that nothing is wrong');

sub sql_connections
{
	return $watcher->query_safe(
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'});
}
my $in_use = q{(/^in use(\d+) of 47 usable/.exec(textOf('#key')) || [])[1]};
is(sql_connections(), 6, 'six sessions');
page_is($in_use, 6, 'are six on the page');
page_is(
	q{(rowOf('#pools', 'web') || []).slice(0, 6).join('|')},
	'shop|shop|web|5|0|5',
	'their pool has its names and numbers');
page_ok(
	q{textOf('#state').includes('PostgreSQL ' + }
	  . $json->encode($watcher->query_safe('SHOW server_version')) . ')',
	'the version of the server');
is(js('document.hidden'), JSON::PP::false, 'somebody looks');

# It keeps up by itself.
push @web, hold('shop', 'shop', 'web', 3);
page_is($in_use, 9, 'three more sessions are seen');
page_is(q{(rowOf('#pools', 'web') || [])[3]}, 8, 'and in their pool');
leave(pop @web) foreach 1 .. 4;
page_is($in_use, 5, 'four less too');
page_is(
	q{[...document.querySelectorAll('#bar i')].map(part => part.className).join(' ')},
	'idle reserved',
	'the bar has a part for each state there is');
is((grep { $_ eq "$origin/" } is_quiet('at first')), 1, 'the document itself is asked for once');

# Charts.
page_is('`${wanted()} ${drawn(1)}`', '6 6', 'six charts have lines');
js( q{[...document.querySelectorAll('#range label')].find(label => label.textContent === '5 min').click()}
);
page_ok(q{!document.querySelector('#grid .waiting') && drawn(3) === 6},
	'and longer ones for five minutes');
my @requests = is_quiet('charts');
ok((grep { m{/api/history\?metric=total_connections&since=300s$} } @requests),
	'which were asked for');
is(js(q{document.querySelector('#range :checked').value}), 300, 'the range is marked');
js(q{document.querySelector('#grid svg').focus()});
browser(
	'Input.dispatchKeyEvent',
	type => 'rawKeyDown',
	key => $_,
	code => $_,
	windowsVirtualKeyCode => 37) foreach qw(ArrowLeft ArrowLeft);
page_ok(q{/^\d\d:\d\d:\d\d: (mean [\d.]+, worst [\d.]+|no value)/.test(textOf('.readout'))},
	'the keyboard reads them');
js(q{document.activeElement.blur()});
js( q{const add = document.getElementById('add'); add.value = 'blocked_sessions'; add.dispatchEvent(new Event('change'))}
);
page_is('drawn(3)', 7, 'one can be added');
js(q{document.querySelector('#grid button').click()});
page_is('wanted()', 6, 'and removed');

# A busy server: two applications of a shop, reports, and a queue at PgBouncer.
load($node, 'shop', 'shop', 'web', "\\set ms random(2, 40)\nSELECT pg_sleep(:ms / 1000.0)\n",
	qw(-c 9 -R 60));
load(
	$node,
	'shop',
	'shop',
	'jobs',
	"\\set ms random(10, 600)\nBEGIN;\nSELECT pg_sleep(0.05);\n\\sleep :ms ms\nSELECT 1;\nEND;\n\\sleep :ms ms\n",
	qw(-c 4));
load($node, 'billing', 'billing', 'reports',
	"\\set ms random(200, 900)\nSELECT pg_sleep(:ms / 1000.0)\n\\sleep 300 ms\n",
	qw(-c 3));
load($pooler, 'shop', $pooler->{user}, 'checkout',
	"\\set ms random(20, 60)\nSELECT pg_sleep(:ms / 1000.0)\n",
	qw(-c 9));
my ($console_session, $invoices) =
  (hold('billing', 'billing', 'psql'), hold('billing', 'billing', 'invoices'));
page_is(q{(rowOf('#poolers', 'orders', 'transaction') || [])[1]}, 'up', 'PgBouncer is there');
page_ok(q{(row => row && Number(row[4]) >= 3)(rowOf('#poolers', 'orders', 'shop'))},
	'with a queue');
page_is(q{(rowOf('#wrong', 'pool_waiting_clients') || [])[0]}, 'WARNING', 'which is wrong');
page_ok(
	q{(row => row && /^pool_waiting_clients is \d+ clients, warning threshold 1$/.test(row[4]) && row[0] === 'WARNING')(rowOf('#alerts', 'pool_waiting_clients'))},
	'and an alert');
page_ok(q{(/through PgBouncer(\d+)/.exec(textOf('#key')) || [])[1] === '4'},
	'four sessions come through it');
page_is('document.body.dataset.status', 'degraded', 'the page says degraded');
page_ok(q{['web', 'jobs', 'reports', 'checkout'].every(name => rowOf('#pools', name))},
	'every pool is listed');

# Refusals.
$node->psql($_->[0], 'SELECT 1', extra_params => [ '-U', $_->[1] ])
  foreach [ 'shopp', 'shop' ], ([ 'billing', 'batch' ]) x 3, [ 'shop', 'nobody' ];
my $reasons = $watcher->query_safe(<<~'SQL');
	SELECT string_agg(reason || ' ' || rejections, ', ' ORDER BY reason)
	FROM connpool_rejections
	WHERE rejections > 0
	SQL
like($reasons, qr/^\w+ 1, no_database 1, role_limit 3$/, 'connections were refused');
page_is(q{cellsOf('#refusals').map(row => row[0] + ' ' + row[1]).sort().join(', ')},
	$reasons, 'the page has their reasons');
page_ok(q{/^\d\d|,/.test(cellsOf('#queries')[0][1]) && /^\d/.test(cellsOf('#queries')[0][7])},
	'statements are counted and timed');
is_quiet('a busy server');

# Pictures for README.md, after some minutes of more and less.
sub take_pictures
{
	my $until = time + ($ENV{CONNPOOL_SCREENSHOT_SECONDS} // 310);
	my @more;
	while (time < $until)
	{
		push @more,
		  load($node, 'shop', 'shop', 'web', '', '-c', 1 + int rand 3, '-R', 10 + int rand 40)
		  if rand() < 0.2 && @more < 3;
		unload(shift @more) if rand() < 0.2 && @more;
		$invoices->query($_) foreach 'SELECT 1/0', ('SELECT count(*) FROM pg_class') x 3;
		browser('events');
		wait_samples($node, 2);
	}
	js(q{document.activeElement.blur(); scrollTo(0, 0)});
	page_until(q{cellsOf('#wrong').length}, sub { $_[0] == 1 });
	foreach my $scheme (qw(light dark))
	{
		scheme($scheme);
		# two frames later it is drawn
		js( q{new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))}
		);
		browser('picture', file => "$pictures/page-$scheme.png");
	}
	scheme('light');
	return;
}
take_pictures() if $pictures;
unload(@loads);

# An alert, and its end.
$node->safe_psql('postgres', 'ALTER SYSTEM SET connpool_monitor.total_connections_warning = 5');
$node->reload;
page_is(q{(rowOf('#wrong', 'total_connections') || [])[0]}, 'WARNING', 'a lower threshold is met');
page_ok(
	q{(row => row && / of 47 connections, warning threshold [\d.]+$/.test(row[4]))(rowOf('#alerts', 'total_connections'))},
	'the alert is listed with its message');
page_ok(q{rowOf('#alerts .tall', 'total_connections', 'OK')}, 'and logged');
page_ok(q{document.querySelector('#grid .limit.warning')}, 'the chart has the threshold');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET connpool_monitor.total_connections_warning');
$node->reload;
page_is('document.body.dataset.status', 'healthy', 'without it all is well');
page_is(q{textOf('#alerts-text')}, 'No alert stands.', 'and no alert stands');

# Names that are markup, and one that turns the text around it.
my %hostile = (
	database => '<img src=x onerror=alert(1)>',
	role => '"\'><script>alert(2)</script>',
	application => '<svg onload=alert(3)>&lt;b&gt;\'"</td></table><style>*{}');
my $turned = "over\xe2\x80\xaeturn";
my $sql = $node->safe_psql('postgres', <<~"SQL");
	SELECT format('CREATE ROLE %I LOGIN SUPERUSER; CREATE DATABASE %I; CREATE ROLE %I LOGIN',
	       \$q\$$hostile{role}\$q\$, \$q\$$hostile{database}\$q\$, '$turned')
	SQL
$node->safe_psql('postgres', $_) foreach split /; /, $sql;
my ($leaking) = hold(@hostile{qw(database role application)});
$leaking->query_safe('BEGIN');
my ($turning) = hold('shop', $turned, '<script>alert(4)</script>');
my $names = join ', ', map { $json->encode($hostile{$_}) } qw(database role application);
page_ok("rowOf('#pools', $names)", 'they are the text of a pool');
page_ok(q{rowOf('#pools', 'shop', '<script>alert(4)</script>', 'over\\\\u202eturn')},
	'what nobody sees is spelled out');
load($pooler, $hostile{database}, $pooler->{user}, 'hostile', "SELECT 1;\n\\sleep 100 ms\n");
page_ok('rowOf("#poolers", ' . $json->encode($hostile{database}) . ')', 'and of one of PgBouncer');
page_is(
	q{(rowOf('#wrong', 'leak_suspects') || [])[0]},
	'WARNING',
	'who forgets a transaction is seen');
is( js( q{[...document.querySelectorAll('img, svg:not(#grid svg), [onload], [onerror], body style, main script, td table')].length}
	),
	0,
	'nothing was made of them');
is(js('document.scripts.length'), 1, 'the page has one script');
page_ok(
	q{document.querySelector('#pools th button').click() || cellsOf('#pools')[0][0] === [...cellsOf('#pools')].map(row => row[0]).sort()[0]},
	'pools are sorted by name');
is(js(q{document.querySelector('#pools th').getAttribute('aria-sort')}),
	'ascending', 'which is marked');

# Narrow and wide, light and dark, with all that on it.
my %ground;
foreach my $scheme (qw(light dark))
{
	scheme($scheme);
	foreach my $width (1280, 360)
	{
		width($width, 800);
		page_is('innerWidth', $width, "$width pixels, $scheme");
		cmp_ok(js('document.documentElement.scrollWidth'),
			'<=', $width, 'nothing is wider than that');
	}
	$ground{$scheme} = (js('getComputedStyle(document.body).backgroundColor') =~ /(\d+)/)[0];
}
ok($ground{light} > 200 && $ground{dark} < 60, 'light is light and dark is dark')
  or diag("$ground{light} $ground{dark}");
width(1280, 1600);
is_quiet('hostile names');

# PgBouncer stops: the page says so.
unload(@loads);
stop_pooler($pooler);
page_is(q{(rowOf('#poolers', 'orders') || [])[1]}, 'down', 'a PgBouncer that is gone is down');

# The server stops, and starts.
leave($_) foreach $watcher, $leaking, $turning, @web, $console_session, $invoices;
is_quiet('before the server stops');
$node->stop('fast');
page_is('document.body.dataset.status', 'error', 'the server is gone: the page says so');
page_is(q{textOf('#health')}, 'no answer', 'in words');
page_ok(
	q{/^No answer since \d\d:\d\d:\d\d/.test(textOf('#message-text')) && !document.getElementById('message').hidden},
	'since when');
page_ok(q{/^Trying again (now\.|in \d+ s\.)$/.test(textOf('#countdown'))}, 'and what it does');
page_ok(q{document.body.hasAttribute('data-old') && rowOf('#pools', 'web')},
	'what it knew is still there, marked as old');
$node->start;
page_is('document.body.dataset.status', 'healthy', 'it is back, without anybody doing anything');
page_ok(
	q{/^The server restarted at \d\d:\d\d:\d\d\.$/.test(textOf('#restarted')) && !document.getElementById('restarted').hidden},
	'the restart is noted');
page_ok(q{textOf('#message-text') === '' && !document.body.hasAttribute('data-old')},
	'and the message is gone');
page_ok(
	q{['pools', 'alerts', 'charts'].every(name => !document.getElementById(name).classList.contains('old'))},
	'from every section');
is_quiet('a restart', refused => 1);

# A token that comes while the page is open: it asks for it.
my $file = $node->data_dir . '/token';
append_to_file($file, "page-secret\n");
chmod 0600, $file;
# the browser has a dialog of its own, which is dismissed
browser('credentials');
$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
$node->reload;
page_is(q{textOf('#health')}, 'token needed', 'a token is asked for');
page_ok(q{!document.getElementById('token').hidden}, 'and can be given');
js(q{document.getElementById('token-input').focus()});
browser('Input.insertText', text => 'page-secret');
browser(
	'Input.dispatchKeyEvent',
	type => 'keyDown',
	key => 'Enter',
	code => 'Enter',
	windowsVirtualKeyCode => 13,
	text => "\r");
page_is('document.body.dataset.status', 'healthy', 'with it all is well');
is_quiet('a token', refused => 1);

# As the password of the browser's own dialog.
happened('challenge');
browser('credentials', username => 'anybody', password => 'page-secret');
browser('Page.navigate', url => 'about:blank');
page_is('location.href', 'about:blank', 'another page');
browser('Page.navigate', url => "$origin/");
page_is('document.body.dataset.status', 'healthy', 'the page opens with Basic credentials');
page_is('drawn(1)', 6, 'and has its charts');
page_ok(q{rowOf('#pools', 'web')}, 'and its pools');
is(($_->{text} =~ /^basic connpool_monitor$/i)[0], 1, 'which the server had asked for')
  foreach (happened('challenge'))[0];
is_quiet('Basic', refused => 1);

# That it was quiet means something: what is forbidden is noticed.
js(q{document.body.append(Object.assign(new Image, { src: '/nothing' }))});
js(q{setTimeout(() => { throw new Error('on purpose') })});
js(q{setTimeout(() => alert('on purpose'))});
page_ok(q{document.images.length === 1}, 'an image of somebody else');
my @policy;
my $tries = 20 * $PostgreSQL::Test::Utils::timeout_default;
until ((@policy = (@policy, grep { $_->{text} =~ /^policy: img-src/ } happened('console')))
	  || !$tries--)
{
	select undef, undef, undef, 0.05;
}
ok(@policy >= 1, 'the policy forbids it');
is(scalar(grep { $_->{text} =~ /on purpose/ } happened('exception'), happened('dialog')),
	2, 'an exception and a dialog are noticed');

$node->stop;
done_testing();
