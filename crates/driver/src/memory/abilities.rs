//! What the memory array can do beyond the mandatory: everything.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{Bytes, Handle, SnapshotName, SnapshotState, VolumeOption, VolumeState};

use super::array::{Picture, Volume};
use super::driver::POOL;
use super::{Call, MemoryDriver};
use crate::{
    CloneVolume, Clones, DriverError, ErrorKind, GroupSnapshot, Groups, Import, ImportVolume, Modify,
    ModifyVolume, Outcome, Resize, Result, Snapshots, Staging,
};

#[async_trait]
impl Resize for MemoryDriver {
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        self.call(Call::Grow, "grow volume", |state| {
            let volume = self.ours(state, handle, "grow volume")?.clone();
            if volume.size >= size {
                return Ok(Outcome::Unchanged(self.seen(handle, &volume)));
            }
            let free = self.array.total - state.provisioned;
            if size - volume.size > free {
                let message =
                    format!("pool `{POOL}` has {free} free; {} more were asked for", size - volume.size);
                return Err(DriverError::new(ErrorKind::NoCapacity, "grow volume", message));
            }
            state.resize(handle, size);
            Ok(Outcome::Changed(self.seen(handle, &Volume { size, ..volume })))
        })
        .await
    }
}

#[async_trait]
impl Modify for MemoryDriver {
    fn modifiable(&self) -> BTreeSet<VolumeOption> {
        BTreeSet::from([VolumeOption::UnixPermissions])
    }

    async fn modify_volume(&self, request: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        self.call(Call::Modify, "modify volume", |state| {
            request.check(&self.modifiable())?;
            if let Some((option, text)) =
                request.changes.iter().find(|(_, t)| u32::from_str_radix(t, 8).is_err())
            {
                let message = format!("{option}: `{text}` is not octal");
                return Err(DriverError::new(ErrorKind::Invalid, "modify volume", message));
            }
            let volume = self.ours(state, &request.handle, "modify volume")?;
            let wanted = Some(Box::new(request.spec.clone()));
            let was_so = volume.made_as == wanted;
            volume.made_as = wanted;
            let seen = self.seen(&request.handle, &volume.clone());
            Ok(if was_so { Outcome::Unchanged(seen) } else { Outcome::Changed(seen) })
        })
        .await
    }
}

#[async_trait]
impl Snapshots for MemoryDriver {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        self.call(Call::Take, "take snapshot", |state| {
            let volume = self.ours(state, handle, "take snapshot")?;
            if let Some(picture) = volume.snapshots.get(snapshot) {
                return Ok(Outcome::Unchanged(shown(handle, snapshot, picture)));
            }
            let picture = picture(volume, None);
            volume.snapshots.insert(snapshot.clone(), picture.clone());
            Ok(Outcome::Changed(shown(handle, snapshot, &picture)))
        })
        .await
    }

    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>> {
        self.call(Call::DeleteSnapshot, "delete snapshot", |state| {
            if !state.volumes.contains_key(handle) {
                return Ok(Outcome::Unchanged(()));
            }
            Ok(match self.ours(state, handle, "delete snapshot")?.snapshots.remove(snapshot) {
                Some(_) => Outcome::Changed(()),
                None => Outcome::Unchanged(()),
            })
        })
        .await
    }

    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>> {
        self.call(Call::ListSnapshots, "list snapshots", |state| {
            let volume = self.ours(state, handle, "list snapshots")?;
            Ok(volume.snapshots.iter().map(|(name, picture)| shown(handle, name, picture)).collect())
        })
        .await
    }

    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>> {
        self.call(Call::Restore, "restore snapshot", |state| {
            let volume = self.ours(state, handle, "restore snapshot")?;
            if let Some(node) = volume.permitted.keys().next() {
                let message = format!("`{handle}` is permitted to node `{node}`");
                return Err(DriverError::new(ErrorKind::InUse, "restore snapshot", message));
            }
            let Some(picture) = volume.snapshots.get(snapshot).cloned() else {
                let message = format!("`{handle}` has no snapshot `{snapshot}`");
                return Err(DriverError::new(ErrorKind::NotFound, "restore snapshot", message));
            };
            volume.content = picture.content;
            volume.staged = picture.staged;
            state.resize(handle, picture.size);
            let volume = &state.volumes[handle];
            Ok(Outcome::Changed(self.seen(handle, volume)))
        })
        .await
    }

    fn groups(&self) -> Result<&dyn Groups, &'static str> {
        Ok(self)
    }

    fn clones(&self) -> Option<&dyn Clones> {
        Some(self)
    }
}

