set -e
for module in sd_mod iscsi_tcp dm_mod dm_multipath dm_round_robin dm_service_time scsi_dh_alua nvme-tcp; do
    # User-mode Linux has no ALUA and no NVMe; built-in ones have no file.
    modprobe -q $module || true
done
[ -d /sys/class/iscsi_transport/tcp ] || modprobe iscsi_tcp
pidof iscsid >/dev/null || iscsid
pidof multipathd >/dev/null || multipathd
for _ in $(seq 200); do
    multipathd show daemon >/dev/null 2>&1 && exit 0
    /run/bb/sleep 0.1
done
echo "multipathd does not answer" >&2
exit 1
