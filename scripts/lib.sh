# lib.sh: what the scripts share. Sourced by bash, not run.
#
# Installs packages by name, drops root (PostgreSQL refuses it), and makes a
# private copy of the installed PostgreSQL: the extension is built and
# installed there, so that the machine's own PostgreSQL stays as it was.

set -euo pipefail

# the login may name a locale that this machine has not, which initdb refuses
export LC_ALL=C.UTF-8

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Run as a user that PostgreSQL accepts: this one, or postgres in place of root.
as_user() {
	if [ "$(id -u)" != 0 ]; then "$@"
	else runuser -u postgres -- env HOME="$work" "$@"; fi
}

# Once in a script, and only where something has to be installed.
update_package_lists() {
	[ -z "${lists_updated:-}" ] || return 0
	as_root apt-get update -qq >/dev/null || true
	lists_updated=1
}

# Install what is missing of the named packages, without the server that
# Debian's PostgreSQL package would otherwise set up and start.
install_packages() {
	local missing=() package
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	[ ${#missing[@]} = 0 ] && return
	update_package_lists
	say "installing ${missing[*]}"
	local conf=/etc/postgresql-common/createcluster.d/connpool_monitor.conf
	as_root mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
	# tests start the servers that they need: a package's own service stays off
	local policy=/usr/sbin/policy-rc.d made_policy=
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
		as_root chmod 755 $policy
		made_policy=yes
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
		die "could not install ${missing[*]}"
	as_root rm -f "$conf" ${made_policy:+$policy}
}

# The newest PostgreSQL that is installed, or else the one the distribution has.
choose_postgresql() {
	pg_major=${PG_MAJOR:-$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1 || true)}
	if [ -z "$pg_major" ]; then
		update_package_lists
		pg_major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	[ -n "$pg_major" ] || die "apt knows no PostgreSQL to install"
	[ "$pg_major" -ge 15 ] || die "PostgreSQL $pg_major is too old: connpool_monitor needs 15"
	install_packages "postgresql-$pg_major" "postgresql-server-dev-$pg_major" libkrb5-dev libmicrohttpd-dev pkg-config gcc make perl
}

# Have node and the packages of simulated applications (t/node) in a directory,
# whose modules are then in $node_modules: from the npm registry, unless
# CONNPOOL_MONITOR_NODE_MODULES names some that are there.
make_node_modules() {
	command -v node >/dev/null || install_packages nodejs
	node_modules=${CONNPOOL_MONITOR_NODE_MODULES:-$1/node_modules}
	[ ! -d "$node_modules/pg" ] || return 0
	command -v npm >/dev/null || install_packages npm
	mkdir -p "$1"
	cp "$project_root"/t/node/package*.json "$1"
	(cd "$1" && npm ci --no-audit --no-fund --loglevel=error >/dev/null 2>"$1/npm.log") ||
		{ cat "$1/npm.log"; die "npm could not install what t/node/package.json names"; }
}

clients=()	# processes of ours that hold connections, to be ended with us

end_clients() {
	[ ${#clients[@]} != 0 ] || return 0
	kill "${clients[@]}" 2>/dev/null || true
	wait "${clients[@]}" 2>/dev/null || true
	clients=()
}

# The answer to a query, and nothing else.
sql() { psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }

# A directory of our own, gone with us. Ends what still runs in it first.
make_work_dir() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/connpool_monitor.XXXXXX")
	chmod 755 "$work"
	[ "$(id -u)" != 0 ] || chown postgres: "$work"
	# the user that we drop to may not be able to read where we were started
	cd "$work"
	trap clean_up EXIT
	trap 'exit 130' INT TERM
}

clean_up() {
	local status=$? data
	trap - EXIT
	set +e
	end_clients
	for data in "$work"/data*; do
		[ -f "$data/postmaster.pid" ] && as_user "$bindir/pg_ctl" -D "$data" -m immediate -w stop >/dev/null 2>&1
	done
	cd / && rm -rf "$work"
	exit "$status"
}

# $work/pg: the installed PostgreSQL once more, or the one below the directory
# CONNPOOL_MONITOR_POSTGRESQL. Its programs find their files relative to themselves,
# so they are copied and everything else is linked.
copy_postgresql() {
	local lib=usr/lib/postgresql/$pg_major share=usr/share/postgresql/$pg_major
	as_user mkdir -p "$work/pg/$lib" "$work/pg/$share" "$work/pg/usr/include"
	local root=${CONNPOOL_MONITOR_POSTGRESQL:-}
	as_user cp -a "$root/$lib/bin" "$work/pg/$lib/"
	as_user cp -as "$root/$lib/lib" "$work/pg/$lib/"
	as_user cp -as "$root/$share/." "$work/pg/$share/"
	as_user ln -s "$root/usr/include/postgresql" "$work/pg/usr/include/"
	bindir=$work/pg/$lib/bin
	export PATH=$bindir:$PATH PG_CONFIG=$bindir/pg_config
}

# build DIRECTORY COMPILER [FLAGS]: the project's tree, copied there and made.
build() {
	local dir=$1 cc=$2 flags=${3:-}
	as_user mkdir -p "$dir"
	tar -C "$project_root" --exclude=.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . |
		as_user tar -C "$dir" --no-same-owner -xf -
	as_user make -s -C "$dir" with_llvm=no CC="$cc" COPT="$flags" PG_CONFIG="$PG_CONFIG" -j2 >"$work/make.log" 2>&1 || {
		cat "$work/make.log"
		return 1
	}
}

# Install what build made in $work/src into $work/pg.
install_build() {
	as_user make -s -C "$work/src" install with_llvm=no PG_CONFIG="$PG_CONFIG" >/dev/null
}

# A fresh server on a Unix socket in $work: start_server NAME PORT SETTINGS…
start_server() {
	local data=$work/data-$1 port=$2 setting
	shift 2
	as_user "$bindir/initdb" -D "$data" -A trust -U postgres --no-sync >"$work/initdb.log" 2>&1 ||
		{ cat "$work/initdb.log"; return 1; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$work'"
		echo "port = $port"
		echo "fsync = off"
		for setting in "$@"; do echo "$setting"; done
	} | as_user tee -a "$data/postgresql.conf" >/dev/null
	as_user "$bindir/pg_ctl" -D "$data" -l "$data.log" -w start >/dev/null || { cat "$data.log"; return 1; }
	export PGHOST=$work PGPORT=$port PGUSER=postgres PGDATABASE=postgres
}

stop_server() {
	as_user "$bindir/pg_ctl" -D "$work/data-$1" -m fast -w stop >/dev/null
}
