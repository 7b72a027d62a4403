# Ten units of one target, ten namespaces of one subsystem, twelve folders. Wants $host, $link0 and $link1.
set -e
mkdir -p /srv
blkid /dev/vda >/dev/null || mkfs.ext4 -q /dev/vda
mountpoint -q /srv || mount /dev/vda /srv
for n in 0 1 2 3 4 5 6 7 8 9 10 11; do
    mkdir -p /srv/n$n
    chmod 777 /srv/n$n
done
modprobe -a dm_mod target_core_mod iscsi_target_mod target_core_iblock nvmet nvmet-tcp
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
core=/sys/kernel/config/target/core/iblock_1 nvmet=/sys/kernel/config/nvmet
iscsi=/sys/kernel/config/target/iscsi
group=$iscsi/iqn.2026-01.test.rig:many/tpgt_1 subsystem=$nvmet/subsystems/nqn.2026-01.test.rig:many

mkdir -p $iscsi $group/np/$link0:3260 $group/np/$link1:3260 $subsystem
for n in 0 1 2 3 4 5 6 7 8 9; do
    dmsetup create i$n --table "0 16384 linear /dev/vdb $((n * 16384))"
    dmsetup create n$n --table "0 16384 linear /dev/vdc $((n * 16384))"
    mkdir -p $core/i$n $group/lun/lun_$n $subsystem/namespaces/$((n + 1))
    echo udev_path=/dev/mapper/i$n >$core/i$n/control
    echo many-$n >$core/i$n/wwn/vpd_unit_serial
    echo 1 >$core/i$n/enable
    ln -s $core/i$n $group/lun/lun_$n/i$n
    echo /dev/mapper/n$n >$subsystem/namespaces/$((n + 1))/device_path
    echo dddddddd-0000-0000-0000-00000000000$n >$subsystem/namespaces/$((n + 1))/device_nguid
    echo 1 >$subsystem/namespaces/$((n + 1))/enable
done
echo 0 >$group/attrib/authentication
echo 1 >$group/attrib/generate_node_acls
echo 1 >$group/attrib/cache_dynamic_acls
echo 0 >$group/attrib/demo_mode_write_protect
echo 1 >$group/enable
ln -s $nvmet/hosts/$host $subsystem/allowed_hosts/$host
ln -s $subsystem $nvmet/ports/1/subsystems/many
ln -s $subsystem $nvmet/ports/2/subsystems/many
