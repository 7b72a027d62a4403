use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Bytes, Handle, SnapshotName};

/// A snapshot as the backend has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotState {
    pub volume: Handle,
    pub name: SnapshotName,
    pub created: Timestamp,
    /// The size of the volume when the snapshot was taken: what a clone of it must have at least.
    pub size: Bytes,
}
