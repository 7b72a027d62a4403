use std::fs;
use std::io;
use std::path::Path;

use model::Bytes;

use super::{Superblock, Tools};
use crate::exec::Tool;

pub(super) fn make(tools: &Tools, over_remains: bool) -> Tool {
    let tool = tools.long("mkfs.btrfs").args(["-q", "-K"]);
    if over_remains { tool.arg("-f") } else { tool }
}

/// btrfs takes two devices with one UUID for the same filesystem and may mix them up.
pub(super) fn twin(superblock: &Superblock, device: &Path) -> Option<String> {
    let own = device.file_name()?;
    let uuid = superblock.uuid_text();
    let devices = fs::read_dir(format!("/sys/fs/btrfs/{uuid}/devices")).ok()?;
    let twin = devices.flatten().map(|e| e.file_name()).find(|name| name != own)?;
    Some(format!(
        "it is a copy of the btrfs on /dev/{}, which is mounted here: the two could be mixed up; unmount that \
         one, or give this one an identity of its own with `btrfstune -u {}`",
        twin.to_string_lossy(),
        device.display()
    ))
}

pub(super) fn mounted_size(point: &Path) -> io::Result<Bytes> {
    let usage = rustix::fs::statvfs(point)?;
    Ok(Bytes::new(usage.f_blocks * usage.f_frsize))
}
