use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use model::{
    Attribute, BackendName, Bytes, Capacity, Handle, InstanceId, Labels, Layout, LocalSource, NodeIdentity,
    NodeName, Offer, Offers, Owner, Permit, Pool, PoolName, Provisioning, Route, VolumeId, VolumeOption,
    VolumeState,
};

use super::array::{State, Volume};
use super::{Call, MemoryArray};
use crate::{
    CreateVolume, Driver, DriverError, DriverInfo, ErrorKind, Import, Modify, Outcome, Resize, Result,
    Snapshots, Staging,
};

/// The driver of a [`MemoryArray`].
#[derive(Clone, Debug)]
pub struct MemoryDriver {
    pub(super) info: DriverInfo,
    pub(super) array: Arc<MemoryArray>,
}

pub(super) const POOL: &str = "memory";

impl MemoryDriver {
    pub fn open(backend: BackendName, instance: InstanceId, array: Arc<MemoryArray>) -> Arc<MemoryDriver> {
        Arc::new(MemoryDriver { info: DriverInfo { backend, driver: POOL, instance }, array })
    }

    /// Runs one call between its two points of death, with its faults.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        operation: &'static str,
        effect: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let fault = self.array.faults.before(call, operation).await?;
        let result = effect(&mut self.array.state());
        self.array.faults.after(fault, operation).await?;
        result
    }

    pub(super) fn seen(&self, handle: &Handle, volume: &Volume) -> VolumeState {
        VolumeState {
            handle: handle.clone(),
            owner: match &volume.owner {
                None => Owner::Nobody,
                Some(owner) if *owner == self.info.instance => Owner::Ours,
                Some(other) => Owner::Other(other.clone()),
            },
            volume: volume.volume.clone(),
            pool: volume.pool.clone(),
            size: volume.size,
            used: None,
            layout: volume.layout,
            provisioning: volume.provisioning,
            permitted: volume.permitted.keys().cloned().collect(),
            staged: Some(volume.staged),
            created: Some(volume.created),
            complete: true,
            made_as: volume.made_as.clone(),
        }
    }

    pub(super) fn ours<'a>(
        &self,
        state: &'a mut State,
        handle: &Handle,
        operation: &'static str,
    ) -> Result<&'a mut Volume> {
        let volume = state.volumes.get_mut(handle).ok_or_else(|| {
            DriverError::new(ErrorKind::NotFound, operation, format!("no volume `{handle}`"))
        })?;
        if volume.owner.as_ref() == Some(&self.info.instance) {
            Ok(volume)
        } else {
            Err(DriverError::new(
                ErrorKind::Conflict,
                operation,
                format!("`{handle}` is not this instance's"),
            ))
        }
    }

    pub(super) fn make(
        &self,
        state: &mut State,
        request: &CreateVolume,
        (content, staged): (u64, bool),
        operation: &'static str,
    ) -> Result<Outcome<VolumeState>> {
        if let Some(volume) = state.volumes.get(&request.handle) {
            let same = volume.owner.as_ref() == Some(&self.info.instance)
                && volume.volume.as_ref() == Some(&request.volume)
                && volume.layout == request.spec.layout;
            return if same {
                Ok(Outcome::Unchanged(self.seen(&request.handle, volume)))
            } else {
                let message = format!("`{}` exists and is another volume", request.handle);
                Err(DriverError::new(ErrorKind::Conflict, operation, message))
            };
        }
        let free = self.array.total - state.provisioned;
        if request.spec.size > free {
            return Err(request.no_capacity(free));
        }
        let volume = Volume {
            owner: Some(self.info.instance.clone()),
            volume: Some(request.volume.clone()),
            pool: request.pool.clone(),
            size: request.spec.size,
            layout: request.spec.layout,
            provisioning: request.spec.provisioning,
            permitted: BTreeMap::new(),
            staged,
            content,
            snapshots: BTreeMap::new(),
            created: state.tick(),
            made_as: Some(Box::new(request.spec.clone())),
        };
        let seen = self.seen(&request.handle, &volume);
        state.insert(request.handle.clone(), volume);
        Ok(Outcome::Changed(seen))
    }
}

