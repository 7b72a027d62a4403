//! Removes a tree, whatever a container has made of it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::projects;
use crate::ioctl::xfs::{self, APPEND_ONLY, Attributes, IMMUTABLE};
use crate::pool::tree::{self, is_dir, open_dir, raw_names};

/// Each level takes an open file and a piece of the stack; what lies deeper is moved up first.
const MAX_DEPTH: usize = 64;

/// Removes `name`, an entry of staging or trash, and the limit of its project. What is absent is removed already.
pub(super) fn remove(place: BorrowedFd<'_>, name: &str) -> Result<()> {
    lift_limits(place, name)?;
    remove_within(place, place, name.as_bytes(), MAX_DEPTH)
}

/// Removes the content of a staged directory, which has no limit yet.
pub(super) fn remove_data(stage: BorrowedFd<'_>) -> Result<()> {
    remove_within(stage, stage, tree::DATA.as_bytes(), MAX_DEPTH)
}

/// Lets the kernel forget the project of a volume's or snapshot's directory.
fn lift_limits(place: BorrowedFd<'_>, name: &str) -> Result<()> {
    let Some(dir) = there(open_dir(place, name))? else { return Ok(()) };
    if let Some(data) = there(open_dir(&dir, tree::DATA))?
        && let Some(project) = projects::of(&data)?
    {
        xfs::limit_project(&data, project, None)?;
    }
    Ok(())
}

fn remove_within(place: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<()> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if !is_dir(stat.st_mode) {
        return match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::PERM) => {
                release(parent, name)?;
                rustix::fs::unlinkat(parent, name, AtFlags::empty())
            }
            done => done,
        };
    }
    let dir = open_dir(parent, name)?;
    loosen(&dir)?;
    let Some(below) = depth.checked_sub(1) else {
        // Taken out of its parents, it is as shallow as they are.
        let up = tree::fresh_name();
        rustix::fs::renameat(parent, name, place, &up)?;
        return remove_within(place, place, up.as_bytes(), MAX_DEPTH);
    };
    for inner in raw_names(&dir)? {
        remove_within(place, dir.as_fd(), &inner, below)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Takes the flags off a file that keep it from being removed.
fn release(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loosen(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn loosen(fd: impl AsFd) -> Result<()> {
    let now = xfs::attributes(&fd)?;
    if now.flags & (IMMUTABLE | APPEND_ONLY) == 0 {
        return Ok(());
    }
    xfs::set_attributes(&fd, Attributes { flags: now.flags & !(IMMUTABLE | APPEND_ONLY), ..now })
}

fn there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}
