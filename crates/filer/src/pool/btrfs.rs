//! Pools on btrfs: a volume is a subvolume, its size a quota, a snapshot a read-only subvolume.

mod foreign;
mod snapshots;
mod subvolumes;
mod sweep;
mod volumes;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs::{self, Birth, QgroupUse, SubvolumeInfo, THIN_GROUP};
use crate::pool::commit::GroupCommit;
use crate::pool::ledger::Ledger;
use crate::pool::steps::Steps;
use crate::pool::tree::{self, CONTROL, volume_dir};
use crate::pool::turns::Turns;
use crate::pool::{Abilities, Ability, LayoutAbilities, PoolSpec, PoolStats, image, lock};
use crate::volume::{GRANULARITY, Layout, MIN_SIZE, VolumeRecord};

const LAST_SUBVOLUME: u64 = (1 << 48) - 1;

/// Keeps a second pool off the file system: both would promise the same space, and set the same group's limit.
///
/// # Behavior
/// The lock is on what the kernel shows of the file system, so it is one whatever the directory, and goes with the
/// process.
fn lock_file_system(root: &OwnedFd, path: &Path) -> Result<File> {
    let shown = sysfs(root, path)?;
    let lock = File::open(&shown).while_doing("open", &shown)?;
    if lock::alone(&lock).while_doing("lock", shown)? {
        return Ok(lock);
    }
    Err(FilerError::Conflict(format!(
        "the file system of pool {} holds another pool that is open; use that one, or give this pool a file system \
         or an image of its own",
        path.display()
    )))
}

/// Turns full quota groups on, with the group of thin volumes, and repairs counts the kernel calls inconsistent.
fn start_quota(root: &OwnedFd, path: &Path, overcommit: f64) -> Result<Ledger> {
    let fresh = btrfs::qgroup_uses(root, 0, LAST_SUBVOLUME).while_doing("read quota of", path)?.is_empty();
    if fresh {
        btrfs::enable_quota(root).while_doing("turn on quota of", path)?;
    }
    match btrfs::create_qgroup(root, THIN_GROUP) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).while_doing("make the quota group of", path),
    }
    if let Some(knobs) = quota_knobs(root, path)? {
        let mode = fs::read_to_string(knobs.join("mode")).unwrap_or_default();
        if mode.trim() == "squota" {
            return Err(FilerError::Unsupported(format!(
                "{} has simple quotas on, which cannot hold a clone to its size; turn them off with \
                 `btrfs quota disable` and open the pool again",
                path.display()
            )));
        }
        // Without this the kernel gives up counting when it drops a large subvolume. Absent before Linux 6.1.
        if let Err(error) = fs::write(knobs.join("drop_subtree_threshold"), "8") {
            tracing::warn!(%error, "deleting large volumes can need a recount of quotas");
        }
    }
    if fresh {
        btrfs::rescan(root).while_doing("count quotas of", path)?;
    }
    recount(root, path)?;
    Ok(Ledger::new(path, capacity(root, path)?, overcommit))
}

/// Counts anew if the kernel has given up counting, as until then no limit holds. It does so after some of a
/// person's commands, and before Linux 6.9 after each snapshot that is born into a group.
fn recount(root: &OwnedFd, path: &Path) -> Result<()> {
    let Some(knobs) = quota_knobs(root, path)? else { return Ok(()) };
    if fs::read_to_string(knobs.join("inconsistent")).is_ok_and(|flag| flag.trim() != "0") {
        btrfs::rescan(root).while_doing("count quotas of", path)?;
    }
    Ok(())
}

/// A pool on btrfs, opened.
#[derive(Debug)]
pub(super) struct Btrfs {
    path: PathBuf,
    owner: String,
    image: Option<PathBuf>,
    pub(super) root: OwnedFd,
    ledger: Ledger,
    commit: GroupCommit,
    turns: Turns,
    pub(super) steps: Steps,
    _locks: Vec<File>,
}

