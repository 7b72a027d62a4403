set -e
modprobe -a nfs nfsv3 nfsv4
pidof rpcbind >/dev/null || rpcbind -w
pidof rpc.statd >/dev/null || rpc.statd --no-notify
