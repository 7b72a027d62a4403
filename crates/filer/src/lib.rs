//! Turns a plain Linux host into a storage array: pools, volumes and snapshots on the kernel's own file systems.
//!
//! # Behavior
//! Every call blocks until its effect is durable; call it where blocking is allowed (a blocking task, a thread).
//! Calls on different handles run side by side and share one transaction commit; calls on one handle take turns.
//! Every mutation is idempotent by handle and says whether it changed anything.
//!
//! What is visible under `volumes/` is whole: it is made in `.staging/` and renamed into place, and leaves by a
//! rename into `.trash/`. Opening a pool sweeps both.

pub mod access;
mod client;
mod error;
mod ioctl;
mod pool;
mod service;
mod trust;
mod volume;
mod wire;

pub use client::{Client, PORT, check_url};
pub use error::{ErrorKind, FilerError};
pub use pool::{Abilities, Ability, Image, LayoutAbilities, Pool, PoolSpec, PoolStats, Watch};
pub use service::{Service, ServiceSpec};
pub use trust::{Authority, Issued, Tenant, TrustFiles};
pub use volume::{
    CreateVolume, Damage, ForeignState, Layout, ModifyVolume, Outcome, Provisioning, Served, SnapshotState,
    Source, VolumeState,
};
pub use wire::{PoolView, WIRE_LABEL, Wire};
