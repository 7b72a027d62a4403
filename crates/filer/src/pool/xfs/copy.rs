//! Copies that share their blocks with what they are of.

mod entry;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode};
use rustix::io::{Errno, Result};

use crate::ioctl::xfs::{self, Attributes, IMMUTABLE};
use crate::pool::tree::{MAX_DEPTH, is_dir, open_dir, raw_names, unnamed_file};
use entry::Links;

/// Whether files here can share blocks.
pub(super) fn is_possible(dir: &OwnedFd) -> Result<bool> {
    let (from, to) = (unnamed_file(dir)?, unnamed_file(dir)?);
    rustix::fs::ftruncate(&from, 4096)?;
    match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes the content of the empty directory `to` that of `from`: content, names, links, owners, modes, extended
/// attributes, access lists, times. Not kept: what `chattr` sets.
pub(super) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut links = Links { root: to.as_fd(), known: HashMap::new() };
    copy_within(from.as_fd(), to.as_fd(), &mut Vec::new(), &mut links)?;
    entry::dress(from.as_fd(), to.as_fd())
}

fn copy_within(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    path: &mut Vec<Vec<u8>>,
    links: &mut Links<'_>,
) -> Result<()> {
    if path.len() >= MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    for name in raw_names(from)? {
        let stat = rustix::fs::statat(from, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        path.push(name);
        let name = path.last().map_or(&[][..], Vec::as_slice).to_owned();
        if is_dir(stat.st_mode) {
            rustix::fs::mkdirat(to, name.as_slice(), Mode::from_raw_mode(0o700))?;
            let (from, to) = (open_dir(from, name.as_slice())?, open_dir(to, name.as_slice())?);
            copy_within(from.as_fd(), to.as_fd(), path, links)?;
            entry::dress(from.as_fd(), to.as_fd())?;
        } else if !links.link(&stat, to, &name, path)? {
            entry::copy(from, to, &name, &stat)?;
        }
        path.pop();
    }
    Ok(())
}

/// Lets nobody change anything in the tree.
pub(super) fn seal(dir: BorrowedFd<'_>) -> Result<()> {
    for name in raw_names(dir)? {
        let stat = rustix::fs::statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        if is_dir(stat.st_mode) {
            seal(open_dir(dir, name.as_slice())?.as_fd())?;
        } else if entry::is_file(stat.st_mode) {
            set_immutable(entry::open_file(dir, &name)?.as_fd())?;
        }
    }
    set_immutable(dir)
}

fn set_immutable(fd: BorrowedFd<'_>) -> Result<()> {
    let now = xfs::attributes(fd)?;
    xfs::set_attributes(fd, Attributes { flags: now.flags | IMMUTABLE, ..now })
}