impl Btrfs {
    /// `path` and `root` are the pool's directory, which is on btrfs.
    pub(super) fn start(
        spec: &PoolSpec,
        path: PathBuf,
        root: OwnedFd,
        image_lock: Option<File>,
    ) -> Result<Btrfs> {
        tree::make_rooms(&root).while_doing("make what a pool needs in", &path)?;
        let lock = lock::take(&path.join(CONTROL).join("lock"), &path)?;
        let alone = lock_file_system(&root, &path)?;
        let pool = Btrfs {
            owner: spec.owner.clone(),
            image: spec.image.as_ref().map(|image| image.path.clone()),
            ledger: start_quota(&root, &path, spec.overcommit)?,
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

    pub(in crate::pool) fn close(self) -> Result<()> {
        let Btrfs { path, image, root, _locks: mut locks, .. } = self;
        // The image's own lock is the first, and is kept until the end; the others lie on the pool itself.
        locks.truncate(usize::from(image.is_some()));
        drop(root);
        match image {
            Some(image) => image::unmount(&path, &image),
            None => Ok(()),
        }
    }

    pub(in crate::pool) fn abilities(&self) -> Abilities {
        Abilities {
            kind: "btrfs",
            layouts: [Layout::File, Layout::Block].map(|layout| (layout, LayoutAbilities::ALL)).into(),
            import: Ability::Has,
            granularity: GRANULARITY,
            smallest: MIN_SIZE,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::pool) fn stats(&self) -> Result<PoolStats> {
        recount(&self.root, &self.path)?;
        let fs = rustix::fs::fstatvfs(&self.root).while_doing("look at", &self.path)?;
        let sums = self.ledger.sums();
        Ok(PoolStats {
            total: Bytes::new(fs.f_blocks * fs.f_frsize),
            capacity: Bytes::new(self.ledger.capacity()),
            used: Bytes::new((fs.f_blocks - fs.f_bfree) * fs.f_frsize),
            free: Bytes::new(self.ledger.free(&self.root)?),
            reserved: Bytes::new(sums.aside()),
            provisioned_thin: Bytes::new(sums.thin),
            thin_limit: Bytes::new(self.ledger.thin_limit()),
        })
    }

    pub(in crate::pool) fn check(&self) -> Result<()> {
        let ours = rustix::fs::fstat(&self.root).while_doing("look at", &self.path)?;
        match rustix::fs::stat(&self.path) {
            Ok(seen) if (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino) => Ok(()),
            _ => Err(FilerError::NotFound(format!(
                "pool {} is no longer mounted there; restart to open it again",
                self.path.display()
            ))),
        }
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn commit(&self) -> Result<()> {
        self.commit.wait(&self.root).while_doing("commit", &self.path)
    }

    fn at(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    fn open_dir(&self, relative: &str) -> Result<OwnedFd> {
        rustix::fs::openat(&self.root, relative, tree::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .while_doing("open", self.at(relative))
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

    fn info(&self, subvolume: impl AsFd, relative: &str) -> Result<SubvolumeInfo> {
        btrfs::subvolume_info(subvolume).while_doing("look at subvolume", self.at(relative))
    }

    fn used(&self, id: u64) -> Result<QgroupUse> {
        let uses = btrfs::qgroup_uses(&self.root, id, id).while_doing("read quota of", &self.path)?;
        Ok(uses.first().map_or(QgroupUse::default(), |(_, used)| *used))
    }

    pub(super) fn all_used(&self) -> Result<HashMap<u64, QgroupUse>> {
        let uses =
            btrfs::qgroup_uses(&self.root, 0, LAST_SUBVOLUME).while_doing("read quota of", &self.path)?;
        Ok(uses.into_iter().collect())
    }
}

/// What the volume's subvolume is born with. A block volume's size is its image's: a quota would count extents that
/// are partly overwritten whole, and fail writes of a disk that is not full.
fn birth(record: &VolumeRecord) -> Birth {
    Birth {
        limit: (record.layout == Layout::File).then_some(record.size.get()),
        group: (!record.reserved).then_some(THIN_GROUP),
    }
}

fn created(info: SubvolumeInfo) -> Timestamp {
    Timestamp::new(info.created_sec, info.created_nsec.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What volumes may take: all but two copies of the metadata chunks mkfs makes, and 2 % that keep the file system
/// able to commit when everything else is full.
fn capacity(root: &OwnedFd, path: &Path) -> Result<u64> {
    let fs = rustix::fs::fstatvfs(root).while_doing("look at", path)?;
    let total = fs.f_blocks * fs.f_frsize;
    let metadata = 2 * (total / 20).min(256 << 20);
    Ok(total.saturating_sub(metadata + total / 50 + (16 << 20)))
}

/// What the kernel shows of the file system, which it names by its id.
fn sysfs(root: &OwnedFd, path: &Path) -> Result<PathBuf> {
    let id = btrfs::fs_id(root).while_doing("look at", path)?;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Ok(Path::new("/sys/fs/btrfs").join(uuid))
}

fn quota_knobs(root: &OwnedFd, path: &Path) -> Result<Option<PathBuf>> {
    let knobs = sysfs(root, path)?.join("qgroups");
    Ok(knobs.is_dir().then_some(knobs))
}
