# SPDX-License-Identifier: PostgreSQL
# Debian roots: systems of a release of their own, below the directory $roots. Sourced
# after lib.sh by scripts that run something in one; needs root. Packages that a root has
# downloaded stay in $roots/packages, from which the next root of that release is made.

roots=${CONNPOOL_MONITOR_ROOTS:-/var/cache/connpool_monitor-roots}
mkdir -p "$roots/packages/partial"

# The address from which apt gets Debian itself, not one of its other sources.
debian_mirror() {
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }'
}

# make_root NAME [SUITE]: make the root of a suite unless it is there. It counts only when it is whole.
make_root() {
	local suite=${2:-$1} root=$roots/$1 try
	[ -f "$root/.complete" ] && return 0
	mirror=${mirror:-$(debian_mirror)}
	[ -n "$mirror" ] || { echo "apt on this machine has no Debian mirror"; return 1; }
	install_packages debootstrap
	for try in 1 2 3; do
		say "making a root of $suite, try $try"
		rm -rf "$root"
		mkdir -p "$root"
		if debootstrap --variant=minbase --cache-dir="$roots/packages" "$suite" "$root" "$mirror" >"$root.log" 2>&1; then
			# the clock of a machine that tests old or new snapshots is no reason to refuse them
			echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99connpool_monitor"
			touch "$root/.complete"
			return 0
		fi
	done
	tail -n 5 "$root.log"
	return 1
}

# in_root ROOT COMMAND...: with the file systems that PostgreSQL and the packages' scripts
# need, the packages that were downloaded before, and a small disk for t/038: in a chroot,
# scripts/test cannot mount one without showing it to others. All of that ends with the command.
in_root() {
	local root=$1
	shift
	run_job unshare --mount --pid --fork --kill-child sh -c '
		mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/dev/shm" &&
		mkdir -p "$0/small_disk" && mount -t tmpfs -o size=192m,mode=1777 tmpfs "$0/small_disk" &&
		mount --bind "$1" "$0/var/cache/apt/archives" && shift && exec chroot "$0" "$@"' "$root" "$roots/packages" \
		env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
