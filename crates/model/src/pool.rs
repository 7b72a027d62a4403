use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    BackendName, Bytes, Filesystem, Layout, Offers, PoolName, Provisioning, Template, VolumeOption,
    VolumeOptions,
};

pub type Labels = BTreeMap<String, String>;

/// Where something is: keys such as `topology.kubernetes.io/zone`, or plain `region` and `zone`.
pub type Topology = BTreeMap<String, String>;

/// Where a backend can place volumes, with all that placement needs to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    pub backend: BackendName,
    pub name: PoolName,
    pub offers: Offers,
    pub labels: Labels,
    /// Topologies it can be reached from; empty: from everywhere.
    pub topologies: Vec<Topology>,
    pub layouts: BTreeSet<Layout>,
    /// Whether several nodes can share a volume of this layout.
    pub shared: BTreeSet<Layout>,
    /// Options that volumes here may carry.
    pub accepts: BTreeSet<VolumeOption>,
    pub capacity: Capacity,
    /// Sizes are rounded up to a multiple of this.
    pub granularity: Bytes,
    pub smallest: Bytes,
    /// The largest volume allowed, by the array or by `limitVolumeSize`.
    pub largest: Option<Bytes>,
    // What a volume gets that does not say otherwise.
    pub default_size: Bytes,
    pub default_provisioning: Provisioning,
    pub default_filesystem: Option<Filesystem>,
    pub default_options: VolumeOptions,
    /// What the volumes of claims are called here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_template: Option<Template>,
}

/// Space of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    pub total: Bytes,
    pub used: Bytes,
    /// Sum of the sizes of all volumes here.
    pub provisioned: Bytes,
    /// What a new thin volume may ask for at most, after reserves and the overcommit limit.
    pub free_thin: Bytes,
    /// What a new thick volume may ask for at most.
    pub free_thick: Bytes,
}

impl Capacity {
    pub fn free(&self, provisioning: Provisioning) -> Bytes {
        match provisioning {
            Provisioning::Thin => self.free_thin,
            Provisioning::Thick => self.free_thick,
        }
    }
}
