#!/usr/bin/busybox sh
# Process 1 of the guest: mounts what probes need, runs /payload/command, and reports its exit code
# on another serial port than its output; the kernel's command line names both.
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8 RUST_BACKTRACE=1

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname guest

cd /payload
sh /payload/command < /dev/null > "/dev/$output" 2>&1
code=$?
# The console is read by a program that stops at the exit code.
sync
echo "exit $code" > "/dev/$report"
poweroff -f
