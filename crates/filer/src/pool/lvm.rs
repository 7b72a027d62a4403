//! A thin pool of LVM: a volume is a thin logical volume, its record in its tags.
//!
//! # Behavior
//! Each change that counts is one command, and LVM makes that whole or not at all: a new volume and its record, a
//! snapshot and its record, a restore as a new volume with a higher generation. Opening the pool removes the rest.

mod commands;
mod entry;
mod room;
mod seen;
mod snapshots;
mod tool;
mod volumes;

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Bytes;

use crate::error::{Context, FilerError, Result};
use crate::pool::steps::Steps;
use crate::pool::{Abilities, Ability, LayoutAbilities, PoolSpec, PoolStats, lock};
use crate::volume::{Layout, check_name};
use entry::Kept;
use room::{number, part, promised};
use seen::Seen;

const LOCKS: &str = "/run/leister/pools";
const NO_IMPORT: &str =
    "a logical volume of others may be in use under its name; copy its content into a new volume";
const NO_THICK: &str =
    "a thin pool sets no space aside for one volume; ask for a thin one, and leave `overcommit` at 1";

/// A thin pool, opened.
#[derive(Debug)]
pub(super) struct Lvm {
    path: PathBuf,
    group: String,
    pool: String,
    owner: String,
    overcommit: f64,
    extent: Bytes,
    pub(super) steps: Steps,
    /// LVM changes one group at a time; what is looked at must still hold when it is changed.
    turn: Mutex<()>,
    _lock: File,
}

impl Lvm {
    /// # Errors
    /// `NotFound` without the pool, `Unsupported` for what is no thin pool or does not zero.
    pub(super) fn open(spec: &PoolSpec, group: &str, pool: &str) -> Result<Lvm> {
        check_name("volume group", group)?;
        check_name("thin pool", pool)?;
        fs::create_dir_all(LOCKS).while_doing("create directory", LOCKS)?;
        let lock = lock::take(&Path::new(LOCKS).join(format!("{group}.lock")), &spec.path)?;
        let mut lvm = Lvm {
            path: spec.path.clone(),
            group: group.to_owned(),
            pool: pool.to_owned(),
            owner: spec.owner.clone(),
            overcommit: spec.overcommit,
            extent: Bytes::ZERO,
            steps: Steps::default(),
            turn: Mutex::default(),
            _lock: lock,
        };
        let seen = lvm.look()?;
        if seen.pool.zero != "1" {
            return Err(FilerError::Unsupported(format!(
                "thin pool {} does not zero new space, so that a volume could show what another held; turn it on with \
                 `lvchange --zero y {}`",
                spec.path.display(),
                spec.path.display()
            )));
        }
        lvm.extent = Bytes::new(number(&seen.pool.vg_extent_size));
        lvm.sweep(seen)?;
        Ok(lvm)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn abilities(&self) -> Abilities {
        let blocks = LayoutAbilities { thick: Ability::Lacks(NO_THICK), ..LayoutAbilities::ALL };
        Abilities {
            kind: "lvm",
            layouts: [(Layout::Block, blocks)].into(),
            import: Ability::Lacks(NO_IMPORT),
            granularity: self.extent,
            smallest: self.extent,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.look().map(drop)
    }

    pub(super) fn stats(&self) -> Result<PoolStats> {
        let seen = self.look()?;
        let total = number(&seen.pool.lv_size);
        let used = part(total, seen.taken());
        let promised = promised(&seen);
        let limit = part(total, self.overcommit * 100.0);
        Ok(PoolStats {
            total: Bytes::new(total),
            capacity: Bytes::new(total),
            used: Bytes::new(used),
            free: Bytes::new(total.saturating_sub(used)),
            reserved: Bytes::ZERO,
            provisioned_thin: Bytes::new(promised),
            // One that is nearly full offers nothing more.
            thin_limit: Bytes::new(if seen.fullness().is_some() { promised.min(limit) } else { limit }),
        })
    }

    /// Removes what a death left, and makes the devices of the rest.
    fn sweep(&self, seen: Seen) -> Result<()> {
        let current: HashMap<String, String> = seen
            .volumes()
            .into_iter()
            .map(|(handle, (found, _))| (handle.to_owned(), found.row.lv_name.clone()))
            .collect();
        for found in &seen.ours {
            let Kept::Volume(record) = &found.entry.kept else { continue };
            let name = &found.row.lv_name;
            let counts = current.get(&record.handle) == Some(name);
            if !counts && record.owner == self.owner {
                self.remove(name)?;
            } else if counts && found.row.lv_active != "1" {
                tool::run(&["lvchange", "-ay", "-K", &self.named(name)])?;
            }
        }
        Ok(())
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    fn device(&self, name: &str) -> PathBuf {
        Path::new("/dev").join(&self.group).join(name)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
