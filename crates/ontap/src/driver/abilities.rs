//! Growing, snapshots, clones, imports, the mark of use.

use std::sync::PoisonError;

use async_trait::async_trait;
use driver::{
    CloneVolume, Clones, DriverError, ErrorKind, Import, ImportVolume, Outcome, Resize, Result, Snapshots,
    Staging,
};
use model::{Bytes, Handle, Layout, Owner, SnapshotName, SnapshotState, VolumeState};

use super::OntapDriver;
use crate::client;
use crate::error::{ABSENT, EXISTS, SNAPSHOT_BUSY};
use crate::layout::{Found, GRANULARITY, Unit, Wanted};
use crate::tag::Tag;
use crate::wire::namespaces;
use crate::wire::snapshots::{self, Snapshot};
use crate::wire::volumes;

pub(super) const GROW: &str = "grow volume";
const TAKE: &str = "take snapshot";
const RESTORE: &str = "restore snapshot";
const CLONE: &str = "clone volume";
const IMPORT: &str = "import volume";
/// What a snapshot's comment says of a volume that had been put to use, and of one that had not.
pub(super) const STAGED: &str = "leister: in use before";
pub(super) const BLANK: &str = "leister: blank";

#[async_trait]
impl Resize for OntapDriver {
    /// The volume first, then what lies in it: an interruption leaves room, never too little of it.
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        let found = self.ours(handle, GROW).await?;
        let size = size.round_up(GRANULARITY);
        if found.size() >= size {
            return Ok(Outcome::Unchanged(self.state(&found, GROW).await?));
        }
        self.room_to_grow(&found, size).await?;
        self.enlarge(&found, size, GROW).await?;
        let grown = self.ours(handle, GROW).await?;
        Ok(Outcome::Changed(self.state(&grown, GROW).await?))
    }
}

impl OntapDriver {
    async fn enlarge(&self, found: &Found, size: Bytes, operation: &'static str) -> Result<()> {
        let fail = self.array.error(operation);
        if self.array.config.kind.is_economy() {
            let _turn = self.array.turn().await;
            let more = size.saturating_sub(found.size());
            self.array.make_room(&found.volume, more.get(), operation).await?;
        } else {
            self.array.enlarge(&found.volume, size).await.map_err(&fail)?;
        }
        match &found.unit {
            Unit::Lun(lun) => self.array.enlarge_lun(lun, size).await.map_err(fail),
            Unit::Namespace(namespace) => {
                namespaces::grow(&self.array.client, &namespace.uuid, size.get()).await.map_err(fail)
            }
            Unit::Qtree(qtree) => self.array.grow_qtree(qtree, size).await.map_err(fail),
            Unit::Files | Unit::Missing => Ok(()),
        }
    }

    async fn snapshot(
        &self,
        found: &Found,
        name: &SnapshotName,
        operation: &'static str,
    ) -> Result<Snapshot> {
        let seen = snapshots::find(&self.array.client, &found.volume.uuid, name.as_str()).await;
        seen.map_err(self.array.error(operation))?.ok_or_else(|| {
            let message = format!("`{}` has no snapshot `{name}`", found.handle);
            DriverError::new(ErrorKind::NotFound, operation, message)
        })
    }

    /// Its size at that time is kept in its comment, as the array does not tell it.
    fn shown(&self, found: &Found, snapshot: &Snapshot) -> Option<SnapshotState> {
        Some(SnapshotState {
            volume: found.handle.clone(),
            name: SnapshotName::new(&snapshot.name).ok()?,
            created: snapshot.create_time.unwrap_or_default(),
            size: kept_size(snapshot).unwrap_or_else(|| found.size()),
        })
    }
}

