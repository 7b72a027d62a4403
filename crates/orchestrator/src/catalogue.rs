//! All records, as one value: taking a picture of it costs nothing and never waits.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{BackendName, Class, ClassName, Handle, NodeName, SnapshotName, VolumeId};
use store::Revision;

use crate::backend::BackendRecord;
use crate::record::{NodeRecord, SnapshotRecord, VolumeRecord};

/// What is known, at one instant.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    volumes: OrdMap<VolumeId, Stored<VolumeRecord>>,
    snapshots: OrdMap<(VolumeId, SnapshotName), Stored<SnapshotRecord>>,
    classes: OrdMap<ClassName, Stored<Class>>,
    nodes: OrdMap<NodeName, Stored<NodeRecord>>,
    backends: OrdMap<BackendName, Stored<BackendRecord>>,
    /// Derived: who has a name on a backend.
    handles: OrdMap<(BackendName, Handle), VolumeId>,
    /// Derived: volumes with work left.
    unfinished: OrdSet<VolumeId>,
}

#[derive(Debug)]
struct Stored<T> {
    value: Arc<T>,
    revision: Revision,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Stored { value: self.value.clone(), revision: self.revision }
    }
}

/// A change of one record.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    PutVolume(Arc<VolumeRecord>),
    RemoveVolume(VolumeId),
    PutSnapshot(Arc<SnapshotRecord>),
    RemoveSnapshot(VolumeId, SnapshotName),
    PutClass(Arc<Class>),
    RemoveClass(ClassName),
    PutNode(Arc<NodeRecord>),
    RemoveNode(NodeName),
    PutBackend(Arc<BackendRecord>),
    RemoveBackend(BackendName),
}

impl Catalogue {
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<VolumeRecord>> {
        self.volumes.values().map(|stored| &stored.value)
    }

