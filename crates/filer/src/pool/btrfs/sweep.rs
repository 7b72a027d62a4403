//! Staging and trash: how things appear whole, leave whole, and what is done about a death in between.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Deserialize;

use super::{Btrfs, subvolumes};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs;
use crate::pool::ledger::Sums;
use crate::pool::tree::{self, DATA, SNAPSHOTS, STAGING, TRASH, VOLUMES, snapshots_dir};

/// What a staged directory's record says of where its data came from; volumes and snapshots both pass here.
#[derive(Deserialize)]
struct Provenance {
    #[serde(default)]
    imported_from: Option<String>,
}

/// A directory in staging; what is in it goes away unless it is published.
pub(super) struct Stage<'a> {
    pool: &'a Btrfs,
    name: String,
    pub(super) dir: OwnedFd,
    published: bool,
}

impl Btrfs {
    /// Removes what a death left in staging and trash; an import or release that was under way is put back.
    pub(in crate::pool) fn sweep(&self) -> Result<()> {
        for name in self.names_in(STAGING)? {
            match tree::read_record::<Provenance>(self.root(), &format!("{STAGING}/{name}")) {
                Ok(_) => {
                    self.put_back(&name)?;
                    self.clear(STAGING, &name);
                }
                // It may hold what somebody wanted imported.
                Err(error) => tracing::warn!(
                    %error,
                    "{} has a record that cannot be read and is left as it is; look into it and remove it by hand",
                    self.at(STAGING).join(&name).display()
                ),
            }
        }
        for name in self.names_in(TRASH)? {
            self.clear(TRASH, &name);
        }
        self.drop_stale_quotas()?;
        self.commit()
    }

    /// Adds up what is promised and set aside.
    pub(in crate::pool) fn count(&self) -> Result<()> {
        let used = self.all_used()?;
        let mut sums = Sums::default();
        for handle in self.names_in(VOLUMES)? {
            // What is damaged counts with what is foreign.
            let Ok(Some((record, _))) = self.look_at(&handle) else { continue };
            if !record.reserved {
                sums.thin += record.size.get();
                continue;
            }
            sums.reserved += record.size.get();
            for snapshot in self.names_in(&snapshots_dir(&handle))? {
                let relative = format!("{}/{snapshot}/{DATA}", snapshots_dir(&handle));
                let Ok(data) = self.open_dir(&relative) else { continue };
                let info = self.info(data, &relative)?;
                sums.reserved += used.get(&info.id).map_or(0, |used| used.referenced);
            }
        }
        sums.foreign = self.foreign_use()?;
        self.ledger.set(&self.root, sums)
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
    fn clear(&self, dir: &str, name: &str) {
        if let Err(error) = self.remove_in(dir, name) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what was deleted still takes space; opening the pool tries again, else remove it by hand"
            );
        }
    }

    pub(super) fn names_in(&self, relative: &str) -> Result<Vec<String>> {
        tree::names(self.open_dir(relative)?).while_doing("list", self.at(relative))
    }

    /// Puts an imported subvolume back to the pool's root, and removes the rest.
    pub(super) fn sweep_staged(&self, name: &str) -> Result<()> {
        self.put_back(name)?;
        self.remove_in(STAGING, name)
    }

    fn put_back(&self, name: &str) -> Result<()> {
        let relative = format!("{STAGING}/{name}");
        let record: Option<Provenance> = tree::read_record(self.root(), &relative)
            .while_doing("read the record of", self.at(&relative))?;
        if let Some(original) = record.and_then(|record| record.imported_from)
            && let Ok(data) = self.open_dir(&format!("{relative}/{DATA}"))
        {
            btrfs::limit_qgroup(&data, 0, None).while_doing("lift the limit of", self.at(&relative))?;
            drop(data);
            let from = format!("{relative}/{DATA}");
            match renameat_with(&self.root, &from, &self.root, &original, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    return Err(FilerError::Conflict(format!(
                        "{} must go back to {}, which is taken; rename what is there",
                        self.at(&from).display(),
                        self.at(&original).display()
                    )));
                }
                Err(e) => return Err(e).while_doing("move back", self.at(&from)),
            }
            self.steps.step()?;
        }
        Ok(())
    }

    fn remove_in(&self, dir: &str, name: &str) -> Result<()> {
        let parent = self.open_dir(dir)?;
        subvolumes::remove(parent.as_fd(), name).while_doing("remove", self.at(dir).join(name))
    }

    /// Linux before 6.11 keeps the quota group of a subvolume that is gone.
    fn drop_stale_quotas(&self) -> Result<()> {
        let known: HashSet<u64> = self.all_used()?.into_keys().collect();
        for id in known {
            if !btrfs::subvolume_exists(&self.root, id).while_doing("look for a subvolume in", &self.path)? {
                match btrfs::delete_qgroup(&self.root, id) {
                    // Not empty yet: the kernel is still freeing it.
                    Ok(()) | Err(Errno::BUSY | Errno::NOENT) => {}
                    Err(e) => return Err(e).while_doing("drop a stale quota of", &self.path),
                }
            }
        }
        Ok(())
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

    /// Sweeps it now, and says how that went.
    pub(super) fn sweep(mut self) -> Result<()> {
        self.published = true;
        self.pool.sweep_staged(&self.name)
    }

    pub(super) fn path(&self) -> String {
        format!("{STAGING}/{}", self.name)
    }

    pub(super) fn data(&self) -> String {
        format!("{}/{DATA}", self.path())
    }

    pub(super) fn make_snapshots_dir(&self) -> Result<()> {
        tree::make_dir(&self.dir, SNAPSHOTS).map(drop).while_doing("create", self.pool.at(&self.data()))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if self.published || self.pool.steps.dead() {
            return;
        }
        if let Err(error) = self.pool.sweep_staged(&self.name) {
            tracing::warn!(%error, "what a failed operation made stays in staging until the pool is opened again");
        }
    }
}
