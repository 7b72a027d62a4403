//! Subvolumes among directories, and removal, all relative to open directories.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::AtFlags;
use rustix::io::{Errno, Result};

use crate::ioctl::btrfs;
use crate::pool::tree::{is_dir, open_dir, raw_names};

/// How deep a tree is removed: each level takes an open file and a piece of the stack.
const MAX_DEPTH: usize = 256;

pub(super) fn is_subvolume(parent: impl AsFd, name: &str) -> Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(is_dir(stat.st_mode) && stat.st_ino == btrfs::SUBVOLUME_INODE)
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
