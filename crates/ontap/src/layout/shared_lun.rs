//! A LUN in a FlexVol that many share; its tag lies in its own comment. Snapshots are clones of it beside it.

use driver::Result;
use model::{Handle, Labels, SnapshotName};

use super::{Array, COMMENT_OF_LUN, Found, GRANULARITY, Unit, Wanted};
use crate::client;
use crate::error::EXISTS;
use crate::tag::Tag;
use crate::wire::Named;
use crate::wire::luns::{self, Change, Lun, NewClone, NewLun, NewLunSpace, Requested, Source};
use crate::wire::volumes::{self, Volume};

/// The name of a snapshot's LUN. Handles hold no dot.
pub(crate) fn of_snapshot(handle: &Handle, snapshot: &SnapshotName) -> String {
    format!("{handle}.{snapshot}")
}

impl Array {
    /// # Behavior
    /// In whichever FlexVol; of several the one that is ours.
    pub(crate) async fn find_shared(&self, base: &str) -> client::Result<Option<Found>> {
        let all = self.shared_called(base).await?;
        let ours = all.iter().position(|found| self.is_ours(found)).unwrap_or(0);
        Ok(all.into_iter().nth(ours))
    }

    async fn shared_called(&self, name: &str) -> client::Result<Vec<Found>> {
        match self.config.kind.is_nas() {
            true => self.qtrees_called(name).await,
            false => self.luns_called(name).await,
        }
    }

    /// LUNs of this name, or, with a `/`, the one LUN `FLEXVOL/LUN`.
    pub(crate) async fn luns_called(&self, name: &str) -> client::Result<Vec<Found>> {
        let pattern = if name.contains('/') { format!("/vol/{name}") } else { format!("/vol/*/{name}") };
        self.with_volumes(luns::list(&self.client, &self.svm, &pattern).await?).await
    }

    pub(super) async fn list_shared_luns(&self) -> client::Result<Vec<Found>> {
        let pattern = format!("*\"instance\":\"{}\"*", self.instance);
        let luns = luns::tagged(&self.client, &self.svm, &pattern).await?;
        let mut all = self.with_volumes(luns).await?;
        all.retain(|found| found.handle.as_str().starts_with(&self.config.prefix) && self.is_ours(found));
        Ok(all)
    }

    async fn with_volumes(&self, luns: Vec<Lun>) -> client::Result<Vec<Found>> {
        let uuids: Vec<String> = luns.iter().filter_map(|lun| lun.volume().map(str::to_owned)).collect();
        let shelves = self.shelves_of(uuids).await?;
        let with_volume = |lun: Lun| {
            Some(Found {
                handle: Handle::new(lun.base()).ok()?,
                tag: Tag::read(lun.comment.as_deref()),
                volume: shelves.get(lun.volume()?)?.clone(),
                unit: Unit::Lun(lun),
            })
        };
        Ok(luns.into_iter().filter_map(with_volume).collect())
    }

    pub(super) fn is_ours(&self, found: &Found) -> bool {
        found.tag.as_ref().is_some_and(|tag| tag.is_of(&self.instance, self.holds()))
    }

    pub(crate) async fn make_shared_lun(&self, wanted: &Wanted<'_>, operation: &'static str) -> Result<()> {
        let choices = self.choices(wanted.spec, operation)?;
        let comment = self.lun_comment(wanted, false, operation)?;
        let volume = {
            let _turn = self.turn().await;
            let loads = self.loads().await.map_err(self.error(operation))?;
            let volume = self.room(wanted, &choices, &loads, operation).await?;
            let lun = NewLun {
                name: format!("/vol/{}/{}", volume.name, wanted.handle),
                svm: Named::new(&self.svm),
                os_type: "linux",
                comment: Some(comment),
                qos_policy: choices.qos_policy.as_deref().map(Named::new),
                space: NewLunSpace {
                    size: wanted.spec.size.round_up(GRANULARITY).get(),
                    guarantee: Requested {
                        requested: wanted.spec.provisioning == model::Provisioning::Thick,
                    },
                    scsi_thin_provisioning_support_enabled: Some(choices.space_allocation.unwrap_or(true)),
                },
            };
            luns::create(&self.client, &lun).await.map_err(self.error(operation))?;
            volume
        };
        self.refuse_twin(wanted.handle, &volume.uuid, operation).await
    }

