# SPDX-License-Identifier: PostgreSQL
# PostgreSQL with assertions, which tells valgrind what its memory contexts do, built from
# the distribution's source package and kept in $cache for the next run. Sourced after
# lib.sh; needs root.

cache=${CONNPOOL_MONITOR_CASSERT:-/var/cache/connpool_monitor-cassert}
cppflags=-DUSE_VALGRIND

# One whose child processes are started by exec, as on Windows: they inherit no memory.
use_exec_backend() {
	cache=$cache/exec-backend
	cppflags+=' -DEXEC_BACKEND'
}

# The source package, from the mirror that apt uses for everything else.
fetch_source() {
	local list=$cache/apt/sources.list mirror suite
	[ -n "$(ls -d "$cache"/src/postgresql-"$pg_major"[.-]*/ 2>/dev/null)" ] && return
	read -r mirror suite < <(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(SUITE) $(CODENAME)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /security/ { print $2, $4; exit }')
	[ -n "${mirror:-}" ] || die "apt on this machine has no Debian mirror"
	say "fetching the source of PostgreSQL $pg_major"
	mkdir -p "$cache/apt/lists/partial" "$cache/src"
	echo "deb-src $mirror $suite main" >"$list"
	local private=(-o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$cache/apt/lists")
	apt-get "${private[@]}" update -qq >/dev/null
	(cd "$cache/src" && apt-get "${private[@]}" source -qq "postgresql-$pg_major" >/dev/null)
}

source_tree() { ls -d "$cache"/src/postgresql-"$pg_major"[.-]*/ | head -n 1; }

# Laid out as Debian lays it out, so that everything else finds its files.
build_postgresql() {
	local root=$cache/root source lib=usr/lib/postgresql/$pg_major
	mkdir -p "$cache"
	[ -f "$root/.complete-$pg_major" ] && return
	install_packages valgrind bison flex libreadline-dev zlib1g-dev libssl-dev liblz4-dev libipc-run-perl dpkg-dev
	fetch_source
	source=$(source_tree)
	say "building PostgreSQL with assertions, which takes some minutes"
	(
		cd "$source"
		./configure -q --enable-cassert --enable-debug --enable-tap-tests --with-openssl --with-lz4 --with-gssapi \
			--bindir="$root/$lib/bin" --libdir="$root/$lib/lib" --datadir="$root/usr/share/postgresql/$pg_major" \
			--includedir="$root/usr/include/postgresql" --prefix="$root/usr" CFLAGS='-O1 -g' CPPFLAGS="$cppflags"
		make -s -j2 world-bin
		make -s install-world-bin
	) >"$cache/build.log" 2>&1 || { tail -n 30 "$cache/build.log"; die "PostgreSQL could not be built"; }
	touch "$root/.complete-$pg_major"
}
