//! Volumes that share a FlexVol with others. Snapshots of LUNs are clones of them, beside them.

use driver::{CloneVolume, CreateVolume, DriverError, ErrorKind, Outcome, Result};
use model::{Bytes, SnapshotName, SnapshotState, VolumeState};

use super::OntapDriver;
use super::snapshots::{BLANK, STAGED, is_mark};
use crate::error::ABSENT;
use crate::layout::{Found, GRANULARITY, Unit, Wanted, of_snapshot};
use crate::wire::luns::{self, Lun};

impl OntapDriver {
    pub(super) async fn create_shared(
        &self,
        request: &CreateVolume,
        operation: &'static str,
    ) -> Result<Outcome<VolumeState>> {
        let there = self.array.find(&request.handle).await.map_err(self.array.error(operation))?;
        let unmade = there.as_ref().filter(|found| self.array.is_unmade_qtree(found));
        if there.is_some() && unmade.is_none() {
            return self.made(&request.handle, &request.volume, false, operation).await;
        }
        let aggregate = self.place(request, operation).await?;
        let wanted = Wanted {
            handle: &request.handle,
            id: &request.volume,
            spec: &request.spec,
            pool: &request.pool,
            aggregate: aggregate.as_deref(),
        };
        let made = match unmade {
            Some(found) => self.array.complete_qtree(&wanted, found, operation).await,
            None if self.array.config.kind.is_nas() => self.array.make_qtree(&wanted, operation).await,
            None => self.array.make_shared_lun(&wanted, operation).await,
        };
        made.map_err(|e| self.full(request, e))?;
        self.made(&request.handle, &request.volume, true, operation).await
    }

    /// Its snapshots first: what is interrupted leaves the volume, and the repeat goes on.
    pub(super) async fn delete_shared(&self, found: &Found, operation: &'static str) -> Result<Outcome<()>> {
        let fail = self.array.error(operation);
        if let Unit::Qtree(qtree) = &found.unit {
            self.array.delete_qtree(found, qtree).await.map_err(fail)?;
            self.array.known.forget(&found.handle);
            return Ok(Outcome::Changed(()));
        }
        let snapshots = self.array.snapshot_luns(found, "*").await.map_err(&fail)?;
        for lun in snapshots.iter().filter(|lun| is_snapshot(lun)).chain(found.lun()) {
            match luns::delete(&self.array.client, &lun.uuid).await {
                Err(error) if !error.is(ABSENT) => return Err(fail(error)),
                _ => {}
            }
        }
        self.array.known.forget(&found.handle);
        Ok(Outcome::Changed(()))
    }

    pub(super) async fn take_beside(
        &self,
        found: &Found,
        snapshot: &SnapshotName,
        operation: &'static str,
    ) -> Result<Outcome<SnapshotState>> {
        let lun = lun_of(found, operation)?;
        if let Ok(seen) = self.snapshot_beside(found, snapshot, operation).await {
            return Ok(Outcome::Unchanged(shown(found, snapshot.clone(), &seen)));
        }
        let staged = found.tag.as_ref().is_none_or(|tag| tag.staged);
        let comment = if staged { STAGED } else { BLANK }.to_owned();
        let name = of_snapshot(&found.handle, snapshot);
        let fresh = self.array.beside(&found.volume, lun, &name, comment, operation).await?;
        let seen = self.snapshot_beside(found, snapshot, operation).await?;
        let state = shown(found, snapshot.clone(), &seen);
        Ok(if fresh { Outcome::Changed(state) } else { Outcome::Unchanged(state) })
    }

