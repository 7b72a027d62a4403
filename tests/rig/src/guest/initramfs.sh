#!/bin/busybox sh
# The first process under an emulated machine: makes the guest's root over that of the machine outside.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do insmod "/modules/$module"; done </modules/order
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,cache=loose,$options root /lower || poweroff -f
mount -t tmpfs -o mode=755 rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new || poweroff -f
mkdir -p /new/rig
mount -t 9p -o cache=none,$options rig /new/rig || poweroff -f
for each in dev proc sys; do mount -o move /$each /new/$each; done
exec switch_root /new /bin/bash /rig/init
