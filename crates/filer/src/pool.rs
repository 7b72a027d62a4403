//! A pool: one file system, a mounted btrfs or XFS or a btrfs in an image file, or one thin pool of LVM, that volumes
//! live in.

mod abilities;
mod btrfs;
mod commit;
mod ground;
mod image;
mod ledger;
mod lock;
mod lvm;
mod mounts;
mod steps;
#[cfg(test)]
mod tests;
mod tree;
mod turns;
mod watch;
mod whole;
mod xfs;

use std::fs::File;
use std::path::{Path, PathBuf};

use model::{Bytes, NodeName, Permit};
use serde::{Deserialize, Serialize};

use crate::error::{Context, FilerError, Result};
use crate::volume::{
    CreateVolume, Damage, ForeignState, ModifyVolume, Outcome, SnapshotState, VolumeState, check_name,
};
pub use abilities::{Abilities, Ability, LayoutAbilities};
use btrfs::Btrfs;
use ground::Ground;
use lvm::Lvm;
pub use watch::Watch;
use xfs::Xfs;

/// Where a pool is and how it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// The directory where the pool is seen: the mount point of `image`, or a directory on a mounted btrfs or XFS. For
    /// a thin pool of LVM `group/pool`, without a leading slash.
    pub path: PathBuf,
    /// The file that holds the pool, on btrfs; `None` if `path` is on a mounted file system already.
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

/// An open pool. At most one process has it; dropping it leaves it as it is, so that containers go on.
#[derive(Debug)]
pub struct Pool {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Btrfs(Btrfs),
    Xfs(Xfs),
    Lvm(Lvm),
}

impl PoolSpec {
    /// A pool in an image file, overcommitted at most 10 times.
    pub fn in_image(path: impl Into<PathBuf>, image: Image, owner: impl Into<String>) -> Self {
        PoolSpec { path: path.into(), image: Some(image), overcommit: 10.0, owner: owner.into() }
    }

    /// A pool on a mounted btrfs or XFS, overcommitted at most 10 times.
    pub fn mounted(path: impl Into<PathBuf>, owner: impl Into<String>) -> Self {
        PoolSpec { path: path.into(), image: None, overcommit: 10.0, owner: owner.into() }
    }

    /// A thin pool of LVM that exists, not overcommitted: one that runs full loses what is written to it.
    pub fn on_lvm(group: &str, pool: &str, owner: impl Into<String>) -> Self {
        PoolSpec { path: Path::new(group).join(pool), image: None, overcommit: 1.0, owner: owner.into() }
    }

    /// A pool as people name it: the full path of a directory, or `group/pool` for a thin pool of LVM.
    ///
    /// # Errors
    /// `Invalid` for what is neither, `Unsupported` for a pool of ZFS.
    pub fn named(text: &str, owner: impl Into<String>) -> Result<Self> {
        let path = Path::new(text);
        let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
        if path.is_absolute() && plain && path.file_name().is_some() {
            // Without a slash at its end.
            return Ok(PoolSpec::mounted(path.components().collect::<PathBuf>(), owner));
        }
        if text.starts_with("zfs:") {
            return Err(ground::no_zfs(text));
        }
        let spec = PoolSpec { path: path.to_owned(), image: None, overcommit: 1.0, owner: owner.into() };
        if spec.lvm().is_some() {
            return Ok(spec);
        }
        Err(FilerError::Invalid(format!(
            "`{text}` is not the full path of a directory, as in `/srv/leister`, nor a thin pool of LVM, as in `vg0/thin`"
        )))
    }

    /// Whether it is a thin pool of LVM.
    pub fn is_lvm(&self) -> bool {
        self.lvm().is_some()
    }

    /// Volume group and thin pool, if that is what the path names.
    fn lvm(&self) -> Option<(&str, &str)> {
        let (group, pool) = self.path.to_str()?.split_once('/')?;
        let plain = |name: &str| check_name("name", name).is_ok();
        (self.image.is_none() && plain(group) && plain(pool)).then_some((group, pool))
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
        if spec.lvm().is_some() {
            return Pool::open(spec);
        }
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
    /// `NotFound` without an image or directory, `Unsupported` if no pool can be on what is there, `Conflict` if another
    /// process has it or something else is mounted there.
    pub fn open(spec: &PoolSpec) -> Result<Pool> {
        spec.check()?;
        if let Some((group, pool)) = spec.lvm() {
            return Ok(Pool { kind: Kind::Lvm(Lvm::open(spec, group, pool)?) });
        }
        if let Some(image) = spec.image.as_ref().filter(|image| !image.path.exists()) {
            return Err(FilerError::NotFound(format!(
                "pool image {} does not exist; make the pool first, or bring the file back",
                image.path.display()
            )));
        }
        let lock = spec.image.as_ref().map(image::lock).transpose()?;
        Pool::start(spec, lock)
    }

    /// Opens the pool in a directory, by what file system that is on.
    fn start(spec: &PoolSpec, lock: Option<File>) -> Result<Pool> {
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
        let (root, ground) = ground::open(&path)?;
        Ok(Pool {
            kind: match ground {
                Ground::Btrfs => Kind::Btrfs(Btrfs::start(spec, path, root, lock)?),
                Ground::Xfs => Kind::Xfs(Xfs::start(spec, path, root)?),
            },
        })
    }
}

/// Calls that every kind of pool answers.
macro_rules! to_its_kind {
    ($pool:expr, $call:ident($($argument:expr),*)) => {
        match &$pool.kind {
            Kind::Btrfs(pool) => pool.$call($($argument),*),
            Kind::Xfs(pool) => pool.$call($($argument),*),
            Kind::Lvm(pool) => pool.$call($($argument),*),
        }
    };
}

impl Pool {
    /// Lets go of the pool, and unmounts it if it is in an image; the loop device goes with it. The data stays.
    ///
    /// # Errors
    /// `InUse` while anything on it is mounted or open.
    pub fn close(self) -> Result<()> {
        match self.kind {
            Kind::Btrfs(pool) => pool.close(),
            Kind::Xfs(_) | Kind::Lvm(_) => Ok(()),
        }
    }

