//! The words of the house as types: volumes, snapshots, pools, classes, nodes, routes, sizes and names.
//!
//! No I/O and no async: everything here is a plain value that can be compared, printed and parsed.

mod attributes;
mod bytes;
mod class;
mod ids;
mod nearest;
mod node;
mod permit;
mod pool;
mod route;
mod secret;
mod selector;
mod snapshot;
mod template;
mod volume;

pub use attributes::{Attribute, Offer, Offers, Requirement, Requirements};
pub use bytes::{Bytes, NoUnit, ParseBytesError};
pub use class::{Class, ClassError, PoolList, Wishes};
pub use ids::{
    BackendName, ClassName, Handle, IdError, InstanceId, NodeName, OperationId, PoolName, SnapshotName,
    VolumeId,
};
pub use nearest::nearest;
pub use node::NodeIdentity;
pub use permit::Permit;
pub use pool::{Capacity, Labels, Pool, Topology};
pub use route::{Chap, ChapAccount, IscsiRoute, LocalSource, NamespaceId, NfsRoute, NvmeRoute, Route};
pub use secret::Secret;
pub use selector::{Selector, SelectorError};
pub use snapshot::SnapshotState;
pub use template::{CLAIM, NAMESPACE, Subject, Template, TemplateError};
pub use volume::{
    AccessMode, Filesystem, Layout, Owner, Provisioning, Source, VolumeOption, VolumeOptions, VolumeSpec,
    VolumeState, is_encrypted_by_node,
};
