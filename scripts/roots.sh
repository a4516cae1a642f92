# SPDX-License-Identifier: PostgreSQL
# Debian roots: complete systems of other Debian releases, below the directory $roots. Sourced
# after lib.sh by scripts that run commands in a root; needs root privileges. Downloaded packages
# stay in $roots/packages for the next root.

roots=${CONNPOOL_MONITOR_ROOTS:-/var/cache/connpool_monitor-roots}
mkdir -p "$roots/packages/partial"

# Print the address of apt's Debian mirror, not that of its other sources.
debian_mirror() {
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }'
}

# make_root NAME [SUITE]: create a root of the suite, unless a complete one exists.
make_root() {
	local suite=${2:-$1} root=$roots/$1 try
	[ -f "$root/.complete" ] && return 0
	mirror=${mirror:-$(debian_mirror)}
	[ -n "$mirror" ] || { echo "apt on this machine has no Debian mirror"; return 1; }
	install_packages debootstrap
	for try in 1 2 3; do
		log_step "creating a root of $suite, attempt $try"
		rm -rf "$root"
		mkdir -p "$root"
		if debootstrap --variant=minbase --cache-dir="$roots/packages" "$suite" "$root" "$mirror" >"$root.log" 2>&1; then
			# apt must not reject a package list because of the machine's clock
			echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99connpool_monitor"
			touch "$root/.complete"
			return 0
		fi
	done
	tail -n 5 "$root.log"
	return 1
}

# in_root ROOT COMMAND...: run a command in a root, in namespaces of its own that end with the
# command. Mounts the file systems that PostgreSQL and the packages' scripts need, the packages
# downloaded before, and a small disk for t/038, because scripts/test cannot create a private
# mount in a chroot.
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
