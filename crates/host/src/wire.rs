//! What leads to storage over a network: NFS, iSCSI, NVMe over TCP.

pub(crate) mod iscsi;
pub(crate) mod multipath;
pub(crate) mod nfs;
pub(crate) mod nvme;
mod portal;