    /// A LUN with the content of `source`, in the same FlexVol: there the array shares the blocks.
    pub(crate) async fn clone_shared_lun(
        &self,
        wanted: &Wanted<'_>,
        volume: &Volume,
        source: &Lun,
        staged: bool,
        operation: &'static str,
    ) -> Result<()> {
        let comment = self.lun_comment(wanted, staged, operation)?;
        self.beside(volume, source, wanted.handle.as_str(), comment, operation).await?;
        self.refuse_twin(wanted.handle, &volume.uuid, operation).await
    }

    /// A clone of a LUN beside it. One that is there already stays as it is: `Ok(false)`.
    pub(crate) async fn beside(
        &self,
        volume: &Volume,
        source: &Lun,
        base: &str,
        comment: String,
        operation: &'static str,
    ) -> Result<bool> {
        let _turn = self.turn().await;
        self.make_room(volume, source.size(), operation).await?;
        let clone = NewClone {
            name: format!("/vol/{}/{base}", volume.name),
            svm: Named::new(&self.svm),
            clone: Source::new(&source.uuid),
            comment,
        };
        match luns::clone(&self.client, &clone).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(EXISTS) => Ok(false),
            Err(error) => Err(self.error(operation)(error)),
        }
    }

    /// Room for `more` bytes in the FlexVol; to be called in one's turn.
    pub(crate) async fn make_room(&self, volume: &Volume, more: u64, operation: &'static str) -> Result<()> {
        let fail = self.error(operation);
        let load = self.loads().await.map_err(&fail)?.get(&volume.name).copied().unwrap_or_default();
        let now = volumes::these(&self.client, &self.svm, std::slice::from_ref(&volume.uuid)).await;
        match now.map_err(fail)?.first() {
            Some(now) => self.widen(now, load.bytes + more, operation).await,
            None => Ok(()),
        }
    }

    /// Puts a snapshot's content in the LUN's place: the LUN keeps its identity.
    pub(crate) async fn overwrite(&self, lun: &Lun, source: &Lun) -> client::Result<()> {
        let change = Change { clone: Some(Source::new(&source.uuid)), ..Change::default() };
        luns::change(&self.client, &lun.uuid, &change).await
    }

    /// Snapshots of a volume: the LUNs beside it that are called after it.
    pub(crate) async fn snapshot_luns(&self, found: &Found, name: &str) -> client::Result<Vec<Lun>> {
        let pattern = format!("/vol/{}/{}.{name}", found.volume.name, found.handle);
        let mut all = luns::list(&self.client, &self.svm, &pattern).await?;
        all.sort_by_key(|lun| lun.create_time);
        Ok(all)
    }

    /// Gives a LUN our tag and its new name.
    pub(crate) async fn take_over_lun(
        &self,
        found: &Found,
        tag: &Tag,
        labels: &Labels,
        handle: &Handle,
        operation: &'static str,
    ) -> Result<()> {
        let Some(lun) = found.lun() else { return Ok(()) };
        let name = format!("/vol/{}/{handle}", found.volume.name);
        let change = Change {
            name: (lun.name != name).then_some(name),
            comment: Some(tag.write(labels, COMMENT_OF_LUN, operation)?),
            ..Change::default()
        };
        luns::change(&self.client, &lun.uuid, &change).await.map_err(self.error(operation))
    }

    fn lun_comment(&self, wanted: &Wanted<'_>, staged: bool, operation: &'static str) -> Result<String> {
        // Where it lies says its pool.
        let tag = Tag { pool: None, ..self.tag(wanted, staged) };
        tag.write(&wanted.spec.labels, COMMENT_OF_LUN, operation)
    }
}

impl Found {
    pub(crate) fn lun(&self) -> Option<&Lun> {
        match &self.unit {
            Unit::Lun(lun) => Some(lun),
            Unit::Files | Unit::Namespace(_) | Unit::Qtree(_) | Unit::Missing => None,
        }
    }
}
