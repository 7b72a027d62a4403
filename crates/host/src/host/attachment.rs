//! How a volume is wanted on a node, and what it then is there.

use std::path::PathBuf;

use model::{Bytes, Filesystem};

use crate::encryption::Passphrases;

/// How a volume shall be attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// For a route to a device: what lies or shall lie on it; `None` is the raw device. Directories ignore it.
    pub filesystem: Option<Filesystem>,
    /// What the record says. A device of any other size is refused; directories ignore it.
    pub size: Bytes,
    pub read_only: bool,
    pub mount_options: Vec<String>,
    /// Further arguments for mkfs.
    pub format_options: Vec<String>,
    /// Mode of the volume's root, set while `staged_before` is false and never after.
    pub permissions: Option<u32>,
    /// Whether the volume's record says that an attach has succeeded before. Must be recorded before the volume
    /// is given to a user: it is one of the three proofs that a device may be formatted.
    pub staged_before: bool,
    /// A clone or an import, whose first attach finds a filesystem.
    pub may_hold_data: bool,
    /// For a device whose content is encrypted on this node, by LUKS2.
    pub encryption: Option<Passphrases>,
}

/// What a volume is on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Mounted at `path`; `formatted` says that its filesystem was made by this very call.
    Directory {
        path: PathBuf,
        formatted: bool,
    },
    Device {
        path: PathBuf,
    },
}

/// Space of a mounted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub total: Bytes,
    pub used: Bytes,
    /// What an ordinary user can still write.
    pub available: Bytes,
    pub inodes: u64,
    pub inodes_used: u64,
}
