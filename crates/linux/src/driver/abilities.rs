//! Growing, changes, snapshots, clones, imports.

use std::collections::{BTreeMap, BTreeSet};

use ::driver::{
    CloneVolume, Clones, DriverError, ErrorKind, Import, ImportVolume, Modify, ModifyVolume, Outcome, Resize,
    Result, Snapshots, Staging,
};
use async_trait::async_trait;
use model::{
    Bytes, Handle, Layout, Owner, Provisioning, SnapshotName, SnapshotState, VolumeOption, VolumeState,
};

use super::{LinuxDriver, POOL_LABEL, SPEC_LABEL, contract, states};
use crate::array::Trouble;
use crate::layout::file;

#[async_trait]
impl Resize for LinuxDriver {
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "grow volume";
        let size = size.round_up(self.limits.granularity);
        match self.array.grow(handle.as_str(), size).await {
            Ok(outcome) => self.outcome(OPERATION, outcome),
            // Larger than that already, perhaps.
            Err(trouble) if trouble.is(filer::ErrorKind::Invalid) => {
                let found = self.array.find(handle.as_str()).await;
                match found.map_err(|e| e.in_operation(OPERATION))? {
                    Some(state) if state.size >= size => Ok(Outcome::Unchanged(self.seen(OPERATION, state)?)),
                    _ => Err(trouble.in_operation(OPERATION)),
                }
            }
            Err(trouble) if trouble.is(filer::ErrorKind::NoCapacity) => {
                let space = self.array.space().await.map_err(|e| e.in_operation(OPERATION))?;
                let capacity = self.capacity(&space);
                let message = format!(
                    "pool `{}` has {} free for thin and {} for thick volumes; `{handle}` was to have {size}",
                    self.pools[0], capacity.free_thin, capacity.free_thick
                );
                let refusal = trouble.in_operation(OPERATION);
                Err(DriverError::new(ErrorKind::NoCapacity, OPERATION, message).because(refusal))
            }
            Err(trouble) => Err(trouble.in_operation(OPERATION)),
        }
    }
}

#[async_trait]
impl Modify for LinuxDriver {
    fn modifiable(&self) -> BTreeSet<VolumeOption> {
        BTreeSet::from([VolumeOption::UnixPermissions])
    }

    async fn modify_volume(&self, request: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "modify volume";
        let invalid = |problem: String| DriverError::new(ErrorKind::Invalid, OPERATION, problem);
        request.check(&self.modifiable())?;
        let mode = file::mode(&request.changes).map_err(invalid)?;
        if mode.is_some() && request.spec.layout == Layout::Block {
            let message = format!(
                "{} of a block volume are set on its file system when it is first used; change them there",
                VolumeOption::UnixPermissions
            );
            return Err(DriverError::new(ErrorKind::Unsupported, OPERATION, message));
        }
        let made_as = serde_json::to_string(&request.spec).map_err(|e| invalid(e.to_string()))?;
        let labels = BTreeMap::from([(SPEC_LABEL.to_owned(), made_as)]);
        let modified = self.array.modify(request.handle.as_str(), filer::ModifyVolume { mode, labels }).await;
        self.outcome(OPERATION, modified.map_err(|e| e.in_operation(OPERATION))?)
    }
}

#[async_trait]
impl Snapshots for LinuxDriver {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        const OPERATION: &str = "take snapshot";
        let taken = self.array.take(handle.as_str(), snapshot.as_str()).await;
        Ok(match taken.map_err(|e| e.in_operation(OPERATION))? {
            filer::Outcome::Changed(state) => Outcome::Changed(states::snapshot(OPERATION, state)?),
            filer::Outcome::Unchanged(state) => Outcome::Unchanged(states::snapshot(OPERATION, state)?),
        })
    }

    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>> {
        let deleted = self.array.delete_snapshot(handle.as_str(), snapshot.as_str()).await;
        Ok(contract(deleted.map_err(|e| e.in_operation("delete snapshot"))?))
    }

    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>> {
        const OPERATION: &str = "list snapshots";
        let all = self.array.list_snapshots(handle.as_str()).await;
        let all = all.map_err(|e| e.in_operation(OPERATION))?;
        all.into_iter().map(|state| states::snapshot(OPERATION, state)).collect()
    }

    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>> {
        const OPERATION: &str = "restore snapshot";
        let restored = self.array.restore(handle.as_str(), snapshot.as_str()).await;
        self.outcome(OPERATION, restored.map_err(|e| e.in_operation(OPERATION))?)
    }

    fn clones(&self) -> Option<&dyn Clones> {
        Some(self)
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
impl Staging for LinuxDriver {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        let marked = self.array.mark_staged(handle.as_str()).await;
        Ok(contract(marked.map_err(|e| e.in_operation("mark volume as used"))?).map(drop))
    }
}