#[async_trait]
impl Snapshots for OntapDriver {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        let fail = self.array.error(TAKE);
        let found = self.ours(handle, TAKE).await?;
        if self.array.config.kind.is_economy() {
            return self.take_beside(&found, snapshot, TAKE).await;
        }
        let staged = found.tag.as_ref().is_none_or(|tag| tag.staged);
        let comment = format!("{}; size {}", if staged { STAGED } else { BLANK }, found.size().get());
        let (client, volume) = (&self.array.client, &found.volume.uuid);
        let fresh = match snapshots::create(client, volume, snapshot.as_str(), &comment).await {
            Ok(()) => true,
            Err(error) if error.is(EXISTS) => false,
            Err(error) => return Err(fail(error)),
        };
        let seen = self.snapshot(&found, snapshot, TAKE).await?;
        let state = self.shown(&found, &seen).ok_or_else(|| {
            let message = format!("`{}` is no name of a snapshot", seen.name);
            DriverError::new(ErrorKind::Internal, TAKE, message)
        })?;
        Ok(if fresh { Outcome::Changed(state) } else { Outcome::Unchanged(state) })
    }

    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>> {
        const OPERATION: &str = "delete snapshot";
        let fail = self.array.error(OPERATION);
        let Some(found) = self.array.find(handle).await.map_err(&fail)? else {
            return Ok(Outcome::Unchanged(()));
        };
        if self.array.config.kind.is_economy() {
            return self.delete_beside(&found, snapshot, OPERATION).await;
        }
        let (client, volume) = (&self.array.client, &found.volume.uuid);
        let Some(seen) = snapshots::find(client, volume, snapshot.as_str()).await.map_err(&fail)? else {
            return Ok(Outcome::Unchanged(()));
        };
        match snapshots::delete(client, volume, &seen.uuid).await {
            Ok(()) => Ok(Outcome::Changed(())),
            Err(error) if error.is(ABSENT) => Ok(Outcome::Changed(())),
            Err(error) if error.is(&[SNAPSHOT_BUSY]) => {
                let children = volumes::children(client, &self.array.svm, handle.as_str(), snapshot.as_str());
                let children = children.await.map_err(&fail)?;
                let names = children.iter().map(|child| format!("`{}`", child.name)).collect::<Vec<_>>();
                let message = format!(
                    "clones of it are still being split from it: {}; try again when they are done",
                    names.join(", ")
                );
                Err(DriverError::new(ErrorKind::Busy, OPERATION, message).because(error))
            }
            Err(error) => Err(fail(error)),
        }
    }

    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>> {
        const OPERATION: &str = "list snapshots";
        let found = self.ours(handle, OPERATION).await?;
        if self.array.config.kind.is_economy() {
            return self.list_beside(&found, OPERATION).await;
        }
        let all = snapshots::list(&self.array.client, &found.volume.uuid).await;
        let all = all.map_err(self.array.error(OPERATION))?;
        // The array makes some of its own for clones; those are not ours to show.
        let ours = all.iter().filter(|snapshot| snapshot.comment.as_deref().is_some_and(is_mark));
        Ok(ours.filter_map(|snapshot| self.shown(&found, snapshot)).collect())
    }

    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>> {
        let fail = self.array.error(RESTORE);
        let found = self.ours(handle, RESTORE).await?;
        if let Some(node) = self.permitted(&found, RESTORE).await?.first() {
            let message = format!("`{handle}` is permitted to node `{node}`");
            return Err(DriverError::new(ErrorKind::InUse, RESTORE, message));
        }
        if self.array.config.kind.is_economy() {
            return self.restore_beside(&found, snapshot, RESTORE).await;
        }
        let all = snapshots::list(&self.array.client, &found.volume.uuid).await.map_err(&fail)?;
        let Some(at) = all.iter().position(|seen| seen.name == snapshot.as_str()) else {
            let message = format!("`{handle}` has no snapshot `{snapshot}`");
            return Err(DriverError::new(ErrorKind::NotFound, RESTORE, message));
        };
        let newer: Vec<&Snapshot> = all[at + 1..].iter().filter(|seen| !is_base(seen)).collect();
        if !newer.is_empty() {
            let names = newer.iter().map(|seen| format!("`{}`", seen.name)).collect::<Vec<_>>().join(", ");
            let message = format!(
                "the array would delete the snapshots taken after `{snapshot}`: {names}; delete them first, or clone \
                 `{snapshot}` instead"
            );
            return Err(DriverError::new(ErrorKind::InUse, RESTORE, message));
        }
        let staged = was_staged(&all[at]);
        let is_block = self.array.layout() == Layout::Block;
        // What was in use must never be taken for blank, not even for a moment.
        if is_block && staged {
            self.array.retag(&found, true, RESTORE).await?;
        }
        volumes::restore(&self.array.client, &found.volume.uuid, snapshot.as_str()).await.map_err(fail)?;
        if is_block && !staged {
            self.array.retag(&found, false, RESTORE).await?;
        }
        let restored = self.ours(handle, RESTORE).await?;
        Ok(Outcome::Changed(self.state(&restored, RESTORE).await?))
    }

    /// # Source
    /// ONTAP's snapshot restore deletes every later snapshot of the volume.
    fn keeps_newer(&self) -> bool {
        self.array.config.kind.is_economy()
    }

    fn clones(&self) -> Option<&dyn Clones> {
        Some(self)
    }
}

