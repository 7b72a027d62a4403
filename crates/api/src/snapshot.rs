use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotView {
    pub volume: String,
    pub name: String,
    /// `creating`, `ready` or `deleting`.
    pub status: String,
    /// The volume's size in bytes at that time.
    pub size: u64,
    pub created: Timestamp,
    /// The volumes whose snapshots of this name were taken at one instant, this one's among them; empty for one that was
    /// taken alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotCreate {
    pub name: String,
}

/// Snapshots of several volumes, taken at one instant. Their name is the group's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    pub name: String,
    /// One of each volume that is still there.
    pub snapshots: Vec<SnapshotView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupCreate {
    pub name: String,
    /// All on one backend.
    pub volumes: Vec<String>,
}
