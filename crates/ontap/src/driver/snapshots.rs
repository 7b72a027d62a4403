//! Snapshots of a FlexVol, and what their comments say.

use async_trait::async_trait;
use driver::{Clones, DriverError, ErrorKind, Groups, Outcome, Result, Snapshots};
use model::{Bytes, Handle, Layout, SnapshotName, SnapshotState, VolumeState};

use super::OntapDriver;
use crate::config::Kind;
use crate::error::{ABSENT, EXISTS, SNAPSHOT_BUSY};
use crate::layout::Found;
use crate::wire::snapshots::{self, Snapshot};
use crate::wire::volumes;

const TAKE: &str = "take snapshot";
const RESTORE: &str = "restore snapshot";
/// What a snapshot's comment says of a volume that had been put to use, and of one that had not.
pub(super) const STAGED: &str = "leister: in use before";
pub(super) const BLANK: &str = "leister: blank";

#[async_trait]
impl Snapshots for OntapDriver {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        let fail = self.array.error(TAKE);
        let found = self.ours(handle, TAKE).await?;
        if self.array.config.kind.is_economy() {
            return self.take_beside(&found, snapshot, TAKE).await;
        }
        let comment = mark(&found, None);
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
        self.delete_seen(&found, &seen, OPERATION).await?;
        Ok(Outcome::Changed(()))
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

    fn groups(&self) -> Result<&dyn Groups, &'static str> {
        match self.array.config.kind {
            Kind::Nas | Kind::San => Ok(self),
            Kind::NasFlexGroup => Err("ONTAP's consistency groups take FlexVols and no FlexGroups"),
            Kind::NasEconomy | Kind::SanEconomy => {
                Err("its volumes share FlexVols, and a snapshot of one of them is a copy made on its own")
            }
        }
    }

    fn clones(&self) -> Option<&dyn Clones> {
        Some(self)
    }
}

impl OntapDriver {
    pub(super) async fn snapshot(
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

    pub(super) async fn delete_seen(
        &self,
        found: &Found,
        seen: &Snapshot,
        operation: &'static str,
    ) -> Result<()> {
        let fail = self.array.error(operation);
        let client = &self.array.client;
        match snapshots::delete(client, &found.volume.uuid, &seen.uuid).await {
            Ok(()) => Ok(()),
            Err(error) if error.is(ABSENT) => Ok(()),
            Err(error) if error.is(&[SNAPSHOT_BUSY]) => {
                let volume = found.handle.as_str();
                let children = volumes::children(client, &self.array.svm, volume, &seen.name);
                let children = children.await.map_err(&fail)?;
                let names = children.iter().map(|child| format!("`{}`", child.name)).collect::<Vec<_>>();
                let message = format!(
                    "clones of it are still being split from it: {}; try again when they are done",
                    names.join(", ")
                );
                Err(DriverError::new(ErrorKind::Busy, operation, message).because(error))
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// Its size at that time is kept in its comment, as the array does not tell it.
    pub(super) fn shown(&self, found: &Found, snapshot: &Snapshot) -> Option<SnapshotState> {
        Some(SnapshotState {
            volume: found.handle.clone(),
            name: SnapshotName::new(&snapshot.name).ok()?,
            created: snapshot.create_time.unwrap_or_default(),
            size: kept_size(snapshot).unwrap_or_else(|| found.size()),
        })
    }
}

/// What the comment of a snapshot taken now says, by the consistency group that takes it if one does.
pub(super) fn mark(found: &Found, group: Option<&str>) -> String {
    let staged = found.tag.as_ref().is_none_or(|tag| tag.staged);
    let group = group.map(|group| format!("; group {group}")).unwrap_or_default();
    format!("{}{group}; size {}", if staged { STAGED } else { BLANK }, found.size().get())
}

pub(super) fn is_mark(comment: &str) -> bool {
    comment.starts_with(STAGED) || comment.starts_with(BLANK)
}

/// What the array made to make a clone from. While it is needed the array itself refuses to delete it.
pub(super) fn is_base(snapshot: &Snapshot) -> bool {
    snapshot.comment.as_deref().unwrap_or_default().is_empty() && snapshot.name.starts_with("clone_")
}

/// Without a mark of ours it counts as in use: it must not be formatted.
pub(super) fn was_staged(snapshot: &Snapshot) -> bool {
    !snapshot.comment.as_deref().is_some_and(|comment| comment.starts_with(BLANK))
}

pub(super) fn kept_size(snapshot: &Snapshot) -> Option<Bytes> {
    let (_, size) = snapshot.comment.as_deref()?.rsplit_once("size ")?;
    size.parse().ok().map(Bytes::new)
}
