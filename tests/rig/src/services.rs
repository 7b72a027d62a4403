//! Services that a test of wires needs on a guest, and that are not the product's own to start.

use crate::guest::Guest;
use crate::job::Output;

const NFS_CLIENT: &str = include_str!("services/nfs-client.sh");
const NFS_SERVER: &str = include_str!("services/nfs-server.sh");
const BLOCK_CLIENT: &str = include_str!("services/block-client.sh");

/// A node that mounts NFS: rpcbind, statd, the modules.
pub fn nfs_client(guest: &Guest) -> Output {
    guest.exec(NFS_CLIENT)
}

/// What the kernel's NFS server needs, without an export: rpcbind, statd, nfsdcld, nfsd, mountd, short grace periods.
///
/// # Behavior
/// The root of a guest cannot be exported, and NFSv4 wants to. So nfsd has a root of its own, `/run/nfsroot`: what lies
/// below `pool` (a mount point) is bound there at the same path, and clients see that path in every version.
pub fn nfs_server(guest: &Guest, pool: &str) -> Output {
    guest.exec(&format!("pool={}\n{NFS_SERVER}", crate::guest::quoted(pool)))
}

/// A node that uses iSCSI and NVMe/TCP: the modules, iscsid, and multipathd with this configuration.
pub fn block_client(guest: &Guest, multipath_conf: &str) -> Output {
    if let Err(error) = guest.put("/etc/multipath.conf", multipath_conf) {
        return Output::not_run(&error);
    }
    guest.exec(BLOCK_CLIENT)
}
