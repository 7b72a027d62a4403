//! A block device of either kind, as what lies on it needs it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::image::{Identity, Image};
use super::r#loop::{Loop, SECTOR};
use crate::error::{Doing, Result};

#[derive(Debug)]
pub(crate) enum Block {
    /// An image behind a loop device.
    Image { device: Loop, image: Image },
    /// A unit of an array; `name` is the kernel's (`sdb`, `dm-2`).
    Unit { name: String, serial: String },
    /// The content of an encrypted one, decrypted; `name` is the kernel's, `uuid` its header's.
    Decrypted { name: String, uuid: String, below: Arc<Block> },
}

/// What makes a device itself, whatever the kernel calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Subject {
    Image(Identity),
    Unit { serial: String },
}

impl Block {
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Block::Image { device, .. } => device.path(),
            Block::Unit { name, .. } | Block::Decrypted { name, .. } => Path::new("/dev").join(name),
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        match self {
            Block::Image { image, .. } => Subject::Image(image.identity.clone()),
            Block::Unit { serial, .. } => Subject::Unit { serial: serial.clone() },
            Block::Decrypted { below, .. } => below.subject(),
        }
    }

    pub(crate) fn size(&self) -> Result<Bytes> {
        match self {
            Block::Image { device, .. } => device.size(),
            Block::Unit { name, .. } | Block::Decrypted { name, .. } => size(name),
        }
    }

    /// The UUID of the header behind which this lies, where it is encrypted.
    pub(crate) fn luks(&self) -> Option<&str> {
        match self {
            Block::Decrypted { uuid, .. } => Some(uuid),
            Block::Image { .. } | Block::Unit { .. } => None,
        }
    }

    /// Opens the device for reading.
    pub(crate) fn open(&self) -> Result<File> {
        let path = self.path();
        File::open(&path).doing(|| format!("open {}", path.display()))
    }

    /// The file whose allocated bytes are all there is on the device.
    pub(crate) fn image(&self) -> Option<&File> {
        match self {
            Block::Image { image, .. } => Some(&image.file),
            Block::Unit { .. } | Block::Decrypted { .. } => None,
        }
    }

    /// Opens the device alone: `None` while a filesystem or another device sits on it, in whatever namespace.
    pub(crate) fn open_alone(&self) -> Result<Option<File>> {
        match self {
            Block::Image { device, .. } => device.open_alone(),
            Block::Unit { .. } | Block::Decrypted { .. } => open_alone(&self.path()),
        }
    }
}

/// The size that the kernel gives a device.
pub(crate) fn size(name: &str) -> Result<Bytes> {
    let path = Path::new("/sys/class/block").join(name).join("size");
    let doing = || format!("read {}", path.display());
    let text = std::fs::read_to_string(&path).doing(doing)?;
    let sectors: u64 = text.trim().parse().map_err(io::Error::other).doing(doing)?;
    Ok(Bytes::new(sectors * SECTOR))
}

pub(crate) fn open_alone(path: &Path) -> Result<Option<File>> {
    let flags = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => Ok(None),
        opened => Ok(Some(opened.doing(|| format!("open {} alone", path.display()))?)),
    }
}
