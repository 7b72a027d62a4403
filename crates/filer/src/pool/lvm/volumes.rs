//! Volumes: create, find, list, grow, permit, delete.

use model::{Bytes, NodeName, Permit};

use super::commands::fresh_name;
use super::entry::{Entry, Kept};
use super::room::{number, part, percent};
use super::seen::{Found, Seen, check_closed};
use super::tool::{self, Row};
use super::{Lvm, NO_IMPORT, NO_THICK};
use crate::error::{FilerError, Result};
use crate::volume::{
    CreateVolume, Damage, ForeignState, Layout, ModifyVolume, Outcome, Provisioning, Served, Source,
    VolumeRecord, VolumeState, check_name,
};

impl Lvm {
    pub(in crate::pool) fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        self.check_offered(wanted)?;
        let _turn = self.turn();
        let seen = self.look()?;
        seen.check_whole(&wanted.handle)?;
        if let Some((found, record)) = seen.volume(&wanted.handle) {
            record.check_owner(&self.owner)?;
            record.check_is(wanted)?;
            return Ok(Outcome::Unchanged(self.view(found, record)));
        }
        self.check_room(&seen, &format!("volume `{}`", wanted.handle), wanted.size)?;
        let mut record = wanted.record(&self.owner, false);
        let name = fresh_name();
        match wanted.source.as_ref().map(|source| self.origin(&seen, wanted, source)).transpose()? {
            None => {
                let tags = Entry { generation: 1, kept: Kept::Volume(record.clone()) }.tags()?;
                let size = format!("{}b", wanted.size.get());
                let mut words = vec![
                    "lvcreate",
                    "-y",
                    "-W",
                    "y",
                    "--thinpool",
                    &self.pool,
                    "-V",
                    &size,
                    "-n",
                    &name,
                    "-q",
                ];
                tags.iter().for_each(|tag| words.extend(["--addtag", tag]));
                words.push(&self.group);
                self.steps.step()?;
                tool::run(&words)?;
                self.steps.step()?;
                // Nothing is in it yet: that needs no look.
                let served = Served::Device { path: self.device(&name) };
                return Ok(Outcome::Changed(record.state(served, Bytes::ZERO, Bytes::ZERO)));
            }
            Some((origin, staged)) => {
                record.staged = staged;
                let whole = number(&origin.row.lv_size) == wanted.size.get();
                let mut entry = Entry { generation: u64::from(whole), kept: Kept::Volume(record) };
                self.steps.step()?;
                self.copy(&origin.row.lv_name, &name, &entry, true)?;
                self.steps.step()?;
                if !whole {
                    self.extend(&name, number(&origin.row.lv_size), wanted.size)?;
                    self.steps.step()?;
                    let old = entry.tags()?;
                    entry.generation = 1;
                    self.retag(&name, &old, &entry)?;
                }
            }
        }
        self.steps.step()?;
        Ok(Outcome::Changed(self.existing(&wanted.handle)?))
    }

    pub(in crate::pool) fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        check_name("handle", handle)?;
        let seen = self.look()?;
        seen.check_whole(handle)?;
        Ok(seen.volume(handle).map(|(found, record)| self.view(found, record)))
    }

    pub(in crate::pool) fn list(&self) -> Result<Vec<VolumeState>> {
        let seen = self.look()?;
        Ok(seen.volumes().into_values().map(|(found, record)| self.view(found, record)).collect())
    }

    pub(in crate::pool) fn damaged(&self) -> Result<Vec<Damage>> {
        Ok(self.look()?.damaged)
    }

    pub(in crate::pool) fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        let _turn = self.turn();
        let seen = self.look()?;
        seen.check_whole(handle)?;
        let Some((found, record)) = seen.volume(handle) else { return Ok(Outcome::Unchanged(())) };
        record.check_owner(&self.owner)?;
        record.check_unpermitted("deleted")?;
        let snapshots: Vec<_> =
            seen.snapshots(handle).into_iter().map(|(_, _, kept)| kept.name.clone()).collect();
        record.check_bare(&snapshots)?;
        check_closed(found, handle, "deleted")?;
        self.steps.step()?;
        self.remove(&found.row.lv_name)?;
        self.steps.step()?;
        Ok(Outcome::Changed(()))
    }

    pub(in crate::pool) fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        self.check_size(handle, size)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        let Some(more) = record.growth(size)? else {
            return Ok(Outcome::Unchanged(self.view(found, record)));
        };
        self.check_room(&seen, &format!("volume `{handle}`"), more)?;
        self.steps.step()?;
        self.extend(&found.row.lv_name, number(&found.row.lv_size), size)?;
        self.steps.step()?;
        let larger = VolumeRecord { size, ..record.clone() };
        self.save(found, larger.clone())?;
        self.steps.step()?;
        Ok(Outcome::Changed(self.view(found, &larger)))
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
        self.change_record(handle, |record| Ok(record.modify(changes)))
    }

    pub(in crate::pool) fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| Ok(record.staged.replace(true) != Some(true)))
    }

    pub(in crate::pool) fn list_foreign(&self) -> Result<Vec<ForeignState>> {
        let foreign = |row: Row| {
            let used = Bytes::new(part(number(&row.lv_size), percent(&row.data_percent)));
            ForeignState { name: row.lv_name, subvolume: false, used }
        };
        Ok(self.look()?.others.into_iter().map(foreign).collect())
    }

    pub(in crate::pool) fn import(&self, original: &str, _: &CreateVolume) -> Result<Outcome<VolumeState>> {
        Err(FilerError::Unsupported(format!("`{original}` cannot be imported: {NO_IMPORT}")))
    }

    pub(in crate::pool) fn release(&self, handle: &str) -> Result<Outcome<()>> {
        Err(FilerError::Invalid(format!("volume `{handle}` was not imported; delete it, or keep it")))
    }

    pub(super) fn existing(&self, handle: &str) -> Result<VolumeState> {
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        Ok(self.view(found, record))
    }

    pub(super) fn own<'a>(&self, seen: &'a Seen, handle: &str) -> Result<(&'a Found, &'a VolumeRecord)> {
        let (found, record) = seen.volume(handle).ok_or_else(|| {
            FilerError::NotFound(format!("volume `{handle}` does not exist on pool {}", self.path.display()))
        })?;
        record.check_owner(&self.owner)?;
        Ok((found, record))
    }

    fn change_record(
        &self,
        handle: &str,
        change: impl FnOnce(&mut VolumeRecord) -> Result<bool>,
    ) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        let mut changed = record.clone();
        if !change(&mut changed)? {
            return Ok(Outcome::Unchanged(self.view(found, record)));
        }
        let state = self.view(found, &changed);
        self.save(found, changed)?;
        Ok(Outcome::Changed(state))
    }

    fn origin<'a>(
        &self,
        seen: &'a Seen,
        wanted: &CreateVolume,
        source: &Source,
    ) -> Result<(&'a Found, Option<bool>)> {
        let (Source::Volume { handle } | Source::Snapshot { handle, .. }) = source;
        check_name("source", handle)?;
        let (found, record) = self.own(seen, handle)?;
        let (origin, size, staged) = match source {
            Source::Volume { .. } => (found, record.size, record.staged),
            Source::Snapshot { name, .. } => {
                let (found, kept) = seen.snapshot(handle, name)?;
                (found, kept.size, kept.staged)
            }
        };
        if wanted.size < size {
            return Err(FilerError::Invalid(format!(
                "volume `{}` is asked for with {}, its source `{handle}` has {size}; ask for at least that",
                wanted.handle, wanted.size
            )));
        }
        Ok((origin, staged))
    }

    fn check_offered(&self, wanted: &CreateVolume) -> Result<()> {
        let lacks =
            |what: String| Err(FilerError::Unsupported(format!("volume `{}`: {what}", wanted.handle)));
        if wanted.layout == Layout::File {
            return lacks(
                "a pool of LVM has block volumes only; ask for one, or use a pool on btrfs".to_owned(),
            );
        }
        if wanted.provisioning == Provisioning::Thick {
            return lacks(NO_THICK.to_owned());
        }
        self.check_size(&wanted.handle, wanted.size)
    }

    fn view(&self, found: &Found, record: &VolumeRecord) -> VolumeState {
        let used = Bytes::new(part(number(&found.row.lv_size), percent(&found.row.data_percent)));
        // LVM does not say what is shared.
        record.clone().state(Served::Device { path: self.device(&found.row.lv_name) }, used, used)
    }
}
