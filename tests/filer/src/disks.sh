set -e
first=/dev/ubda second=/dev/ubdb
[ -b $first ] || first=/dev/vda second=/dev/vdb
# What a machine keeps over a loss of power: the pool, the filer's state, and that of nfsd.
[ -d /sys/fs/btrfs ] || modprobe btrfs
blkid $first >/dev/null || mkfs.btrfs -q $first
blkid $second >/dev/null || mkfs.ext4 -q $second
mkdir -p /srv/pool /var/lib/leister
mountpoint -q /srv/pool || mount $first /srv/pool
mountpoint -q /var/lib/leister || mount $second /var/lib/leister
mkdir -p /var/lib/leister/nfs
mountpoint -q /var/lib/nfs || mount --bind /var/lib/leister/nfs /var/lib/nfs
# Others keep all of /etc; ours is in memory.
for folder in nfs.conf.d exports.d; do
    kept=/var/lib/leister/etc/$folder
    mkdir -p $kept /etc/$folder
    mountpoint -q /etc/$folder || { cp -an /etc/$folder/. $kept/; mount --bind $kept /etc/$folder; }
done
