//! Volumes given to a group: that of a pod's users.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::VolumeId;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Host, not_mountable};
use crate::error::{Doing, Result};
use crate::lock::blocking;
use crate::mount::Table;

/// What the group may do with a file, and with a directory, whose new files get its group.
const FILE: Mode = Mode::RGRP.union(Mode::WGRP).union(Mode::RUSR).union(Mode::WUSR);
const DIRECTORY: Mode = FILE.union(Mode::XGRP).union(Mode::XUSR).union(Mode::SGID);

impl Host {
    /// Lets a group read and write all files of an attached volume.
    ///
    /// # Behavior
    /// As kubelets do it: what there is gets the group, and what is made later gets it from its directory. The root comes
    /// last, and if it is the group's nothing else is looked at. Links are not followed, other file systems not entered.
    ///
    /// # Errors
    /// `NotAttached`; `System` where the storage lets this node change no groups.
    pub async fn give(&self, volume: &VolumeId, group: u32) -> Result<()> {
        let hold = self.0.volumes.hold(volume.clone()).await;
        let places = self.places(volume);
        blocking(&hold, move || {
            let stage = places.stage();
            if Table::read()?.at(&stage).is_none() {
                return Err(not_mountable(&places)?);
            }
            let hint = || {
                format!(
                    "give {} to group {group}: does its export let root of this node in as root?",
                    stage.display()
                )
            };
            give(&stage, Gid::from_raw(group)).doing(hint)
        })
        .await
    }
}

fn give(root: &Path, group: Gid) -> io::Result<()> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let seen = rustix::fs::fstat(&root)?;
    if seen.st_gid == group.as_raw() && Mode::from_raw_mode(seen.st_mode).contains(DIRECTORY) {
        return Ok(());
    }
    let mut directories = vec![PathBuf::from(".")];
    while let Some(directory) = directories.pop() {
        let Some(listed) = open(&root, &directory, OFlags::RDONLY | OFlags::DIRECTORY)? else { continue };
        for entry in Dir::read_from(&listed)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c".." || name == c"." {
                continue;
            }
            let path = directory.join(OsStr::from_bytes(name.to_bytes()));
            let Some(found) = open(&root, &path, OFlags::PATH | OFlags::NOFOLLOW)? else { continue };
            let seen = rustix::fs::fstat(&found)?;
            set(&found, &seen, group)?;
            if FileType::from_raw_mode(seen.st_mode) == FileType::Directory {
                directories.push(path);
            }
        }
    }
    Ok(set(&root, &seen, group)?)
}

/// `None`: it is gone, something else by now, or of another file system.
fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    // A link itself is opened as such, without being followed.
    let beneath =
        if flags.contains(OFlags::NOFOLLOW) { beneath - ResolveFlags::NO_SYMLINKS } else { beneath };
    match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), beneath) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set(found: &OwnedFd, seen: &Stat, group: Gid) -> rustix::io::Result<()> {
    if seen.st_gid != group.as_raw() {
        rustix::fs::chownat(found.as_fd(), "", None, Some(group), AtFlags::EMPTY_PATH)?;
    }
    let wanted = match FileType::from_raw_mode(seen.st_mode) {
        FileType::Symlink => return Ok(()),
        FileType::Directory => DIRECTORY,
        _ => FILE,
    };
    let before = Mode::from_raw_mode(seen.st_mode);
    // To be given away may have cost it its other bits.
    if seen.st_gid != group.as_raw() || !before.contains(wanted) {
        rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), before | wanted)?;
    }
    Ok(())
}
