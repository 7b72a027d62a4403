//! What can be asked for. Equal requests for one volume join; different ones exclude each other.

mod parameters;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    AccessMode, BackendName, Bytes, ClassName, Filesystem, Labels, Layout, NodeName, PoolName, Provisioning,
    Route, SnapshotName, Source, Topology, VolumeId, VolumeOptions,
};
use serde::{Deserialize, Serialize};

use crate::operation::Verb;
use crate::{Result, SnapshotRecord, VolumeRecord};
pub use parameters::without_prefix;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Create(Box<CreateRequest>),
    Import(Box<ImportRequest>),
    /// Takes up a volume that carries our tag but has no record.
    Adopt {
        volume: VolumeId,
        backend: BackendName,
    },
    Grow {
        volume: VolumeId,
        size: Bytes,
    },
    /// Changes options; those that are not named stay as they are.
    Modify {
        volume: VolumeId,
        changes: VolumeOptions,
    },
    /// Without `with_snapshots`, a volume that has snapshots is `InUse`.
    Delete {
        volume: VolumeId,
        with_snapshots: bool,
    },
    /// Drops the record and leaves the data where it is.
    Forget {
        volume: VolumeId,
    },
    Take {
        volume: VolumeId,
        snapshot: SnapshotName,
    },
    /// Takes snapshots of several volumes at one instant: [`take_group`](Request::take_group).
    TakeGroup {
        volume: VolumeId,
        others: BTreeSet<VolumeId>,
        snapshot: SnapshotName,
    },
    /// Refused for one that was taken with those of other volumes.
    DeleteSnapshot {
        volume: VolumeId,
        snapshot: SnapshotName,
    },
    /// Deletes snapshots that were taken together: [`delete_group`](Request::delete_group).
    DeleteGroup {
        volume: VolumeId,
        others: BTreeSet<VolumeId>,
        snapshot: SnapshotName,
    },
    Restore {
        volume: VolumeId,
        snapshot: SnapshotName,
    },
    /// Lets a node reach the volume: answers with the route. With `force`, nodes that have it for themselves lose it.
    /// `kept` until somebody unpublishes it, whether or not the node has it mounted.
    Publish {
        volume: VolumeId,
        node: NodeName,
        read_only: bool,
        force: bool,
        #[serde(default)]
        kept: bool,
    },
    /// Takes the volume from a node that cannot give it back itself: it can neither read nor write any more.
    Fence {
        volume: VolumeId,
        node: NodeName,
    },
    /// Looks for the volume where other hosts may have made, changed or deleted it.
    Find {
        volume: VolumeId,
    },
    Unpublish {
        volume: VolumeId,
        node: NodeName,
    },
    /// A node is about to write a file system: from now on it must never be formatted again.
    MarkStaged {
        volume: VolumeId,
    },
    /// Brings the backend in line with the record, and takes the permits of these nodes if they have no publication.
    Reconcile {
        volume: VolumeId,
        strays: Vec<NodeName>,
    },
}

/// A volume wished for. What is `None` is decided by class, pool and backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    pub volume: VolumeId,
    pub size: Option<Bytes>,
    pub class: Option<ClassName>,
    pub layout: Option<Layout>,
    pub filesystem: Option<Filesystem>,
    pub access: Option<AccessMode>,
    pub provisioning: Option<Provisioning>,
    pub source: Option<Source>,
    /// Only here.
    pub backend: Option<BackendName>,
    pub pool: Option<PoolName>,
    /// Further parameters in the grammar of classes, as Docker's `-o` has them.
    pub parameters: Vec<(String, String)>,
    pub options: VolumeOptions,
    pub mount_options: Vec<String>,
    pub labels: Labels,
    /// Must be reachable from one of these; the earlier the better. Empty: anywhere.
    pub topologies: Vec<Topology>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    pub volume: VolumeId,
    pub backend: BackendName,
    /// Its name on the backend now.
    pub original: String,
    pub class: Option<ClassName>,
    /// What lies on it, where its backend does not say. A block volume of which neither that nor the class does is a raw
    /// device.
    #[serde(default)]
    pub filesystem: Option<Filesystem>,
    pub labels: Labels,
}

/// What came of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    Volume(Arc<VolumeRecord>),
    Snapshot(Arc<SnapshotRecord>),
    /// One of each volume, in the order of their names.
    Group(Vec<Arc<SnapshotRecord>>),
    Route(Route),
    Gone,
}

impl CreateRequest {
    pub fn named(volume: VolumeId) -> CreateRequest {
        CreateRequest {
            volume,
            size: None,
            class: None,
            layout: None,
            filesystem: None,
            access: None,
            provisioning: None,
            source: None,
            backend: None,
            pool: None,
            parameters: Vec::new(),
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: Labels::new(),
            topologies: Vec::new(),
        }
    }
}

