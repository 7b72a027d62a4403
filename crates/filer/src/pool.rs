//! A pool: one btrfs file system, in an image file or existing, that volumes live in.

mod abilities;
mod btrfs;
mod commit;
mod image;
mod ledger;
mod lock;
mod mounts;
mod steps;
#[cfg(test)]
mod tests;
mod turns;
mod whole;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Context, FilerError, Result};
pub use abilities::{Abilities, Ability, LayoutAbilities};
use commit::GroupCommit;
use ledger::Ledger;
use steps::Steps;
use turns::Turns;

/// Where a pool is and how it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// The directory where the pool is seen: the mount point of `image`, or a directory on an existing btrfs.
    pub path: PathBuf,
    /// The file that holds the pool; `None` if `path` is on a mounted btrfs already.
    pub image: Option<Image>,
    /// How many times its shared space a pool may promise to thin volumes; at least 1.
    pub overcommit: f64,
    /// The instance whose volumes these are. Other instances' volumes are shown and never touched.
    pub owner: String,
}

/// A file, attached as a loop device, that holds a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub path: PathBuf,
    pub size: Bytes,
    /// Takes the file's space on the host at once. A sparse image can run out of it, thick volumes included.
    pub preallocate: bool,
}

/// A pool's space.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStats {
    /// The file system's size.
    pub total: Bytes,
    /// What volumes and snapshots may take together: total less the file system's own needs.
    pub capacity: Bytes,
    /// Bytes taken on the file system.
    pub used: Bytes,
    /// What a new thick volume could get now.
    pub free: Bytes,
    /// Set aside: sizes of reserved volumes, their snapshots, and foreign subvolumes.
    pub reserved: Bytes,
    /// Sum of the sizes promised to thin volumes.
    pub provisioned_thin: Bytes,
    /// The largest sum that may be promised to thin volumes.
    pub thin_limit: Bytes,
}

/// An open pool. At most one process has it; dropping it leaves it mounted, so that containers go on.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    owner: String,
    image: Option<PathBuf>,
    root: OwnedFd,
    ledger: Ledger,
    commit: GroupCommit,
    turns: Turns,
    steps: Steps,
    _locks: Vec<File>,
}

impl PoolSpec {
    /// A pool in an image file, overcommitted at most 10 times.
    pub fn in_image(path: impl Into<PathBuf>, image: Image, owner: impl Into<String>) -> Self {
        PoolSpec { path: path.into(), image: Some(image), overcommit: 10.0, owner: owner.into() }
    }

    /// A pool on a mounted btrfs, overcommitted at most 10 times.
    pub fn on_btrfs(path: impl Into<PathBuf>, owner: impl Into<String>) -> Self {
        PoolSpec { path: path.into(), image: None, overcommit: 10.0, owner: owner.into() }
    }

    fn check(&self) -> Result<()> {
        if !self.overcommit.is_finite() || self.overcommit < 1.0 {
            return Err(FilerError::Invalid(format!(
                "overcommit ratio {} is not usable; give a number of 1 or more",
                self.overcommit
            )));
        }
        if self.owner.is_empty() {
            return Err(FilerError::Invalid("the pool's owner is empty; give the instance's id".to_owned()));
        }
        Ok(())
    }
}

impl Pool {
    /// Makes what is missing of the pool and opens it.
    ///
    /// # Behavior
    /// A file system is made only in a file this call has created, or that holds nothing but zeros.
    ///
    /// # Errors
    /// `Conflict` if the image holds something else or another process has the pool.
    pub fn make(spec: &PoolSpec) -> Result<Pool> {
        spec.check()?;
        std::fs::create_dir_all(&spec.path).while_doing("create directory", &spec.path)?;
        let lock = spec.image.as_ref().map(image::lock).transpose()?;
        if let Some(image) = &spec.image {
            image::make(image)?;
        }
        Pool::start(spec, lock)
    }

    /// Opens a pool that exists: attaches and mounts its image where needed, and sweeps what a crash left.
    ///
    /// # Errors
    /// `NotFound` without an image or directory, `Unsupported` if it is not btrfs, `Conflict` if another process
    /// has it or something else is mounted there.
    pub fn open(spec: &PoolSpec) -> Result<Pool> {
        spec.check()?;
        if let Some(image) = spec.image.as_ref().filter(|image| !image.path.exists()) {
            return Err(FilerError::NotFound(format!(
                "pool image {} does not exist; make the pool first, or bring the file back",
                image.path.display()
            )));
        }
        let lock = spec.image.as_ref().map(image::lock).transpose()?;
        Pool::start(spec, lock)
    }

    /// Unmounts the pool if it is in an image; the loop device goes with it. The data stays.
    ///
    /// # Errors
    /// `InUse` while anything on it is mounted or open.
    pub fn close(self) -> Result<()> {
        let Pool { path, image, root, _locks: mut locks, .. } = self;
        // The image's own lock is the first, and is kept until the end; the others lie on the pool itself.
        locks.truncate(usize::from(image.is_some()));
        drop(root);
        match image {
            Some(image) => image::unmount(&path, &image),
            None => Ok(()),
        }
    }

    /// Where the pool is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn start(spec: &PoolSpec, image_lock: Option<File>) -> Result<Pool> {
        if !spec.path.is_dir() {
            return Err(FilerError::NotFound(format!(
                "pool directory {} does not exist; make the pool first",
                spec.path.display()
            )));
        }
        let path = std::fs::canonicalize(&spec.path).while_doing("resolve", &spec.path)?;
        if let Some(image) = &spec.image {
            image::mount(&image.path, &path)?;
        }
        let root = btrfs::open_root(&path)?;
        let lock = lock::take(&path.join(btrfs::CONTROL).join("lock"), &path)?;
        let alone = btrfs::lock_file_system(&root, &path)?;
        let pool = Pool {
            owner: spec.owner.clone(),
            image: spec.image.as_ref().map(|image| image.path.clone()),
            ledger: btrfs::start_quota(&root, &path, spec.overcommit)?,
            root,
            path,
            commit: GroupCommit::default(),
            turns: Turns::default(),
            steps: Steps::default(),
            _locks: image_lock.into_iter().chain([lock, alone]).collect(),
        };
        pool.sweep()?;
        pool.count()?;
        Ok(pool)
    }
}
