//! What may be promised yet.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Bytes;

use super::{Xfs, projects};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::xfs;
use crate::pool::tree::{self, DATA, VOLUMES, data_dir, snapshot_dir, snapshots_dir};
use crate::volume::Layout;

/// From here on nothing new is promised: what is promised needs the rest.
const FULL_PERCENT: u64 = 95;

/// The sum of the sizes promised to volumes.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    overcommit: f64,
    promised: Mutex<u64>,
}

/// The file system's space, as it is now.
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
    /// What lies there that is no volume.
    pub(super) foreign: u64,
}

/// Space promised to an operation under way; given back unless kept.
pub(super) struct Promise<'a> {
    room: &'a Room,
    size: u64,
}

impl Space {
    /// All but 2 % that keep the file system able to work when everything else is full.
    pub(super) fn capacity(&self) -> u64 {
        self.total.saturating_sub(self.total / 50 + (16 << 20))
    }

    fn is_full(&self) -> bool {
        self.free < self.total / 100 * (100 - FULL_PERCENT)
    }
}

impl Room {
    pub(super) fn new(path: &Path, overcommit: f64) -> Room {
        Room { path: path.to_owned(), overcommit, promised: Mutex::default() }
    }

    pub(super) fn promised(&self) -> u64 {
        *self.lock()
    }

    /// The largest sum that may be promised; a full file system promises no more than it has.
    pub(super) fn limit(&self, space: &Space) -> u64 {
        if space.is_full() { self.promised() } else { self.most(space) }
    }

    pub(super) fn promise(&self, space: &Space, what: &str, size: Bytes) -> Result<Promise<'_>> {
        self.check(space, what)?;
        let mut promised = self.lock();
        let free = self.most(space).saturating_sub(*promised);
        if size.get() > free {
            return Err(FilerError::NoCapacity(format!(
                "pool {} can promise {} more to thin volumes; {size} were asked for {what}; delete volumes, enlarge the \
                 pool or raise its overcommit ratio ({})",
                self.path.display(),
                Bytes::new(free),
                self.overcommit
            )));
        }
        *promised += size.get();
        Ok(Promise { room: self, size: size.get() })
    }

    /// # Errors
    /// `NoCapacity` on a file system that is nearly full.
    pub(super) fn check(&self, space: &Space, what: &str) -> Result<()> {
        if !space.is_full() {
            return Ok(());
        }
        Err(FilerError::NoCapacity(format!(
            "pool {} has {} of {} free, less than the {} % that {what} needs to begin; delete volumes or snapshots, or \
             enlarge the pool",
            self.path.display(),
            Bytes::new(space.free),
            Bytes::new(space.total),
            100 - FULL_PERCENT
        )))
    }

    pub(super) fn give_back(&self, size: u64) {
        let mut promised = self.lock();
        *promised = promised.saturating_sub(size);
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a float cast saturates, and the ratio is positive"
    )]
    fn most(&self, space: &Space) -> u64 {
        (space.capacity().saturating_sub(space.foreign) as f64 * self.overcommit) as u64
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise<'_> {
    pub(super) fn keep(mut self) {
        self.size = 0;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.room.give_back(self.size);
    }
}

impl Xfs {
    pub(super) fn look(&self) -> Result<Space> {
        let fs = rustix::fs::fstatvfs(&self.root).while_doing("look at", &self.path)?;
        let all = xfs::projects(&self.root).while_doing("read the quotas of", &self.path)?;
        let foreign = all.iter().filter(|project| !projects::is_ours(project.id)).map(|project| project.used);
        Ok(Space {
            total: fs.f_blocks * fs.f_frsize,
            free: fs.f_bavail * fs.f_frsize,
            foreign: foreign.sum(),
        })
    }

    /// Adds up what is promised, and limits each volume to what its record says.
    pub(super) fn count(&self) -> Result<()> {
        let mut sum = 0;
        for handle in self.names_in(VOLUMES)? {
            for dir in std::iter::once(data_dir(&handle)).chain(
                self.names_in(&snapshots_dir(&handle))
                    .unwrap_or_default()
                    .iter()
                    .map(|name| format!("{}/{DATA}", snapshot_dir(&handle, name))),
            ) {
                if let Ok(dir) = tree::open_dir(&self.root, &dir)
                    && let Ok(Some(project)) = projects::of(&dir)
                {
                    self.projects.skip(project);
                }
            }
            let Ok(Some((record, project))) = self.look_at(&handle) else { continue };
            sum += record.size.get();
            let wanted = (record.layout == Layout::File).then_some(record.size.get());
            if record.owner == self.owner
                && project.limit.map(|limit| limit / 512) != wanted.map(|size| size / 512)
            {
                xfs::limit_project(&self.root, project.id, wanted)
                    .while_doing("limit", self.at(&data_dir(&handle)))?;
            }
        }
        *self.room.lock() = sum;
        Ok(())
    }
}