impl Request {
    /// # Errors
    /// `Invalid` without volumes.
    pub fn take_group(volumes: BTreeSet<VolumeId>, snapshot: SnapshotName) -> Result<Request> {
        let (volume, others) = first(volumes)?;
        Ok(Request::TakeGroup { volume, others, snapshot })
    }

    /// Of these volumes, all that the group has.
    ///
    /// # Errors
    /// `Invalid` without volumes.
    pub fn delete_group(volumes: BTreeSet<VolumeId>, snapshot: SnapshotName) -> Result<Request> {
        let (volume, others) = first(volumes)?;
        Ok(Request::DeleteGroup { volume, others, snapshot })
    }

    /// The first one, where there are several.
    pub fn volume(&self) -> &VolumeId {
        match self {
            Request::Create(request) => &request.volume,
            Request::Import(request) => &request.volume,
            Request::Adopt { volume, .. }
            | Request::Grow { volume, .. }
            | Request::Modify { volume, .. }
            | Request::Delete { volume, .. }
            | Request::Forget { volume }
            | Request::Take { volume, .. }
            | Request::TakeGroup { volume, .. }
            | Request::DeleteSnapshot { volume, .. }
            | Request::DeleteGroup { volume, .. }
            | Request::Restore { volume, .. }
            | Request::Publish { volume, .. }
            | Request::Unpublish { volume, .. }
            | Request::MarkStaged { volume }
            | Request::Fence { volume, .. }
            | Request::Find { volume }
            | Request::Reconcile { volume, .. } => volume,
        }
    }

    pub fn snapshot(&self) -> Option<&SnapshotName> {
        match self {
            Request::Take { snapshot, .. }
            | Request::TakeGroup { snapshot, .. }
            | Request::DeleteSnapshot { snapshot, .. }
            | Request::DeleteGroup { snapshot, .. }
            | Request::Restore { snapshot, .. } => Some(snapshot),
            _ => None,
        }
    }

    pub fn verb(&self) -> Verb {
        match self {
            Request::Create(request) if request.source.is_some() => Verb::Clone,
            Request::Create(_) => Verb::Create,
            Request::Import(_) => Verb::Import,
            Request::Adopt { .. } => Verb::Adopt,
            Request::Grow { .. } => Verb::Grow,
            Request::Modify { .. } => Verb::Modify,
            Request::Delete { .. } => Verb::Delete,
            Request::Forget { .. } => Verb::Forget,
            Request::Take { .. } => Verb::Take,
            Request::TakeGroup { .. } => Verb::TakeGroup,
            Request::DeleteSnapshot { .. } => Verb::DeleteSnapshot,
            Request::DeleteGroup { .. } => Verb::DeleteGroup,
            Request::Restore { .. } => Verb::Restore,
            Request::Publish { .. } => Verb::Publish,
            Request::Unpublish { .. } => Verb::Unpublish,
            Request::Fence { .. } => Verb::Fence,
            Request::Find { .. } => Verb::Find,
            Request::MarkStaged { .. } => Verb::MarkStaged,
            Request::Reconcile { .. } => Verb::Reconcile,
        }
    }
}

impl Answer {
    /// The volume the answer is about.
    ///
    /// # Errors
    /// `Internal` when the answer is of another kind: a mistake of the caller's code.
    pub fn volume(self) -> Result<Arc<VolumeRecord>> {
        match self {
            Answer::Volume(volume) => Ok(volume),
            other => Err(other.unexpected("a volume")),
        }
    }

    pub fn snapshot(self) -> Result<Arc<SnapshotRecord>> {
        match self {
            Answer::Snapshot(snapshot) => Ok(snapshot),
            other => Err(other.unexpected("a snapshot")),
        }
    }

    pub fn group(self) -> Result<Vec<Arc<SnapshotRecord>>> {
        match self {
            Answer::Group(snapshots) => Ok(snapshots),
            other => Err(other.unexpected("snapshots of a group")),
        }
    }

    pub fn route(self) -> Result<Route> {
        match self {
            Answer::Route(route) => Ok(route),
            other => Err(other.unexpected("a route")),
        }
    }

    fn unexpected(self, wanted: &str) -> crate::Error {
        crate::Error::new(driver::ErrorKind::Internal, format!("expected {wanted}, got {self:?}"))
    }
}

fn first(mut volumes: BTreeSet<VolumeId>) -> Result<(VolumeId, BTreeSet<VolumeId>)> {
    match volumes.pop_first() {
        Some(first) => Ok((first, volumes)),
        None => Err(crate::Error::invalid("a group snapshot is of one volume at least")),
    }
}
