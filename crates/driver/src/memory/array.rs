use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use model::{
    Bytes, Handle, InstanceId, Layout, NodeName, PoolName, Provisioning, SnapshotName, VolumeId, VolumeSpec,
};

use super::Faults;

/// The array itself: volumes with a content that is one number, so that tests can follow data.
#[derive(Debug)]
pub struct MemoryArray {
    pub faults: Arc<Faults>,
    pub(super) total: Bytes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) volumes: BTreeMap<Handle, Volume>,
    /// Sum of their sizes, kept so that nothing costs more with many volumes.
    pub(super) provisioned: Bytes,
    hidden: BTreeMap<Handle, Volume>,
    /// Its clock: one second for each volume that comes to be.
    clock: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) owner: Option<InstanceId>,
    pub(super) volume: Option<VolumeId>,
    pub(super) pool: PoolName,
    pub(super) size: Bytes,
    pub(super) layout: Layout,
    pub(super) provisioning: Provisioning,
    /// Each with whether it is exclusive.
    pub(super) permitted: BTreeMap<NodeName, bool>,
    pub(super) staged: bool,
    pub(super) content: u64,
    pub(super) snapshots: BTreeMap<SnapshotName, Picture>,
    pub(super) created: Timestamp,
    pub(super) made_as: Option<Box<VolumeSpec>>,
}

#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) content: u64,
    pub(super) size: Bytes,
    pub(super) staged: bool,
    pub(super) created: Timestamp,
    /// Whose pictures were taken with it.
    pub(super) group: Option<BTreeSet<Handle>>,
}

impl MemoryArray {
    pub fn new(total: Bytes) -> Arc<MemoryArray> {
        Arc::new(MemoryArray { faults: Faults::new(), total, state: Mutex::default() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An application writes: the volume's content becomes this number.
    pub fn write(&self, handle: &Handle, content: u64) {
        if let Some(volume) = self.state().volumes.get_mut(handle) {
            volume.content = content;
        }
    }

    pub fn read(&self, handle: &Handle) -> Option<u64> {
        self.state().volumes.get(handle).map(|v| v.content)
    }

    pub fn handles(&self) -> Vec<Handle> {
        self.state().volumes.keys().cloned().collect()
    }

    pub fn size(&self, handle: &Handle) -> Option<Bytes> {
        self.state().volumes.get(handle).map(|v| v.size)
    }

    /// What the array keeps of what a volume was made as.
    pub fn made_as(&self, handle: &Handle) -> Option<VolumeSpec> {
        self.state().volumes.get(handle)?.made_as.as_deref().cloned()
    }

    pub fn read_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Option<u64> {
        self.state()
            .volumes
            .get(handle)
            .and_then(|v| v.snapshots.get(snapshot))
            .map(|picture| picture.content)
    }

    /// The volumes that carry this instance's tag.
    pub fn handles_of(&self, owner: &str) -> Vec<Handle> {
        let ours = |volume: &Volume| volume.owner.as_ref().is_some_and(|o| o.as_str() == owner);
        self.state()
            .volumes
            .iter()
            .filter(|(_, volume)| ours(volume))
            .map(|(handle, _)| handle.clone())
            .collect()
    }

    /// Takes a volume away as an outage of half an array does; [`show`](Self::show) brings it back.
    pub fn hide(&self, handle: &Handle) {
        let mut state = self.state();
        if let Some(volume) = state.volumes.get(handle).cloned() {
            state.remove(handle);
            state.hidden.insert(handle.clone(), volume);
        }
    }

    pub fn show(&self, handle: &Handle) {
        let mut state = self.state();
        if let Some(volume) = state.hidden.remove(handle) {
            state.insert(handle.clone(), volume);
        }
    }

    /// Somebody deletes a volume behind our back.
    pub fn lose(&self, handle: &Handle) {
        self.state().remove(handle);
    }

    /// Somebody edits the permits behind our back.
    pub fn set_permits(&self, handle: &Handle, nodes: impl IntoIterator<Item = NodeName>) {
        if let Some(volume) = self.state().volumes.get_mut(handle) {
            volume.permitted = nodes.into_iter().map(|node| (node, false)).collect();
        }
    }

    pub fn permits(&self, handle: &Handle) -> BTreeSet<NodeName> {
        self.state().volumes.get(handle).map(|v| v.permitted.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn snapshots(&self, handle: &Handle) -> Vec<SnapshotName> {
        self.state().volumes.get(handle).map(|v| v.snapshots.keys().cloned().collect()).unwrap_or_default()
    }

    /// A volume that no Leister made; `owner` tags it as another instance's.
    pub fn plant(&self, handle: &Handle, size: Bytes, owner: Option<InstanceId>, content: u64) {
        let mut state = self.state();
        let volume = Volume {
            owner,
            volume: None,
            pool: super::driver::pool_name(),
            size,
            layout: Layout::File,
            provisioning: Provisioning::Thin,
            permitted: BTreeMap::new(),
            staged: false,
            content,
            snapshots: BTreeMap::new(),
            created: state.tick(),
            made_as: None,
        };
        state.insert(handle.clone(), volume);
    }
}

impl State {
    pub(super) fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(self.clock)
    }

    pub(super) fn insert(&mut self, handle: Handle, volume: Volume) {
        self.provisioned = self.provisioned + volume.size;
        self.volumes.insert(handle, volume);
    }

    pub(super) fn remove(&mut self, handle: &Handle) {
        if let Some(volume) = self.volumes.remove(handle) {
            self.provisioned = self.provisioned - volume.size;
        }
    }

    pub(super) fn resize(&mut self, handle: &Handle, size: Bytes) {
        if let Some(volume) = self.volumes.get_mut(handle) {
            self.provisioned = self.provisioned - volume.size + size;
            volume.size = size;
        }
    }
}
