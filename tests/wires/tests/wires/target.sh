# A target of two units on two portals, one that asks for CHAP, and one that answers to it, too. Wants $initiator, $link0, $link1, $disk_a and $disk_b.
set -e
[ ! -d /sys/kernel/config/target/iscsi/iqn.2026-01.test.rig:chap ] || exit 0
modprobe -qa dm_mod target_core_mod iscsi_target_mod target_core_iblock || true
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
core=/sys/kernel/config/target/core iscsi=/sys/kernel/config/target/iscsi

unit() { # NAME DISK SERIAL
    dmsetup create $1 --table "0 131072 linear $2 0"
    mkdir -p $core/iblock_0/$1
    echo "udev_path=/dev/mapper/$1" >$core/iblock_0/$1/control
    echo $3 >$core/iblock_0/$1/wwn/vpd_unit_serial
    echo 1 >$core/iblock_0/$1/enable
}
target() { # IQN UNIT…
    group=$iscsi/$1/tpgt_1 n=0
    mkdir -p $group/np/$link0:3260 $group/np/$link1:3260
    shift
    for name; do
        mkdir $group/lun/lun_$n
        ln -s $core/iblock_0/$name $group/lun/lun_$n/$name
        n=$((n + 1))
    done
}
unit a $disk_a rig-unit-a
unit b $disk_b rig-unit-b
mkdir -p $iscsi
target iqn.2026-01.test.rig:open a b
echo 0 >$group/attrib/authentication
echo 1 >$group/attrib/generate_node_acls
echo 1 >$group/attrib/cache_dynamic_acls
echo 0 >$group/attrib/demo_mode_write_protect
echo 1 >$group/enable
target iqn.2026-01.test.rig:chap b
echo 1 >$group/attrib/authentication
mkdir -p $group/acls/$initiator/lun_0
ln -s $group/lun/lun_0 $group/acls/$initiator/lun_0/b
printf user >$group/acls/$initiator/auth/userid
printf secret-of-node >$group/acls/$initiator/auth/password
echo 1 >$group/enable
target iqn.2026-01.test.rig:mutual b
echo 1 >$group/attrib/authentication
mkdir -p $group/acls/$initiator/lun_0
ln -s $group/lun/lun_0 $group/acls/$initiator/lun_0/b
printf user >$group/acls/$initiator/auth/userid
printf secret-of-node >$group/acls/$initiator/auth/password
printf storage >$group/acls/$initiator/auth/userid_mutual
printf secret-of-storage >$group/acls/$initiator/auth/password_mutual
echo 1 >$group/enable
