#!/bin/sh
# Process 1 of the guest with systemd, until systemd is. A service's mount namespace is made by changing
# the root, which the kernel does not allow with its first one: so the root is put on top of it again.
mount -t devtmpfs devtmpfs /dev
mount --bind / /mnt
cd /mnt && mount --move . / && exec chroot . /lib/systemd/systemd
