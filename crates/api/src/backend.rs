use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One configured array or Linux host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    pub name: String,
    /// `storageDriverName` of its file.
    pub driver: String,
    pub health: BackendHealth,
    /// Since when it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is not online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// New volumes go elsewhere.
    pub suspended: bool,
    /// The file it comes from; absent: it was created through the interface and is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    pub capabilities: CapabilitiesView,
    pub pools: Vec<PoolView>,
    /// How many volumes are on it.
    pub volumes: usize,
    /// Its file without secrets.
    pub config: serde_json::Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum BackendHealth {
    Opening,
    Online,
    Unreachable,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesView {
    pub resize: bool,
    #[serde(default)]
    pub modify: bool,
    pub snapshots: bool,
    pub clones: bool,
    /// Snapshots of several volumes at one instant.
    #[serde(default)]
    pub groups: bool,
    pub import: bool,
    /// Remembers that a volume was put to use, for instances that share it without a store.
    pub staging: bool,
}

/// Where a backend can place volumes. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    pub backend: String,
    pub name: String,
    pub layouts: Vec<String>,
    pub total: u64,
    pub used: u64,
    /// Sum of the sizes of all volumes here.
    pub provisioned: u64,
    /// What a new thin volume may ask for at most.
    pub free_thin: u64,
    /// What a new thick volume may ask for at most.
    pub free_thick: u64,
    /// The largest volume allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u64>,
    /// Sizes are rounded up to a multiple of this.
    pub granularity: u64,
    /// The size of a volume that does not say.
    pub default_size: u64,
    pub default_provisioning: String,
    /// What classes can ask of it.
    pub offers: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topologies: Vec<BTreeMap<String, String>>,
    /// Options that volumes here may carry.
    pub accepts: Vec<String>,
}

impl BackendHealth {
    pub const fn as_str(self) -> &'static str {
        match self {
            BackendHealth::Opening => "opening",
            BackendHealth::Online => "online",
            BackendHealth::Unreachable => "unreachable",
            BackendHealth::Failed => "failed",
        }
    }
}
