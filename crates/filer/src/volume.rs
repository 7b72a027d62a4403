//! Volumes and snapshots as callers name and see them, and the record kept on the array itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use model::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{FilerError, Result};

/// What a mutation did: `Changed`, or found everything as asked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Changed(T),
    Unchanged(T),
}

/// A directory tree, or one image file of exact size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub permits: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    /// The name it had at the pool's root, if it was imported.
    pub imported_from: Option<String>,
    /// The directory (file) or image file (block) that holds the data.
    pub path: PathBuf,
    /// Bytes referred to as of the last commit, shared ones included.
    pub used: Bytes,
    /// Bytes that deleting the volume would free.
    pub exclusive: Bytes,
}

/// A read-only snapshot of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotState {
    pub handle: String,
    pub name: String,
    pub created: Timestamp,
    /// The volume's size when it was taken.
    pub size: Bytes,
    pub used: Bytes,
    pub exclusive: Bytes,
    /// The read-only directory that shows it.
    pub path: PathBuf,
}

/// Something at the pool's root that we did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignState {
    pub name: String,
    /// Only subvolumes can be imported.
    pub subvolume: bool,
    pub used: Bytes,
}

/// What a volume's own directory remembers about it, so that a lost store can be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) format: u32,
    pub(crate) handle: String,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) size: Bytes,
    pub(crate) layout: Layout,
    pub(crate) provisioning: Provisioning,
    pub(crate) reserved: bool,
    pub(crate) created: Timestamp,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) source: Option<Source>,
    pub(crate) permits: BTreeSet<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) imported_from: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) size: Bytes,
}

pub(crate) const FORMAT: u32 = 1;
const MIN_SIZE: Bytes = Bytes::mib(1);
const MAX_NAME: usize = 200;

impl<T> Outcome<T> {
    pub fn changed(&self) -> bool {
        matches!(self, Outcome::Changed(_))
    }

    pub fn into_state(self) -> T {
        match self {
            Outcome::Changed(state) | Outcome::Unchanged(state) => state,
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

    pub(crate) fn record(&self, owner: &str, reserved: bool) -> VolumeRecord {
        VolumeRecord {
            format: FORMAT,
            handle: self.handle.clone(),
            owner: owner.to_owned(),
            name: self.name.clone(),
            size: self.size,
            layout: self.layout,
            provisioning: self.provisioning,
            reserved,
            created: Timestamp::now(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            source: self.source.clone(),
            permits: BTreeSet::new(),
            labels: self.labels.clone(),
            imported_from: None,
        }
    }
}

impl VolumeRecord {
    /// The first property in which the existing volume is not the one asked for.
    pub(crate) fn differs_from(&self, wanted: &CreateVolume) -> Option<String> {
        let differs = |what: &str, has: String, asked: String| {
            (has != asked).then(|| format!("{what} is {has}, {asked} was asked for"))
        };
        differs("its name", self.name.clone(), wanted.name.clone())
            .or_else(|| differs("its size", self.size.to_string(), wanted.size.to_string()))
            .or_else(|| differs("its layout", format!("{:?}", self.layout), format!("{:?}", wanted.layout)))
            .or_else(|| {
                differs(
                    "its provisioning",
                    format!("{:?}", self.provisioning),
                    format!("{:?}", wanted.provisioning),
                )
            })
            .or_else(|| differs("its source", format!("{:?}", self.source), format!("{:?}", wanted.source)))
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
