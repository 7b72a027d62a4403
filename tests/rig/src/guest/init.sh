#!/bin/bash
# The first process of a guest, on its root. /rig is the folder shared with the machine outside.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
. /rig/env

# /run/bb has every tool of busybox: a static program starts ten times faster under emulation.
mount() { /bin/busybox mount "$@"; }
mount -t tmpfs -o mode=755 run /run
/bin/busybox mkdir /run/bb
/bin/busybox --install -s /run/bb
full=$PATH
PATH=/run/bb:$PATH

read -r release </proc/sys/kernel/osrelease
mkdir -p "/lib/modules/$release" /run/lock/iscsi /run/lock/lvm /run/rpcbind /run/sendsigs.omit.d
mkdir -p /dev/pts /dev/shm /etc/iscsi /etc/nvme /etc/nfs.conf.d /sys/fs/cgroup
mount -o bind "$RIG_MODULES/$release" "/lib/modules/$release"
/bin/mount --make-rshared /
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -d /sys/kernel/config ] || /sbin/modprobe -q configfs
mount -t configfs configfs /sys/kernel/config
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
rm -f /etc/mtab
ln -s /proc/self/mounts /etc/mtab

uuid=$(printf '00000000-0000-4000-8000-%012x' "$RIG_NUMBER")
echo "$RIG_NAME" >/proc/sys/kernel/hostname
echo "$RIG_NAME" >/etc/hostname
printf '%s' "$RIG_HOSTS" >/etc/hosts
: >/etc/resolv.conf
printf '%032x\n' "$RIG_NUMBER" >/etc/machine-id
echo "InitiatorName=iqn.2024-01.test.rig:$RIG_NAME" >/etc/iscsi/initiatorname.iscsi
echo "nqn.2014-08.org.nvmexpress:uuid:$uuid" >/etc/nvme/hostnqn
echo "$uuid" >/etc/nvme/hostid

# Cards are told apart by their addresses: 52:54:00:77:LINK:NUMBER.
[ -d /proc/sys/net/ipv6 ] || /sbin/modprobe -q ipv6
ip link set lo up
for card in /sys/class/net/*; do
    read -r address <"$card/address"
    case $address in 52:54:00:77:*) ;; *) continue ;; esac
    link=$((16#$(echo "$address" | cut -d: -f5)))
    [ "${card##*/}" = "eth$link" ] || ip link set "${card##*/}" name "eth$link"
    ip addr add "10.77.$link.$RIG_NUMBER/24" dev "eth$link"
    [ -d /proc/sys/net/ipv6 ] && echo 0 >"/proc/sys/net/ipv6/conf/eth$link/accept_dad"
    ip link set "eth$link" up
    [ -d /proc/sys/net/ipv6 ] && ip -6 addr add "fd77:$link::$(printf %x "$RIG_NUMBER")/64" dev "eth$link"
done

PATH=$full
unset -f mount
hash -r
ulimit -n 65536
/lib/systemd/systemd-udevd --daemon 2>/dev/null
udevadm trigger --action=add --subsystem-match=block 2>/dev/null
# From here on the console hears the kernel: it is what remains of a guest that died.
echo 7 >/proc/sys/kernel/printk

case $RIG_BACKEND in
uml) stty -F /dev/ttyS0 raw -echo; exec 3</dev/ttyS0 ;;
*) exec 3</dev/vport0p1 ;;
esac
read -r uptime _ </proc/uptime
echo "$uptime" >/rig/ready

# Lines of "run JOB" and "kill JOB". A job is /rig/JOB.sh; what it says goes into JOB.out and JOB.err, its code into
# JOB.rc when both are with the machine outside. Each has a process group of its own, to be killed by.
declare -A jobs
run() {
    cd /
    (set +m; . "/rig/$1.sh") >"/rig/$1.out" 2>"/rig/$1.err" </dev/null
    code=$?
    # Of a program that it left running the files are still open, and nothing else would flush them.
    /bin/busybox sync "/rig/$1.out" "/rig/$1.err"
    echo "$code" >"/rig/$1.rc"
}
set -m
while :; do
    read -r verb job <&3 || { /bin/busybox sleep 0.1; continue; }
    case $verb in
    run) run "$job" 3<&- & jobs[$job]=$! ;;
    kill) [ -n "${jobs[$job]}" ] && kill -KILL -- "-${jobs[$job]}" ;;
    esac
done
