//! Pools on XFS: a file volume is a directory with a project of its own, whose quota is its size; a block volume is an
//! image file; copies share their blocks.
//!
//! # Behavior
//! One file is copied in one step, whoever writes to it. A tree is copied file by file, and such a copy is kept only
//! if nothing in the tree changed from its beginning to its end; what is in use all the time is refused as `Busy`.

mod copy;
mod projects;
mod removal;
mod room;
mod snapshots;
mod stage;
mod volumes;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::Bytes;
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, FilerError, Result};
use crate::ioctl::xfs;
use crate::pool::steps::Steps;
use crate::pool::tree::{self, CONTROL, volume_dir};
use crate::pool::turns::Turns;
use crate::pool::{Abilities, Ability, LayoutAbilities, PoolSpec, PoolStats, lock};
use crate::volume::{GRANULARITY, Layout, MIN_SIZE, VolumeRecord};
use projects::Projects;
use room::Room;

const NO_THICK: &str = "XFS cannot set the space of a directory aside, and an image loses its own with the first \
                        snapshot; ask for a thin one, and set `overcommit` to 1";
const NO_IMPORT: &str = "a directory on XFS does not become a volume in one step; create a volume and copy into it with \
                         `cp -a --reflink`";

/// A pool on XFS, opened.
#[derive(Debug)]
pub(super) struct Xfs {
    path: PathBuf,
    owner: String,
    pub(super) root: OwnedFd,
    projects: Projects,
    room: Room,
    turns: Turns,
    pub(super) steps: Steps,
    _locks: [File; 2],
}

impl Xfs {
    /// `path` and `root` are the pool's directory, which is on XFS.
    ///
    /// # Errors
    /// `Unsupported` without project quotas or reflink, `Conflict` if another process has the pool.
    pub(super) fn start(spec: &PoolSpec, path: PathBuf, root: OwnedFd) -> Result<Xfs> {
        check_quota(&root, &path)?;
        tree::make_rooms(&root).while_doing("make what a pool needs in", &path)?;
        let lock = lock::take(&path.join(CONTROL).join("lock"), &path)?;
        let alone = lock_file_system(&root, &path)?;
        check_reflink(&root, &path)?;
        let pool = Xfs {
            owner: spec.owner.clone(),
            projects: Projects::default(),
            room: Room::new(&path, spec.overcommit),
            root,
            path,
            turns: Turns::default(),
            steps: Steps::default(),
            _locks: [lock, alone],
        };
        pool.sweep()?;
        pool.count()?;
        Ok(pool)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn abilities(&self) -> Abilities {
        let all = LayoutAbilities { thick: Ability::Lacks(NO_THICK), ..LayoutAbilities::ALL };
        Abilities {
            kind: "xfs",
            layouts: [Layout::File, Layout::Block].map(|layout| (layout, all)).into(),
            import: Ability::Lacks(NO_IMPORT),
            granularity: GRANULARITY,
            smallest: MIN_SIZE,
        }
    }

    pub(super) fn stats(&self) -> Result<PoolStats> {
        let seen = self.look()?;
        Ok(PoolStats {
            total: Bytes::new(seen.total),
            capacity: Bytes::new(seen.capacity()),
            used: Bytes::new(seen.total.saturating_sub(seen.free)),
            free: Bytes::new(seen.free),
            reserved: Bytes::ZERO,
            provisioned_thin: Bytes::new(self.room.promised()),
            thin_limit: Bytes::new(self.room.limit(&seen)),
        })
    }

    /// # Errors
    /// `NotFound` if something else is there now, `Unsupported` if it was mounted again without project quotas.
    pub(super) fn check(&self) -> Result<()> {
        let ours = rustix::fs::fstat(&self.root).while_doing("look at", &self.path)?;
        match rustix::fs::stat(&self.path) {
            Ok(seen) if (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino) => Ok(()),
            _ => Err(FilerError::NotFound(format!(
                "pool {} is no longer mounted there; restart to open it again",
                self.path.display()
            ))),
        }
    }

    /// Makes durable what was done in a directory and everything before it: the log of XFS is in order.
    fn commit(&self, relative: &str) -> Result<()> {
        let dir = self.open_dir(relative)?;
        rustix::fs::fsync(&dir).while_doing("sync", self.at(relative))
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn at(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    fn open_dir(&self, relative: &str) -> Result<OwnedFd> {
        rustix::fs::openat(&self.root, relative, tree::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .while_doing("open", self.at(relative))
    }

    fn names_in(&self, relative: &str) -> Result<Vec<String>> {
        tree::names(self.open_dir(relative)?).while_doing("list", self.at(relative))
    }

    /// The record of a volume of anyone's.
    fn record(&self, handle: &str) -> Result<Option<VolumeRecord>> {
        let Some(record) = tree::read_record::<VolumeRecord>(self.root(), &volume_dir(handle))
            .while_doing("read the record of", self.at(&volume_dir(handle)))?
        else {
            return Ok(None);
        };
        record.check_format()?;
        Ok(Some(record))
    }

    /// The record of a volume we may change.
    fn own_record(&self, handle: &str) -> Result<VolumeRecord> {
        let record = self.record(handle)?.ok_or_else(|| {
            FilerError::NotFound(format!("volume `{handle}` does not exist on pool {}", self.path.display()))
        })?;
        record.check_owner(&self.owner)?;
        Ok(record)
    }
}

fn check_quota(root: &OwnedFd, path: &Path) -> Result<()> {
    if !xfs::enforces_projects(root).while_doing("read the quotas of", path)? {
        return Err(FilerError::Unsupported(format!(
            "{} is on an XFS that holds no project to a quota, so no volume to its size; mount it with the option \
             `prjquota` (not by a remount), on Linux 5.14 or newer with CONFIG_XFS_QUOTA",
            path.display()
        )));
    }
    let attributes = xfs::attributes(root).while_doing("look at", path)?;
    if attributes.flags & xfs::INHERIT != 0 {
        return Err(FilerError::Unsupported(format!(
            "{} belongs to the quota of project {}, which its volumes cannot share; give the pool another directory, or \
             take it out with `xfs_quota -x -c 'project -C …'`",
            path.display(),
            attributes.project
        )));
    }
    Ok(())
}

/// Keeps a second pool off the file system: both would number their projects alike.
///
/// # Behavior
/// The lock is on what the kernel shows of the device, so it is one whatever the directory, and goes with the process.
fn lock_file_system(root: &OwnedFd, path: &Path) -> Result<File> {
    let device = rustix::fs::fstat(root).while_doing("look at", path)?.st_dev;
    let shown =
        PathBuf::from(format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device)));
    let lock = File::open(&shown).while_doing("open", &shown)?;
    if lock::alone(&lock).while_doing("lock", shown)? {
        return Ok(lock);
    }
    Err(FilerError::Conflict(format!(
        "the file system of pool {} holds another pool that is open; use that one, or give this pool a file system of \
         its own",
        path.display()
    )))
}

fn check_reflink(root: &OwnedFd, path: &Path) -> Result<()> {
    let control = tree::open_dir(root, CONTROL).while_doing("open", path)?;
    match copy::is_possible(&control).while_doing("try a copy in", path.join(CONTROL))? {
        true => Ok(()),
        false => Err(FilerError::Unsupported(format!(
            "{} is on an XFS without reflink, which snapshots and clones need; make it with `mkfs.xfs -m reflink=1`",
            path.display()
        ))),
    }
}
