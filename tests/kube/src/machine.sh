# containerd and a kubelet in a guest. Its disk has what lasts.
set -e
# A device in a pod is held by a loop device of the kubelet's.
modprobe -a overlay loop
mkdir -p /srv/node /var/lib/kubelet
blkid /dev/ubda >/dev/null || mkfs.ext4 -q /dev/ubda
mountpoint -q /srv/node || mount /dev/ubda /srv/node
mkdir -p /srv/node/containerd /srv/node/kubelet /var/log/pods
mountpoint -q /var/lib/kubelet || mount --bind /srv/node/kubelet /var/lib/kubelet
mount --make-rshared /
# What counts cycles needs a line that this kernel does not write.
grep -q 'cpu MHz' /proc/cpuinfo || {
    { cat /proc/cpuinfo && echo 'cpu MHz		: 1000.000'; } >/run/cpuinfo
    mount --bind /run/cpuinfo /proc/cpuinfo
}
setsid -f containerd --config /etc/kube/containerd.toml </dev/null >>/rig/containerd.log 2>&1
for _ in $(seq 600); do
    ctr --namespace k8s.io version >/dev/null 2>&1 && break
    /run/bb/sleep 0.1
done
ctr --namespace k8s.io images import /etc/kube/images.tar >/dev/null
setsid -f "$kubelet" --config=/etc/kube/kubelet.json --kubeconfig=/etc/kube/kubelet.kubeconfig \
    --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki --hostname-override="$name" \
    --node-ip="$address" --v=2 </dev/null >>/rig/kubelet.log 2>&1
