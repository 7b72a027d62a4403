//! Image files, and how to tell one from another.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use model::{Bytes, VolumeId};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, HostError, Result};

/// An image file, held open so that its identity cannot change under way.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) identity: Identity,
}

/// What makes a file itself, wherever its name moves. The time of birth tells it from a later file that got the
/// same number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since 1970, where the filesystem keeps it.
    pub(crate) born: Option<u64>,
}

impl Image {
    pub(crate) fn open(volume: &VolumeId, path: &Path, read_only: bool) -> Result<Image> {
        let opened = OpenOptions::new().read(true).write(!read_only).open(path);
        let file = match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(HostError::Missing {
                    volume: volume.clone(),
                    problem: format!(
                        "its image {} is gone; bring it back, or forget the volume if that was meant",
                        path.display()
                    ),
                });
            }
            opened => opened.doing(|| format!("open the image {}", path.display()))?,
        };
        let metadata = file.metadata().doing(|| format!("look at the image {}", path.display()))?;
        if !metadata.is_file() {
            return Err(HostError::Invalid {
                what: "image",
                value: path.display().to_string(),
                problem: "is not a regular file".to_owned(),
            });
        }
        let born = metadata.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|d| u64::try_from(d.as_nanos()).ok());
        let identity = Identity { device: metadata.dev(), inode: metadata.ino(), born };
        Ok(Image { path: path.to_owned(), file, identity })
    }

    pub(crate) fn size(&self) -> Result<Bytes> {
        let metadata = self.file.metadata().doing(|| format!("look at the image {}", self.path.display()))?;
        Ok(Bytes::new(metadata.len()))
    }
}
