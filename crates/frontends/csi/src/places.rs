//! Where volumes and nodes are, in the protocol's words.

use std::collections::BTreeMap;

use model::{BackendName, PoolName, Topology};
use orchestrator::{BackendView, VolumeRecord};

use crate::wire;

/// From where the volumes of each pool can be reached.
pub(crate) struct Places(BTreeMap<(BackendName, PoolName), Vec<Topology>>);

impl Places {
    pub(crate) fn of(backends: &[BackendView]) -> Places {
        let pools = backends.iter().flat_map(|backend| &backend.pools);
        Places(pools.map(|p| ((p.backend.clone(), p.name.clone()), p.topologies.clone())).collect())
    }

    /// Empty: from everywhere.
    pub(crate) fn of_volume(&self, record: &VolumeRecord) -> Vec<wire::Topology> {
        let key = (record.backend.clone(), record.pool.clone());
        self.0.get(&key).into_iter().flatten().map(shown).collect()
    }
}

pub(crate) fn shown(topology: &Topology) -> wire::Topology {
    wire::Topology { segments: topology.clone().into_iter().collect() }
}
