#!/bin/sh
# Installs the Debian packages that are missing: deps.sh [run|test|lint|fuzz|vm].
# run: to build and run; test, lint, fuzz, vm: that and what they need besides. The tests start virtual machines too.
set -eu

group=${1:-run}
root=$(dirname "$0")/..

say() {
	echo "deps: $*" >&2
}

vm_packages() {
	cat <<'EOF'
busybox-static busybox userland of the virtual machines
cpio cpio packs their initramfs
debian-archive-keyring - proves that the kernels are Debian's
dpkg dpkg-deb unpacks the kernels
e2fsprogs mkfs.ext4 makes file systems, and reads files out of them
qemu-system-x86 qemu-system-x86_64 runs them
util-linux setpriv ends them; namespaces and loop devices
EOF
}

# One line each: package, command that it brings (- for none), reason.
packages() {
	cat <<'EOF'
clang clang compiles the programs that run in the kernel
gcc cc links Rust programs, and compiles libbpf
libc6-dev - headers of the C library and the kernel
libelf-dev - libbpf reads object files with it
make make builds libbpf
pkg-config pkg-config finds libelf and zlib
zlib1g-dev - libelf needs it
EOF
	case $group in
	test)
		cat <<'EOF'
fio fio real io_uring programs to compare with
mount mount mounts file systems
procps ps looks at processes
qemu-utils qemu-img another real io_uring program
valgrind valgrind counts instructions
EOF
		vm_packages
		;;
	vm) vm_packages ;;
	lint)
		cat <<'EOF'
clang-format clang-format checks the C of bpf/
shellcheck shellcheck checks the shell scripts
EOF
		;;
	fuzz) echo "g++ c++ compiles libFuzzer" ;;
	esac
}

# Whether version $1 is at least version $2: major and minor.
at_least() {
	[ "${1%%.*}" -gt "${2%%.*}" ] && return 0
	minor=${1#*.} least=${2#*.}
	[ "${1%%.*}" -eq "${2%%.*}" ] && [ "${minor%%.*}" -ge "${least%%.*}" ]
}

check_rust() {
	need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
	have=
	if command -v cargo >/dev/null && command -v rustc >/dev/null; then
		have=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || have=
	fi
	if [ -z "$have" ] || ! at_least "$have" "$need"; then
		say "Rust $need or newer is needed${have:+, not $have}: install it from https://rustup.rs, then run make again"
		exit 1
	fi
	[ "$group" = lint ] || return 0
	for tool in rustfmt clippy; do
		case $tool in clippy) command=cargo-clippy ;; *) command=$tool ;; esac
		"$command" --version >/dev/null 2>&1 && continue
		command -v rustup >/dev/null || {
			say "$tool is needed: install it with the package of your Rust, then run make again"
			exit 1
		}
		say "installing $tool: checks the Rust code"
		rustup component add "$tool"
	done
}

# Without apt-get: the tools count, whatever brought them.
check_tools() {
	missing=
	while read -r package command reason; do
		case $command in
		-)
			case $package in
			libelf-dev) pkg-config --exists libelf 2>/dev/null && continue ;;
			zlib1g-dev) pkg-config --exists zlib 2>/dev/null && continue ;;
			*) continue ;;
			esac
			;;
		*) command -v "$command" >/dev/null && continue ;;
		esac
		say "$package is needed: $reason"
		missing=1
	done <<EOF
$(packages)
EOF
	if [ -n "$missing" ]; then
		say "there is no apt-get: install what corresponds to these Debian packages, then run make again"
		exit 1
	fi
}

# "package reason" for each package that is not installed, in any version.
missing_packages() {
	# shellcheck disable=SC2046 # names are words
	installed=$(dpkg-query --show --showformat '${Package}/${db:Status-Status}\n' \
		$(packages | cut -d ' ' -f 1) 2>/dev/null) || true
	packages | while read -r package _ reason; do
		case "
$installed
" in
		*"
$package/installed
"*) ;;
		*) echo "$package $reason" ;;
		esac
	done
}

install_packages() {
	names=
	while read -r package reason; do
		say "installing $package: $reason"
		names="$names $package"
	done <<EOF
$1
EOF
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			say "needs root, and there is no sudo; as root: apt-get install --no-install-recommends$names"
			exit 1
		}
		sudo=sudo
	fi
	# Another apt-get may hold the lock, as on a machine that was just started.
	apt() {
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
	}
	apt update
	# shellcheck disable=SC2086 # names are words
	apt install -y --no-install-recommends $names
}

case $group in
run | test | lint | fuzz | vm) ;;
*)
	say "usage: deps.sh [run|test|lint|fuzz|vm]"
	exit 2
	;;
esac

check_rust
if command -v apt-get >/dev/null; then
	missing=$(missing_packages)
	if [ -n "$missing" ]; then
		install_packages "$missing"
	fi
else
	check_tools
fi
