//! Staging and trash: how things appear whole, leave whole, and what is done about a death in between.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Xfs, removal};
use crate::error::{Context, Result};
use crate::pool::tree::{self, DATA, SNAPSHOTS, STAGING, TRASH};

/// A directory in staging; what is in it goes away unless it is published.
pub(super) struct Stage<'a> {
    pool: &'a Xfs,
    name: String,
    pub(super) dir: OwnedFd,
    published: bool,
}

impl Xfs {
    /// Removes what a death left in staging and trash.
    pub(in crate::pool) fn sweep(&self) -> Result<()> {
        for place in [STAGING, TRASH] {
            for name in self.names_in(place)? {
                self.clear(place, &name);
            }
        }
        Ok(())
    }

    pub(super) fn stage(&self) -> Result<Stage<'_>> {
        let name = tree::fresh_name();
        let parent = self.open_dir(STAGING)?;
        let dir = tree::make_dir(&parent, &name).while_doing("create", self.at(STAGING).join(&name))?;
        Ok(Stage { pool: self, name, dir, published: false })
    }

    /// Moves a directory out of sight, and says under which name; `None` if it was not there.
    pub(super) fn discard(&self, relative: &str) -> Result<Option<String>> {
        let name = tree::fresh_name();
        let to = format!("{TRASH}/{name}");
        match renameat_with(&self.root, relative, &self.root, &to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Some(name)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e).while_doing("move to the trash", self.at(relative)),
        }
    }

    /// Frees what `discard` has moved. The deletion holds even if this fails.
    pub(super) fn empty(&self, name: &str) {
        self.clear(TRASH, name);
    }

    /// What one volume holds must not keep the whole pool from being opened, so a failure is only told.
    fn clear(&self, place: &str, name: &str) {
        let removed = self.open_dir(place).and_then(|dir| {
            removal::remove(dir.as_fd(), name).while_doing("remove", self.at(place).join(name))
        });
        if let Err(error) = removed {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what was deleted still takes space; opening the pool tries again, else remove it by hand"
            );
        }
    }
}

impl Stage<'_> {
    /// Puts the staged directory where it is seen.
    pub(super) fn publish(mut self, relative: &str) -> Result<()> {
        let root = &self.pool.root;
        renameat_with(root, self.path(), root, relative, RenameFlags::NOREPLACE)
            .while_doing("publish", self.pool.at(relative))?;
        self.published = true;
        Ok(())
    }

    pub(super) fn data(&self) -> String {
        format!("{}/{DATA}", self.path())
    }

    pub(super) fn make_snapshots_dir(&self) -> Result<()> {
        tree::make_dir(&self.dir, SNAPSHOTS).map(drop).while_doing("create", self.pool.at(&self.data()))
    }

    fn path(&self) -> String {
        format!("{STAGING}/{}", self.name)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !self.published && !self.pool.steps.dead() {
            self.pool.clear(STAGING, &self.name);
        }
    }
}
