# A subsystem of two namespaces on two ports, for one host. Wants $host, $link0, $link1, $disk_a and $disk_b.
set -e
nvmet=/sys/kernel/config/nvmet
[ ! -d $nvmet/subsystems/nqn.2026-01.test.rig:s ] || exit 0
modprobe -a dm_mod nvmet nvmet-tcp
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config

port() { # NUMBER ADDRESS
    mkdir $nvmet/ports/$1
    echo tcp >$nvmet/ports/$1/addr_trtype
    echo ipv4 >$nvmet/ports/$1/addr_adrfam
    echo $2 >$nvmet/ports/$1/addr_traddr
    echo 4420 >$nvmet/ports/$1/addr_trsvcid
}
namespace() { # NUMBER NAME DISK NGUID
    dmsetup create $2 --table "0 131072 linear $3 0"
    mkdir $subsystem/namespaces/$1
    echo /dev/mapper/$2 >$subsystem/namespaces/$1/device_path
    echo $4 >$subsystem/namespaces/$1/device_nguid
    echo 1 >$subsystem/namespaces/$1/enable
}
port 1 $link0
port 2 $link1
mkdir $nvmet/hosts/$host
subsystem=$nvmet/subsystems/nqn.2026-01.test.rig:s
mkdir $subsystem
namespace 1 na $disk_a aaaaaaaa-0000-0000-0000-000000000001
namespace 2 nb $disk_b bbbbbbbb-0000-0000-0000-000000000002
ln -s $nvmet/hosts/$host $subsystem/allowed_hosts/$host
ln -s $subsystem $nvmet/ports/1/subsystems/s
ln -s $subsystem $nvmet/ports/2/subsystems/s