#[async_trait]
impl Import for LinuxDriver {
    /// Subvolumes at the pool's root that the filer did not make, then volumes of any instance.
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "find volume";
        let Ok(handle) = Handle::new(original) else { return Ok(None) };
        let at = |e: Trouble| e.in_operation(OPERATION);
        let foreign = self.array.find_foreign(original).await.map_err(at)?;
        let volume = match foreign {
            Some(_) => None,
            None => self.array.find(original).await.map_err(at)?,
        };
        match (foreign, volume) {
            (Some(foreign), _) if foreign.subvolume => Ok(Some(VolumeState {
                handle,
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
                complete: true,
                made_as: None,
            })),
            (None, Some(volume)) => self.seen(OPERATION, volume).map(Some),
            (Some(_), _) => {
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
        if let Some(seen) = self.taken_over(request, OPERATION).await? {
            return Ok(Outcome::Unchanged(seen));
        }
        let Some(found) = Import::find(self, &request.original).await? else {
            // An import that its caller gave up may have come to its end between the two looks.
            if let Some(seen) = self.taken_over(request, OPERATION).await? {
                return Ok(Outcome::Unchanged(seen));
            }
            let message = format!("`{}` is not at the root of pool `{}`", request.original, self.pools[0]);
            return Err(DriverError::new(ErrorKind::NotFound, OPERATION, message));
        };
        if found.owner != Owner::Nobody {
            return Err(conflict(format!("`{}` carries an instance's tag already", request.original)));
        }
        let mut wanted = filer::CreateVolume::new(request.handle.as_str(), found.size);
        wanted.name = request.volume.to_string();
        wanted.provisioning = filer::Provisioning::Thick;
        let made_as = serde_json::to_string(&request.spec)
            .map_err(|e| DriverError::new(ErrorKind::Invalid, OPERATION, e.to_string()))?;
        wanted.labels = request.spec.labels.clone();
        wanted.labels.insert(SPEC_LABEL.to_owned(), made_as);
        wanted.labels.insert(POOL_LABEL.to_owned(), found.pool.to_string());
        self.array.label(&mut wanted, Layout::File);
        let imported = self.array.import(&request.original, wanted).await;
        self.outcome(OPERATION, imported.map_err(|e| e.in_operation(OPERATION))?)
    }
}

impl LinuxDriver {
    /// The volume, if this import has been done already.
    async fn taken_over(
        &self,
        request: &ImportVolume,
        operation: &'static str,
    ) -> Result<Option<VolumeState>> {
        let there = self.array.find(request.handle.as_str()).await.map_err(|e| e.in_operation(operation))?;
        let Some(state) = there else { return Ok(None) };
        let from = state.imported_from.clone();
        let seen = self.seen(operation, state)?;
        let done = seen.owner == Owner::Ours
            && seen.volume.as_ref() == Some(&request.volume)
            && from.as_ref() == Some(&request.original);
        if done {
            return Ok(Some(seen));
        }
        let message = format!("`{}` exists and is another volume", request.handle);
        Err(DriverError::new(ErrorKind::Conflict, operation, message))
    }

    /// A quarter more than it holds, so that it can be written to; the default size if that is more.
    fn size_of_import(&self, used: Bytes) -> Bytes {
        let default = self.file.defaults().size.unwrap_or(super::DEFAULT_SIZE);
        (used + Bytes::new(used.get() / 4)).round_up(Bytes::mib(1)).max(default)
    }
}
