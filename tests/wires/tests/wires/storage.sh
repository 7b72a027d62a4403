# The storage side, by configfs alone: independent of what the product does. Sets up $DISK (64 MiB slices of files).
set -e
disk=$(ls /dev/vda /dev/ubda 2>/dev/null | head -1)
mkdir -p /srv/pool
modprobe -a btrfs target_core_mod iscsi_target_mod target_core_file || true
modprobe -a nvmet nvmet-tcp 2>/dev/null || true
mkfs.ext4 -q $disk
mount $disk /srv/pool
mkdir -p /srv/pool/share /srv/pool/units
echo hello >/srv/pool/share/greeting
C=/sys/kernel/config/target
for n in 0 1 2 3 4 5 6 7; do
    truncate -s 320M /srv/pool/units/$n
    mkdir -p $C/core/fileio_$n/u$n
    echo "fd_dev_name=/srv/pool/units/$n,fd_dev_size=$((320 << 20))" >$C/core/fileio_$n/u$n/control
    echo unit-$n >$C/core/fileio_$n/u$n/wwn/vpd_unit_serial
    echo 1 >$C/core/fileio_$n/u$n/enable
done
ip() { echo "10.77.$1.$RIG_NUMBER"; }
target() { # name, units
    T=$C/iscsi/$1/tpgt_1
    mkdir -p $T/np/$(ip 0):3260 $T/np/$(ip 1):3260
    for n in $2; do
        mkdir -p $T/lun/lun_$n
        ln -s $C/core/fileio_$n/u$n $T/lun/lun_$n/u$n
    done
    echo 0 >$T/attrib/authentication; echo 1 >$T/attrib/generate_node_acls
    echo 1 >$T/attrib/cache_dynamic_acls; echo 0 >$T/attrib/demo_mode_write_protect
    echo 1 >$T/enable
}
mkdir -p $C/iscsi
target iqn.2024-01.test.wires:t1 "0 1 2 3 4 5 6 7"
