//! Subvolumes at the pool's root that we did not make: list, import, release.

use model::Bytes;
use rustix::fs::{RenameFlags, renameat_with};

use super::volumes::shares;
use super::{Btrfs, subvolumes};
use crate::error::{Context, FilerError, Result};
use crate::ioctl::btrfs;
use crate::pool::tree::{self, CONTROL, STAGING, TRASH, VOLUMES, data_dir, snapshots_dir, volume_dir};
use crate::volume::{CreateVolume, ForeignState, Layout, Outcome, VolumeState, check_name};

impl Btrfs {
    pub(in crate::pool) fn list_foreign(&self) -> Result<Vec<ForeignState>> {
        self.check()?;
        let mut foreign = Vec::new();
        for name in self.names_in(".")? {
            if [CONTROL, VOLUMES, STAGING, TRASH].contains(&name.as_str()) {
                continue;
            }
            let Ok(dir) = tree::open_dir(&self.root, &name) else { continue };
            let subvolume =
                subvolumes::is_subvolume(&self.root, &name).while_doing("look at", self.at(&name))?;
            let used = if subvolume { self.used(self.info(&dir, &name)?.id)?.referenced } else { 0 };
            foreign.push(ForeignState { name, subvolume, used: Bytes::new(used) });
        }
        Ok(foreign)
    }

    pub(in crate::pool) fn import(
        &self,
        original: &str,
        wanted: &CreateVolume,
    ) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        check_name("foreign name", original)?;
        self.check()?;
        let _turn = self.turns.take([wanted.handle.as_str()]);
        if let Some(record) = self.record(&wanted.handle)? {
            record.check_owner(&self.owner)?;
            if record.imported_from.as_deref() == Some(original) && record.size == wanted.size {
                self.commit()?;
                return Ok(Outcome::Unchanged(self.state(record)?));
            }
            return Err(FilerError::Conflict(format!(
                "volume `{}` exists and is another; import `{original}` under another name",
                wanted.handle
            )));
        }
        let used = self.check_importable(original, wanted)?;
        self.recount_foreign()?;
        let mut record = wanted.record(&self.owner, true);
        record.imported_from = Some(original.to_owned());
        record.staged = Some(true);
        // Its content is set aside as foreign already.
        let more = wanted.size.saturating_sub(used);
        let promise = self.promise(true, &wanted.handle, more)?;
        let stage = self.stage()?;
        tree::write_volume_record(&stage.dir, &record)?;
        stage.make_snapshots_dir()?;
        self.steps.step()?;
        renameat_with(&self.root, original, &self.root, stage.data(), RenameFlags::NOREPLACE)
            .while_doing("import", self.at(original))?;
        self.steps.step()?;
        let data = self.open_dir(&stage.data())?;
        btrfs::limit_qgroup(&data, 0, Some(wanted.size.get())).while_doing("limit", self.at(original))?;
        self.steps.step()?;
        stage.publish(&volume_dir(&wanted.handle))?;
        self.steps.step()?;
        self.commit()?;
        promise.keep();
        self.ledger.add_reserved(&self.root, used.get())?;
        self.recount_foreign()?;
        Ok(Outcome::Changed(self.state(record)?))
    }

    pub(in crate::pool) fn release(&self, handle: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        self.check()?;
        let _turn = self.turns.take([handle]);
        let Some(record) = self.record(handle)? else { return Ok(Outcome::Unchanged(())) };
        record.check_owner(&self.owner)?;
        record.check_unpermitted("released")?;
        let Some(original) = &record.imported_from else {
            return Err(FilerError::Invalid(format!(
                "volume `{handle}` was not imported and has no name to be released to; delete it, or keep it"
            )));
        };
        if !self.names_in(&snapshots_dir(handle))?.is_empty() {
            return Err(FilerError::InUse(format!("volume `{handle}` has snapshots; delete them first")));
        }
        if tree::exists(&self.root, original).while_doing("look at", self.at(original))? {
            return Err(FilerError::Conflict(format!(
                "volume `{handle}` cannot go back to {}, which is taken; rename what is there",
                self.at(original).display()
            )));
        }
        let stage = self.stage()?;
        // From here on it is an import under way: sweeping puts it back, now or when the pool is opened again.
        renameat_with(&self.root, volume_dir(handle), &self.root, stage.path(), RenameFlags::empty())
            .while_doing("release", self.at(&data_dir(handle)))?;
        self.steps.step()?;
        stage.sweep()?;
        self.commit()?;
        self.recount_foreign()?;
        self.ledger.give_back(&self.root, shares(&record, record.size))?;
        Ok(Outcome::Changed(()))
    }

    /// What is held by others, and by volumes that are damaged: of those nothing says whether they are thin.
    pub(super) fn foreign_use(&self) -> Result<u64> {
        let mut sum: u64 = self.list_foreign()?.iter().map(|foreign| foreign.used.get()).sum();
        for damaged in self.damaged()? {
            let relative = data_dir(&damaged.handle);
            let Ok(data) = self.open_dir(&relative) else { continue };
            sum += self.used(self.info(data, &relative)?.id)?.referenced;
        }
        Ok(sum)
    }

    /// Foreign subvolumes come, grow and go without us.
    fn recount_foreign(&self) -> Result<()> {
        self.ledger.set_foreign(&self.root, self.foreign_use()?)
    }

    fn check_importable(&self, original: &str, wanted: &CreateVolume) -> Result<Bytes> {
        if wanted.layout == Layout::Block || wanted.source.is_some() {
            return Err(FilerError::Unsupported(format!(
                "`{original}` can only be imported as a file volume without a source"
            )));
        }
        if [VOLUMES].contains(&original)
            || !tree::exists(&self.root, original).while_doing("look at", self.at(original))?
        {
            return Err(FilerError::NotFound(format!(
                "{} does not exist; list what can be imported",
                self.at(original).display()
            )));
        }
        if !subvolumes::is_subvolume(&self.root, original).while_doing("look at", self.at(original))? {
            return Err(FilerError::Unsupported(format!(
                "{} is a plain directory, which cannot be held to a size; make a subvolume with `btrfs subvolume \
                 create`, move the content into it with `cp -a --reflink`, and import that",
                self.at(original).display()
            )));
        }
        rustix::fs::syncfs(&self.root).while_doing("sync", &self.path)?;
        let used = self.used(self.info(self.open_dir(original)?, original)?.id)?.referenced;
        if used > wanted.size.get() {
            return Err(FilerError::Invalid(format!(
                "`{original}` holds {}, more than the size {} asked for; ask for more",
                Bytes::new(used),
                wanted.size
            )));
        }
        Ok(Bytes::new(used))
    }
}
