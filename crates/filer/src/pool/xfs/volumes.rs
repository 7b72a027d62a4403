//! Volumes: create, find, list, grow, permit, delete.

use std::os::fd::OwnedFd;

use model::{Bytes, NodeName, Permit};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{NO_IMPORT, NO_THICK, Xfs, projects};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::xfs::{self, Project};
use crate::pool::tree::{self, DATA, IMAGE, VOLUMES, data_dir, own, snapshots_dir, volume_dir};
use crate::volume::{
    CreateVolume, Damage, FORMAT, ForeignState, Layout, ModifyVolume, Outcome, Provisioning, Served, Source,
    VolumeRecord, VolumeState, check_name,
};

/// An opened source of a clone.
struct Origin {
    data: OwnedFd,
    size: Bytes,
    layout: Layout,
    staged: Option<bool>,
    /// Whether somebody may write to it.
    live: bool,
}

impl Xfs {
    pub(in crate::pool) fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        self.check()?;
        if wanted.provisioning == Provisioning::Thick {
            return Err(FilerError::Unsupported(format!("volume `{}`: {NO_THICK}", wanted.handle)));
        }
        let source = wanted.source.as_ref().map(|source| match source {
            Source::Volume { handle } | Source::Snapshot { handle, .. } => handle.as_str(),
        });
        let _turn = self.turns.take([wanted.handle.as_str()].into_iter().chain(source));
        if let Some(record) = self.record(&wanted.handle)? {
            record.check_owner(&self.owner)?;
            record.check_is(wanted)?;
            self.commit(VOLUMES)?;
            return Ok(Outcome::Unchanged(self.state(record)?));
        }
        let origin = wanted.source.as_ref().map(|source| self.origin(wanted, source)).transpose()?;
        let mut record = wanted.record(&self.owner, false);
        record.staged = origin.as_ref().map_or(Some(false), |origin| origin.staged);
        let what = format!("volume `{}`", wanted.handle);
        let promise = self.room.promise(&self.look()?, &what, wanted.size)?;
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
            Err(FilerError::NotFound(_)) => Ok(None),
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
        self.steps.step()?;
        let trashed = self.discard(&volume_dir(handle))?;
        self.steps.step()?;
        // Its content goes only when it is sure that it does not come back.
        self.commit(VOLUMES)?;
        self.steps.step()?;
        if let Some(name) = trashed {
            self.empty(&name);
        }
        self.room.give_back(record.size.get());
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
        let promise = self.room.promise(&self.look()?, &format!("volume `{handle}`"), more)?;
        record.size = size;
        let relative = data_dir(handle);
        let data = self.open_dir(&relative)?;
        self.steps.step()?;
        match record.layout {
            Layout::File => self.limit(&data, &record)?,
            Layout::Block => self.size_image(&data, &record)?,
        }
        self.steps.step()?;
        self.save(&record)?;
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

    pub(in crate::pool) fn list_foreign(&self) -> Result<Vec<ForeignState>> {
        self.check()?;
        let ours = [tree::CONTROL, VOLUMES, tree::STAGING, tree::TRASH];
        let foreign = self.names_in(".")?.into_iter().filter(|name| !ours.contains(&name.as_str()));
        // Nothing counts what a directory without a project holds.
        Ok(foreign.map(|name| ForeignState { name, subvolume: false, used: Bytes::ZERO }).collect())
    }