#[async_trait]
impl Clones for OntapDriver {
    /// A FlexClone whose split has begun: it lives alone once that is done.
    async fn clone_volume(&self, request: &CloneVolume) -> Result<Outcome<VolumeState>> {
        let fail = self.array.error(CLONE);
        let create = &request.create;
        if self.array.find(&create.handle).await.map_err(&fail)?.is_some() {
            let (there, outcome) = self.made_now(&create.handle, &create.volume, false, CLONE).await?;
            return self.finish(there, create.spec.size, outcome).await;
        }
        let source = self.ours(&request.source, CLONE).await?;
        if self.array.config.kind.is_economy() {
            return self.clone_beside(request, &source, CLONE).await;
        }
        let (size, staged) = match &request.snapshot {
            None => (source.size(), source.tag.as_ref().is_none_or(|tag| tag.staged)),
            Some(name) => {
                let seen = self.snapshot(&source, name, CLONE).await?;
                (kept_size(&seen).unwrap_or_else(|| source.size()), was_staged(&seen))
            }
        };
        // The array rounds up what a volume was asked to hold.
        if create.spec.size.saturating_add(GRANULARITY) < size {
            let message = format!("{} are less than the {size} of its source", create.spec.size);
            return Err(DriverError::new(ErrorKind::Invalid, CLONE, message));
        }
        let wanted = Wanted {
            handle: &create.handle,
            id: &create.volume,
            spec: &create.spec,
            pool: &create.pool,
            aggregate: None,
        };
        let snapshot = request.snapshot.as_ref().map(SnapshotName::as_str);
        if snapshot.is_none() {
            self.sweep_bases(&source).await?;
        }
        let fresh = self.array.make_clone(&wanted, &request.source, snapshot, staged, CLONE).await?;
        let (made, outcome) = self.made_now(&create.handle, &create.volume, fresh, CLONE).await?;
        self.finish(made, create.spec.size, outcome).await
    }
}

