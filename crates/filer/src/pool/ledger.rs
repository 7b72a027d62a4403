//! Who may take how much.
//!
//! All thin volumes and their snapshots are in one quota group whose limit is the capacity less everything that is
//! set aside; so the kernel itself keeps them off reserved space.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Bytes;

use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs::{self, THIN_GROUP};

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    capacity: u64,
    overcommit: f64,
    sums: Mutex<Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Reserved volumes' sizes, their snapshots' content.
    pub(super) reserved: u64,
    /// What foreign subvolumes held when they were counted last.
    pub(super) foreign: u64,
    pub(super) thin: u64,
}

/// Space promised to an operation under way; given back unless kept.
pub(super) struct Promise<'a> {
    ledger: &'a Ledger,
    root: BorrowedFd<'a>,
    sums: Sums,
    kept: bool,
}

impl Sums {
    /// What thin volumes cannot have.
    pub(super) fn aside(&self) -> u64 {
        self.reserved.saturating_add(self.foreign)
    }
}

impl Ledger {
    pub(super) fn new(path: &Path, capacity: u64, overcommit: f64) -> Self {
        Ledger { path: path.to_owned(), capacity, overcommit, sums: Mutex::default() }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn sums(&self) -> Sums {
        *self.lock()
    }

    pub(super) fn thin_limit(&self) -> u64 {
        self.thin_limit_with(self.sums().aside())
    }

    /// Space that is neither set aside nor taken by thin volumes.
    pub(super) fn free(&self, root: impl AsFd) -> Result<u64> {
        let aside = self.sums().aside();
        Ok(self.capacity.saturating_sub(aside).saturating_sub(self.thin_use(root)?))
    }

    /// Sets what a scan of the pool has found.
    pub(super) fn set(&self, root: impl AsFd, sums: Sums) -> Result<()> {
        let mut now = self.lock();
        *now = sums;
        self.apply(root, &now)
    }

    /// Promises `size` more to thin volumes.
    pub(super) fn promise_thin<'a>(
        &'a self,
        root: BorrowedFd<'a>,
        what: &str,
        size: Bytes,
    ) -> Result<Promise<'a>> {
        let mut sums = self.lock();
        let limit = self.thin_limit_with(sums.aside());
        let free = limit.saturating_sub(sums.thin);
        if size.get() > free {
            return Err(FilerError::NoCapacity(format!(
                "pool {} can promise {} more to thin volumes; {size} were asked for {what}; delete volumes, enlarge \
                 the pool or raise its overcommit ratio ({})",
                self.path.display(),
                Bytes::new(free),
                self.overcommit
            )));
        }
        sums.thin += size.get();
        Ok(Promise { ledger: self, root, sums: Sums { thin: size.get(), ..Sums::default() }, kept: false })
    }

    /// Sets `size` aside. The thin group's limit goes down first and what it holds is counted after, so that no
    /// write can slip in between.
    pub(super) fn promise_aside<'a>(
        &'a self,
        root: BorrowedFd<'a>,
        what: &str,
        size: Bytes,
    ) -> Result<Promise<'a>> {
        let refuse = |free| {
            Err(FilerError::NoCapacity(format!(
                "pool {} has {} free; {size} were asked for {what}; delete volumes or enlarge the pool",
                self.path.display(),
                Bytes::new(free)
            )))
        };
        // Looked at and taken in one go: of two that do not both fit one gets it.
        let mut sums = self.lock();
        let free = self.capacity.saturating_sub(sums.aside()).saturating_sub(self.thin_use(root)?);
        if size.get() > free {
            return refuse(free);
        }
        let aside = sums.aside().saturating_add(size.get());
        if aside > self.capacity || sums.thin > self.thin_limit_with(aside) {
            let shared = Bytes::new(self.capacity.saturating_sub(sums.aside()));
            return Err(FilerError::NoCapacity(format!(
                "pool {} shares {shared} among thin volumes that were promised {}; {size} were asked for {what} and \
                 would break the overcommit ratio ({}); delete volumes, enlarge the pool or raise the ratio",
                self.path.display(),
                Bytes::new(sums.thin),
                self.overcommit
            )));
        }
        sums.reserved = sums.reserved.saturating_add(size.get());
        let promised = Sums { reserved: size.get(), ..Sums::default() };
        let promise = Promise { ledger: self, root, sums: promised, kept: false };
        let applied = self.apply(root, &sums);
        drop(sums);
        applied?;
        rustix::fs::syncfs(root).while_doing("sync", &self.path)?;
        let used = self.thin_use(root)?;
        if used > self.capacity.saturating_sub(self.sums().aside()) {
            return refuse(free.min(self.capacity.saturating_sub(used)));
        }
        Ok(promise)
    }

    /// Sets aside what is taken already.
    pub(super) fn add_reserved(&self, root: impl AsFd, size: u64) -> Result<()> {
        let mut sums = self.lock();
        sums.reserved = sums.reserved.saturating_add(size);
        self.apply(root, &sums)
    }

    pub(super) fn set_foreign(&self, root: impl AsFd, size: u64) -> Result<()> {
        let mut sums = self.lock();
        sums.foreign = size;
        self.apply(root, &sums)
    }

    pub(super) fn give_back(&self, root: impl AsFd, back: Sums) -> Result<()> {
        let mut sums = self.lock();
        sums.reserved = sums.reserved.saturating_sub(back.reserved);
        sums.thin = sums.thin.saturating_sub(back.thin);
        if back.reserved == 0 { Ok(()) } else { self.apply(root, &sums) }
    }

    fn thin_use(&self, root: impl AsFd) -> Result<u64> {
        let uses =
            btrfs::qgroup_uses(root, THIN_GROUP, THIN_GROUP).while_doing("read quota of", &self.path)?;
        Ok(uses.first().map_or(0, |(_, used)| used.referenced))
    }

    fn apply(&self, root: impl AsFd, sums: &Sums) -> Result<()> {
        // A limit of 0 would mean none.
        let limit = self.capacity.saturating_sub(sums.aside()).max(4096);
        btrfs::limit_qgroup(root, THIN_GROUP, Some(limit)).while_doing("limit thin volumes of", &self.path)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a float cast saturates, and the ratio is positive"
    )]
    fn thin_limit_with(&self, aside: u64) -> u64 {
        (self.capacity.saturating_sub(aside) as f64 * self.overcommit) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise<'_> {
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.ledger.give_back(self.root, self.sums)
        {
            tracing::warn!(%error, "thin volumes keep a limit that is lower than it need be until the next change");
        }
    }
}
