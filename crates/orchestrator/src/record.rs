//! What the store keeps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    BackendName, Bytes, Handle, NodeIdentity, NodeName, PoolName, SnapshotName, VolumeId, VolumeOptions,
    VolumeSpec,
};
use serde::{Deserialize, Serialize};

/// The format of records written now. Older ones are read; newer ones are refused.
pub(crate) const FORMAT: u32 = 1;

/// What something shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    Exist,
    Gone,
}

/// How a volume came to us: decides what its end is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    Made,
    /// Taken over from its original name.
    Imported {
        original: String,
    },
    /// Ours on the backend, but without a record: the store was lost or is another one.
    Adopted,
}

/// One volume: what it shall be, where it is, who uses it. The journal of everything that happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRecord {
    pub format: u32,
    pub id: VolumeId,
    pub backend: BackendName,
    pub pool: PoolName,
    pub handle: Handle,
    pub spec: VolumeSpec,
    pub goal: Goal,
    /// It has existed as wished: from now on its absence is an incident.
    pub settled: bool,
    pub origin: Origin,
    /// Nodes that shall reach it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<NodeName, Publication>,
    /// Nodes that it was taken from while they may still have had it mounted, since when: none of them gets it back
    /// before it has let go of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fenced: BTreeMap<NodeName, Timestamp>,
    /// When it was made, as its backend says: tells it from a later one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
    /// A node has put it to use once: it must never be formatted again.
    #[serde(default)]
    pub staged: bool,
    /// The size it shall grow to; `spec.size` follows when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<Bytes>,
    /// Options that it shall get; `spec.options` follows when it has them.
    #[serde(default, skip_serializing_if = "VolumeOptions::is_empty")]
    pub changing: VolumeOptions,
    /// The snapshot whose content shall take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<SnapshotName>,
    /// What went wrong last, until it goes right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Settled, yet the backend has it no more.
    #[serde(default)]
    pub missing: bool,
    pub created: Timestamp,
}

/// The use of a volume by a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    pub goal: Goal,
    pub read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The permit has been made. Kept only where hosts share backends: what is missing then, another host took.
    #[serde(default)]
    pub held: bool,
    /// It ends when somebody takes it back, not with the last mount on the node.
    #[serde(default)]
    pub kept: bool,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRecord {
    pub format: u32,
    pub volume: VolumeId,
    pub name: SnapshotName,
    pub goal: Goal,
    pub settled: bool,
    /// The volume's size at that time.
    pub size: Bytes,
    /// Whether a node had put the volume to use before: a blank picture stays blank when it is restored.
    #[serde(default)]
    pub staged: bool,
    /// When it was taken, as the backend says, once it has been.
    pub created: Timestamp,
    /// Whose snapshots were taken with it, at one instant and by the same name; it is deleted with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// Volumes of one backend that are snapshotted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// All of them, also those that have been deleted since, by their names on the backend.
    pub members: BTreeMap<VolumeId, Handle>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    pub format: u32,
    pub identity: NodeIdentity,
    pub registered: Timestamp,
    /// Its permits still carry the identity that it had before.
    #[serde(default)]
    pub renewing: bool,
}

/// A volume's state in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeStatus {
    Creating,
    Ready,
    Restoring,
    Deleting,
    /// It existed and its backend has it no more.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SnapshotStatus {
    Creating,
    Ready,
    Deleting,
}

impl VolumeRecord {
    pub fn status(&self) -> VolumeStatus {
        match self.goal {
            Goal::Gone => VolumeStatus::Deleting,
            Goal::Exist if self.missing => VolumeStatus::Missing,
            Goal::Exist if !self.settled => VolumeStatus::Creating,
            Goal::Exist if self.restoring.is_some() => VolumeStatus::Restoring,
            Goal::Exist => VolumeStatus::Ready,
        }
    }

    /// Whether there is work left that nobody may be doing.
    pub(crate) fn is_unfinished(&self) -> bool {
        !matches!(self.status(), VolumeStatus::Ready | VolumeStatus::Missing)
            || self.growing.is_some()
            || !self.changing.is_empty()
            || self.published.values().any(|p| p.goal == Goal::Gone)
    }

    /// Ends the publication to a node that cannot end it itself.
    pub(crate) fn fence(&mut self, node: &NodeName) {
        if let Some(publication) = self.published.get_mut(node) {
            publication.goal = Goal::Gone;
            self.fenced.insert(node.clone(), Timestamp::now());
        }
    }

    /// Whether this host, of several that share a backend, has the volume for its own use.
    pub(crate) fn is_held(&self) -> bool {
        self.published.values().any(|publication| publication.held)
    }

    /// How a node shall reach it, if it shall.
    pub fn publication(&self, node: &NodeName) -> Option<&Publication> {
        self.published.get(node).filter(|publication| publication.goal == Goal::Exist)
    }

    /// Nodes that shall reach it.
    pub fn publications(&self) -> impl Iterator<Item = &NodeName> {
        self.published.iter().filter(|(_, p)| p.goal == Goal::Exist).map(|(node, _)| node)
    }
}

impl VolumeStatus {
    pub const ALL: [VolumeStatus; 5] = [
        VolumeStatus::Creating,
        VolumeStatus::Ready,
        VolumeStatus::Restoring,
        VolumeStatus::Deleting,
        VolumeStatus::Missing,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            VolumeStatus::Creating => "creating",
            VolumeStatus::Ready => "ready",
            VolumeStatus::Restoring => "restoring",
            VolumeStatus::Deleting => "deleting",
            VolumeStatus::Missing => "missing",
        }
    }
}

impl SnapshotRecord {
    pub fn status(&self) -> SnapshotStatus {
        match self.goal {
            Goal::Gone => SnapshotStatus::Deleting,
            Goal::Exist if !self.settled => SnapshotStatus::Creating,
            Goal::Exist => SnapshotStatus::Ready,
        }
    }

    pub(crate) fn is_unfinished(&self) -> bool {
        self.status() != SnapshotStatus::Ready
    }
}

impl SnapshotStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            SnapshotStatus::Creating => "creating",
            SnapshotStatus::Ready => "ready",
            SnapshotStatus::Deleting => "deleting",
        }
    }
}