    /// Where the pool is mounted, or `group/pool`.
    pub fn path(&self) -> &Path {
        to_its_kind!(self, path())
    }

    /// What can be asked of this pool.
    pub fn abilities(&self) -> Abilities {
        to_its_kind!(self, abilities())
    }

    /// The pool's space; on btrfs as of the last commit (at most five seconds old).
    pub fn stats(&self) -> Result<PoolStats> {
        to_its_kind!(self, stats())
    }

    /// Whether the pool is still there.
    ///
    /// # Errors
    /// `NotFound` with advice if it has been unmounted, covered or removed.
    pub fn check(&self) -> Result<()> {
        to_its_kind!(self, check())
    }

    /// Creates a volume, empty or as a writable clone of `source`.
    ///
    /// # Behavior
    /// When it returns the volume is durable. One that exists as asked is `Unchanged`. A clone may be larger than
    /// its source. A thin clone of a reserved volume sets its size aside as well.
    ///
    /// # Errors
    /// `Conflict` if the handle is taken by another shape or instance, `NoCapacity`, `NotFound` for the source,
    /// `Unsupported` for what the pool's [abilities](Pool::abilities) lack, and for a thick clone of a thin source.
    pub fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, create(wanted))
    }

    /// The volume, of whatever instance.
    pub fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        to_its_kind!(self, find(handle))
    }

    /// All volumes of all instances, in one pass. What is [damaged](Pool::damaged) is not among them.
    pub fn list(&self) -> Result<Vec<VolumeState>> {
        to_its_kind!(self, list())
    }

    /// Volumes whose record or data is not as it should be. They are never touched, and keep nobody from the others.
    pub fn damaged(&self) -> Result<Vec<Damage>> {
        to_its_kind!(self, damaged())
    }

    /// Deletes a volume. Its space is free when the kernel has dropped it, some seconds later.
    ///
    /// # Errors
    /// `InUse` while it is permitted to a node or has snapshots.
    pub fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        to_its_kind!(self, delete(handle))
    }

    /// Enlarges a volume while it is in use. What lies on a block volume is the host's to enlarge.
    ///
    /// # Errors
    /// `Invalid` for a smaller size, `NoCapacity`.
    pub fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, grow(handle, size))
    }

    /// Records that a node may reach the volume, and how.
    ///
    /// # Behavior
    /// A node that has the same permit is `Unchanged`; another one (other addresses, other flags) is replaced.
    ///
    /// # Errors
    /// `InUse` names another node that is permitted, when either permit is exclusive.
    pub fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, permit(handle, permit))
    }

    /// Takes that back.
    pub fn forbid(&self, handle: &str, node: &NodeName) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, forbid(handle, node))
    }

    /// Changes a volume while it is in use.
    pub fn modify(&self, handle: &str, changes: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, modify(handle, changes))
    }

    /// Records that the volume was put to use, and must never be formatted.
    ///
    /// # Behavior
    /// A snapshot keeps the mark of its instant: a restore gives it back, a clone has that of what it was made from.
    pub fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, mark_staged(handle))
    }

    /// Takes a read-only snapshot, of one instant. One of the same name is `Unchanged`.
    ///
    /// # Behavior
    /// Data written to files before is in it. The file system on a block volume must be synced by its host first.
    /// The snapshot of a reserved volume sets aside what it holds.
    ///
    /// # Errors
    /// `NotFound` without the volume, `NoCapacity`; `Busy` on XFS for files that are written to all the time.
    pub fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        to_its_kind!(self, take(handle, name))
    }

    /// A volume's snapshots, oldest first.
    pub fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        to_its_kind!(self, list_snapshots(handle))
    }

    pub fn find_snapshot(&self, handle: &str, name: &str) -> Result<Option<SnapshotState>> {
        to_its_kind!(self, find_snapshot(handle, name))
    }

    /// Deletes a snapshot; clones of it stay.
    pub fn delete_snapshot(&self, handle: &str, name: &str) -> Result<Outcome<()>> {
        to_its_kind!(self, delete_snapshot(handle, name))
    }

    /// Makes the volume's content that of the snapshot, in one step. Size and snapshots stay.
    ///
    /// # Errors
    /// `InUse` while the volume is permitted to a node, `NotFound` without the snapshot.
    pub fn restore(&self, handle: &str, name: &str) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, restore(handle, name))
    }

    /// What is at the pool's root, or in its volume group, that is not ours.
    pub fn list_foreign(&self) -> Result<Vec<ForeignState>> {
        to_its_kind!(self, list_foreign())
    }

    /// Makes the subvolume `original` at the pool's root a volume. Its size is set aside.
    ///
    /// # Errors
    /// `Unsupported` for a plain directory or a block volume, `Invalid` if it holds more than the size.
    pub fn import(&self, original: &str, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        to_its_kind!(self, import(original, wanted))
    }

    /// Gives an imported volume back to the pool's root under its original name, without a limit.
    ///
    /// # Errors
    /// `Invalid` if it was not imported, `InUse` while permitted or with snapshots, `Conflict` if the name is taken.
    pub fn release(&self, handle: &str) -> Result<Outcome<()>> {
        to_its_kind!(self, release(handle))
    }
}
