//! Copies that share their blocks with what they are of.

mod entry;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::ioctl::xfs::{self, Attributes, IMMUTABLE};
use crate::pool::tree::{is_dir, open_dir, raw_names};
use entry::Links;

/// Each level takes two open files and a piece of the stack.
const MAX_DEPTH: usize = 200;
/// Longer than a tick of the kernel's clock: the time of a change is up to one behind.
const TICK: Duration = Duration::from_millis(12);
const TICKS: Duration = Duration::from_millis(25);

/// When a look at a tree began: what has changed since then shows it.
pub(super) struct Watch {
    /// No change from now on has an earlier time.
    wall: SystemTime,
    steady: Instant,
}

impl Watch {
    /// Waits until a change from now on can be told from one that was there before.
    pub(super) fn begin() -> Watch {
        let since = Instant::now();
        while let Some(left) = TICKS.checked_sub(since.elapsed()) {
            std::thread::park_timeout(left.max(Duration::from_micros(1)));
        }
        Watch { wall: SystemTime::now() - TICK, steady: Instant::now() }
    }

    /// Whether nothing in the tree has changed: neither content nor names nor attributes.
    ///
    /// # Behavior
    /// Every write through whatever way sets the time of change of its file. Copying makes mapped pages read-only, so
    /// that the next store into one sets it as well.
    pub(super) fn saw_no_change(&self, dir: &OwnedFd) -> Result<bool> {
        let unchanged = match self.is_older(dir.as_fd(), MAX_DEPTH) {
            Err(Errno::NOENT) => false,
            looked => looked?,
        };
        let steady = self.steady.elapsed();
        // A clock that was set back in the meantime proves nothing.
        Ok(unchanged && self.wall.elapsed().is_ok_and(|wall| wall >= steady))
    }

    fn is_older(&self, dir: BorrowedFd<'_>, depth: usize) -> Result<bool> {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let older = |stat: &rustix::fs::Stat| {
            // One before 1970 is old.
            let seconds = u64::try_from(stat.st_ctime).unwrap_or(0);
            (seconds, stat.st_ctime_nsec) < (since.as_secs(), u64::from(since.subsec_nanos()))
        };
        if !older(&rustix::fs::fstat(dir)?) {
            return Ok(false);
        }
        let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        for name in raw_names(dir)? {
            let stat = rustix::fs::statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            let fine = match is_dir(stat.st_mode) {
                true => self.is_older(open_dir(dir, name.as_slice())?.as_fd(), depth)?,
                false => older(&stat),
            };
            if !fine {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether files here can share blocks.
pub(super) fn is_possible(dir: &OwnedFd) -> Result<bool> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = || rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600));
    let (from, to) = (file()?, file()?);
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
