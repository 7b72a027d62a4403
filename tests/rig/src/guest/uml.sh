#!/bin/busybox sh
# The first process of a user-mode Linux, on the root of the machine outside: makes the guest's own root over it.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
bb=/bin/busybox
$bb mount -t proc proc /proc
read -r cmdline </proc/cmdline
share=${cmdline#* rig=}
share=${share%% *}
. "$share/env"
read -r release </proc/sys/kernel/osrelease
$bb mount -t tmpfs rw /mnt
$bb mkdir /mnt/upper /mnt/work /mnt/new
$bb insmod "$RIG_MODULES/$release/kernel/fs/overlayfs/overlay.ko"
$bb mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/new || $bb poweroff -f
$bb mkdir -p /mnt/new/rig
$bb mount -t hostfs -o "$share" rig /mnt/new/rig || $bb poweroff -f
$bb mount -t proc proc /mnt/new/proc
$bb mount -t sysfs sys /mnt/new/sys
$bb mount -t devtmpfs dev /mnt/new/dev
cd /mnt/new || $bb poweroff -f
$bb mkdir -p mnt/old
$bb pivot_root . mnt/old
exec $bb chroot . /bin/bash /rig/init
