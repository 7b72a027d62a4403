//! Snapshots: take, list, restore, delete.

use std::os::fd::OwnedFd;

use model::Bytes;
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Btrfs, created, recount};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs::{self, Birth, THIN_GROUP};
use crate::pool::ledger::Sums;
use crate::pool::tree::{self, DATA, IMAGE, data_dir, snapshot_dir, snapshots_dir};
use crate::volume::{
    Layout, Outcome, Served, SnapshotRecord, SnapshotState, VolumeRecord, VolumeState, check_name, safer,
};

impl Btrfs {
    pub(in crate::pool) fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let record = self.own_record(handle)?;
        if let Some(state) = self.snapshot(&record, name)? {
            self.commit()?;
            return Ok(Outcome::Unchanged(state));
        }
        let promise = if record.reserved {
            rustix::fs::syncfs(&self.root).while_doing("sync", &self.path)?;
            let used = self.state(record.clone())?.used;
            let what = format!("snapshot `{name}` of reserved volume `{handle}`");
            Some((self.ledger.promise_aside(self.root(), &what, used)?, used))
        } else {
            None
        };
        let source = self.open_dir(&data_dir(handle))?;
        let stage = self.stage()?;
        self.steps.step()?;
        let path = self.at(&snapshot_dir(handle, name));
        let kept = SnapshotRecord::of(&record, name);
        tree::write_record(&stage.dir, &kept).while_doing("write the record of", &path)?;
        let born = Birth { limit: None, group: (!record.reserved).then_some(THIN_GROUP) };
        btrfs::create_snapshot(&stage.dir, DATA, &source, true, born).while_doing("take snapshot", &path)?;
        recount(&self.root, &self.path)?;
        self.steps.step()?;
        stage.publish(&snapshot_dir(handle, name))?;
        self.steps.step()?;
        self.commit()?;
        let state = self.snapshot(&record, name)?.ok_or_else(|| SnapshotRecord::absent(handle, name))?;
        if let Some((promise, promised)) = promise {
            promise.keep();
            // Writes between the count and the snapshot are in it as well.
            self.ledger.add_reserved(&self.root, state.used.get().saturating_sub(promised.get()))?;
            let over = promised.get().saturating_sub(state.used.get());
            self.ledger.give_back(&self.root, Sums { reserved: over, ..Sums::default() })?;
        }
        Ok(Outcome::Changed(state))
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
        let Some(state) = self.snapshot(&record, name)? else { return Ok(Outcome::Unchanged(())) };
        let trashed = self.discard(&snapshot_dir(handle, name))?;
        self.steps.step()?;
        if let Some(trashed) = trashed {
            self.empty(&trashed);
        }
        self.steps.step()?;
        self.commit()?;
        if record.reserved {
            self.ledger.give_back(&self.root, Sums { reserved: state.used.get(), ..Sums::default() })?;
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
        // Whatever a death leaves of the two contents, the mark must hold for it.
        let mark = safer(record.staged, kept.staged);
        self.mark(&mut record, mark)?;
        let data = data_dir(handle);
        let stage = self.stage()?;
        self.steps.step()?;
        self.copy_data(&stage.dir, &source, &record)?;
        self.steps.step()?;
        renameat_with(&self.root, stage.data(), &self.root, &data, RenameFlags::EXCHANGE)
            .while_doing("restore", self.at(&data))?;
        self.steps.step()?;
        // The old content is needed until the new one is durable.
        self.commit()?;
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

    fn snapshot(&self, volume: &VolumeRecord, name: &str) -> Result<Option<SnapshotState>> {
        let handle = &volume.handle;
        let relative = snapshot_dir(handle, name);
        let data = format!("{relative}/{DATA}");
        let record: Option<SnapshotRecord> = tree::read_record(self.root(), &relative)
            .while_doing("read the record of", self.at(&relative))?;
        let Some(record) = record else { return Ok(None) };
        let info = match tree::open_dir(&self.root, &data) {
            Ok(fd) => self.info(fd, &data)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).while_doing("open", self.at(&data)),
        };
        let used = self.used(info.id)?;
        let served = match volume.layout {
            Layout::File => Served::Directory { path: self.at(&data), snapshots: None },
            Layout::Block => Served::Image { path: self.at(&data).join(IMAGE) },
        };
        Ok(Some(SnapshotState {
            handle: handle.clone(),
            name: record.name,
            created: created(info),
            size: record.size,
            used: Bytes::new(used.referenced),
            exclusive: Bytes::new(used.exclusive),
            served,
        }))
    }
}
