//! Block devices as the kernel shows them in sysfs, found and told apart by what they say of themselves.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::{Bytes, VolumeId};
use rustix::fs::OFlags;

use super::Device;
use crate::error::{Doing, HostError, Result};

/// A whole block device by its kernel name, and how to see that it is still what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) volume: VolumeId,
    pub(crate) name: String,
    pub(crate) proof: Proof,
}

/// What each look at a device proves anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Every SCSI path below has this serial number.
    Serial(String),
    /// The namespace has this NGUID or UUID, under this name in sysfs.
    Namespace { attribute: &'static str, id: String },
    /// Device-mapper has this UUID for it.
    Mapped(String),
}

const SECTOR: u64 = 512;

impl Block {
    pub(crate) fn sysfs(&self) -> PathBuf {
        sysfs(&self.name)
    }

    /// SCSI devices below, through device-mapper.
    pub(crate) fn paths(&self) -> Vec<String> {
        paths(&self.name)
    }

    /// Sees that the device is the volume.
    ///
    /// # Errors
    /// `Refused` with what it says instead.
    pub(crate) fn prove(&self) -> Result<()> {
        let refused =
            |reason| HostError::Refused { volume: self.volume.clone(), device: self.path(), reason };
        match &self.proof {
            Proof::Serial(wanted) => {
                let paths = self.paths();
                if paths.is_empty() {
                    return Err(refused("it has no path left".to_owned()));
                }
                for path in paths {
                    let found = serial(&path).map_err(|e| {
                        refused(format!("the serial number of its path {path} cannot be read ({e})"))
                    })?;
                    if found != *wanted {
                        return Err(refused(format!(
                            "its path {path} has the serial number `{found}` and the volume `{wanted}`: it is \
                             another volume's; remove the stale device, or correct the map on the storage"
                        )));
                    }
                }
                Ok(())
            }
            Proof::Namespace { attribute, id } => {
                let found = attribute_of(&self.name, attribute).unwrap_or_default();
                if same_id(&found, id) {
                    return Ok(());
                }
                Err(refused(format!("its {attribute} is `{found}` and the volume's `{id}`")))
            }
            Proof::Mapped(uuid) => {
                let found = attribute_of(&self.name, "dm/uuid").unwrap_or_default();
                if found == *uuid {
                    return Ok(());
                }
                Err(refused(format!("it is the mapped device `{found}` instead of `{uuid}`")))
            }
        }
    }

    /// Sees that device and kernel agree on the size that the record has.
    pub(crate) fn match_size(&self, wanted: Bytes) -> Result<()> {
        let found = self.size()?;
        if found == wanted {
            return Ok(());
        }
        Err(HostError::Size { volume: self.volume.clone(), wanted, found, at: self.path() })
    }
}

impl Device for Block {
    fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    fn size(&self) -> Result<Bytes> {
        let file = self.sysfs().join("size");
        let doing = || format!("read the size of {}", self.path().display());
        let sectors = fs::read_to_string(&file).doing(doing)?;
        let sectors: u64 = sectors.trim().parse().map_err(io::Error::other).doing(doing)?;
        Ok(Bytes::new(sectors.saturating_mul(SECTOR)))
    }

    fn open(&self, write: bool) -> Result<File> {
        let doing = || format!("open {}", self.path().display());
        let file = OpenOptions::new().read(true).write(write).open(self.path()).doing(doing)?;
        self.check_number(&file)?;
        self.prove()?;
        Ok(file)
    }

    fn open_alone(&self) -> Result<Option<File>> {
        let flags = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        match OpenOptions::new().read(true).custom_flags(flags).open(self.path()) {
            Ok(file) => {
                self.check_number(&file)?;
                self.prove()?;
                Ok(Some(file))
            }
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(None),
            Err(e) => Err(e).doing(|| format!("open {}", self.path().display())),
        }
    }
}

impl Block {
    /// The node in /dev may be older than the device.
    fn check_number(&self, file: &File) -> Result<()> {
        let opened = file.metadata().doing(|| format!("look at {}", self.path().display()))?.rdev();
        let (major, minor) = (rustix::fs::major(opened), rustix::fs::minor(opened));
        if attribute_of(&self.name, "dev").as_deref() == Some(&format!("{major}:{minor}")) {
            return Ok(());
        }
        Err(HostError::Refused {
            volume: self.volume.clone(),
            device: self.path(),
            reason: format!("it leads to device {major}:{minor}, which is not {}", self.name),
        })
    }
}

pub(crate) fn sysfs(name: &str) -> PathBuf {
    Path::new("/sys/class/block").join(name)
}

pub(crate) fn attribute_of(name: &str, attribute: &str) -> Option<String> {
    fs::read_to_string(sysfs(name).join(attribute)).ok().map(|t| t.trim().to_owned())
}

/// What a device is built on, one level down.
pub(crate) fn slaves(name: &str) -> Vec<String> {
    list(&sysfs(name).join("slaves"))
}

/// What is built on a device, one level up.
pub(crate) fn holders(name: &str) -> Vec<String> {
    list(&sysfs(name).join("holders"))
}

pub(crate) fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The serial number of a SCSI device as it says now: the kernel reads its pages anew at a rescan.
///
/// # Source
/// SPC-4, 7.8.14 (unit serial number page): four bytes of header, then the number.
pub(crate) fn serial(name: &str) -> io::Result<String> {
    let device = sysfs(name).join("device");
    fs::write(device.join("rescan"), "1")?;
    let page = fs::read(device.join("vpd_pg80"))?;
    let text = page.get(4..).ok_or_else(|| io::Error::other("its page 80h is too short"))?;
    Ok(String::from_utf8_lossy(text).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// Sysfs shows hyphens where an API may not.
pub(crate) fn same_id(one: &str, other: &str) -> bool {
    let plain = |id: &str| id.replace('-', "").to_ascii_lowercase();
    !plain(one).is_empty() && plain(one) == plain(other)
}

fn paths(name: &str) -> Vec<String> {
    let below = slaves(name);
    if below.is_empty() && !name.starts_with("dm-") {
        return vec![name.to_owned()];
    }
    below.iter().flat_map(|n| paths(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_however_it_is_written_and_none_is_not() {
        assert!(same_id("A0B1-c2", "a0b1c2") && !same_id("", "") && !same_id("a", "b"));
    }
}
