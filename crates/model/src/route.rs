use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// How a node reaches a volume: all that the node's hands need to attach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Route {
    /// The storage is on this very machine.
    Local { source: LocalSource },
    /// An export of an NFS server.
    Nfs(NfsRoute),
    /// A logical unit of an iSCSI target.
    Iscsi(IscsiRoute),
    /// A namespace of an NVMe subsystem, over TCP.
    Nvme(NvmeRoute),
}

/// What a local route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LocalSource {
    /// A directory, to be bind-mounted. `snapshots` is shown read-only at `.snapshot` inside it when set.
    Directory { path: PathBuf, snapshots: Option<PathBuf> },
    /// A file that holds a block device's content, to be attached as a loop device.
    Image { path: PathBuf },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NfsRoute {
    /// A name or an address; IPv6 without brackets.
    pub server: String,
    /// As the server exports it.
    pub path: String,
    /// What the backend's config says (`nfsMountOptions`); those of a class go before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IscsiRoute {
    /// The target's IQN.
    pub target: String,
    /// `address:port`, IPv6 in brackets. All lead to the same target.
    pub portals: Vec<String>,
    pub lun: u16,
    /// The unit's serial number (SPC-4, page 80h of its vital product data): proves that a device is this volume.
    pub serial: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<Chap>,
}

/// How the two ends of an iSCSI session prove who they are.
///
/// # Source
/// RFC 7143, section 12.1.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chap {
    /// The initiator's proof.
    pub initiator: ChapAccount,
    /// The target's, where it must prove itself too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ChapAccount>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChapAccount {
    pub user: String,
    pub secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NvmeRoute {
    /// The subsystem's NQN.
    pub subsystem: String,
    /// `address:port`, IPv6 in brackets. All lead to the same subsystem.
    pub portals: Vec<String>,
    pub namespace: NamespaceId,
}

/// Proves that a device is this volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "id")]
pub enum NamespaceId {
    /// 32 hexadecimal digits.
    Nguid(String),
    /// A UUID in its usual form, in lower case.
    Uuid(String),
}