impl OntapDriver {
    /// Deletes what the array has kept of earlier clones of this volume and nobody needs any more.
    ///
    /// # Behavior
    /// Once a process and volume, and then with each 16th clone: a volume has room for 1,023 snapshots, and each holds on
    /// to what was deleted since.
    async fn sweep_bases(&self, source: &Found) -> Result<()> {
        const EVERY: u32 = 16;
        let count = {
            let mut cloned = self.cloned.lock().unwrap_or_else(PoisonError::into_inner);
            let count = cloned.entry(source.handle.clone()).or_default();
            *count = count.wrapping_add(1);
            *count
        };
        if count % EVERY != 1 {
            return Ok(());
        }
        let fail = self.array.error(CLONE);
        let (client, volume) = (&self.array.client, &source.volume.uuid);
        let ours = format!("clone_{}", self.array.config.prefix);
        let all = snapshots::list(client, volume).await.map_err(&fail)?;
        for base in all.iter().filter(|seen| is_base(seen) && seen.name.starts_with(&ours)) {
            match snapshots::delete(client, volume, &base.uuid).await {
                Err(error) if !error.is(ABSENT) && !error.is(&[SNAPSHOT_BUSY]) => return Err(fail(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives a clone its size and its independence; done already, it does nothing.
    pub(super) async fn finish(
        &self,
        clone: Found,
        size: Bytes,
        outcome: Outcome<VolumeState>,
    ) -> Result<Outcome<VolumeState>> {
        let fail = self.array.error(CLONE);
        if !self.array.config.kind.is_economy() && clone.volume.is_clone() {
            self.array.split(&clone.volume).await.map_err(&fail)?;
        }
        if clone.size() >= size {
            return Ok(outcome.map(|state| VolumeState { complete: true, ..state }));
        }
        self.enlarge(&clone, size, CLONE).await?;
        let grown = self.ours(&clone.handle, CLONE).await?;
        Ok(Outcome::Changed(self.state(&grown, CLONE).await?))
    }
}

impl OntapDriver {
    /// Whatever has this name; of what lies in shared FlexVols, also `FLEXVOL/NAME`.
    async fn importable(&self, original: &str) -> client::Result<Option<Found>> {
        if self.array.config.kind.is_economy() {
            return self.array.find_shared(original).await;
        }
        match Handle::new(original) {
            Ok(handle) => self.array.find(&handle).await,
            Err(_) => Ok(None),
        }
    }
}

#[async_trait]
impl Import for OntapDriver {
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "find volume";
        let found = self.importable(original).await.map_err(self.array.error(OPERATION))?;
        match found {
            Some(found) => Ok(Some(self.state(&found, OPERATION).await?)),
            None => Ok(None),
        }
    }

    /// A new name and our tag in one call.
    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>> {
        let fail = self.array.error(IMPORT);
        let conflict = |message: String| DriverError::new(ErrorKind::Conflict, IMPORT, message);
        if let Some(there) = self.array.find(&request.handle).await.map_err(&fail)? {
            let tag = there.tag.as_ref();
            let done = there.owner(&self.array) == Owner::Ours
                && tag.is_some_and(|tag| {
                    // A qtree has no room to say what it was called.
                    let told = matches!(there.unit, Unit::Qtree(_));
                    tag.volume == request.volume
                        && (told || tag.imported.as_deref() == Some(&*request.original))
                });
            if done {
                return Ok(Outcome::Unchanged(self.state(&there, IMPORT).await?));
            }
            if request.handle.as_str() != request.original {
                return Err(conflict(format!("`{}` exists and is another volume", request.handle)));
            }
        }
        let absent = || {
            let message = format!("SVM `{}` has no volume `{}`", self.array.svm, request.original);
            DriverError::new(ErrorKind::NotFound, IMPORT, message)
        };
        let found = self.importable(&request.original).await.map_err(&fail)?.ok_or_else(absent)?;
        if found.owner(&self.array) != Owner::Nobody {
            return Err(conflict(format!("`{}` carries an instance's tag already", request.original)));
        }
        if matches!(found.unit, Unit::Missing) {
            let message = format!(
                "`{}` holds no `{}`; rename its LUN to that first",
                request.original,
                crate::layout::lun_path(&request.original)
            );
            return Err(DriverError::new(ErrorKind::Unsupported, IMPORT, message));
        }
        if let Unit::Qtree(qtree) = &found.unit {
            if qtree.rule.is_none() {
                let message = format!(
                    "qtree `{}` has no quota rule of its own, so that it has no size; give it one first",
                    request.original
                );
                return Err(DriverError::new(ErrorKind::Unsupported, IMPORT, message));
            }
            self.array.tag_qtree(qtree, &request.handle, &request.volume, IMPORT).await?;
            let imported = self.ours(&request.handle, IMPORT).await?;
            return Ok(Outcome::Changed(self.state(&imported, IMPORT).await?));
        }
        let tag = Tag {
            instance: self.array.instance.clone(),
            volume: request.volume.clone(),
            holds: Some(self.array.holds()),
            pool: None,
            // It holds somebody's data.
            staged: self.array.layout() == Layout::Block,
            imported: Some(request.original.clone()),
            terms: None,
            spec: None,
        };
        if self.array.config.kind.is_economy() {
            self.array.take_over_lun(&found, &tag, &request.labels, &request.handle, IMPORT).await?;
        } else {
            self.array.take_over(&found.volume, &tag, &request.labels, &request.handle, IMPORT).await?;
        }
        let imported = self.ours(&request.handle, IMPORT).await?;
        Ok(Outcome::Changed(self.state(&imported, IMPORT).await?))
    }
}

#[async_trait]
impl Staging for OntapDriver {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        const OPERATION: &str = "mark volume as staged";
        let found = self.ours(handle, OPERATION).await?;
        if found.tag.as_ref().is_some_and(|tag| tag.staged) {
            return Ok(Outcome::Unchanged(()));
        }
        self.array.retag(&found, true, OPERATION).await?;
        Ok(Outcome::Changed(()))
    }
}

pub(super) fn is_mark(comment: &str) -> bool {
    comment.starts_with(STAGED) || comment.starts_with(BLANK)
}

/// What the array made to make a clone from. While it is needed the array itself refuses to delete it.
fn is_base(snapshot: &Snapshot) -> bool {
    snapshot.comment.as_deref().unwrap_or_default().is_empty() && snapshot.name.starts_with("clone_")
}

/// Without a mark of ours it counts as in use: it must not be formatted.
fn was_staged(snapshot: &Snapshot) -> bool {
    !snapshot.comment.as_deref().is_some_and(|comment| comment.starts_with(BLANK))
}

fn kept_size(snapshot: &Snapshot) -> Option<Bytes> {
    let (_, size) = snapshot.comment.as_deref()?.rsplit_once("size ")?;
    size.parse().ok().map(Bytes::new)
}