    pub(in crate::pool) fn import(
        &self,
        original: &str,
        wanted: &CreateVolume,
    ) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        Err(FilerError::Unsupported(format!("`{original}` cannot be imported: {NO_IMPORT}")))
    }

    pub(in crate::pool) fn release(&self, handle: &str) -> Result<Outcome<()>> {
        Err(FilerError::Invalid(format!("volume `{handle}` was not imported; delete it, or keep it")))
    }

    fn scan(&self) -> Result<(Vec<VolumeState>, Vec<Damage>)> {
        self.check()?;
        let (mut volumes, mut damaged) = (Vec::new(), Vec::new());
        for handle in self.names_in(VOLUMES)? {
            match self.look_at(&handle) {
                Ok(Some((record, project))) => volumes.push(self.view(record, project)),
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
    pub(super) fn look_at(&self, handle: &str) -> Result<Option<(VolumeRecord, Project)>> {
        let path = self.at(&volume_dir(handle));
        let broken = |what: &str| {
            if !tree::exists(&self.root, &volume_dir(handle)).while_doing("look at", &path)? {
                return Ok(None);
            }
            let way_out = "bring it back, or move the volume away";
            Err(FilerError::Conflict(format!(
                "volume `{handle}` at {} has no {what}; {way_out}",
                path.display()
            )))
        };
        let Some(record) = self.record(handle)? else { return broken("record") };
        let data = match tree::open_dir(&self.root, data_dir(handle)) {
            Ok(data) => data,
            Err(Errno::NOENT) => return broken("data"),
            Err(e) => return Err(e).while_doing("open", self.at(&data_dir(handle))),
        };
        match self.project(&data).while_doing("read the quota of", self.at(&data_dir(handle)))? {
            Some(project) => Ok(Some((record, project))),
            // Whoever is root in a container can take it away.
            None => broken("project any more, so that nothing holds it to its size"),
        }
    }

    pub(super) fn state(&self, record: VolumeRecord) -> Result<VolumeState> {
        let (_, project) = self.look_at(&record.handle)?.ok_or_else(|| {
            FilerError::NotFound(format!("volume `{}` does not exist any more", record.handle))
        })?;
        Ok(self.view(record, project))
    }

    /// Replaces a volume's record, durably.
    pub(super) fn save(&self, record: &VolumeRecord) -> Result<()> {
        let relative = volume_dir(&record.handle);
        let dir = self.open_dir(&relative)?;
        tree::write_volume_record(&dir, &VolumeRecord { format: FORMAT, ..record.clone() })?;
        rustix::fs::fsync(&dir).while_doing("sync", self.at(&relative))
    }

    pub(super) fn project(&self, data: &OwnedFd) -> rustix::io::Result<Option<Project>> {
        projects::of(data)?.map(|id| xfs::project(&self.root, id)).transpose()
    }

    /// Holds a file volume to its size. A block volume's is its image's.
    pub(super) fn limit(&self, data: &OwnedFd, record: &VolumeRecord) -> Result<()> {
        let path = self.at(&data_dir(&record.handle));
        match projects::of(data).while_doing("look at", &path)? {
            Some(id) => xfs::limit_project(data, id, Some(record.size.get())).while_doing("limit", path),
            None => Err(FilerError::Conflict(format!(
                "{} has no project any more, so that nothing can hold it to its size; bring it back",
                path.display()
            ))),
        }
    }

    /// Gives a block volume's image its size.
    pub(super) fn size_image(&self, data: &OwnedFd, record: &VolumeRecord) -> Result<()> {
        let path = self.at(&data_dir(&record.handle)).join(IMAGE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let image =
            rustix::fs::openat(data, IMAGE, flags, Mode::from_raw_mode(0o600)).while_doing("open", &path)?;
        let length = rustix::fs::fstat(&image).while_doing("look at", &path)?.st_size.cast_unsigned();
        if length < record.size.get() {
            rustix::fs::ftruncate(&image, record.size.get()).while_doing("size", &path)?;
            rustix::fs::fsync(&image).while_doing("sync", &path)?;
        }
        Ok(())
    }

    fn build(&self, record: &VolumeRecord, origin: Option<&Origin>) -> Result<()> {
        let path = self.at(&data_dir(&record.handle));
        let stage = self.stage()?;
        self.steps.step()?;
        tree::write_volume_record(&stage.dir, record)?;
        stage.make_snapshots_dir()?;
        self.steps.step()?;
        let data = match origin {
            None => self.fresh_data(&stage.dir).while_doing("create", &path)?,
            Some(origin) => {
                let what = format!("volume `{}`", record.handle);
                self.copy_data(&stage.dir, &origin.data, record.layout, origin.live, &what)?
            }
        };
        self.steps.step()?;
        match record.layout {
            Layout::File => {
                own(&stage.dir, record, origin.is_none()).while_doing("set the owner of", &path)?;
                self.limit(&data, record)?;
            }
            Layout::Block => self.size_image(&data, record)?,
        }
        self.steps.step()?;
        stage.publish(&volume_dir(&record.handle))?;
        self.steps.step()?;
        self.commit(VOLUMES)
    }

    /// An empty directory with a project of its own.
    pub(super) fn fresh_data(&self, stage: &OwnedFd) -> rustix::io::Result<OwnedFd> {
        let data = tree::make_dir(stage, DATA)?;
        self.projects.begin(&data)?;
        Ok(data)
    }

    fn origin(&self, wanted: &CreateVolume, source: &Source) -> Result<Origin> {
        let (Source::Volume { handle } | Source::Snapshot { handle, .. }) = source;
        check_name("source", handle)?;
        let record = self.own_record(handle)?;
        let layout = record.layout;
        let origin = match source {
            Source::Volume { .. } => {
                let data = self.open_dir(&data_dir(handle))?;
                Origin { data, size: record.size, layout, staged: record.staged, live: true }
            }
            Source::Snapshot { name, .. } => {
                let (data, kept) = self.open_snapshot(handle, name)?;
                Origin { data, size: kept.size, layout, staged: kept.staged, live: false }
            }
        };
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
        Ok(origin)
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

    fn view(&self, record: VolumeRecord, project: Project) -> VolumeState {
        let data = self.at(&data_dir(&record.handle));
        let served = match record.layout {
            Layout::File => {
                Served::Directory { path: data, snapshots: Some(self.at(&snapshots_dir(&record.handle))) }
            }
            Layout::Block => Served::Image { path: data.join(IMAGE) },
        };
        // XFS does not say what is shared.
        let used = Bytes::new(project.used);
        record.state(served, used, used)
    }
}
