# Folders below /srv/v and units in memory, as new, on two portals. Wants $link0, $link1 and $count.
set -e
PATH=/run/bb:$PATH
core=/sys/kernel/config/target/core/fileio_0
group=/sys/kernel/config/target/iscsi/iqn.2026-01.test.rig:many/tpgt_1
/sbin/modprobe -qa target_core_file || true
n=0
while [ $n -lt $count ]; do
    mkdir -p /srv/v/n$n
    chmod 777 /srv/v/n$n
    if [ ! -d $group/lun/lun_$n ]; then
        mkdir -p $core/many$n $group/lun/lun_$n
        echo "fd_dev_name=/run/many$n,fd_dev_size=6291456,fd_buffered_io=1" >$core/many$n/control
        # Of a serial number only the hexadecimal digits make the name by which multipathd knows a unit.
        printf unit-%02df1 $n >$core/many$n/wwn/vpd_unit_serial
        echo 1 >$core/many$n/enable
        ln -s $core/many$n $group/lun/lun_$n/many$n
    fi
    dd if=/dev/zero of=/run/many$n bs=1M count=6 conv=notrunc 2>/dev/null
    n=$((n + 1))
done
if [ ! -d $group/np/$link1:3260 ]; then
    mkdir -p $group/np/$link0:3260 $group/np/$link1:3260
    echo 0 >$group/attrib/authentication
    echo 1 >$group/attrib/generate_node_acls
    echo 1 >$group/attrib/cache_dynamic_acls
    echo 0 >$group/attrib/demo_mode_write_protect
    echo 1 >$group/enable
fi
