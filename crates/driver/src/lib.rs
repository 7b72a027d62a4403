//! What a backend must do.
//!
//! A [`Driver`] that exists is usable: opening one, from its config, is the family's business. Optional
//! abilities are small traits behind accessors; [`Capabilities`] are derived from the accessors and so cannot
//! lie. The [`conformance`] suite proves each claim.

mod capabilities;
pub mod config;
pub mod conformance;
mod error;
pub mod memory;

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use model::{
    BackendName, Bytes, Handle, InstanceId, NodeIdentity, Permit, Pool, PoolName, Provisioning, Route,
    SnapshotName, SnapshotState, VolumeId, VolumeOption, VolumeOptions, VolumeSpec, VolumeState,
};

pub use capabilities::Capabilities;
pub use error::{DriverError, ErrorKind, Retry};

pub type Result<T, E = DriverError> = std::result::Result<T, E>;

/// What a mutation found: `Changed` did it now, `Unchanged` found it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Changed(T),
    Unchanged(T),
}

/// Who a driver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverInfo {
    pub backend: BackendName,
    /// `storageDriverName` of its config.
    pub driver: &'static str,
    /// Tags what it makes.
    pub instance: InstanceId,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVolume {
    pub handle: Handle,
    pub volume: VolumeId,
    pub pool: PoolName,
    pub spec: VolumeSpec,
}

/// A volume to be made with the content of another one on the same backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneVolume {
    pub create: CreateVolume,
    pub source: Handle,
    /// `None`: the content at this moment.
    pub snapshot: Option<SnapshotName>,
}

/// A volume of somebody else's to be taken under our tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportVolume {
    /// Its name on the backend now.
    pub original: String,
    /// Its name on the backend afterwards.
    pub handle: Handle,
    pub volume: VolumeId,
    /// What it is from then on, for a backend that keeps what its volumes were made as.
    pub spec: VolumeSpec,
}

/// A volume whose options are to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyVolume {
    pub handle: Handle,
    pub changes: VolumeOptions,
    /// What the volume shall be then, for a backend that keeps what its volumes were made as.
    pub spec: VolumeSpec,
}

/// A snapshot of several volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// Each once, in the order of their names; not empty.
    pub members: BTreeSet<Handle>,
    pub snapshot: SnapshotName,
}

/// A backend that has been opened.
///
/// # Behavior
/// - Every call is idempotent by handle. What it makes carries the instance's tag; the same name without our
///   tag is `Conflict`, never adopted.
/// - Dropping a future leaves a state that [`observe`](Driver::observe) reports truly.
/// - Calls for different handles may run at the same time; the caller serialises those for one handle.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// Identity only: never fails, never blocks.
    fn info(&self) -> &DriverInfo;

    /// The name that a volume of this id has on the backend. Pure; two ids may share one (the caller refuses
    /// the second).
    ///
    /// # Errors
    /// `Invalid` when the backend cannot have such a name.
    fn handle(&self, volume: &VolumeId) -> Result<Handle>;

    /// Where volumes can be placed now, with their space.
    async fn pools(&self) -> Result<Vec<Pool>>;

    /// The volume as the backend has it, whoever's it is; `None` if there is none of this handle. What an interrupted
    /// create or clone left is not [complete](VolumeState::complete): repeated it is, and `delete` takes it away.
    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>>;

    /// Every volume that carries our tag and is made whole, or was.
    async fn list(&self) -> Result<Vec<VolumeState>>;

    /// # Behavior
    /// Exists with our tag and this id, of the same layout: `Unchanged`, whatever its size.
    ///
    /// # Errors
    /// `Conflict` for another tag, id or layout; `NoCapacity` names free and asked.
    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>>;

    /// # Behavior
    /// Absent is `Unchanged`. Its snapshots go with it.
    ///
    /// # Errors
    /// `InUse` while permitted to a node; `Conflict` when it does not carry our tag.
    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>>;

    /// Lets one node reach the volume and says by which route.
    ///
    /// # Behavior
    /// Of two exclusive permits for different nodes, asked for by whomever at the same moment, at most one is granted:
    /// several instances that share a backend and no store rely on it.
    ///
    /// # Errors
    /// `InUse` names another node that is permitted, when either permit is exclusive. `Invalid` when the node lacks
    /// what the route needs (an address, an initiator's name): it says which.
    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>>;

    /// Takes the right of one node.
    ///
    /// # Behavior
    /// When it returns, the node can neither read nor write any more, also not through what it has open: a volume
    /// is given to the next node in that belief. Absent, volume or permit, is `Unchanged`. Only `node.name` must be
    /// known.
    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>>;

    fn resize(&self) -> Option<&dyn Resize> {
        None
    }

    fn modify(&self) -> Option<&dyn Modify> {
        None
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    fn import(&self) -> Option<&dyn Import> {
        None
    }

    fn staging(&self) -> Option<&dyn Staging> {
        None
    }
}

/// Remembering on the backend that a volume was put to use.
///
/// One store knows that by its records. Instances that share a backend and no store do not: what one of them has
/// written to must never be formatted by another.
#[async_trait]
pub trait Staging: Send + Sync {
    /// # Behavior
    /// Durable when it returns; [`VolumeState::staged`] says so from then on. A snapshot keeps the mark of its instant:
    /// a restore gives it back, and a clone has that of what it was made from.
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>>;
}

