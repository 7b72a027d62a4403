//! Growing, snapshots, clones, imports.

use ::driver::{
    CloneVolume, Clones, DriverError, ErrorKind, Import, ImportVolume, Outcome, Resize, Result, Snapshots,
    Staging,
};
use async_trait::async_trait;
use model::{Bytes, Handle, Layout, Owner, Provisioning, SnapshotName, SnapshotState, VolumeState};

use super::{LinuxDriver, POOL_LABEL, Trouble, states, unit};
use crate::error::translate;

#[async_trait]
impl Resize for LinuxDriver {
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "grow volume";
        let (name, size) = (handle.to_string(), size.round_up(self.abilities.granularity));
        match self.filer(move |filer| filer.grow(&name, size)).await {
            Ok(outcome) => self.outcome(OPERATION, outcome),
            // Larger than that already, perhaps.
            Err(Trouble::Filer(error)) if error.kind() == filer::ErrorKind::Invalid => {
                match self.find(handle).await.map_err(|e| e.in_operation(OPERATION))? {
                    Some(state) if state.size >= size => Ok(Outcome::Unchanged(self.seen(OPERATION, state)?)),
                    _ => Err(translate(OPERATION, error)),
                }
            }
            Err(Trouble::Filer(error)) if error.kind() == filer::ErrorKind::NoCapacity => {
                let stats = self.filer(filer::Pool::stats).await.map_err(|e| e.in_operation(OPERATION))?;
                let capacity = self.capacity(&stats);
                let message = format!(
                    "pool `{}` has {} free for thin and {} for thick volumes; `{handle}` was to have {size}",
                    self.pools[0], capacity.free_thin, capacity.free_thick
                );
                Err(DriverError::new(ErrorKind::NoCapacity, OPERATION, message).because(error))
            }
            Err(trouble) => Err(trouble.in_operation(OPERATION)),
        }
    }
}

#[async_trait]
impl Snapshots for LinuxDriver {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        const OPERATION: &str = "take snapshot";
        let (name, snapshot) = (handle.to_string(), snapshot.to_string());
        let taken = self.filer(move |filer| filer.take(&name, &snapshot)).await;
        Ok(match taken.map_err(|e| e.in_operation(OPERATION))? {
            filer::Outcome::Changed(state) => Outcome::Changed(states::snapshot(OPERATION, state)?),
            filer::Outcome::Unchanged(state) => Outcome::Unchanged(states::snapshot(OPERATION, state)?),
        })
    }

    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>> {
        let (name, snapshot) = (handle.to_string(), snapshot.to_string());
        let deleted = self.filer(move |filer| filer.delete_snapshot(&name, &snapshot)).await;
        Ok(unit(deleted.map_err(|e| e.in_operation("delete snapshot"))?))
    }

    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>> {
        const OPERATION: &str = "list snapshots";
        let name = handle.to_string();
        let all = self.filer(move |filer| filer.list_snapshots(&name)).await;
        let all = all.map_err(|e| e.in_operation(OPERATION))?;
        all.into_iter().map(|state| states::snapshot(OPERATION, state)).collect()
    }

    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "restore snapshot";
        let (name, snapshot) = (handle.to_string(), snapshot.to_string());
        let restored = self.filer(move |filer| filer.restore(&name, &snapshot)).await;
        self.outcome(OPERATION, restored.map_err(|e| e.in_operation(OPERATION))?)
    }

    fn clones(&self) -> Option<&dyn Clones> {
        Some(self)
    }
}

#[async_trait]
impl Staging for LinuxDriver {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        let name = handle.to_string();
        let marked = self.filer(move |filer| filer.mark_staged(&name)).await;
        Ok(unit(marked.map_err(|e| e.in_operation("mark volume as staged"))?))
    }
}

#[async_trait]
impl Clones for LinuxDriver {
    async fn clone_volume(&self, request: &CloneVolume) -> Result<Outcome<VolumeState>> {
        let handle = request.source.to_string();
        let source = match &request.snapshot {
            Some(name) => filer::Source::Snapshot { handle, name: name.to_string() },
            None => filer::Source::Volume { handle },
        };
        self.make("clone volume", &request.create, Some(source)).await
    }
}

#[async_trait]
impl Import for LinuxDriver {
    /// Subvolumes at the pool's root that the filer did not make, then volumes of any instance.
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "find volume";
        let Ok(handle) = Handle::new(original) else { return Ok(None) };
        let (name, stranger) = (original.to_owned(), handle.clone());
        let found = self.filer(move |filer| {
            let foreign = filer.list_foreign()?.into_iter().find(|foreign| foreign.name == name);
            Ok((foreign, filer.find(&name)?))
        });
        let (foreign, volume) = found.await.map_err(|e| e.in_operation(OPERATION))?;
        match (foreign, volume) {
            (Some(foreign), _) if foreign.subvolume => Ok(Some(VolumeState {
                handle: stranger,
                owner: Owner::Nobody,
                volume: None,
                pool: self.pools[0].clone(),
                size: self.size_of_import(foreign.used),
                used: Some(foreign.used),
                layout: Layout::File,
                provisioning: Provisioning::Thick,
                permitted: std::collections::BTreeSet::new(),
                staged: None,
                created: None,
                made_as: None,
            })),
            (_, Some(volume)) => self.seen(OPERATION, volume).map(Some),
            (Some(_), None) => {
                let message = format!(
                    "`{original}` is a plain directory, which cannot be held to a size; make a subvolume with \
                     `btrfs subvolume create`, copy into it with `cp -a --reflink`, and import that"
                );
                Err(DriverError::new(ErrorKind::Unsupported, OPERATION, message))
            }
            (None, None) => Ok(None),
        }
    }

    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "import volume";
        let conflict = |message: String| DriverError::new(ErrorKind::Conflict, OPERATION, message);
        let there = LinuxDriver::find(self, &request.handle).await.map_err(|e| e.in_operation(OPERATION))?;
        if let Some(state) = there {
            let from = state.imported_from.clone();
            let seen = self.seen(OPERATION, state)?;
            let done = seen.owner == Owner::Ours
                && seen.volume.as_ref() == Some(&request.volume)
                && from.as_ref() == Some(&request.original);
            return if done {
                Ok(Outcome::Unchanged(seen))
            } else {
                Err(conflict(format!("`{}` exists and is another volume", request.handle)))
            };
        }
        let found = Import::find(self, &request.original).await?.ok_or_else(|| {
            let message = format!("`{}` is not at the root of pool `{}`", request.original, self.pools[0]);
            DriverError::new(ErrorKind::NotFound, OPERATION, message)
        })?;
        if found.owner != Owner::Nobody {
            return Err(conflict(format!("`{}` carries an instance's tag already", request.original)));
        }
        let mut wanted = filer::CreateVolume::new(request.handle.as_str(), found.size);
        wanted.name = request.volume.to_string();
        wanted.provisioning = filer::Provisioning::Thick;
        wanted.labels = request.labels.clone();
        wanted.labels.insert(POOL_LABEL.to_owned(), found.pool.to_string());
        let original = request.original.clone();
        let imported = self.filer(move |filer| filer.import(&original, &wanted)).await;
        self.outcome(OPERATION, imported.map_err(|e| e.in_operation(OPERATION))?)
    }
}

impl LinuxDriver {
    /// A quarter more than it holds, so that it can be written to; the default size if that is more.
    fn size_of_import(&self, used: Bytes) -> Bytes {
        let default = self.file.defaults().size.unwrap_or(super::DEFAULT_SIZE);
        (used + Bytes::new(used.get() / 4)).round_up(Bytes::mib(1)).max(default)
    }
}
