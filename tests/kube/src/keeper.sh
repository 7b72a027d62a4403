# The first process of a cluster's namespaces. Sets them up, waits until nobody holds the other end of its input, then
# ends everything in them and removes the cluster's folder.
set -eu
folder=$1 cgroup=$2
trap '' HUP INT TERM
mount --make-rslave /
# What a pod mounts for the node is seen by all here, as on any node, and by nobody outside.
mount --make-rshared /
mount -t proc proc /proc
# Mounts of others would be kept busy.
cut -d ' ' -f 5 /proc/self/mountinfo | tac | while read -r target; do
    case $target in
    "$folder"/*) ;;
    "${folder%/*}"/*) umount --lazy "$target" || true ;;
    esac
done
# What the programs keep at fixed places.
for place in /run /var/lib /var/log; do mount -t tmpfs "cluster" "$place"; done
mkdir -p /run/lock
# What a kubelet writes to the kernel's settings stays here.
mkdir -p "$folder/settings"
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    file=$folder/settings/${setting//\//.}
    cat "/proc/sys/$setting" >"$file"
    mount --bind "$file" "/proc/sys/$setting"
done
# A node wants an address that is not the loopback's.
ip link set lo up
ip link add k0 type bridge
ip address add 10.99.0.1/24 dev k0
ip link set k0 up
ip route add default via 10.99.0.254 dev k0
hierarchies() { for at in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -e "$at/cgroup.procs" ] || echo "$at"; done; }
for at in $(hierarchies); do
    mkdir "$at/$cgroup"
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$at/cpuset.effective_cpus" ] || cat "$at/$file" >"$at/$cgroup/$file"
    done
done
echo ready
exec >/dev/null
while read -r _; do :; done
set +e
for try in $(seq 100); do
    kill -KILL -1 2>/dev/null
    wait
    set -- /proc/[0-9]*
    [ $# -gt 1 ] || break
    sleep 0.1
done
# A volume's device lies on the pool, and the pool on a device: each is let go before what it lies on. What is busy in
# the last round goes when its last user does; only then may a device not be found by its file any more.
for how in -n -n -l; do
    cut -d ' ' -f 5 /proc/self/mountinfo | tac | while read -r target; do
        case $target in "$folder"/* | /run/* | /var/lib/* | /var/log/*) umount "$how" "$target" ;; esac
    done
    for device in /sys/block/loop*; do
        case $(cat "$device/loop/backing_file" 2>/dev/null) in
        "$folder"/*) losetup --detach "/dev/${device##*/}" ;;
        esac
    done
done
for at in $(hierarchies); do find "$at/$cgroup" -depth -type d -exec rmdir {} \; ; done
rm -rf "$folder"
