//! Whether files were changed while something was done with them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::{Errno, Result};

use super::tree::{MAX_DEPTH, is_dir, open_dir, raw_names, unnamed_file};

/// When a look at files began: what has changed since then shows it.
#[derive(Debug)]
pub struct Watch {
    /// By the clock of the file system: each change before it has an earlier time, and none from now on has.
    since: Stamp,
    wall: SystemTime,
    steady: Instant,
}

/// Seconds and nanoseconds.
type Stamp = (i64, u64);

impl Watch {
    /// Waits until a change from now on can be told from one that was there before.
    ///
    /// # Behavior
    /// Asks the file system of `dir` for its time, which is behind the system's by up to a tick of the kernel, and by
    /// more where ticks come late.
    ///
    /// # Errors
    /// What the kernel says; `OPNOTSUPP` if the file system has no unnamed files.
    pub fn begin(dir: impl AsFd) -> Result<Watch> {
        let probe = unnamed_file(dir)?;
        let mut first = now(&probe)?;
        loop {
            let since = now(&probe)?;
            if since > first {
                return Ok(Watch { since, wall: SystemTime::now(), steady: Instant::now() });
            }
            // Of a clock that was set back it is not waited for the time that it had.
            first = since;
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Whether nothing in a file or a tree has changed: neither content nor names nor attributes.
    ///
    /// # Behavior
    /// Every write through whatever way sets the time of change of its file. A store into mapped memory does if it is
    /// the first since the file was copied or written to disk. Not seen is one whose page fault set the time before the
    /// watch began, and then did not get the processor until its file was copied.
    ///
    /// # Errors
    /// What the kernel says; `NAMETOOLONG` for more than 200 directories in each other.
    pub fn saw_no_change(&self, content: impl AsFd) -> Result<bool> {
        let unchanged = match self.is_older(content.as_fd(), MAX_DEPTH) {
            Err(Errno::NOENT) => false,
            looked => looked?,
        };
        let steady = self.steady.elapsed();
        // A clock that was set back in the meantime proves nothing.
        Ok(unchanged && self.wall.elapsed().is_ok_and(|wall| wall >= steady))
    }

    fn is_older(&self, content: BorrowedFd<'_>, depth: usize) -> Result<bool> {
        let stat = rustix::fs::fstat(content)?;
        if changed(&stat) >= self.since || !is_dir(stat.st_mode) {
            return Ok(changed(&stat) < self.since);
        }
        let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        for name in raw_names(content)? {
            let stat = rustix::fs::statat(content, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            let older = match is_dir(stat.st_mode) {
                true => self.is_older(open_dir(content, name.as_slice())?.as_fd(), depth)?,
                false => changed(&stat) < self.since,
            };
            if !older {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn changed(stat: &Stat) -> Stamp {
    (stat.st_ctime, stat.st_ctime_nsec)
}

/// The time of a change that is made now.
fn now(probe: &OwnedFd) -> Result<Stamp> {
    rustix::fs::fchmod(probe, Mode::from_raw_mode(0o600))?;
    Ok(changed(&rustix::fs::fstat(probe)?))
}
