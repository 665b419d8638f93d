#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the guest: mounts what a machine has, runs run.sh of the disk, and powers off.
export PATH=/bin HOME=/root TERM=dumb
if [ "$1" != moved ]; then
	/bin/busybox --install -s /bin
	# The initial ramfs can neither be left by pivot_root nor be unmounted.
	mkdir /new
	mount -t tmpfs -o mode=755 tmpfs /new
	cp -a /bin /etc /init /new
	exec switch_root /new /init moved
fi
mkdir -p /proc /sys /dev /tmp /payload /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
hostname ringwatch-vm
ip link set lo up
mount -t ext4 /dev/nvme0n1 /payload && {
	echo "VM-START $(uname -r)"
	sh /payload/run.sh
	echo "VM-END rc=$?"
	sync
	umount /payload
}
poweroff -f