    pub(super) async fn delete_beside(
        &self,
        found: &Found,
        snapshot: &SnapshotName,
        operation: &'static str,
    ) -> Result<Outcome<()>> {
        let seen = match self.snapshot_beside(found, snapshot, operation).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Outcome::Unchanged(())),
            seen => seen?,
        };
        match luns::delete(&self.array.client, &seen.uuid).await {
            Err(error) if !error.is(ABSENT) => Err(self.array.error(operation)(error)),
            _ => Ok(Outcome::Changed(())),
        }
    }

    pub(super) async fn list_beside(
        &self,
        found: &Found,
        operation: &'static str,
    ) -> Result<Vec<SnapshotState>> {
        let all = self.array.snapshot_luns(found, "*").await.map_err(self.array.error(operation))?;
        let state = |lun: &Lun| {
            let name = lun.base().strip_prefix(found.handle.as_str())?.strip_prefix('.')?;
            Some(shown(found, SnapshotName::new(name).ok()?, lun))
        };
        Ok(all.iter().filter(|lun| is_snapshot(lun)).filter_map(state).collect())
    }

    /// The array puts the content of one LUN in the place of another's in one step; newer snapshots stay.
    pub(super) async fn restore_beside(
        &self,
        found: &Found,
        snapshot: &SnapshotName,
        operation: &'static str,
    ) -> Result<Outcome<VolumeState>> {
        let lun = lun_of(found, operation)?;
        let seen = self.snapshot_beside(found, snapshot, operation).await?;
        let staged = !seen.comment.as_deref().is_some_and(|comment| comment.starts_with(BLANK));
        // What was in use must never be taken for blank, not even for a moment.
        if staged {
            self.array.retag(found, true, operation).await?;
        }
        self.array.overwrite(lun, &seen).await.map_err(self.array.error(operation))?;
        if !staged {
            self.array.retag(found, false, operation).await?;
        }
        let restored = self.ours(&found.handle, operation).await?;
        Ok(Outcome::Changed(self.state(&restored, operation).await?))
    }

    pub(super) async fn clone_beside(
        &self,
        request: &CloneVolume,
        source: &Found,
        operation: &'static str,
    ) -> Result<Outcome<VolumeState>> {
        let create = &request.create;
        let (lun, staged) = match &request.snapshot {
            None => (lun_of(source, operation)?.clone(), source.tag.as_ref().is_none_or(|tag| tag.staged)),
            Some(name) => {
                let seen = self.snapshot_beside(source, name, operation).await?;
                let blank = seen.comment.as_deref().is_some_and(|comment| comment.starts_with(BLANK));
                (seen, !blank)
            }
        };
        if create.spec.size.round_up(GRANULARITY) < Bytes::new(lun.size()) {
            let message =
                format!("{} are less than the {} of its source", create.spec.size, Bytes::new(lun.size()));
            return Err(DriverError::new(ErrorKind::Invalid, operation, message));
        }
        let wanted = Wanted {
            handle: &create.handle,
            id: &create.volume,
            spec: &create.spec,
            pool: &create.pool,
            aggregate: None,
        };
        self.array.clone_shared_lun(&wanted, &source.volume, &lun, staged, operation).await?;
        let (made, outcome) = self.made_now(&create.handle, &create.volume, true, operation).await?;
        self.finish(made, create.spec.size, outcome).await
    }

    async fn snapshot_beside(
        &self,
        found: &Found,
        snapshot: &SnapshotName,
        operation: &'static str,
    ) -> Result<Lun> {
        let seen = self.array.snapshot_luns(found, snapshot.as_str()).await;
        let seen = seen.map_err(self.array.error(operation))?.into_iter().find(is_snapshot);
        seen.ok_or_else(|| {
            let message = format!("`{}` has no snapshot `{snapshot}`", found.handle);
            DriverError::new(ErrorKind::NotFound, operation, message)
        })
    }
}

fn is_snapshot(lun: &Lun) -> bool {
    lun.comment.as_deref().is_some_and(is_mark)
}

fn shown(found: &Found, name: SnapshotName, lun: &Lun) -> SnapshotState {
    SnapshotState {
        volume: found.handle.clone(),
        name,
        created: lun.create_time.unwrap_or_default(),
        size: Bytes::new(lun.size()),
    }
}

fn lun_of<'a>(found: &'a Found, operation: &'static str) -> Result<&'a Lun> {
    found.lun().ok_or_else(|| {
        DriverError::new(ErrorKind::NotFound, operation, format!("`{}` has lost its LUN", found.handle))
    })
}
