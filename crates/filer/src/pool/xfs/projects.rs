//! Projects: what a directory's content is counted and limited as.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Result;

use crate::ioctl::xfs::{self, Attributes, INHERIT};

/// Ours begin here: others number theirs from 1.
const FIRST: u32 = 0x4C00_0000;

/// Gives out the numbers of projects.
#[derive(Debug)]
pub(super) struct Projects(Mutex<u32>);

impl Default for Projects {
    fn default() -> Projects {
        Projects(Mutex::new(FIRST))
    }
}

impl Projects {
    /// Makes an empty directory the root of a project that nobody has.
    ///
    /// # Behavior
    /// The directory has the number before the number has a limit, so that a death between leaves no limit that
    /// nobody knows of.
    pub(super) fn begin(&self, dir: &OwnedFd) -> Result<u32> {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let id = *next;
            *next = next.checked_add(1).filter(|next| *next < u32::MAX).unwrap_or(FIRST);
            let known = xfs::project(dir, id)?;
            // One that is being removed has still a use, one that lies empty has a limit, or a directory: see `skip`.
            if known.used == 0 && known.limit.is_none() {
                set(dir, id)?;
                return Ok(id);
            }
        }
    }

    /// Gives out nothing up to this number.
    pub(super) fn skip(&self, id: u32) {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if id >= *next {
            *next = id.saturating_add(1);
        }
    }
}

/// The project of a directory, if it is one of ours.
pub(super) fn of(dir: impl AsFd) -> Result<Option<u32>> {
    let attributes = xfs::attributes(dir)?;
    Ok((is_ours(attributes.project) && attributes.flags & INHERIT != 0).then_some(attributes.project))
}

/// Whether the number is one that we give out.
pub(super) fn is_ours(id: u32) -> bool {
    id >= FIRST
}

fn set(dir: &OwnedFd, project: u32) -> Result<()> {
    let now = xfs::attributes(dir)?;
    xfs::set_attributes(dir, Attributes { flags: now.flags | INHERIT, project, ..now })
}
