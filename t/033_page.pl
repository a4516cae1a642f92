# SPDX-License-Identifier: PostgreSQL
# In a real browser the page agrees with SQL, updates itself, shows any name as text, and reports
# that the server is gone. Needs Chromium. With CONNPOOL_SCREENSHOTS=directory the test saves
# pictures of a busy server there, after CONNPOOL_SCREENSHOT_SECONDS (default five minutes).
# scripts/test: slow, 40 s
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

# Ubuntu's package chromium-browser is a stub that only refers to snap.
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
# pictures have the default interval
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

# the browser and its events
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my (%seen, @loads, $browser, $to, $from);
$ENV{BROWSER_DIRECTORY} = PostgreSQL::Test::Utils::tempdir_short();
$browser = open2($from, $to, 'node', 't/node/browser.js');

END
{
	# the browser ends with t/node/browser.js
	local $?;
	my @processes = grep { defined } $browser, @loads;
	kill 'TERM', @processes;
	waitpid $_, 0 foreach @processes;
	stop_pooler($pooler) if $pooler;
}

# Send a command of the DevTools protocol, or one of t/node/browser.js.
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

# Return the value of an expression in the page, text as bytes.
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

# Evaluate the expression until its value equals $wanted, and return its last value. The evaluation
# fails while a page is loading or is being replaced: retry, and die if the last attempt failed.
sub page_until
{
	my ($expression, $wanted) = @_;
	my ($value, $error);
	wait_until(
		sub {
			$value = eval { js($expression) };
			$error = $@;
			return !$error && $wanted->($value);
		});
	die $error if $error;
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

# Return the events of a kind since the last call.
sub happened
{
	my ($kind) = @_;
	push @{ $seen{ $_->{kind} } }, $_ foreach @{ browser('events') };
	return @{ delete $seen{$kind} // [] };
}

# Assert that the page wrote nothing to the console and sent requests to the server only. The
# browser reports failed requests itself, which is expected with the option refused.
sub is_quiet
{
	my ($name, %options) = @_;
	my @all = map { happened($_) } qw(console exception dialog log);
	# verbose messages are advice on forms
	@all = grep {
		!($_->{kind} eq 'log'
			&& ($_->{level} eq 'verbose' || $options{refused} && $_->{source} eq 'network'))
	} @all;
	is(join('; ', map { "$_->{kind}: $_->{text}" } @all),
		'', "$name: the page logs nothing and raises no exception or dialog");
	my @requests = map { $_->{text} } happened('request');
	is(join(' ', grep { !m{^\Q$origin\E/|^data:,$} } @requests),
		'', "$name: the page sends requests to the server only");
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

# In every document: let the page update itself five times as often, record the time at which the
# chart of the load ends, log violations of the policy, and define functions that read tables. A
# timer is one for an update if it has an argument, because the page sets all others without one.
browser('Page.addScriptToEvaluateOnNewDocument', source => <<'JS');
{
	const set = setTimeout;
	window.setTimeout = (call, time, ...rest) => set(call, rest.length ? time / 5 : time, ...rest);
	const request = fetch;
	window.fetch = async (path, options) => {
		const answer = await request(path, options);
		if (answer.ok && path === 'api/load?since=300s')
			window.loadedUntil = Date.parse((await answer.clone().json()).until);
		return answer;
	};
}
addEventListener('securitypolicyviolation',
	event => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI));
const textOf = selector => document.querySelector(selector).textContent;
const cellsOf = selector => [...document.querySelectorAll(selector + ' tbody tr')].map(
	row => [...row.cells].map(cell => cell.textContent));
const rowOf = (selector, ...names) =>
	cellsOf(selector).find(row => names.every(name => row.includes(name)));
// the number of charts whose line has more than that many points
const drawn = points => [...document.querySelectorAll('#grid .mean')].filter(
	path => path.getAttribute('d').split(/[ML]/).length > points).length;
const wanted = () => document.querySelectorAll('#grid figure').length;
const layers = () => [...document.querySelectorAll('#load .layer')].map(
	layer => layer.classList[1].slice('class-'.length));
const range = () => document.querySelector('#range :checked')?.value;
JS

# Return sessions of an application, opened by psql.
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

# Start pgbench as an application, with a script. Return its pid.
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

# sessions that are open for longer than one subtest
width(1280, 1600);
scheme('light');
my $watcher = session($node, 'watcher');
my @web = hold('shop', 'shop', 'web', 5);
my ($console_session, $invoices, $leaking, $turning);

sub sql_connections
{
	return $watcher->query_safe(
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'});
}
my $in_use = q{(/^in use(\d+) of 47 usable/.exec(textOf('#key')) || [])[1]};

subtest 'the page agrees with SQL' => sub {
	browser('Page.navigate', url => "$origin/");
	page_is('document.body.dataset.status', 'healthy',
		'the page shows that the server is healthy');
	page_is(
		'document.title',
		"\xe2\x97\x8f healthy \xe2\x80\x93 connpool_monitor",
		'the title shows that the server is healthy');
	page_ok(q{/Nothing: all \d+ metrics are in order/.test(textOf('#wrong'))},
		'the page lists no problem');

	# the sessions that created the databases may not have ended yet
	wait_until(sub { sql_connections() == 6 });
	is(sql_connections(), 6, 'six sessions are open');
	page_is($in_use, 6, 'the page shows six connections');
	page_is(
		q{(rowOf('#pools', 'web') || []).slice(0, 6).join('|')},
		'shop|shop|web|5|0|5',
		'the table of pools has names and numbers of a pool');
	page_ok(
		q{textOf('#state').includes('PostgreSQL ' + }
		  . $json->encode($watcher->query_safe('SHOW server_version')) . ')',
		'the page shows the version of the server');
	is(js('document.hidden'), JSON::PP::false, 'the page is visible');
};

subtest 'the page updates itself' => sub {
	push @web, hold('shop', 'shop', 'web', 3);
	page_is($in_use, 9, 'the page shows three more sessions');
	page_is(q{(rowOf('#pools', 'web') || [])[3]},
		8, 'the table of pools shows three more sessions');
	leave(pop @web) foreach 1 .. 4;
	page_is($in_use, 5, 'the page shows four sessions fewer');
	page_is(
		q{[...document.querySelectorAll('#bar i')].map(part => part.className).join(' ')},
		'idle reserved',
		'the bar has a part for each state');
	is((grep { $_ eq "$origin/" } is_quiet('at first')), 1, 'the document is requested once');
};

subtest 'charts have a range and a selection' => sub {
	page_is('range()', 300,
		'the page opens with the shortest range that holds the history of a new server');
	page_is('`${wanted()} ${drawn(1)}`', '6 6', 'six charts have lines');
	js(q{document.querySelector('#range [value="3600"]').click()});
	page_ok(q{!document.querySelector('.waiting')}, 'the charts show another range');
	ok((grep { m{/api/load\?since=3600s$} } is_quiet('another range')),
		'the page requests a load of another range');
	js(<<'JS');
[...document.querySelectorAll('#range label')].find(
	label => label.textContent === '5 min').click()
JS
	page_ok(
		q{!document.querySelector('.waiting') && drawn(3) === 6},
		'the charts have longer lines after five minutes were selected');
	my @requests = is_quiet('charts');
	ok((grep { m{/api/history\?metric=total_connections&since=300s$} } @requests),
		'the page requests a history of five minutes');
	is(js('range()'), 300, 'the selected range is marked');
	js(q{document.querySelector('#grid svg').focus()});
	browser(
		'Input.dispatchKeyEvent',
		type => 'rawKeyDown',
		key => $_,
		code => $_,
		windowsVirtualKeyCode => 37) foreach qw(ArrowLeft ArrowLeft);
	page_ok(
		q{/^\d\d:\d\d:\d\d: (mean [\d.]+, worst [\d.]+|no value)/.test(textOf('#grid .readout'))},
		'the arrow keys move the readout of a chart');
	js(q{document.activeElement.blur()});
	js(<<'JS');
const add = document.getElementById('add');
add.value = 'blocked_sessions';
add.dispatchEvent(new Event('change'))
JS
	page_is('drawn(3)', 7, 'a chart can be added');
	js(q{document.querySelector('#grid button').click()});
	page_is('wanted()', 6, 'a chart can be removed');
};

# In the chart of the load, which shows five minutes, click the point of the given time, in
# milliseconds since 1970. The text beside the plot is 46 pixels wide on the left; the margin on
# the right is 8.
sub click_at
{
	my ($time) = @_;
	my $point = js(<<"JS");
(() => {
	const svg = document.querySelector('#load svg');
	svg.scrollIntoView({ block: 'center' });
	const box = svg.getBoundingClientRect(), share = 1 - (loadedUntil - $time) / 300000;
	return { x: box.left + 46 + share * (box.width - 54), y: box.top + box.height / 2 };
})()
JS
	browser(
		'Input.dispatchMouseEvent',
		type => $_,
		x => $point->{x},
		y => $point->{y},
		button => 'left',
		clickCount => 1) foreach qw(mousePressed mouseReleased);
	return;
}

# Click the point of the given time until the page shows a moment. On a busy machine, the page may
# move between the computation of the point and the click.
sub choose
{
	my ($time) = @_;
	my $is_chosen = q{!document.getElementById('moment-reset').hidden};
	wait_until(
		sub {
			click_at($time);
			for (1 .. 50)
			{
				return 1 if js($is_chosen);
				Time::HiRes::sleep(0.1);
			}
			return 0;
		}) or die 'no click chooses a moment';
	return;
}

subtest 'the load is stacked by wait class, and a click chooses a moment' => sub {
	my ($holder) = hold('shop', 'shop', 'holder');
	$holder->query_safe('BEGIN; SELECT pg_advisory_xact_lock(1)');
	my @busy = (hold('shop', 'shop', 'waiter', 2), hold('shop', 'shop', 'sleeper'));
	$busy[$_]->query_until(qr/started/, "\\echo started\nSELECT pg_advisory_lock(1);\n")
	  foreach 0, 1;
	$busy[2]->query_until(qr/started/, "\\echo started\nSELECT pg_sleep(1000);\n");
	page_ok(
		q{['lock', 'timeout', 'idle_in_transaction'].every(name => layers().includes(name))},
		'the chart has layers for lock waits, sleep and an idle transaction');
	# poll, because a short statement may add a class to the answer before it is in the chart
	page_ok(<<'JS', 'the chart has as many layers as there are classes with load');
fetch('api/load?since=300s').then(answer => answer.json()).then(load =>
	load.classes.filter((name, i) => load.points.some(point => point[i + 1] > 0)).join()
	=== layers().join())
JS
	is(js(q{[...document.querySelectorAll('#classes li')].length}),
		js('layers().length'), 'the key has an entry for each layer');
	my $processors = get_json($port, '/api/load')->{processors};
	like(
		js(q{textOf('#load figcaption')}),
		qr/ $processors processors?$/,
		'the chart names the number of processors');
	page_ok(
		$processors <= 8
		? q{document.querySelector('#load .limit') && /processors \d/.test(textOf('#load svg'))}
		: qq{textOf('#load .readout').endsWith('above the chart: processors at $processors')},
		'the chart has a line at the number of processors, or reports that it is above the chart');

	# the sessions keep their states for two seconds before and after the moment
	wait_samples($node, 20);
	my $moment = js('Date.now()');
	wait_samples($node, 20);
	page_ok(<<'JS', 'the page lists the waits of the last minute');
textOf('#moment-text') === 'The last minute.'
	&& ['lock', 'timeout', 'idle_in_transaction'].every(name => rowOf('#moment-waits', name))
JS
	page_ok(q{/lock \d/.test((rowOf('#moment-pools', 'shop', 'waiter') || [])[4])},
		'the page lists the pool that waits for a lock');
	$holder->query_safe('ROLLBACK');
	$node->safe_psql('postgres', <<~'SQL');
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name IN ('waiter', 'sleeper')
		SQL
	eval { $_->{run}->finish } foreach @busy;
	leave($holder);
	wait_samples($node, 20);

	my $shape = q{document.querySelector('#load .layer').getAttribute('d')};
	page_ok(
		"$shape !== " . $json->encode(js($shape)),
		'the chart is drawn again after the sessions ended');
	choose($moment);
	page_is(q{(rowOf('#moment-waits', 'lock') || [])[1]},
		2, 'the page shows that two sessions waited for a lock at the moment of the click');
	page_is(
		q{cellsOf('#moment-waits').filter(row => row[1] >= 0.5).map(row => row[0]).join()},
		'lock,timeout,idle_in_transaction',
		'the page lists the waits of the moment, the most frequent first');
	page_ok(q{/^\d\d:\d\d:\d\d, mean of /.test(textOf('#moment-text'))},
		'the page shows the time of the moment');
	page_is(
		q{rowOf('#moment-waits', 'lock')[3]},
		'advisory 2',
		'the page names the wait events of the moment');
	page_is(
		q{['waiter', 'sleeper', 'holder'].map(
			name => (rowOf('#moment-pools', 'shop', name) || []).slice(3).join(': ')).join('; ')},
		'2: lock 2; 1: timeout 1; 1: idle_in_transaction 1',
		'the page lists the pools of the moment, whose sessions have ended');
	page_is(<<'JS', 7, 'every chart marks the moment');
[...document.querySelectorAll('.plot .moment')].filter(
	line => line.getAttribute('visibility') === 'visible').length
JS
	page_ok(q{/: \S+ busy sessions: lock 2, /.test(textOf('#load .readout'))},
		'the readout shows the values of the moment');
	unlike(
		js(q{textOf('#moment')}),
		qr/pg_sleep|advisory_lock|SELECT|127\.0\.0\.1/,
		'the page shows no statement and no address');
	js(q{document.getElementById('moment-reset').click()});
	page_is(q{textOf('#moment-text')}, 'The last minute.', 'a button returns to the last minute');
	page_ok(
		q{document.getElementById('moment-reset').hidden
			&& ![...document.querySelectorAll('.plot .moment')].some(
				line => line.getAttribute('visibility') === 'visible')},
		'no chart marks a moment after the return to the last minute');

	# the same with keys
	js(q{document.querySelector('#load svg').focus()});
	foreach my $key ([ ArrowLeft => 37 ], [ Enter => 13 ])
	{
		browser(
			'Input.dispatchKeyEvent',
			type => 'rawKeyDown',
			key => $key->[0],
			code => $key->[0],
			windowsVirtualKeyCode => $key->[1]);
	}
	page_ok(q{/^\d\d:\d\d:\d\d, mean of /.test(textOf('#moment-text'))},
		'Enter chooses the moment of the cursor');
	js(q{document.activeElement.blur(); document.getElementById('moment-reset').click()});
	ok((grep { m{/api/load\?at=\d+\.\d{3}$} } is_quiet('the load')),
		'the page requests the load of the moment');

	# a moment that the server must read from the disk, and one that only the rollups hold
	js(<<'JS');
globalThis.real = fetch;
globalThis.answers = 0;
fetch = (path, options) => path.startsWith('api/load?at=') && answers++ === 0 ?
	new Response('{"error":"the history is being read"}',
		{ status: 503, headers: { 'Retry-After': '1' } }) : real(path, options)
JS
	click_at($moment);
	page_ok(q{textOf('#moment-note') === 'Please wait: the history is being read.'},
		'the page shows that it waits for the moment');
	page_is(q{(rowOf('#moment-waits', 'lock') || [])[1]},
		2, 'the page shows the moment when the server has read it');
	js(<<'JS');
fetch = async (path, options) => path.startsWith('api/load?at=') ?
	new Response('{"observedMs":0,"load":{},"waits":[],"all":0,"pools":[]}') : real(path, options)
JS
	js(q{document.getElementById('moment-reset').click()});
	page_is(q{textOf('#moment-text')}, 'The last minute.', 'the page returns to the last minute');
	click_at($moment);
	page_ok(
		q{textOf('#moment-pools').startsWith('The session history does not hold the pools')},
		'the page reports that the session history does not hold the moment');
	page_is(q{(rowOf('#moment-waits', 'lock') || [])[1]},
		2, 'the page shows the waits of such a moment from the history of the server');
	js(q{fetch = real; document.getElementById('moment-reset').click()});
	ok( (grep { m{/api/load\?since=(\d+)&until=} && $1 % 60 == 0 } is_quiet('moments')),
		'the page requests the load of whole minutes around the moment');
};

subtest 'the page shows a busy server' => sub {
	# two applications of a shop, reports, and a queue at PgBouncer
	load($node, 'shop', 'shop', 'web', "\\set ms random(2, 40)\nSELECT pg_sleep(:ms / 1000.0)\n",
		qw(-c 9 -R 60));
	load($node, 'shop', 'shop', 'jobs', <<'SQL', qw(-c 4));
\set ms random(10, 600)
BEGIN;
SELECT pg_sleep(0.05);
\sleep :ms ms
SELECT 1;
END;
\sleep :ms ms
SQL
	load($node, 'billing', 'billing', 'reports',
		"\\set ms random(200, 900)\nSELECT pg_sleep(:ms / 1000.0)\n\\sleep 300 ms\n",
		qw(-c 3));
	load($pooler, 'shop', $pooler->{user}, 'checkout',
		"\\set ms random(20, 60)\nSELECT pg_sleep(:ms / 1000.0)\n",
		qw(-c 9));
	($console_session, $invoices) =
	  (hold('billing', 'billing', 'psql'), hold('billing', 'billing', 'invoices'));
	page_is(q{(rowOf('#poolers', 'orders', 'transaction') || [])[1]},
		'up', 'the page shows PgBouncer as up');
	page_ok(q{(row => row && Number(row[4]) >= 3)(rowOf('#poolers', 'orders', 'shop'))},
		'the page shows the queue at PgBouncer');
	page_is(
		q{(rowOf('#wrong', 'pool_waiting_clients') || [])[0]},
		'WARNING',
		'the page lists the queue as a problem');
	page_ok(<<'JS', 'the page lists the alert of the queue');
(row => row && /^pool_waiting_clients is \d+ clients, warning threshold 1$/.test(row[4])
	&& row[0] === 'WARNING')(rowOf('#alerts', 'pool_waiting_clients'))
JS
	page_ok(q{(/through PgBouncer(\d+)/.exec(textOf('#key')) || [])[1] === '4'},
		'the page shows four sessions through PgBouncer');
	page_is('document.body.dataset.status',
		'degraded', 'the page shows that the server is degraded');
	page_ok(q{['web', 'jobs', 'reports', 'checkout'].every(name => rowOf('#pools', name))},
		'the page lists every pool');
};

subtest 'the page shows refusals and statements' => sub {
	connects($node->connstr($_->[0]) . " user=$_->[1]")
	  foreach [ 'shopp', 'shop' ], ([ 'billing', 'batch' ]) x 3, [ 'shop', 'nobody' ];
	my $reasons = $watcher->query_safe(<<~'SQL');
		SELECT string_agg(reason || ' ' || rejections, ', ' ORDER BY reason)
		FROM connpool_rejections
		WHERE rejections > 0
		SQL
	like($reasons, qr/^\w+ 1, no_database 1, role_limit 3$/, 'SQL counts the refusals by reason');
	page_is(q{cellsOf('#refusals').map(row => row[0] + ' ' + row[1]).sort().join(', ')},
		$reasons, 'the page lists the same refusals');
	page_ok(q{/^\d\d|,/.test(cellsOf('#queries')[0][1]) && /^\d/.test(cellsOf('#queries')[0][7])},
		'the page has counts and times of statements');
	is_quiet('a busy server');
};

# Save pictures for README.md after some minutes of varying load.
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
	page_until(q{document.querySelector('#wrong tbody').rows.length}, sub { $_[0] == 1 });
	foreach my $scheme (qw(light dark))
	{
		scheme($scheme);
		# two frames later the page is drawn
		js(<<'JS');
new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))
JS
		browser('picture', file => "$pictures/page-$scheme.png");
	}
	scheme('light');
	return;
}
take_pictures() if $pictures;
unload(@loads);

subtest 'the page shows an alert and its end' => sub {
	$node->safe_psql('postgres',
		'ALTER SYSTEM SET connpool_monitor.total_connections_warning = 5');
	$node->reload;
	page_is(
		q{(rowOf('#wrong', 'total_connections') || [])[0]},
		'WARNING',
		'the page lists a problem when the threshold is reached');
	page_ok(<<'JS', 'the page lists the alert with its message');
(row => row && / of 47 connections, warning threshold [\d.]+$/.test(row[4]))(
	rowOf('#alerts', 'total_connections'))
JS
	page_ok(
		q{rowOf('#alerts .tall', 'total_connections', 'OK')},
		'the page lists the transition of the alert');
	page_is(
		q{(rowOf('#wrong', 'shop', 'web') || []).slice(0, 4).join()},
		'shop,shop,web,' . @web,
		'the page names the largest pool beside the problem');
	page_ok(<<'JS', 'the page lists the incident with its metric and message');
(row => row && row[4].includes('total_connections') && /, in progress$/.test(row[2]))(
	cellsOf('#incidents')[0])
JS
	# an incident that continues may change between the two reads
	my ($on_page, $in_sql);
	wait_until(
		sub {
			$on_page = js(<<'JS');
[...document.querySelectorAll('#incidents tbody tr')].map(row => [row.cells[0], row.cells[3],
	row.cells[4], row.querySelector('.timeline bdi')].map(cell => cell.textContent).join('|')
).join('\n')
JS
			$in_sql = $watcher->query_safe(<<~'SQL');
				SELECT string_agg(concat_ws('|', id, status, coalesce(nullif(
				           array_to_string(metrics, ', '), ''), '–'), message), E'\n' ORDER BY id DESC)
				FROM connpool_incidents
				SQL
			return $on_page eq $in_sql;
		});
	is($on_page, $in_sql, 'SQL has the same incidents');
	page_ok(<<'JS', 'the timeline of the incident has the alert');
[...document.querySelectorAll('#incidents details')][0].textContent.match(
	/^\d+ changes?.*\d\d:\d\d:\d\d total_connections OK \u2192 WARNING, value \d+ connections/)
JS
	js(q{document.querySelector('#incidents button').click()});
	page_ok(q{/ Incident \d+ was in progress\.$/.test(textOf('#moment-text'))},
		'the time of an incident chooses the moment');
	js(q{document.getElementById('moment-reset').click()});
	page_ok(q{document.querySelector('#grid .limit.warning')}, 'the chart draws the threshold');

	# An alert is raised some time after its threshold is met, and cleared some time after the
	# threshold is no longer met. Meanwhile its status is not the current one.
	is( js( q{[...document.querySelectorAll('#wrong .box th[scope=col]')].map(
			cell => cell.textContent).slice(0, 6).join()}),
		'Status now,Metric,Value now,Alert,Alert since,Alert message',
		'the columns separate the current status and value from those of the alert');
	my $both = q{(row => row && `now ${row[0]}, alert ${row[3]}`)(
		rowOf('#wrong', 'total_connections'))};
	$node->safe_psql('postgres', "ALTER SYSTEM SET connpool_monitor.$_->[0] = '$_->[1]'")
	  foreach [ alert_after => '1h' ], [ alert_clear_after => '1h' ];
	$node->reload;
	wait_samples($node, 2);
	$node->safe_psql('postgres',
		'ALTER SYSTEM SET connpool_monitor.total_connections_critical = 6');
	$node->reload;
	page_is(
		$both,
		'now CRITICAL, alert WARNING',
		'the page shows a critical status beside the alert that is a warning');
	page_ok(q{/, warning threshold /.test(rowOf('#wrong', 'total_connections')[5])},
		'the message beside the alert is that of the alert');
	$node->safe_psql('postgres', "ALTER SYSTEM RESET connpool_monitor.total_connections_$_")
	  foreach qw(critical warning);
	$node->reload;
	page_is(
		$both,
		'now OK, alert WARNING',
		'the page shows that the status is OK and the alert not yet cleared');
	$node->safe_psql('postgres', "ALTER SYSTEM SET connpool_monitor.$_ = '1s'")
	  foreach qw(alert_after alert_clear_after);
	$node->reload;
	page_is('document.body.dataset.status',
		'healthy', 'the page shows a healthy server when the threshold is reset');
	page_is(
		q{textOf('#alerts-text')},
		'No alert is raised.',
		'the page shows that no alert is raised');
};

subtest 'the page shows any name as text' => sub {
	# names that are markup, and one that changes the direction of text
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
	($leaking) = hold(@hostile{qw(database role application)});
	$leaking->query_safe('BEGIN');
	($turning) = hold('shop', $turned, '<script>alert(4)</script>');
	my $names = join ', ', map { $json->encode($hostile{$_}) } qw(database role application);
	page_ok("rowOf('#pools', $names)", 'names that are markup are the text of a pool');
	page_ok(q{rowOf('#pools', 'shop', '<script>alert(4)</script>', 'over\\\\u202eturn')},
		'an invisible character of a name is escaped');
	load($pooler, $hostile{database}, $pooler->{user}, 'hostile', "SELECT 1;\n\\sleep 100 ms\n");
	page_ok(
		'rowOf("#poolers", ' . $json->encode($hostile{database}) . ')',
		'a name that is markup is the text of a pool of PgBouncer');
	page_is(
		q{(rowOf('#wrong', 'leak_suspects') || [])[0]},
		'WARNING',
		'the page lists an idle transaction as a problem');
	is( js(<<'JS'),
[...document.querySelectorAll('img, svg:not(.plot, .plot svg), [onload], [onerror], body style, '
	+ 'main script, td table')].length
JS
		0,
		'no name became an element of the page');
	is(js('document.scripts.length'), 1, 'the page has one script');
	page_ok(<<'JS', 'a click on the heading sorts pools by name');
document.querySelector('#pools th button').click()
	|| cellsOf('#pools')[0][0] === [...cellsOf('#pools')].map(row => row[0]).sort()[0]
JS
	is(js(q{document.querySelector('#pools th').getAttribute('aria-sort')}),
		'ascending', 'the sorted column is marked');
};

subtest 'the page fits narrow and wide windows in light and dark colours' => sub {
	my %ground;
	foreach my $scheme (qw(light dark))
	{
		scheme($scheme);
		foreach my $width (1280, 360)
		{
			width($width, 800);
			page_is('innerWidth', $width, "the window is $width pixels wide ($scheme)");
			cmp_ok(js('document.documentElement.scrollWidth'),
				'<=', $width, "the page is no wider than $width pixels ($scheme)");
		}
		$ground{$scheme} = (js('getComputedStyle(document.body).backgroundColor') =~ /(\d+)/)[0];
	}
	ok($ground{light} > 200 && $ground{dark} < 60,
		'the background is light in light and dark in dark colours')
	  or diag("$ground{light} $ground{dark}");
	width(1280, 1600);
	is_quiet('hostile names');
};

subtest 'the page shows a PgBouncer that is down' => sub {
	unload(@loads);
	stop_pooler($pooler);
	page_is(
		q{(rowOf('#poolers', 'orders') || [])[1]},
		'down',
		'a PgBouncer that has stopped is down');
};

subtest 'the page survives a restart of the server' => sub {
	leave($_) foreach $watcher, $leaking, $turning, @web, $console_session, $invoices;
	is_quiet('before the server stops');
	$node->stop('fast');
	page_is('document.body.dataset.status', 'error', 'the page shows that the server is gone');
	page_is(q{textOf('#health')}, 'no answer', 'the page shows "no answer"');
	page_ok(<<'JS', 'the page shows since when there is no answer');
/^No answer since \d\d:\d\d:\d\d/.test(textOf('#message-text'))
	&& !document.getElementById('message').hidden
JS
	page_ok(q{/^Trying again (now\.|in \d+ s\.)$/.test(textOf('#countdown'))},
		'the page shows when it retries');
	page_ok(q{document.body.hasAttribute('data-old') && rowOf('#pools', 'web')},
		'the page keeps its data and marks it as old');
	$node->start;
	page_is('document.body.dataset.status',
		'healthy', 'the page shows the restarted server without a reload');
	page_ok(<<'JS', 'the page shows the time of the restart');
/^The server restarted at \d\d:\d\d:\d\d\.$/.test(textOf('#restarted'))
	&& !document.getElementById('restarted').hidden
JS
	page_ok(q{textOf('#message-text') === '' && !document.body.hasAttribute('data-old')},
		'the message disappears after the restart');
	page_ok(<<'JS', 'no section is marked as old after the restart');
['pools', 'alerts', 'charts'].every(
	name => !document.getElementById(name).classList.contains('old'))
JS
	is_quiet('a restart', refused => 1);
};

subtest 'the page asks for a token that is set while it is open' => sub {
	my $file = $node->data_dir . '/token';
	append_to_file($file, "page-secret\n");
	chmod 0600, $file;
	# the browser opens a dialog of its own, which is dismissed
	browser('credentials');
	$node->safe_psql('postgres', q{ALTER SYSTEM SET connpool_monitor.http_token_file = 'token'});
	$node->reload;
	page_is(q{textOf('#health')}, 'token needed', 'the page shows that a token is needed');
	page_ok(q{!document.getElementById('token').hidden}, 'the page has a field for the token');
	js(q{document.getElementById('token-input').focus()});
	browser('Input.insertText', text => 'page-secret');
	browser(
		'Input.dispatchKeyEvent',
		type => 'keyDown',
		key => 'Enter',
		code => 'Enter',
		windowsVirtualKeyCode => 13,
		text => "\r");
	page_is('document.body.dataset.status',
		'healthy', 'the page shows a healthy server with the token');
	is_quiet('a token', refused => 1);
};

subtest 'the token is accepted as the password of the dialog of the browser' => sub {
	happened('challenge');
	browser('credentials', username => 'anybody', password => 'page-secret');
	browser('Page.navigate', url => 'about:blank');
	page_is('location.href', 'about:blank', 'the browser leaves the page');
	browser('Page.navigate', url => "$origin/");
	page_is('document.body.dataset.status', 'healthy', 'the page opens with Basic credentials');
	page_is('drawn(1)', 6, 'the page has its charts with Basic credentials');
	page_ok(q{rowOf('#pools', 'web')}, 'the page has its pools with Basic credentials');
	my ($challenge) = map { $_->{text} } happened('challenge');
	is(lc($challenge // 'none'), 'basic connpool_monitor',
		'the server asks for Basic credentials');
	is_quiet('Basic', refused => 1);
};

subtest 'the page opens with the shortest range that holds the values of the last hour' => sub {
	foreach ([ 600 => 900 ], [ 3500 => 3600 ])
	{
		my ($age, $range) = @$_;
		my $script = browser('Page.addScriptToEvaluateOnNewDocument', source => <<"JS");
const real = fetch;
fetch = async (path, options) => {
	const answer = await real(path, options);
	if (path !== 'api/load?since=3600s') return answer;
	const load = await answer.json();
	load.points.unshift([Date.parse(load.until) - $age * 1000, ...load.classes.map(() => 0)]);
	return new Response(JSON.stringify(load));
};
JS
		browser('Page.navigate', url => 'about:blank');
		browser('Page.navigate', url => "$origin/");
		page_is('typeof range === "function" && range()',
			$range, "a page whose history is $age s long opens with a range of $range s");
		browser('Page.removeScriptToEvaluateOnNewDocument', identifier => $script->{identifier});
	}
};

# That the page logged nothing is evidence only if violations are logged.
subtest 'violations of the policy, exceptions and dialogs are detected' => sub {
	js(q{document.body.append(Object.assign(new Image, { src: '/nothing' }))});
	js(q{setTimeout(() => { throw new Error('on purpose') })});
	js(q{setTimeout(() => alert('on purpose'))});
	page_ok(q{document.images.length === 1}, 'the page has an image that the policy forbids');
	my (@policy, @others);
	wait_until(
		sub {
			push @policy, grep { $_->{text} =~ /^policy: img-src/ } happened('console');
			push @others,
			  grep { $_->{text} =~ /on purpose/ } happened('exception'), happened('dialog');
			return @policy >= 1 && @others >= 2;
		});
	ok(@policy >= 1, 'the violation of the policy is logged');
	is(scalar @others, 2, 'an exception and a dialog are detected');
};

$node->stop;
done_testing();