/// Growing while in use.
#[async_trait]
pub trait Resize: Send + Sync {
    /// # Behavior
    /// At least this size already: `Unchanged`. Never shrinks.
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>>;
}

/// Changing options while in use.
#[async_trait]
pub trait Modify: Send + Sync {
    /// Options that can be changed; not empty.
    fn modifiable(&self) -> BTreeSet<VolumeOption>;

    /// # Behavior
    /// All changes are in force when it returns. Repeating it is harmless.
    ///
    /// # Errors
    /// Before anything changes: `Unsupported` for an option that is not [modifiable](Modify::modifiable), `Invalid` for a
    /// value, by its option.
    async fn modify_volume(&self, request: &ModifyVolume) -> Result<Outcome<VolumeState>>;
}

/// Pictures of a volume at one instant, kept beside it.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// # Behavior
    /// Exists: `Unchanged`, with the content of its first instant.
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>>;

    /// Absent, snapshot or volume, is `Unchanged`.
    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>>;

    /// # Errors
    /// `NotFound` when there is no such volume.
    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>>;

    /// Puts the snapshot's content in the volume's place.
    ///
    /// # Behavior
    /// The volume has the snapshot's size then, or keeps its own where that is larger: the answer says which.
    /// Repeating it is harmless while nobody writes. The snapshot and its siblings stay.
    ///
    /// # Errors
    /// `InUse` while permitted to a node, and for an older snapshot than the newest where the backend
    /// [would lose](Snapshots::keeps_newer) those taken later: it names them.
    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>>;

    /// Whether snapshots that are newer than the one restored survive.
    fn keeps_newer(&self) -> bool {
        true
    }

    /// Snapshots of several volumes at one instant.
    ///
    /// # Errors
    /// Why it cannot take them, to be read after "because".
    fn groups(&self) -> Result<&dyn Groups, &'static str> {
        Err("its snapshots are taken one after the other")
    }

    fn clones(&self) -> Option<&dyn Clones> {
        None
    }
}

/// Snapshots of several volumes at one instant: one of the same name beside each of them.
#[async_trait]
pub trait Groups: Send + Sync {
    /// # Behavior
    /// All members get their snapshot or none does. Taken already, of just these members: `Unchanged`, with the content
    /// of its first instant. The answer is in the order of the members. Each can be listed, restored, cloned and deleted
    /// as any other.
    ///
    /// # Errors
    /// Before anything changes: `NotFound` for a member that is not there, `Conflict` when one has such a snapshot that was
    /// not taken with those of the others, or when the backend has bound it to what is not ours.
    async fn take_group(&self, request: &GroupSnapshot) -> Result<Outcome<Vec<SnapshotState>>>;

    /// Deletes the members' snapshots of this group, and whatever an interrupted [`take_group`](Groups::take_group) left.
    ///
    /// # Behavior
    /// A snapshot of that name that was not taken with those of the others stays. What is absent, member or snapshot, is done. Repeating it is harmless.
    async fn delete_group(&self, request: &GroupSnapshot) -> Result<Outcome<()>>;
}

/// New volumes with the content of others.
#[async_trait]
pub trait Clones: Send + Sync {
    /// # Behavior
    /// Idempotent as [`Driver::create`]. The clone lives alone: source and snapshot may go before it. It takes
    /// neither the source's snapshots nor its permits.
    ///
    /// # Errors
    /// `NotFound` without its source; `Invalid` for a size smaller than what is cloned.
    async fn clone_volume(&self, request: &CloneVolume) -> Result<Outcome<VolumeState>>;
}

/// Taking over volumes that exist already.
#[async_trait]
pub trait Import: Send + Sync {
    /// What is there by this name and could be imported.
    async fn find(&self, original: &str) -> Result<Option<VolumeState>>;

    /// Puts our tag on it and gives it its new name. Done already: `Unchanged`.
    ///
    /// # Errors
    /// `Conflict` when it carries a tag, or when the new name is another volume's.
    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>>;
}

impl<T> Outcome<T> {
    pub fn into_inner(self) -> T {
        match self {
            Outcome::Changed(value) | Outcome::Unchanged(value) => value,
        }
    }

    pub fn is_changed(&self) -> bool {
        matches!(self, Outcome::Changed(_))
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Changed(value) => Outcome::Changed(f(value)),
            Outcome::Unchanged(value) => Outcome::Unchanged(f(value)),
        }
    }
}

impl ModifyVolume {
    /// # Errors
    /// `Unsupported`: the first option that is not among these, and those that are.
    pub fn check(&self, modifiable: &BTreeSet<VolumeOption>) -> Result<()> {
        let Some(option) = self.changes.keys().find(|option| !modifiable.contains(option)) else {
            return Ok(());
        };
        let known: Vec<&str> = modifiable.iter().map(|option| option.as_str()).collect();
        let message = format!(
            "{option} of a volume that exists cannot be changed here; these can: {}",
            known.join(", ")
        );
        Err(DriverError::new(ErrorKind::Unsupported, "modify volume", message))
    }
}

impl CreateVolume {
    /// The refusal for a pool that cannot take it.
    pub fn no_capacity(&self, free: Bytes) -> DriverError {
        let kind = match self.spec.provisioning {
            Provisioning::Thin => "for thin volumes",
            Provisioning::Thick => "for thick volumes",
        };
        DriverError::new(
            ErrorKind::NoCapacity,
            "create volume",
            format!("pool `{}` has {free} free {kind}; {} were asked for", self.pool, self.spec.size),
        )
    }
}
