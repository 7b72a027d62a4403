//! Volumes and snapshots as callers name and see them, and the record kept on the array itself.

mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Bytes, Permit};
use serde::{Deserialize, Serialize};

use crate::error::{FilerError, Result};
pub(crate) use record::{FORMAT, SnapshotRecord, VolumeRecord, safer};

/// What a mutation did: `Changed`, or found everything as asked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Changed(T),
    Unchanged(T),
}

/// A directory tree, or a disk of exact size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    File,
    Block,
}

/// Thin space is shared and taken when written; thick space is set aside at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    Thin,
    Thick,
}

/// What a clone is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Volume { handle: String },
    Snapshot { handle: String, name: String },
}

/// A volume that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateVolume {
    /// Letters, digits, `_`, `-`, `.`; at most 200 bytes, not starting with a dot.
    pub handle: String,
    /// The name people gave it.
    pub name: String,
    pub size: Bytes,
    pub layout: Layout,
    pub provisioning: Provisioning,
    /// Permission bits of a file volume's root; without it 0755, or as in the source.
    pub mode: Option<u32>,
    /// Owner of a file volume's root; without it root, or as in the source.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub source: Option<Source>,
    pub labels: BTreeMap<String, String>,
}

/// What changes of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyVolume {
    /// Permission bits of a file volume's root.
    pub mode: Option<u32>,
    /// Added to those it has, or in their place.
    pub labels: BTreeMap<String, String>,
}

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeState {
    pub handle: String,
    /// The instance that made it. Only that instance may change it.
    pub owner: String,
    pub name: String,
    pub size: Bytes,
    pub layout: Layout,
    pub provisioning: Provisioning,
    /// Whether its whole size is set aside: thick volumes, thin clones of those, imports.
    pub reserved: bool,
    pub created: Timestamp,
    pub source: Option<Source>,
    /// By node name, one for each.
    pub permits: Vec<Permit>,
    /// Whether it was ever put to use; `None` for what an earlier release made, which did not keep that.
    pub staged: Option<bool>,
    pub labels: BTreeMap<String, String>,
    /// The name it had at the pool's root, if it was imported.
    pub imported_from: Option<String>,
    #[serde(skip, default = "Served::elsewhere")]
    pub served: Served,
    /// Bytes referred to as of the last commit, shared ones included.
    pub used: Bytes,
    /// Bytes that deleting the volume would free.
    pub exclusive: Bytes,
}

/// Where the bytes of a volume are, on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// A file volume's root; where the pool shows them, its snapshots are at `snapshots`, each under its name.
    Directory { path: PathBuf, snapshots: Option<PathBuf> },
    /// A file as long as the volume.
    Image { path: PathBuf },
    /// A block device as long as the volume.
    Device { path: PathBuf },
}

/// A volume that is not what its record should say: shown, and never touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its name on the pool.
    pub handle: String,
    /// What is wrong with it, and the way out.
    pub problem: String,
}

/// A read-only snapshot of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotState {
    pub handle: String,
    pub name: String,
    pub created: Timestamp,
    /// The volume's size when it was taken.
    pub size: Bytes,
    pub used: Bytes,
    pub exclusive: Bytes,
    /// As its volume's, read-only; a device is there only while it is active.
    #[serde(skip, default = "Served::elsewhere")]
    pub served: Served,
}

/// Something at the pool's root that we did not make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignState {
    pub name: String,
    /// Only subvolumes can be imported.
    pub subvolume: bool,
    pub used: Bytes,
}

pub(crate) const MIN_SIZE: Bytes = Bytes::mib(1);
/// Disks are whole pages long.
pub(crate) const GRANULARITY: Bytes = Bytes::kib(4);
const MAX_NAME: usize = 200;

impl<T> Outcome<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Changed(state) => Outcome::Changed(change(state)),
            Outcome::Unchanged(state) => Outcome::Unchanged(change(state)),
        }
    }

    pub fn changed(&self) -> bool {
        matches!(self, Outcome::Changed(_))
    }

    pub fn into_state(self) -> T {
        match self {
            Outcome::Changed(state) | Outcome::Unchanged(state) => state,
        }
    }
}

impl Served {
    /// Of a volume on another machine: nothing that can be opened here.
    fn elsewhere() -> Served {
        Served::Image { path: PathBuf::new() }
    }

    pub fn path(&self) -> &Path {
        match self {
            Served::Directory { path, .. } | Served::Image { path } | Served::Device { path } => path,
        }
    }
}

impl CreateVolume {
    /// A file volume, thin, without source, labels or special permissions.
    pub fn new(handle: impl Into<String>, size: Bytes) -> Self {
        let handle = handle.into();
        CreateVolume {
            name: handle.clone(),
            handle,
            size,
            layout: Layout::File,
            provisioning: Provisioning::Thin,
            mode: None,
            uid: None,
            gid: None,
            source: None,
            labels: BTreeMap::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("handle", &self.handle)?;
        if self.size < MIN_SIZE {
            return Err(FilerError::Invalid(format!(
                "volume `{}` is asked for with {}; the smallest size is {MIN_SIZE}",
                self.handle, self.size
            )));
        }
        if self.layout == Layout::Block && !self.size.get().is_multiple_of(4096) {
            return Err(FilerError::Invalid(format!(
                "block volume `{}` is asked for with {} bytes; use a multiple of 4096",
                self.handle,
                self.size.get()
            )));
        }
        Ok(())
    }
}

/// Refuses what could leave its directory or hide in it.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(legal) {
        return Err(FilerError::Invalid(format!(
            "{what} `{}` is not usable; use 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`, not starting with a dot",
            name.escape_debug()
        )));
    }
    Ok(())
}
