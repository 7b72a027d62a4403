# Makes the root of the image: what a node runs to mount NFS, to reach iSCSI and NVMe units, and to make and grow file
# systems, from Debian's archive. The first word is the archive to write.
set -eu
# Not there: what no tool here needs (Python, Perl's library, hardware names), and what tells one machine from another.
exec mmdebstrap --quiet --variant=essential \
    --include=btrfs-progs,ca-certificates,cryptsetup-bin,e2fsprogs,kmod,mount,multipath-tools,nfs-common \
    --include=nvme-cli,open-iscsi,util-linux,xfsprogs \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='cd "$1" && rm -rf usr/bin/python3* usr/lib/python3* usr/share/python3 \
        usr/lib/x86_64-linux-gnu/perl usr/share/perl usr/sbin/xfs_scrub* usr/lib/x86_64-linux-gnu/libicu* \
        usr/lib/udev/hwdb* usr/lib/x86_64-linux-gnu/gconv usr/share/zoneinfo var/cache/* var/lib/apt/lists/*' \
    --customize-hook='cd "$1" && rm -f etc/iscsi/initiatorname.iscsi etc/nvme/hostid etc/nvme/hostnqn etc/machine-id \
        etc/hostname etc/resolv.conf && rm -rf etc/ssh var/log/*' \
    --customize-hook='cd "$1" && mkdir -p host/etc && rm -rf etc/multipath && \
        ln -s /host/etc/multipath.conf /host/etc/multipath etc/' \
    bookworm "$1"
