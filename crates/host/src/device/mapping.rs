//! Devices of device-mapper over which a volume's content is seen decrypted, as sysfs shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use model::VolumeId;

use super::r#loop::Tag;
use crate::error::Result;

/// An open mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The kernel's name (`dm-2`).
    pub(crate) device: String,
    /// What cryptsetup calls it.
    pub(crate) name: String,
    /// As device-mapper keeps it: the kind, the header's UUID without dashes, the name.
    uuid: String,
    pub(crate) read_only: bool,
}

const DEVICES: &str = "/sys/block";

/// The name of a volume's mapping: the same in every life of this program.
pub(crate) fn name(mounts_root: &Path, volume: &VolumeId) -> String {
    Tag::name(mounts_root, volume)
}

/// The open mapping of that name.
pub(crate) fn find(name: &str) -> Option<Mapping> {
    all().find(|mapping| mapping.name == name)
}

impl Mapping {
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.device)
    }

    /// Whether it was opened by the LUKS header with this UUID.
    pub(crate) fn is_of(&self, uuid: &str) -> bool {
        let plain = uuid.replace('-', "");
        self.uuid.strip_prefix("CRYPT-LUKS2-").is_some_and(|rest| rest.starts_with(&plain))
    }

    /// The kernel's names of the devices below.
    pub(crate) fn below(&self) -> BTreeSet<String> {
        names(&Path::new(DEVICES).join(&self.device).join("slaves")).collect()
    }
}

/// The open LUKS mapping that lies directly on a device (`loop3`).
pub(crate) fn over(device: &str) -> Option<Mapping> {
    let directory = Path::new(DEVICES).join(device).join("holders");
    let holders = names(&directory);
    holders.filter_map(|holder| read(&holder)).find(|m| m.uuid.starts_with("CRYPT-LUKS2-"))
}

/// # Errors
/// This kernel has no device-mapper.
pub(crate) fn check_kernel() -> Result<(), String> {
    if Path::new("/sys/class/misc/device-mapper").exists() {
        return Ok(());
    }
    Err("an encrypted volume needs the kernel's device-mapper with dm_crypt, and it is not loaded here: `modprobe \
         dm_crypt`, and name it in /etc/modules-load.d"
        .to_owned())
}

fn all() -> impl Iterator<Item = Mapping> {
    names(Path::new(DEVICES)).filter(|name| name.starts_with("dm-")).filter_map(|name| read(&name))
}

fn read(device: &str) -> Option<Mapping> {
    let attribute = |key: &str| {
        let text = fs::read_to_string(Path::new(DEVICES).join(device).join(key)).ok()?;
        Some(text.trim().to_owned())
    };
    Some(Mapping {
        device: device.to_owned(),
        name: attribute("dm/name")?,
        uuid: attribute("dm/uuid")?,
        read_only: attribute("ro")? == "1",
    })
}

fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned())
}
