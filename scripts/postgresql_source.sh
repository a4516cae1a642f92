# SPDX-License-Identifier: PostgreSQL
# Builds PostgreSQL from the distribution's source package, with assertions and with USE_VALGRIND,
# which makes memory contexts report each allocation to valgrind. Keeps the build in $cache for the
# next run. Sourced after lib.sh; needs root.

cache=${CONNPOOL_MONITOR_CASSERT:-/var/cache/connpool_monitor-cassert}
cppflags=-DUSE_VALGRIND

# Build a server that starts its child processes by exec, as on Windows: they inherit no memory.
use_exec_backend() {
	cache=$cache/exec-backend
	cppflags+=' -DEXEC_BACKEND'
}

# Download and unpack the source package from the Debian mirror that apt uses. The list of
# source packages is private to this script, so that the machine's configuration stays as it is.
fetch_source() {
	local list=$cache/apt/sources.list mirror suite
	[ -n "$(ls -d "$cache"/src/postgresql-"$pg_major"[.-]*/ 2>/dev/null)" ] && return
	read -r mirror suite < <(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(SUITE) $(CODENAME)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /security/ { print $2, $4; exit }')
	[ -n "${mirror:-}" ] || die "apt on this machine has no Debian mirror"
	log_step "fetching the source of PostgreSQL $pg_major"
	mkdir -p "$cache/apt/lists/partial" "$cache/src"
	echo "deb-src $mirror $suite main" >"$list"
	local private=(-o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$cache/apt/lists")
	apt-get "${private[@]}" update -qq >/dev/null
	(cd "$cache/src" && apt-get "${private[@]}" source -qq "postgresql-$pg_major" >/dev/null)
}

source_tree() { ls -d "$cache"/src/postgresql-"$pg_major"[.-]*/ | head -n 1; }

# Build and install into $cache/root, in Debian's layout, which the other scripts expect.
build_postgresql() {
	local root=$cache/root source lib=usr/lib/postgresql/$pg_major
	mkdir -p "$cache"
	[ -f "$root/.complete-$pg_major" ] && return
	install_packages valgrind bison flex libreadline-dev zlib1g-dev libssl-dev liblz4-dev libipc-run-perl dpkg-dev
	fetch_source
	source=$(source_tree)
	log_step "building PostgreSQL with assertions, which takes a few minutes"
	(
		cd "$source"
		./configure -q --enable-cassert --enable-debug --enable-tap-tests --with-openssl --with-lz4 --with-gssapi \
			--bindir="$root/$lib/bin" --libdir="$root/$lib/lib" --datadir="$root/usr/share/postgresql/$pg_major" \
			--includedir="$root/usr/include/postgresql" --prefix="$root/usr" CFLAGS='-O1 -g' CPPFLAGS="$cppflags"
		make -s -j2 world-bin
		make -s install-world-bin
	) >"$cache/build.log" 2>&1 || { tail -n 30 "$cache/build.log"; die "could not build PostgreSQL"; }
	touch "$root/.complete-$pg_major"
}