#[async_trait]
impl Groups for MemoryDriver {
    async fn take_group(&self, request: &GroupSnapshot) -> Result<Outcome<Vec<SnapshotState>>> {
        const OPERATION: &str = "take group snapshot";
        let GroupSnapshot { members, snapshot } = request;
        self.call(Call::TakeGroup, OPERATION, |state| {
            let mut taken = Vec::new();
            for handle in members {
                let Some(picture) = self.ours(state, handle, OPERATION)?.snapshots.get(snapshot) else {
                    continue;
                };
                if picture.group.as_ref() != Some(members) {
                    let message = format!("`{handle}` has a snapshot `{snapshot}` that is not of this group");
                    return Err(DriverError::new(ErrorKind::Conflict, OPERATION, message));
                }
                taken.push(shown(handle, snapshot, picture));
            }
            if taken.len() == members.len() {
                return Ok(Outcome::Unchanged(taken));
            }
            let mut all = Vec::new();
            for handle in members {
                let volume = self.ours(state, handle, OPERATION)?;
                let picture = picture(volume, Some(members.clone()));
                all.push(shown(handle, snapshot, &picture));
                volume.snapshots.insert(snapshot.clone(), picture);
            }
            Ok(Outcome::Changed(all))
        })
        .await
    }

    async fn delete_group(&self, request: &GroupSnapshot) -> Result<Outcome<()>> {
        self.call(Call::DeleteGroup, "delete group snapshot", |state| {
            let mut changed = false;
            for handle in &request.members {
                if state.volumes.contains_key(handle) {
                    let volume = self.ours(state, handle, "delete group snapshot")?;
                    let is_of = |picture: &Picture| picture.group.as_ref() == Some(&request.members);
                    if volume.snapshots.get(&request.snapshot).is_some_and(is_of) {
                        changed |= volume.snapshots.remove(&request.snapshot).is_some();
                    }
                }
            }
            Ok(if changed { Outcome::Changed(()) } else { Outcome::Unchanged(()) })
        })
        .await
    }
}

#[async_trait]
impl Clones for MemoryDriver {
    async fn clone_volume(&self, request: &CloneVolume) -> Result<Outcome<VolumeState>> {
        self.call(Call::Clone, "clone volume", |state| {
            if state.volumes.contains_key(&request.create.handle) {
                return self.make(state, &request.create, (0, false), "clone volume");
            }
            let source = self.ours(state, &request.source, "clone volume")?;
            let (content, staged, size) = match &request.snapshot {
                None => (source.content, source.staged, source.size),
                Some(name) => {
                    source.snapshots.get(name).map(|p| (p.content, p.staged, p.size)).ok_or_else(|| {
                        let message = format!("`{}` has no snapshot `{name}`", request.source);
                        DriverError::new(ErrorKind::NotFound, "clone volume", message)
                    })?
                }
            };
            if request.create.spec.size < size {
                let message = format!("{} are less than the {size} of its source", request.create.spec.size);
                return Err(DriverError::new(ErrorKind::Invalid, "clone volume", message));
            }
            self.make(state, &request.create, (content, staged), "clone volume")
        })
        .await
    }
}

#[async_trait]
impl Import for MemoryDriver {
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        self.call(Call::Find, "find volume", |state| {
            let found = state.volumes.iter().find(|(handle, _)| handle.as_str() == original);
            Ok(found.map(|(handle, volume)| self.seen(handle, volume)))
        })
        .await
    }

    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>> {
        self.call(Call::Import, "import volume", |state| {
            if let Some(volume) = state.volumes.get(&request.handle) {
                let done = volume.volume.as_ref() == Some(&request.volume)
                    && volume.owner.as_ref() == Some(&self.info.instance);
                if done {
                    return Ok(Outcome::Unchanged(self.seen(&request.handle, volume)));
                }
                if request.handle.as_str() != request.original {
                    let message = format!("`{}` exists and is another volume", request.handle);
                    return Err(DriverError::new(ErrorKind::Conflict, "import volume", message));
                }
            }
            let original = Handle::new(&request.original)
                .map_err(|e| DriverError::new(ErrorKind::Invalid, "import volume", e.to_string()))?;
            let volume = state.volumes.get(&original).cloned().ok_or_else(|| {
                DriverError::new(ErrorKind::NotFound, "import volume", format!("no volume `{original}`"))
            })?;
            if volume.owner.is_some() {
                let message = format!("`{original}` carries an instance's tag");
                return Err(DriverError::new(ErrorKind::Conflict, "import volume", message));
            }
            state.remove(&original);
            let volume = Volume {
                owner: Some(self.info.instance.clone()),
                volume: Some(request.volume.clone()),
                made_as: Some(Box::new(request.spec.clone())),
                ..volume
            };
            let seen = self.seen(&request.handle, &volume);
            state.insert(request.handle.clone(), volume);
            Ok(Outcome::Changed(seen))
        })
        .await
    }
}

#[async_trait]
impl Staging for MemoryDriver {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        self.call(Call::MarkStaged, "mark volume as staged", |state| {
            let volume = self.ours(state, handle, "mark volume as staged")?;
            Ok(match std::mem::replace(&mut volume.staged, true) {
                true => Outcome::Unchanged(()),
                false => Outcome::Changed(()),
            })
        })
        .await
    }
}

/// What the volume holds now.
fn picture(volume: &Volume, group: Option<BTreeSet<Handle>>) -> Picture {
    Picture {
        content: volume.content,
        size: volume.size,
        staged: volume.staged,
        created: Timestamp::UNIX_EPOCH,
        group,
    }
}

fn shown(handle: &Handle, name: &SnapshotName, picture: &Picture) -> SnapshotState {
    SnapshotState { volume: handle.clone(), name: name.clone(), created: picture.created, size: picture.size }
}
