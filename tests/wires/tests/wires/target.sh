# Units a and b, as new, and targets that show them by two portals. Wants $initiator, $link0, $link1, $disk_a, $disk_b and
# $sectors (what a unit has).
set -e
# Static tools: dozens of dynamic ones take seconds.
PATH=/run/bb:$PATH
core=/sys/kernel/config/target/core iscsi=/sys/kernel/config/target/iscsi
open=iqn.2026-01.test.rig:open chap=iqn.2026-01.test.rig:chap mutual=iqn.2026-01.test.rig:mutual
split=iqn.2026-01.test.rig:split

unit() { # NAME SERIAL
    mkdir -p $core/iblock_0/$1
    echo "udev_path=/dev/mapper/$1" >$core/iblock_0/$1/control
    echo $2 >$core/iblock_0/$1/wwn/vpd_unit_serial
    echo 1 >$core/iblock_0/$1/enable
}
group() { # IQN NUMBER PORTALS UNIT…
    group=$iscsi/$1/tpgt_$2 n=0
    mkdir -p $group
    for portal in $3; do mkdir -p $group/np/$portal:3260; done
    shift 3
    for name; do
        mkdir $group/lun/lun_$n
        ln -s $core/iblock_0/$name $group/lun/lun_$n/$name
        n=$((n + 1))
    done
}
for_all() {
    echo 0 >$group/attrib/authentication
    echo 1 >$group/attrib/generate_node_acls
    echo 1 >$group/attrib/cache_dynamic_acls
    echo 0 >$group/attrib/demo_mode_write_protect
    echo 1 >$group/enable
}
for_us() { # Unit b, for who knows the secret.
    echo 1 >$group/attrib/authentication
    mkdir -p $group/acls/$initiator/lun_0
    ln -s $group/lun/lun_0 $group/acls/$initiator/lun_0/b
    printf user >$group/acls/$initiator/auth/userid
    echo 1 >$group/enable
}

if [ ! -e /dev/mapper/b ]; then
    /sbin/modprobe -qa dm_mod target_core_mod iscsi_target_mod target_core_iblock || true
    mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
    dmsetup create a --table "0 $sectors linear $disk_a 0"
    dmsetup create b --table "0 $sectors linear $disk_b 0"
fi
# They end with the device.
/usr/bin/dd if=/dev/zero of=/dev/mapper/a bs=1M oflag=direct 2>/dev/null || true
/usr/bin/dd if=/dev/zero of=/dev/mapper/b bs=1M oflag=direct 2>/dev/null || true
read size <$(echo /sys/block/dm-*/dm/name | xargs grep -lx a | sed 's/dm.name$/size/')
if [ $size != $sectors ]; then
    dmsetup load a --table "0 $sectors linear $disk_a 0"
    dmsetup resume a
fi
if [ ! -d $iscsi/$split ]; then
    mkdir -p $iscsi
    unit a rig-unit-a
    unit b rig-unit-b
    group $open 1 "$link0 $link1" a b
    for_all
    group $chap 1 "$link0 $link1" b
    for_us
    group $mutual 1 "$link0 $link1" b
    for_us
    printf storage >$group/acls/$initiator/auth/userid_mutual
    printf secret-of-storage >$group/acls/$initiator/auth/password_mutual
    # Each portal has units of its own: what is one number by both may be two units.
    group $split 1 "$link0" a
    for_all
    group $split 2 "$link1" a
    for_all
fi
printf secret-of-node >$iscsi/$chap/tpgt_1/acls/$initiator/auth/password
printf secret-of-node >$iscsi/$mutual/tpgt_1/acls/$initiator/auth/password
