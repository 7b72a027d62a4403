//! Directories, records in extended attributes, and removal, all relative to open directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::path::Arg;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ioctl::btrfs;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Kept well under what one extended attribute holds.
const MAX_RECORD: usize = 12 << 10;
/// How deep a tree is removed: each level takes an open file and a piece of the stack.
const MAX_DEPTH: usize = 256;

/// Names in a directory, without `.` and `..`.
pub(super) fn names(dir: impl AsFd) -> Result<Vec<String>> {
    Ok(raw_names(dir)?.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
}

pub(super) fn open_dir(parent: impl AsFd, name: impl Arg) -> Result<OwnedFd> {
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

/// Removes a tree with the subvolumes in it, whatever a container has made of it. What is absent is removed already.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    remove_within(parent, name.as_bytes(), MAX_DEPTH)
}

fn remove_within(parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<()> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if !is_dir(stat.st_mode) {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
    if stat.st_ino == btrfs::SUBVOLUME_INODE {
        return remove_subvolume(parent, name, depth);
    }
    let dir = open_dir(parent, name)?;
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    for inner in raw_names(&dir)? {
        remove_within(dir.as_fd(), &inner, depth)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The kernel drops a subvolume with all that is in it, unless a container made subvolumes of its own inside.
fn remove_subvolume(parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<()> {
    match btrfs::delete_subvolume(parent, name) {
        Err(Errno::NOTEMPTY) => {}
        done => return done,
    }
    let dir = open_dir(parent, name)?;
    // Nothing can be taken out of a read-only one.
    btrfs::make_writable(&dir)?;
    remove_subvolumes_below(dir.as_fd(), depth)?;
    btrfs::delete_subvolume(parent, name)
}

fn remove_subvolumes_below(dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    for name in raw_names(dir)? {
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_dir(stat.st_mode) && stat.st_ino == btrfs::SUBVOLUME_INODE {
            remove_subvolume(dir, &name, depth)?;
        } else if is_dir(stat.st_mode) {
            remove_subvolumes_below(open_dir(dir, &name)?.as_fd(), depth)?;
        }
    }
    Ok(())
}

/// As the file system has them; nothing says that what containers write is UTF-8.
fn raw_names(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn is_dir(mode: RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}
