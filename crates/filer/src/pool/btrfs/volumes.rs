//! Volumes: create, find, list, grow, permit, delete.

use std::os::fd::OwnedFd;

use model::{Bytes, NodeName, Permit};
use rustix::fs::{FallocateFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Btrfs, birth, recount};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs::{self, QgroupUse, SubvolumeInfo};
use crate::pool::ledger::{Promise, Sums};
use crate::pool::tree::{self, DATA, IMAGE, VOLUMES, data_dir, own, snapshots_dir, volume_dir};
use crate::volume::{
    CreateVolume, Damage, FORMAT, Layout, ModifyVolume, Outcome, Provisioning, Served, Source, VolumeRecord,
    VolumeState, check_name,
};

/// An opened source of a clone.
struct Origin {
    data: OwnedFd,
    reserved: bool,
    size: Bytes,
    layout: Layout,
    staged: Option<bool>,
}

impl Btrfs {
    pub(in crate::pool) fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        self.check()?;
        let _turn = self.turns.take([wanted.handle.as_str()].into_iter().chain(wanted.source.as_ref().map(
            |source| match source {
                Source::Volume { handle } | Source::Snapshot { handle, .. } => handle.as_str(),
            },
        )));
        if let Some(record) = self.record(&wanted.handle)? {
            record.check_owner(&self.owner)?;
            record.check_is(wanted)?;
            self.commit()?;
            return Ok(Outcome::Unchanged(self.state(record)?));
        }
        let origin = wanted.source.as_ref().map(|source| self.origin(wanted, source)).transpose()?;
        let reserved = wanted.provisioning == Provisioning::Thick
            || origin.as_ref().is_some_and(|origin| origin.reserved);
        let mut record = wanted.record(&self.owner, reserved);
        record.staged = origin.as_ref().map_or(Some(false), |origin| origin.staged);
        let promise = self.promise(reserved, &wanted.handle, wanted.size)?;
        self.build(&record, origin.as_ref())?;
        promise.keep();
        Ok(Outcome::Changed(self.state(record)?))
    }

    pub(in crate::pool) fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        check_name("handle", handle)?;
        self.check()?;
        let Some(record) = self.record(handle)? else { return Ok(None) };
        match self.state(record) {
            // Deleted between the two looks.
            Err(FilerError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            state => state.map(Some),
        }
    }

    pub(in crate::pool) fn list(&self) -> Result<Vec<VolumeState>> {
        Ok(self.scan()?.0)
    }

    pub(in crate::pool) fn damaged(&self) -> Result<Vec<Damage>> {
        Ok(self.scan()?.1)
    }

    pub(in crate::pool) fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let Some(record) = self.record(handle)? else { return Ok(Outcome::Unchanged(())) };
        record.check_owner(&self.owner)?;
        record.check_unpermitted("deleted")?;
        record.check_bare(&self.names_in(&snapshots_dir(handle))?)?;
        let trashed = self.discard(&volume_dir(handle))?;
        self.steps.step()?;
        if let Some(name) = trashed {
            self.empty(&name);
        }
        self.steps.step()?;
        self.commit()?;
        self.ledger.give_back(&self.root, shares(&record, record.size))?;
        Ok(Outcome::Changed(()))
    }

    pub(in crate::pool) fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let mut record = self.own_record(handle)?;
        let Some(more) = record.growth(size)? else { return Ok(Outcome::Unchanged(self.state(record)?)) };
        if record.layout == Layout::Block && !size.get().is_multiple_of(4096) {
            return Err(FilerError::Invalid(format!(
                "block volume `{handle}` cannot grow to {} bytes; use a multiple of 4096",
                size.get()
            )));
        }
        let promise = self.promise(record.reserved, handle, more)?;
        record.size = size;
        let data = self.open_dir(&data_dir(handle))?;
        self.steps.step()?;
        match record.layout {
            Layout::File => btrfs::limit_qgroup(&data, 0, Some(size.get()))
                .while_doing("raise the limit of", self.at(&data_dir(handle)))?,
            Layout::Block => self.size_image(&data, &record)?,
        }
        self.steps.step()?;
        self.save(&record)?;
        self.commit()?;
        promise.keep();
        Ok(Outcome::Changed(self.state(record)?))
    }

    pub(in crate::pool) fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| record.permit(permit))
    }

    pub(in crate::pool) fn forbid(&self, handle: &str, node: &NodeName) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| Ok(record.forbid(node)))
    }

    pub(in crate::pool) fn modify(
        &self,
        handle: &str,
        changes: &ModifyVolume,
    ) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| {
            // Its users may have changed the mode as well: that of the record does not say what it is.
            if let Some(mode) = changes.mode.filter(|_| record.layout == Layout::File) {
                tree::set_mode(&self.root, handle, mode)
                    .while_doing("change the mode of", self.at(&data_dir(handle)))?;
            }
            Ok(record.modify(changes))
        })
    }

    pub(in crate::pool) fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| Ok(record.staged.replace(true) != Some(true)))
    }

    fn scan(&self) -> Result<(Vec<VolumeState>, Vec<Damage>)> {
        self.check()?;
        let used = self.all_used()?;
        let (mut volumes, mut damaged) = (Vec::new(), Vec::new());
        for handle in self.names_in(VOLUMES)? {
            match self.look_at(&handle) {
                Ok(Some((record, info))) => {
                    volumes.push(self.view(record, used.get(&info.id).copied().unwrap_or_default()));
                }
                // Deleted since the names were read.
                Ok(None) => {}
                Err(error) => {
                    let problem = format!("{}; it is left as it is", error.chain());
                    damaged.push(Damage { handle, problem });
                }
            }
        }
        Ok((volumes, damaged))
    }

    /// What is there of one volume; `None` without one.
    pub(super) fn look_at(&self, handle: &str) -> Result<Option<(VolumeRecord, SubvolumeInfo)>> {
        let lacks = |what: &str| {
            let there = tree::exists(&self.root, &volume_dir(handle))
                .while_doing("look at", self.at(&volume_dir(handle)))?;
            if !there {
                return Ok(None);
            }
            Err(FilerError::Conflict(format!(
                "volume `{handle}` at {} has no {what}; bring it back, or move the volume away",
                self.at(&volume_dir(handle)).display()
            )))
        };
        let Some(record) = self.record(handle)? else { return lacks("record") };
        match tree::open_dir(&self.root, data_dir(handle)) {
            Ok(data) => Ok(Some((record, self.info(data, &data_dir(handle))?))),
            Err(Errno::NOENT) => lacks("data"),
            Err(e) => Err(e).while_doing("open", self.at(&data_dir(handle))),
        }
    }

    pub(super) fn state(&self, record: VolumeRecord) -> Result<VolumeState> {
        let relative = data_dir(&record.handle);
        let info = self.info(self.open_dir(&relative)?, &relative)?;
        let used = self.used(info.id)?;
        Ok(self.view(record, used))
    }

    /// Replaces a volume's record; the fsync makes it durable without a commit of the whole pool.
    pub(super) fn save(&self, record: &VolumeRecord) -> Result<()> {
        let relative = volume_dir(&record.handle);
        let dir = self.open_dir(&relative)?;
        tree::write_volume_record(&dir, &VolumeRecord { format: FORMAT, ..record.clone() })?;
        rustix::fs::fsync(&dir).while_doing("sync", self.at(&relative))
    }

    pub(super) fn promise(&self, reserved: bool, handle: &str, size: Bytes) -> Result<Promise<'_>> {
        let what = format!("volume `{handle}`");
        if reserved {
            self.ledger.promise_aside(self.root(), &what, size)
        } else {
            self.ledger.promise_thin(self.root(), &what, size)
        }
    }

    /// Gives a block volume's image its size, and a thick one its space.
    pub(super) fn size_image(&self, data: &OwnedFd, record: &VolumeRecord) -> Result<()> {
        let path = self.at(&data_dir(&record.handle)).join(IMAGE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let image =
            rustix::fs::openat(data, IMAGE, flags, Mode::from_raw_mode(0o600)).while_doing("open", &path)?;
        let stat = rustix::fs::fstat(&image).while_doing("look at", &path)?;
        if stat.st_size == 0 {
            // Written in place: a copy-on-write image fragments, and takes new space for each overwrite.
            let flags = rustix::fs::ioctl_getflags(&image).while_doing("look at", &path)?;
            rustix::fs::ioctl_setflags(&image, flags | IFlags::NOCOW).while_doing("prepare", &path)?;
        }
        if record.provisioning == Provisioning::Thick {
            // Lengthens it too, and only if there is room: the length is what a host goes by.
            rustix::fs::fallocate(&image, FallocateFlags::empty(), 0, record.size.get())
                .while_doing("allocate", &path)?;
        } else if stat.st_size.cast_unsigned() < record.size.get() {
            rustix::fs::ftruncate(&image, record.size.get()).while_doing("size", &path)?;
        }
        Ok(())
    }

    /// Makes `data` in a staged directory a writable copy of `source`, with the volume's own size.
    pub(super) fn copy_data(&self, stage: &OwnedFd, source: &OwnedFd, record: &VolumeRecord) -> Result<()> {
        let path = self.at(&data_dir(&record.handle));
        let birth = birth(record);
        btrfs::create_snapshot(stage, DATA, source, false, birth).while_doing("copy into", &path)?;
        recount(&self.root, &self.path)?;
        let data = tree::open_dir(stage, DATA).while_doing("open", &path)?;
        match record.layout {
            // Whatever limit it was born with, the kernel gives it its source's.
            Layout::File => btrfs::limit_qgroup(&data, 0, birth.limit).while_doing("limit", &path),
            Layout::Block => self.size_image(&data, record),
        }
    }

    fn build(&self, record: &VolumeRecord, origin: Option<&Origin>) -> Result<()> {
        let path = self.at(&data_dir(&record.handle));
        let stage = self.stage()?;
        self.steps.step()?;
        tree::write_volume_record(&stage.dir, record)?;
        stage.make_snapshots_dir()?;
        self.steps.step()?;
        match origin {
            None => btrfs::create_subvolume(&stage.dir, DATA, birth(record)).while_doing("create", &path)?,
            Some(origin) => self.copy_data(&stage.dir, &origin.data, record)?,
        }
        self.steps.step()?;
        match record.layout {
            Layout::File => {
                own(&stage.dir, record, origin.is_none()).while_doing("set the owner of", &path)?
            }
            Layout::Block if origin.is_none() => {
                let data = tree::open_dir(&stage.dir, DATA).while_doing("open", &path)?;
                self.size_image(&data, record)?;
            }
            Layout::Block => {}
        }
        self.steps.step()?;
        stage.publish(&volume_dir(&record.handle))?;
        self.steps.step()?;
        self.commit()
    }

    fn origin(&self, wanted: &CreateVolume, source: &Source) -> Result<Origin> {
        let (Source::Volume { handle } | Source::Snapshot { handle, .. }) = source;
        check_name("source", handle)?;
        let record = self.own_record(handle)?;
        let (data, size, staged) = match source {
            Source::Volume { .. } => (self.open_dir(&data_dir(handle))?, record.size, record.staged),
            Source::Snapshot { name, .. } => {
                let (data, kept) = self.open_snapshot(handle, name)?;
                (data, kept.size, kept.staged)
            }
        };
        let origin = Origin { data, reserved: record.reserved, size, layout: record.layout, staged };
        if origin.layout != wanted.layout {
            return Err(FilerError::Invalid(format!(
                "volume `{}` is asked for as {:?}, its source `{handle}` is {:?}; ask for the same",
                wanted.handle, wanted.layout, origin.layout
            )));
        }
        if wanted.size < origin.size {
            return Err(FilerError::Invalid(format!(
                "volume `{}` is asked for with {}, its source `{handle}` has {}; ask for at least that",
                wanted.handle, wanted.size, origin.size
            )));
        }
        if wanted.provisioning == Provisioning::Thick && !origin.reserved {
            return Err(FilerError::Unsupported(format!(
                "volume `{}` is asked for thick, its source `{handle}` is thin and shares its space; ask for a thin \
                 clone, or create a thick volume and copy",
                wanted.handle
            )));
        }
        Ok(origin)
    }

    /// Gives the volume another mark of use, unless it has it.
    pub(super) fn mark(&self, record: &mut VolumeRecord, staged: Option<bool>) -> Result<()> {
        if record.staged == staged {
            return Ok(());
        }
        record.staged = staged;
        self.save(record)
    }

    fn change_record(
        &self,
        handle: &str,
        change: impl FnOnce(&mut VolumeRecord) -> Result<bool>,
    ) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let mut record = self.own_record(handle)?;
        if !change(&mut record)? {
            return Ok(Outcome::Unchanged(self.state(record)?));
        }
        self.save(&record)?;
        Ok(Outcome::Changed(self.state(record)?))
    }

    fn view(&self, record: VolumeRecord, used: QgroupUse) -> VolumeState {
        let data = self.at(&data_dir(&record.handle));
        let served = match record.layout {
            Layout::File => {
                Served::Directory { path: data, snapshots: Some(self.at(&snapshots_dir(&record.handle))) }
            }
            Layout::Block => Served::Image { path: data.join(IMAGE) },
        };
        record.state(served, Bytes::new(used.referenced), Bytes::new(used.exclusive))
    }
}

/// What `size` of the volume counts as in the ledger.
pub(super) fn shares(record: &VolumeRecord, size: Bytes) -> Sums {
    if record.reserved {
        Sums { reserved: size.get(), ..Sums::default() }
    } else {
        Sums { thin: size.get(), ..Sums::default() }
    }
}
