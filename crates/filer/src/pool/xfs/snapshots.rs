//! Snapshots: take, list, restore, delete; and the copies that they and clones are.

use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use model::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, StatxFlags, renameat_with};
use rustix::io::Errno;

use super::{Xfs, copy, removal};
use crate::error::{Context, FilerError, Result};
use crate::pool::Watch;
use crate::pool::tree::{self, DATA, IMAGE, data_dir, snapshot_dir, snapshots_dir, volume_dir};
use crate::volume::{
    Layout, Outcome, Served, SnapshotRecord, SnapshotState, VolumeRecord, VolumeState, check_name, safer,
};

/// How often a tree that changes is copied before it is left.
const ATTEMPTS: u32 = 3;

impl Xfs {
    pub(in crate::pool) fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let record = self.own_record(handle)?;
        if let Some(state) = self.snapshot(&record, name)? {
            self.commit(&snapshots_dir(handle))?;
            return Ok(Outcome::Unchanged(state));
        }
        let what = format!("snapshot `{name}` of volume `{handle}`");
        self.room.check(&self.look()?, &what)?;
        let source = self.open_dir(&data_dir(handle))?;
        let stage = self.stage()?;
        self.steps.step()?;
        let path = self.at(&snapshot_dir(handle, name));
        let kept = SnapshotRecord::of(&record, name);
        tree::write_record(&stage.dir, &kept).while_doing("write the record of", &path)?;
        self.steps.step()?;
        let data = self.copy_data(&stage.dir, &source, record.layout, true, &what)?;
        self.steps.step()?;
        copy::seal(data.as_fd()).while_doing("seal", &path)?;
        self.steps.step()?;
        stage.publish(&snapshot_dir(handle, name))?;
        self.steps.step()?;
        self.commit(&snapshots_dir(handle))?;
        let state = self.snapshot(&record, name)?;
        Ok(Outcome::Changed(state.ok_or_else(|| SnapshotRecord::absent(handle, name))?))
    }

    pub(in crate::pool) fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        check_name("handle", handle)?;
        self.check()?;
        let Some(record) = self.record(handle)? else {
            return Err(FilerError::NotFound(format!("volume `{handle}` does not exist")));
        };
        let mut snapshots = Vec::new();
        for name in self.names_in(&snapshots_dir(handle))? {
            snapshots.extend(self.snapshot(&record, &name)?);
        }
        snapshots.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(snapshots)
    }

    pub(in crate::pool) fn find_snapshot(&self, handle: &str, name: &str) -> Result<Option<SnapshotState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        self.check()?;
        let Some(record) = self.record(handle)? else { return Ok(None) };
        self.snapshot(&record, name)
    }

    pub(in crate::pool) fn delete_snapshot(&self, handle: &str, name: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let Some(record) = self.record(handle)? else { return Ok(Outcome::Unchanged(())) };
        record.check_owner(&self.owner)?;
        if self.snapshot(&record, name)?.is_none() {
            return Ok(Outcome::Unchanged(()));
        }
        self.steps.step()?;
        let trashed = self.discard(&snapshot_dir(handle, name))?;
        self.steps.step()?;
        self.commit(&snapshots_dir(handle))?;
        self.steps.step()?;
        if let Some(trashed) = trashed {
            self.empty(&trashed);
        }
        Ok(Outcome::Changed(()))
    }

    pub(in crate::pool) fn restore(&self, handle: &str, name: &str) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let mut record = self.own_record(handle)?;
        record.check_unpermitted("restored")?;
        let (source, kept) = self.open_snapshot(handle, name)?;
        let what = format!("the restore of volume `{handle}`");
        self.room.check(&self.look()?, &what)?;
        // Whatever a death leaves of the two contents, the mark must hold for it.
        let mark = safer(record.staged, kept.staged);
        self.mark(&mut record, mark)?;
        let relative = data_dir(handle);
        let stage = self.stage()?;
        self.steps.step()?;
        let data = self.copy_data(&stage.dir, &source, record.layout, false, &what)?;
        match record.layout {
            Layout::File => self.limit(&data, &record)?,
            Layout::Block => self.size_image(&data, &record)?,
        }
        self.steps.step()?;
        renameat_with(&self.root, stage.data(), &self.root, &relative, RenameFlags::EXCHANGE)
            .while_doing("restore", self.at(&relative))?;
        self.steps.step()?;
        // The old content is needed until the new one is durable.
        self.commit(&volume_dir(handle))?;
        self.steps.step()?;
        drop(stage);
        self.steps.step()?;
        self.mark(&mut record, kept.staged)?;
        Ok(Outcome::Changed(self.state(record)?))
    }

    /// A snapshot's content, and what its record says.
    pub(super) fn open_snapshot(&self, handle: &str, name: &str) -> Result<(OwnedFd, SnapshotRecord)> {
        check_name("snapshot name", name)?;
        let relative = snapshot_dir(handle, name);
        let record: SnapshotRecord = tree::read_record(self.root(), &relative)
            .while_doing("read the record of", self.at(&relative))?
            .ok_or_else(|| SnapshotRecord::absent(handle, name))?;
        Ok((self.open_dir(&format!("{relative}/{DATA}"))?, record))
    }

    /// Makes `data` in a staged directory a copy of `source`, with a project of its own and without a limit.
    ///
    /// # Errors
    /// `Busy` if `live` files were written to each time that they were copied.
    pub(super) fn copy_data(
        &self,
        stage: &OwnedFd,
        source: &OwnedFd,
        layout: Layout,
        live: bool,
        what: &str,
    ) -> Result<OwnedFd> {
        if layout == Layout::Block {
            let data = self.fresh_data(stage).while_doing("copy into", what)?;
            copy_image(source, &data).while_doing("copy into", what)?;
            return Ok(data);
        }
        for _ in 0..ATTEMPTS {
            let watch =
                live.then(|| Watch::begin(stage)).transpose().while_doing("begin a copy into", what)?;
            let data = self.fresh_data(stage).while_doing("copy into", what)?;
            let copied = copy::copy_tree(source, &data);
            let whole = match (copied, &watch) {
                (Ok(()), None) => true,
                (Ok(()), Some(watch)) => watch.saw_no_change(source).while_doing("look again at", what)?,
                // Names that go while they are copied.
                (Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR), Some(_)) => false,
                (Err(Errno::NAMETOOLONG | Errno::MLINK), _) => {
                    return Err(FilerError::Unsupported(format!(
                        "{what}: the files lie more than 200 directories deep, or their paths are too long to be copied; \
                         flatten them"
                    )));
                }
                (Err(e), _) => return Err(e).while_doing("copy into", what),
            };
            if whole {
                return Ok(data);
            }
            drop(data);
            removal::remove_data(stage.as_fd()).while_doing("remove a copy of", what)?;
        }
        Err(FilerError::Busy(format!(
            "{what}: its files were written to each of the {ATTEMPTS} times that they were copied, and no copy is of one \
             instant; try again when they rest, stop their users, or use a block volume or a pool on btrfs"
        )))
    }

    /// Gives the volume another mark of use, unless it has it.
    fn mark(&self, record: &mut VolumeRecord, staged: Option<bool>) -> Result<()> {
        if record.staged == staged {
            return Ok(());
        }
        record.staged = staged;
        self.save(record)
    }

    fn snapshot(&self, volume: &VolumeRecord, name: &str) -> Result<Option<SnapshotState>> {
        let handle = &volume.handle;
        let relative = snapshot_dir(handle, name);
        let path = self.at(&relative);
        let record: Option<SnapshotRecord> =
            tree::read_record(self.root(), &relative).while_doing("read the record of", &path)?;
        let Some(record) = record else { return Ok(None) };
        let data = match tree::open_dir(&self.root, format!("{relative}/{DATA}")) {
            Ok(data) => data,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).while_doing("open", path),
        };
        let used =
            self.project(&data).while_doing("read the quota of", &path)?.map_or(0, |project| project.used);
        let born = rustix::fs::statx(&self.root, &relative, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME)
            .while_doing("look at", &path)?
            .stx_btime;
        let served = match volume.layout {
            Layout::File => Served::Directory { path: path.join(DATA), snapshots: None },
            Layout::Block => Served::Image { path: path.join(DATA).join(IMAGE) },
        };
        Ok(Some(SnapshotState {
            handle: handle.clone(),
            name: record.name,
            created: Timestamp::new(born.tv_sec, born.tv_nsec.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH),
            size: record.size,
            used: Bytes::new(used),
            exclusive: Bytes::new(used),
            served,
        }))
    }
}

/// In one step: who writes to the image meanwhile waits.
fn copy_image(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let open = |dir: &OwnedFd, flags: OFlags| {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(dir, IMAGE, flags, Mode::from_raw_mode(0o600))
    };
    let source = open(from, OFlags::RDONLY)?;
    let copy = open(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    rustix::fs::ioctl_ficlone(copy, source)
}
