set -e
# Static tools: half a dozen dynamic ones cost a second.
PATH=/run/bb:$PATH
/sbin/modprobe nfsd
root=/run/nfsroot
mkdir -p $root
mountpoint -q $root || mount -t tmpfs nfsroot $root
mkdir -p "$root$pool"
mountpoint -q "$root$pool" || mount --bind "$pool" "$root$pool"
printf '[exports]\nrootdir=%s\n' $root >/etc/nfs.conf.d/rig.conf
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /var/lib/nfs/{sm,sm.bak,rpc_pipefs,v4recovery,nfsdcld}
: >/var/lib/nfs/etab
: >/var/lib/nfs/rmtab
pidof rpcbind >/dev/null || rpcbind -w
pidof rpc.statd >/dev/null || rpc.statd --no-notify
mountpoint -q /var/lib/nfs/rpc_pipefs || mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
pidof nfsdcld >/dev/null || nfsdcld -p /var/lib/nfs/rpc_pipefs
rpc.nfsd --grace-time 10 --lease-time 10 4
pidof rpc.mountd >/dev/null || rpc.mountd
# Nobody has a claim from before a first start.
echo Y >/proc/fs/lockd/nlm_end_grace || true
echo Y >/proc/fs/nfsd/v4_end_grace || true