pub(super) fn pool_name() -> PoolName {
    PoolName::new(POOL).unwrap_or_else(|_| unreachable!("a legal name"))
}

#[async_trait]
impl Driver for MemoryDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        Handle::new(volume).map_err(|e| DriverError::new(ErrorKind::Invalid, "name volume", e.to_string()))
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        self.call(Call::Pools, "list pools", |state| {
            let free = self.array.total - state.provisioned;
            Ok(vec![Pool {
                backend: self.info.backend.clone(),
                name: pool_name(),
                offers: Offers::from([
                    (Attribute::BackendType, Offer::words([POOL])),
                    (Attribute::Snapshots, Offer::Bool(true)),
                    (Attribute::Clones, Offer::Bool(true)),
                    (Attribute::ProvisioningType, Offer::words(["thin", "thick"])),
                ]),
                labels: Labels::new(),
                topologies: Vec::new(),
                layouts: BTreeSet::from([Layout::File, Layout::Block]),
                shared: BTreeSet::from([Layout::File]),
                accepts: BTreeSet::from([VolumeOption::UnixPermissions]),
                capacity: Capacity {
                    total: self.array.total,
                    used: state.provisioned,
                    provisioned: state.provisioned,
                    free_thin: free,
                    free_thick: free,
                },
                granularity: Bytes::new(1),
                smallest: Bytes::new(1),
                largest: None,
                default_size: Bytes::gib(1),
                default_provisioning: Provisioning::Thin,
                default_filesystem: None,
                default_options: BTreeMap::new(),
                name_template: None,
            }])
        })
        .await
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        self.call(Call::Observe, "observe volume", |state| {
            Ok(state.volumes.get(handle).map(|volume| self.seen(handle, volume)))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        self.call(Call::List, "list volumes", |state| {
            let all = state.volumes.iter().map(|(handle, volume)| self.seen(handle, volume));
            Ok(all.filter(|seen| seen.owner == Owner::Ours).collect())
        })
        .await
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.call(Call::Create, "create volume", |state| {
            self.make(state, request, (0, false), "create volume")
        })
        .await
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        self.call(Call::Delete, "delete volume", |state| {
            if !state.volumes.contains_key(handle) {
                return Ok(Outcome::Unchanged(()));
            }
            let volume = self.ours(state, handle, "delete volume")?;
            if let Some(node) = volume.permitted.keys().next() {
                let message = format!("`{handle}` is permitted to node `{node}`");
                return Err(DriverError::new(ErrorKind::InUse, "delete volume", message));
            }
            state.remove(handle);
            Ok(Outcome::Changed(()))
        })
        .await
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        self.call(Call::Permit, "permit node", |state| {
            let volume = self.ours(state, handle, "permit node")?;
            let node = &permit.node.name;
            let excludes = |other: &(&NodeName, &bool)| other.0 != node && (permit.exclusive || *other.1);
            if let Some((other, _)) = volume.permitted.iter().find(excludes) {
                let message = format!("`{handle}` is permitted to node `{other}`");
                return Err(DriverError::new(ErrorKind::InUse, "permit node", message));
            }
            let path = std::path::Path::new("/memory").join(handle.as_str());
            let source = match volume.layout {
                Layout::File => LocalSource::Directory { path, snapshots: None },
                Layout::Block => LocalSource::Image { path },
            };
            let route = Route::Local { source };
            Ok(match volume.permitted.insert(node.clone(), permit.exclusive) {
                Some(before) if before == permit.exclusive => Outcome::Unchanged(route),
                _ => Outcome::Changed(route),
            })
        })
        .await
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        self.call(Call::Forbid, "forbid node", |state| {
            if !state.volumes.contains_key(handle) {
                return Ok(Outcome::Unchanged(()));
            }
            Ok(match self.ours(state, handle, "forbid node")?.permitted.remove(&node.name) {
                Some(_) => Outcome::Changed(()),
                None => Outcome::Unchanged(()),
            })
        })
        .await
    }

    fn resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn modify(&self) -> Option<&dyn Modify> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn import(&self) -> Option<&dyn Import> {
        Some(self)
    }

    fn staging(&self) -> Option<&dyn Staging> {
        Some(self)
    }
}
