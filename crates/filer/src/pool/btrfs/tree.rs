//! Directories, records in extended attributes, and removal, all relative to open directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, XattrFlags};
use rustix::io::{Errno, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ioctl::btrfs;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Kept well under what one extended attribute holds.
const MAX_RECORD: usize = 12 << 10;

/// Names in a directory, without `.` and `..`.
pub(super) fn names(dir: impl AsFd) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

pub(super) fn open_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn make_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
    open_dir(parent, name)
}

pub(super) fn exists(parent: impl AsFd, name: &str) -> Result<bool> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn is_subvolume(parent: impl AsFd, name: &str) -> Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(is_dir(stat.st_mode) && stat.st_ino == btrfs::SUBVOLUME_INODE)
}

/// Replaces the record of an open directory in one step.
pub(super) fn write_record(dir: impl AsFd, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|_| Errno::INVAL)?;
    if text.len() > MAX_RECORD {
        return Err(Errno::TOOBIG);
    }
    rustix::fs::fsetxattr(dir, super::RECORD, &text, XattrFlags::empty())
}

/// The record of the directory `name`; `None` if there is no such directory or it has none.
pub(super) fn read_record<T: DeserializeOwned>(
    parent: BorrowedFd<'_>,
    name: &str,
) -> std::io::Result<Option<T>> {
    let dir = match open_dir(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut text = Vec::with_capacity(MAX_RECORD);
    match rustix::fs::fgetxattr(&dir, super::RECORD, rustix::buffer::spare_capacity(&mut text)) {
        Ok(_) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes a tree with the subvolumes in it. What is absent is removed already.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if !is_dir(stat.st_mode) {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
    if stat.st_ino == btrfs::SUBVOLUME_INODE {
        match btrfs::delete_subvolume(parent, name) {
            // A container made subvolumes of its own inside.
            Err(Errno::NOTEMPTY) => {}
            done => return done,
        }
    }
    let dir = open_dir(parent, name)?;
    for inner in names(&dir)? {
        remove(dir.as_fd(), &inner)?;
    }
    drop(dir);
    if stat.st_ino == btrfs::SUBVOLUME_INODE {
        btrfs::delete_subvolume(parent, name)
    } else {
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
    }
}

fn is_dir(mode: RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}
