//! The REST interface as types, and a client that speaks it.
//!
//! Sizes: a request takes a number of bytes or text with a unit (`"20GiB"`); an answer has bytes. Times are
//! RFC 3339 in UTC. Optional fields that do not apply are left out.

mod backend;
mod class;
mod client;
mod error;
mod node;
mod operation;
mod page;
mod quantity;
mod snapshot;
mod status;
mod volume;

pub mod manifest;

pub use backend::{BackendHealth, BackendView, CapabilitiesView, PoolView};
pub use class::{ClassCreate, ClassView};
pub use client::{Client, ClientError, Started, VolumeFilter, Wait};
pub use error::{ErrorBody, ErrorKind};
pub use node::NodeView;
pub use operation::{OperationState, OperationView};
pub use page::{List, PageQuery};
pub use quantity::Quantity;
pub use snapshot::{GroupCreate, GroupView, SnapshotCreate, SnapshotView};
pub use status::{FindingView, Severity, VersionView};
pub use volume::{
    AdoptFailure, AdoptRequest, AdoptResult, FenceRequest, FoundVolume, ImportRequest, RestoreRequest,
    SourceView, VolumeCreate, VolumeGrow, VolumeModify, VolumeView,
};