    /// Volumes in the order of their names, from the one behind `after`.
    pub fn volumes_after(&self, after: Option<&VolumeId>) -> impl Iterator<Item = &Arc<VolumeRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.volumes.range::<_, VolumeId>((from, Bound::Unbounded)).map(|(_, stored)| &stored.value)
    }

    pub fn volume(&self, id: &VolumeId) -> Option<Arc<VolumeRecord>> {
        self.volumes.get(id).map(|stored| stored.value.clone())
    }

    pub fn volume_count(&self) -> usize {
        self.volumes.len()
    }

    /// The volume that has this name on this backend.
    pub fn volume_by_handle(&self, backend: &BackendName, handle: &Handle) -> Option<Arc<VolumeRecord>> {
        self.handles.get(&(backend.clone(), handle.clone())).and_then(|id| self.volume(id))
    }

    pub fn snapshots(&self) -> impl Iterator<Item = &Arc<SnapshotRecord>> {
        self.snapshots.values().map(|stored| &stored.value)
    }

    pub fn snapshots_of(&self, volume: &VolumeId) -> impl Iterator<Item = &Arc<SnapshotRecord>> {
        let volume = volume.clone();
        // No name sorts before one character below the digits that a name may begin with.
        let from =
            SnapshotName::new("0").map_or(Bound::Unbounded, |first| Bound::Included((volume.clone(), first)));
        self.snapshots
            .range((from, Bound::Unbounded))
            .take_while(move |((owner, _), _)| *owner == volume)
            .map(|(_, stored)| &stored.value)
    }

    /// Snapshots in the order of their volumes and names, from the one behind `after`.
    pub fn snapshots_after(
        &self,
        after: Option<(VolumeId, SnapshotName)>,
    ) -> impl Iterator<Item = &Arc<SnapshotRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.snapshots.range((from, Bound::Unbounded)).map(|(_, stored)| &stored.value)
    }

    pub fn snapshot(&self, volume: &VolumeId, name: &SnapshotName) -> Option<Arc<SnapshotRecord>> {
        self.snapshots.get(&(volume.clone(), name.clone())).map(|stored| stored.value.clone())
    }

    /// The snapshots that were taken together by this name.
    pub fn group(&self, name: &SnapshotName) -> Vec<Arc<SnapshotRecord>> {
        self.snapshots().filter(|record| record.name == *name && record.group.is_some()).cloned().collect()
    }

    pub fn classes(&self) -> impl Iterator<Item = &Arc<Class>> {
        self.classes.values().map(|stored| &stored.value)
    }

    pub fn class(&self, name: &ClassName) -> Option<Arc<Class>> {
        self.classes.get(name).map(|stored| stored.value.clone())
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeRecord>> {
        self.nodes.values().map(|stored| &stored.value)
    }

    pub fn node(&self, name: &NodeName) -> Option<Arc<NodeRecord>> {
        self.nodes.get(name).map(|stored| stored.value.clone())
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<BackendRecord>> {
        self.backends.values().map(|stored| &stored.value)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &VolumeId> {
        self.unfinished.iter()
    }

    pub(crate) fn unfinished_count(&self) -> usize {
        self.unfinished.len()
    }

    /// The revision of the record that an edit is about.
    pub(crate) fn revision(&self, edit: &Edit) -> Option<Revision> {
        match edit {
            Edit::PutVolume(record) => self.volumes.get(&record.id).map(|s| s.revision),
            Edit::RemoveVolume(id) => self.volumes.get(id).map(|s| s.revision),
            Edit::PutSnapshot(record) => {
                self.snapshots.get(&(record.volume.clone(), record.name.clone())).map(|s| s.revision)
            }
            Edit::RemoveSnapshot(volume, name) => {
                self.snapshots.get(&(volume.clone(), name.clone())).map(|s| s.revision)
            }
            Edit::PutClass(class) => self.classes.get(&class.name).map(|s| s.revision),
            Edit::RemoveClass(name) => self.classes.get(name).map(|s| s.revision),
            Edit::PutNode(node) => self.nodes.get(&node.identity.name).map(|s| s.revision),
            Edit::RemoveNode(name) => self.nodes.get(name).map(|s| s.revision),
            Edit::PutBackend(backend) => self.backends.get(&backend.name).map(|s| s.revision),
            Edit::RemoveBackend(name) => self.backends.get(name).map(|s| s.revision),
        }
    }

    /// Takes up what the store has accepted.
    pub(crate) fn apply(&mut self, edit: &Edit, revision: Revision) {
        match edit {
            Edit::PutVolume(record) => {
                let place = |record: &VolumeRecord| (record.backend.clone(), record.handle.clone());
                let before = self.volumes.get(&record.id).map(|old| place(&old.value));
                if before.as_ref() != Some(&place(record)) {
                    if let Some(before) = before {
                        self.handles.remove(&before);
                    }
                    self.handles.insert(place(record), record.id.clone());
                }
                self.volumes.insert(record.id.clone(), Stored { value: record.clone(), revision });
                self.review(&record.id);
            }
            Edit::RemoveVolume(id) => {
                if let Some(old) = self.volumes.remove(id) {
                    self.handles.remove(&(old.value.backend.clone(), old.value.handle.clone()));
                }
                self.unfinished.remove(id);
            }
            Edit::PutSnapshot(record) => {
                let key = (record.volume.clone(), record.name.clone());
                self.snapshots.insert(key, Stored { value: record.clone(), revision });
                self.review(&record.volume);
            }
            Edit::RemoveSnapshot(volume, name) => {
                self.snapshots.remove(&(volume.clone(), name.clone()));
                self.review(volume);
            }
            Edit::PutClass(class) => {
                self.classes.insert(class.name.clone(), Stored { value: class.clone(), revision });
            }
            Edit::RemoveClass(name) => {
                self.classes.remove(name);
            }
            Edit::PutNode(node) => {
                self.nodes.insert(node.identity.name.clone(), Stored { value: node.clone(), revision });
            }
            Edit::RemoveNode(name) => {
                self.nodes.remove(name);
            }
            Edit::PutBackend(backend) => {
                self.backends.insert(backend.name.clone(), Stored { value: backend.clone(), revision });
            }
            Edit::RemoveBackend(name) => {
                self.backends.remove(name);
            }
        }
    }

    fn review(&mut self, id: &VolumeId) {
        let unfinished = self.volume(id).is_some_and(|record| {
            record.is_unfinished()
                || (!record.missing && self.snapshots_of(id).any(|snapshot| snapshot.is_unfinished()))
        });
        if unfinished {
            self.unfinished.insert(id.clone());
        } else {
            self.unfinished.remove(id);
        }
    }
}
