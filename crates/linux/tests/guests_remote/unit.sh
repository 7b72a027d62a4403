PATH=/run/bb:$PATH
# The first time, and after the storage has ended it.
session=$(echo /sys/class/iscsi_session/session*)
if [ ! -e "$session/targetname" ]; then
    /sbin/iscsiadm -m node -T $target -p $portal -o new >/dev/null && /sbin/iscsiadm -m node -T $target -p $portal --login >/dev/null || exit 1
    session=$(echo /sys/class/iscsi_session/session*)
fi
place=$(readlink -f $session/device)
host=${place%/session*} host=${host##*/}
disks() { echo $place/target*/*:$lun/block/sd*; }
release() { for d in $place/target*/*:$lun; do [ ! -e $d/delete ] || echo 1 >$d/delete; done; }
release
echo "0 0 $lun" >/sys/class/scsi_host/$host/scan
for _ in $(seq 100); do
    disk=$(disks)
    [ -e "$disk" ] && [ -b /dev/${disk##*/} ] && break
    sleep 0.1
done
[ -e "$disk" ] || { echo "unit $lun does not appear" >&2; exit 1; }
grep -qa $serial $disk/device/vpd_pg80 || { echo "$disk is not $serial" >&2; release; exit 1; }
disk=/dev/${disk##*/}
