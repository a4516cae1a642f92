# SPDX-License-Identifier: PostgreSQL
# lib.sh: functions that the scripts share. Sourced by bash, not executed.
#
# PostgreSQL refuses to run as root, and root must not execute files that another user can
# write. A script therefore has two stages. The outer stage runs as the user who called the
# script. It checks the machine, installs packages, copies the project to a directory of its own
# ($run) and starts the same script from there. This second process is the inner stage, which
# does the work in $work as an unprivileged user. When the inner stage ends, or a signal stops
# the outer stage, the outer stage ends every process of the run and removes the directory.
#
# Scripts that do all their work as root (test-versions, test-package, test-scripts) and scripts
# that leave it to others (bench/run, test-assertions, test-sanitizers) have no inner stage.

set -euo pipefail
umask 022

# initdb fails if the caller's locale is not installed
export LC_ALL=C.UTF-8
# PgBouncer is in an sbin directory, which Debian's ordinary users do not have in PATH
PATH=$PATH:/usr/sbin:/sbin
# the caller's PGHOST and the like must not affect our connections
for name in $(compgen -e PG); do
	[ "$name" = PG_MAJOR ] || unset "$name"
done
unset name

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
script=${script#"$project_root"/}

log_step() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

# Print the comment at the top of the script, without the license line.
print_help() { sed -n '2,${/^# SPDX/d; /^#/!q; s/^# \{0,1\}//p}' "$0"; }

is_inner() { [ -n "${CONNPOOL_MONITOR_RUN:-}" ]; }
is_root() { [ "$(id -u)" = 0 ]; }

has_root() { is_root || command -v sudo >/dev/null; }

as_root() {
	if is_root; then "$@"
	elif has_root; then sudo "$@"
	else die "root is needed to run \"$1\", and there is no sudo"
	fi
}

# need_root ARGUMENTS...: restart the script through sudo, unless it runs as root or in the inner
# stage
need_root() {
	if is_inner || is_root; then return 0; fi
	command -v sudo >/dev/null || die "$script needs root, and there is no sudo"
	exec sudo --preserve-env="$(compgen -e CONNPOOL_ | paste -sd,),PG_MAJOR" "$project_root/$script" "$@"
}

# Run a command as the user who runs the servers: as postgres if the caller is root, otherwise
# as the caller. setpriv replaces itself by the command, so that a signal reaches the command.
as_unprivileged() {
	if is_root; then setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
	else "$@"; fi
}

# ---- outer stage: packages

declare -a temporary_files=()	# files of root outside $run, which clean_up removes

# Run "apt-get update" once for each script. Call only if a package is missing.
update_package_lists() {
	if [ -n "${lists_updated:-}" ] || ! has_root; then return 0; fi
	as_root apt-get update -qq >/dev/null 2>&1 || true
	lists_updated=1
}

# Store in the array missing which of the packages are not installed.
find_missing() {
	local package
	missing=()
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
}

is_available() {
	local version
	version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
	[ -n "$version" ] && [ "$version" != '(none)' ]
}

# make_temporary_file FILE: create a file as root from standard input. Registers the file for
# clean_up first, because a signal can stop the script in between.
make_temporary_file() {
	temporary_files+=("$1")
	as_root tee "$1" >/dev/null
}

# Install the packages that are missing. Prevents Debian's PostgreSQL package from creating a
# cluster, and every package from starting its service.
install_packages() {
	local missing package conf=/etc/postgresql-common/createcluster.d/connpool_monitor.conf policy=/usr/sbin/policy-rc.d
	find_missing "$@"
	[ ${#missing[@]} != 0 ] || return 0
	has_root || die "these packages are missing, and there is no sudo to install them with: ${missing[*]}"
	update_package_lists
	for package in "${missing[@]}"; do
		is_available "$package" || die "apt has no package $package"
	done
	log_step "installing ${missing[*]}"
	as_root mkdir -p "${conf%/*}"
	make_temporary_file "$conf" <<<'create_main_cluster = false'
	if [ ! -e $policy ]; then
		make_temporary_file $policy < <(printf '#!/bin/sh\nexit 101\n')
		as_root chmod 755 $policy
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
		die "apt could not install ${missing[*]}"
	remove_temporary_files
}

remove_temporary_files() {
	[ ${#temporary_files[@]} = 0 ] || as_root rm -f "${temporary_files[@]}"
	temporary_files=()
}

# Install those of the packages that the distribution has. Tests skip if they need a missing one.
install_optional_packages() {
	local missing package available=()
	find_missing "$@"
	[ ${#missing[@]} != 0 ] || return 0
	has_root || return 0
	update_package_lists
	for package in "${missing[@]}"; do
		if is_available "$package"; then available+=("$package"); fi
	done
	[ ${#available[@]} = 0 ] || install_packages "${available[@]}"
}

# unpack_package PACKAGE: unless its program of the same name is installed, unpack the package into
# $run, because installing it would start a service. Called in the outer stage.
unpack_package() {
	! command -v "$1" >/dev/null || return 0
	update_package_lists
	log_step "fetching $1"
	mkdir "$run/$1"
	(cd "$run/$1" && apt-get download -qq "$1" && dpkg-deb -x ./*.deb .) >"$run/$1.log" 2>&1 ||
		{ cat "$run/$1.log" >&2; die "apt could not download $1"; }
}

# Set pg_major to PG_MAJOR, the newest PostgreSQL that is installed, or the distribution's
# default, and install it if necessary.
choose_postgresql() {
	pg_major=${PG_MAJOR:-$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1 || true)}
	if [ -z "$pg_major" ]; then
		update_package_lists
		pg_major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	[ -n "$pg_major" ] || die "apt has no PostgreSQL to install"
	[[ $pg_major =~ ^[0-9]+$ ]] || die "PG_MAJOR must be a number such as 17, not \"$pg_major\""
	[ "$pg_major" -ge 15 ] || die "PostgreSQL $pg_major is too old: connpool_monitor needs 15 or later"
	export PG_MAJOR=$pg_major
	if ! is_inner; then
		install_packages "postgresql-$pg_major" "postgresql-server-dev-$pg_major" libkrb5-dev libmicrohttpd-dev pkg-config gcc make perl
	fi
}

# ---- outer stage: the run

# copy_project DIRECTORY: copy the project, without .git and the products of a build
copy_project() {
	mkdir -p "$1"
	tar -C "$project_root" --exclude=.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' --exclude=./connpool_monitor_console --mode=u+rwX,go+rX-w -cf - . |
		tar -C "$1" --no-same-owner -xf -
}

# start_run MEGABYTES: create the directory of the run and set run to it. Fails if the file system
# has less free space, or if programs, sockets or the user postgres cannot use the directory.
start_run() {
	local parent=${TMPDIR:-/tmp} free
	run=$(mktemp -d "$parent/connpool_monitor.XXXXXX" 2>/dev/null) ||
		die "cannot create a directory in $parent: set TMPDIR to another one"
	run=$(realpath "$run")
	chmod 755 "$run"
	# a Unix socket's path has at most 107 bytes
	[ ${#run} -le 70 ] || die "the path of $parent is too long for sockets: set TMPDIR to a shorter one"
	printf '#!/bin/sh\n' >"$run/probe" && chmod 755 "$run/probe" && "$run/probe" 2>/dev/null ||
		die "no program can be run in $parent (mounted noexec?): set TMPDIR to another one"
	as_unprivileged test -x "$run" || die "the user postgres cannot enter $parent: set TMPDIR to another one"
	free=$(df -Pm "$run" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] || die "$parent has $free MB free, and $script needs $1: set TMPDIR to another one"
}

# Install the Node packages of t/node into $run, unless CONNPOOL_MONITOR_NODE_MODULES has them.
install_node_modules() {
	command -v node >/dev/null || install_packages nodejs
	[ ! -d "${CONNPOOL_MONITOR_NODE_MODULES:-/nonexistent}/pg" ] || return 0
	command -v npm >/dev/null || install_packages npm
	fetch_node_modules "$run/node"
	export CONNPOOL_MONITOR_NODE_MODULES=$run/node/node_modules
}

# fetch_node_modules DIRECTORY: install the Node packages from the npm registry, without running
# the packages' install scripts
fetch_node_modules() {
	mkdir -p "$1"
	cp "$project_root"/t/node/package*.json "$1"
	(cd "$1" && npm ci --ignore-scripts --cache "$1/.cache" --no-audit --no-fund --loglevel=error) >"$1/npm.log" 2>&1 ||
		{ tail -n 5 "$1/npm.log" >&2; die "npm could not install the packages of t/node/package.json"; }
	rm -rf "$1/.cache"
}

# start_inner ARGUMENTS...: run the inner stage with these arguments, and exit with its status.
# If the variable with_small_disk is set, mount a small file system for t/038_disk_full.pl, provided
# that the caller is root and may mount.
start_inner() {
	local name command environment status=0
	copy_project "$run/source"
	mkdir "$run/work" "$run/work/tmp"
	environment=(PATH="$PATH" HOME="$run/work" TMPDIR="$run/work/tmp" LC_ALL=C.UTF-8 PG_MAJOR="$pg_major" CONNPOOL_MONITOR_RUN="$run")
	for name in $(compgen -e CONNPOOL_) CI TERM JOBS KINDS CHROMIUM; do
		[ -z "${!name:-}" ] || environment+=("$name=${!name}")
	done
	command=()
	if is_root; then
		chown -R postgres: "$run/work"
		mkdir "$run/small_disk"
		command=(setpriv --reuid=postgres --regid=postgres --init-groups --)
		# mount in a private namespace, which ends with the last process of the inner stage
		if [ -n "${with_small_disk:-}" ] && [ -z "${CONNPOOL_SMALL_DISK:-}" ] && unshare --mount mount -t tmpfs none "$run/small_disk" 2>/dev/null; then
			command=(unshare --mount sh -c 'mount -t tmpfs -o "size=192m,mode=755,uid=$1" none "$0" && shift && exec "$@"'
				"$run/small_disk" "$(id -u postgres)" "${command[@]}")
			environment+=("CONNPOOL_SMALL_DISK=$run/small_disk")
		fi
	fi
	cd /
	# job control, because bash otherwise makes background jobs ignore SIGINT and SIGQUIT
	set -m
	"${command[@]}" env -i "${environment[@]}" bash "$run/source/$script" "$@" </dev/null &
	set +m
	wait $! || status=$?
	exit "$status"
}

# Print the pid of each process of the run: those whose program or working directory is in $run,
# and those whose environment has the name of the run.
run_processes() {
	{
		find /proc/[0-9]*/exe /proc/[0-9]*/cwd -maxdepth 0 -lname "$run/*" -printf '%h\n'
		grep -lzFx "CONNPOOL_MONITOR_RUN=$run" /proc/[0-9]*/environ
	} 2>/dev/null | cut -d/ -f3 | sort -un
}

# Print the pid of each process of a server: those whose working directory is a data directory.
# The program does not identify them, because it may be valgrind.
server_processes() {
	local process directory
	find /proc/[0-9]*/cwd -maxdepth 0 -lname "$run/*" -printf '%h %l\n' 2>/dev/null |
		while read -r process directory; do
			[ ! -e "$directory/postmaster.pid" ] || echo "${process##*/}"
		done
}

# Print the pid of each server process that initdb has started.
initdb_processes() {
	grep -lzxE -e '--(boot|check|single)' $(printf '/proc/%s/cmdline ' "$@") 2>/dev/null | cut -d/ -f3
}

# send SIGNAL PID...: signal processes as the user who runs them, so that the signal cannot hit
# another user's process that has reused a pid
send() { as_unprivileged bash -c 'kill -s "$0" "$@"' "$@" 2>/dev/null; }

# End the processes of the run: kill everything but servers, so that no new server starts; then
# stop servers with SIGQUIT, so that they release their shared memory; then kill the rest. Servers
# that initdb has started have no handler for SIGQUIT, but end when initdb has been killed.
end_run_processes() {
	local try servers others
	for ((try = 0; try < 50; try++)); do
		servers=$(server_processes)
		others=$(run_processes | grep -vxF "${servers:-none}")
		[ -n "$others$(initdb_processes $servers)" ] || break
		[ -z "$others" ] || send KILL $others
		sleep 0.05
	done
	[ -z "$servers" ] || send QUIT $servers
	for ((try = 0; try < 300; try++)); do
		servers=$(run_processes)
		[ -n "$servers" ] || break
		[ $try -lt 200 ] || send KILL $servers
		sleep 0.05
	done
	# remove the segments of servers that were killed: line 7 of a pid file has the number
	as_unprivileged find "$run/work" -name postmaster.pid -type f -exec sed -n '7s/.* //p' {} \; 2>/dev/null |
		while read -r segment; do as_unprivileged ipcrm -m "$segment" 2>/dev/null; done
}

clean_up() {
	local status=$?
	trap - EXIT
	trap '' INT TERM HUP PIPE
	set +e
	[ -z "${job:-}" ] || end_job
	if [ -n "${run:-}" ]; then
		cd /
		end_run_processes
		as_unprivileged chmod -R u+rwX "$run/work" 2>/dev/null
		rm -rf "$run"
	fi
	# directories of a script that was killed in a Debian root
	[ -z "${roots:-}" ] || rm -rf "$roots"/*/tmp/connpool_monitor.*
	remove_temporary_files
	exit "$status"
}

# ---- outer stage: scripts without an inner stage

# Run a command as a job in a process group of its own. If a signal stops the script, clean_up
# ends the job.
run_job() {
	local status=0
	set -m
	"$@" </dev/null &
	job=$!
	set +m
	wait $job || status=$?
	job=
	return $status
}

# End the job with SIGTERM, so that it can clean up, and with SIGKILL after 30 seconds.
end_job() {
	local try
	kill -s TERM -- "-$job" 2>/dev/null
	for ((try = 0; try < 300; try++)); do
		kill -0 -- "-$job" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -s KILL -- "-$job" 2>/dev/null
}

# ---- inner stage

declare -a clients=()	# pids of background processes that end_clients ends

end_clients() {
	[ ${#clients[@]} != 0 ] || return 0
	kill "${clients[@]}" 2>/dev/null || true
	wait "${clients[@]}" 2>/dev/null || true
	clients=()
}

# Print a free TCP port of the loopback interface. Another process may take it at any time.
free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# Print the path of a program that is installed or that unpack_package has unpacked.
path_of() { command -v "$1" || echo "$CONNPOOL_MONITOR_RUN/$1/usr/bin/$1"; }

# wait_for_http URL LOG [SECONDS]: wait until a GET request succeeds. If none does within 30 s, or
# within SECONDS, print the log and fail.
wait_for_http() {
	local deadline=$((SECONDS + ${3:-30}))
	until perl -MHTTP::Tiny -e 'exit !HTTP::Tiny->new(proxy => undef, http_proxy => undef)->get($ARGV[0])->{success}' "$1"; do
		[ $SECONDS -lt $deadline ] || { cat "$2" >&2; die "$1 does not answer"; }
		sleep 0.2
	done
}

# Print the median of the numbers in the input.
median() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

# Print the result of a query, without headers and alignment.
sql() { psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }

# Create $work/pg, a copy of the installed PostgreSQL or of that in CONNPOOL_MONITOR_POSTGRESQL,
# into which install_build can install the extension. Copies the programs and links the other
# files, because the programs find other files relative to their own path. Servers keep dynamic
# shared memory in their data directory. Otherwise a server that a test kills would leave segments
# in /dev/shm, and end_run_processes could not determine which of them belong to the run.
copy_postgresql() {
	local lib=usr/lib/postgresql/$pg_major share=usr/share/postgresql/$pg_major
	mkdir -p "$work/pg/$lib" "$work/pg/$share" "$work/pg/usr/include"
	local root=${CONNPOOL_MONITOR_POSTGRESQL:-}
	cp -r "$root/$lib/bin" "$work/pg/$lib/"
	cp -as "$root/$lib/lib" "$work/pg/$lib/"
	cp -as "$root/$share/." "$work/pg/$share/"
	ln -s "$root/usr/include/postgresql" "$work/pg/usr/include/"
	cp --remove-destination "$root/$share/postgresql.conf.sample" "$work/pg/$share/"
	echo 'dynamic_shared_memory_type = mmap' >>"$work/pg/$share/postgresql.conf.sample"
	bindir=$work/pg/$lib/bin
	export PATH=$bindir:$PATH PG_CONFIG=$bindir/pg_config
}

# build DIRECTORY COMPILER [FLAGS]: copy the project to the directory and build it there
build() {
	local dir=$1 cc=$2 flags=${3:-}
	copy_project "$dir"
	make -s -C "$dir" with_llvm=no CC="$cc" COPT="$flags" PG_CONFIG="$PG_CONFIG" -j"$(nproc)" >"$dir.log" 2>&1 || {
		cat "$dir.log"
		return 1
	}
}

# Install the build in $work/src into $work/pg.
install_build() {
	make -s -C "$work/src" install with_llvm=no PG_CONFIG="$PG_CONFIG" >/dev/null
}

# start_server NAME PORT SETTINGS...: create and start a server on a Unix socket in $work, and set
# the PG variables for connections to it
start_server() {
	local data=$work/data-$1 port=$2 setting
	shift 2
	"$bindir/initdb" -D "$data" -A trust -U postgres --no-sync >"$data.initdb" 2>&1 ||
		{ cat "$data.initdb"; return 1; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$work'"
		echo "port = $port"
		echo "fsync = off"
		for setting in "$@"; do echo "$setting"; done
	} >>"$data/postgresql.conf"
	"$bindir/pg_ctl" -D "$data" -l "$data.log" -w start >/dev/null || { cat "$data.log"; return 1; }
	export PGHOST=$work PGPORT=$port PGUSER=postgres PGDATABASE=postgres
}

# start_callgrind NAME OPTIONS...: start a server that start_server created, under callgrind
start_callgrind() {
	local data=$work/data-$1
	shift
	rm -rf "$work/callgrind"
	mkdir "$work/callgrind"
	valgrind --quiet --tool=callgrind --trace-children=yes --callgrind-out-file="$work/callgrind/out.%p" "$@" \
		"$bindir/postgres" -D "$data" >"$data.log" 2>&1 &
	until psql -X -q -c 'SELECT 1' >/dev/null 2>&1; do
		kill -0 $! 2>/dev/null || { cat "$data.log"; die "the server does not start"; }
		sleep 0.5
	done
}

# callgrind_instructions PID: print the number of instructions that a process of the server under
# callgrind has executed. The process has ended or is about to end.
callgrind_instructions() {
	local file=$work/callgrind/out.$1
	until grep -qs '^totals:' "$file"; do sleep 0.2; done
	awk '/^totals:/ { print $2 }' "$file"
}

stop_server() {
	"$bindir/pg_ctl" -D "$work/data-$1" -m fast -w stop >/dev/null
}

# ---- inner stage: connections for benchmarks

max_per_pgbench=250	# connections; select() and ulimits often allow 1024 open files

# start_clients NUMBER APPLICATION SCRIPT...: open connections that run the scripts in random order,
# until end_clients ends them
start_clients() {
	local left=$1 name=$2 some files=() script
	shift 2
	for script in "$@"; do files+=(-f "$work/$script.sql"); done
	while [ "$left" -gt 0 ]; do
		some=$((left < max_per_pgbench ? left : max_per_pgbench))
		PGAPPNAME=$name pgbench -n -c $some -j 1 -T 3000 "${files[@]}" >>"$work/pgbench.log" 2>&1 &
		clients+=($!)
		left=$((left - some))
	done
}

# start_idle_clients NUMBER APPLICATION: open connections that run a statement and then stay idle for
# 2,000 s. pgbench counts microseconds in 32 bits, so more than 2,147 s would be no sleep at all.
start_idle_clients() {
	[ -e "$work/idle.sql" ] || printf '%s\n' 'SELECT 1;' '\sleep 2000 s' >"$work/idle.sql"
	start_clients "$1" "$2" idle
}

# wait_for_idle NUMBER PATTERN: wait until exactly NUMBER connections of applications LIKE PATTERN
# exist, and all of them are idle
wait_for_idle() {
	local deadline=$((SECONDS + 600)) count
	while true; do
		count=$(sql "SELECT count(*) FILTER (WHERE state = 'idle') || ' of ' || count(*) FROM pg_stat_activity WHERE application_name LIKE '$2'")
		[ "$count" != "$1 of $1" ] || return 0
		[ $SECONDS -lt $deadline ] || { tail -n 3 "$work/pgbench.log" >&2; die "$count connections are idle, not all of $1"; }
		sleep 0.2
	done
}

# name_pools NUMBER [STATEMENTS]: create pools. Eight connections set their application names to
# "application 0", "application 1" and so on, and run the statements under each name.
name_pools() {
	local i
	for ((i = 0; i < 8; i++)); do
		awk -v from=$i -v names="$1" -v statements="${2:-}" 'BEGIN {
			for (n = from; n < names; n += 8) printf "SET application_name = \047application %d\047;\n%s\n", n, statements }' >"$work/names.$i"
		psql -X -q -o /dev/null -f "$work/names.$i" &
		clients+=($!)
	done
	wait "${clients[@]}"
	clients=()
}

if is_inner; then
	work=$CONNPOOL_MONITOR_RUN/work
	cd "$work"
else
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 141' PIPE
	trap 'exit 143' TERM
fi
case " $* " in *' --help '* | *' -h '*) print_help; exit ;; esac
