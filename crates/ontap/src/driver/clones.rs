//! FlexClones, and what the array keeps for them.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use driver::{CloneVolume, Clones, DriverError, ErrorKind, Outcome, Result};
use model::{Bytes, SnapshotName, VolumeState};
use tokio::task::JoinSet;

use super::OntapDriver;
use super::snapshots::{is_base, kept_size, was_staged};
use crate::error::{ABSENT, SNAPSHOT_BUSY};
use crate::layout::{Found, GRANULARITY, Wanted};
use crate::wire::snapshots::{self, Snapshot};

const CLONE: &str = "clone volume";
/// Snapshots that are deleted at once: as many as clones come meanwhile, or they pile up.
const AT_ONCE: usize = 16;
/// Snapshots that one clone deletes: its caller waits.
const MOST: usize = 4 * AT_ONCE;

/// How often a volume has been cloned, and whether somebody sweeps after that now.
#[derive(Debug, Default)]
pub(super) struct Cloned {
    times: AtomicU32,
    sweeping: tokio::sync::Mutex<()>,
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
        if create.spec.size.round_up(GRANULARITY) < size {
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
    /// Once a process and volume, and then with each 16th clone, one at a time: a volume has room for 1,023 snapshots, and
    /// each holds on to what was deleted since. What a clone still stands on is not tried.
    async fn sweep_bases(&self, source: &Found) -> Result<()> {
        const EVERY: u32 = 16;
        let cloned = {
            let mut cloned = self.cloned.lock().unwrap_or_else(PoisonError::into_inner);
            cloned.entry(source.handle.clone()).or_default().clone()
        };
        if !cloned.times.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
            return Ok(());
        }
        let Ok(_sweeping) = cloned.sweeping.try_lock() else { return Ok(()) };
        let fail = self.array.error(CLONE);
        let (client, volume) = (&self.array.client, &source.volume.uuid);
        let ours = format!("clone_{}", self.array.config.prefix);
        let all = snapshots::list(client, volume).await.map_err(&fail)?;
        let is_free =
            |seen: &&Snapshot| is_base(seen) && seen.name.starts_with(&ours) && seen.owners.is_empty();
        let free: Vec<&Snapshot> = all.iter().filter(is_free).take(MOST).collect();
        for some in free.chunks(AT_ONCE) {
            let mut deletes = JoinSet::new();
            for base in some {
                let (client, volume, base) = (client.clone(), volume.clone(), base.uuid.clone());
                deletes.spawn(async move { snapshots::delete(&client, &volume, &base).await });
            }
            for deleted in deletes.join_all().await {
                match deleted {
                    Err(error) if !error.is(ABSENT) && !error.is(&[SNAPSHOT_BUSY]) => {
                        return Err(fail(error));
                    }
                    _ => {}
                }
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
