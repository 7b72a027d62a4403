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
mod error;
mod ioctl;
mod pool;
mod volume;

pub use error::{ErrorKind, FilerError};
pub use pool::{Image, Pool, PoolSpec, PoolStats};
pub use volume::{
    CreateVolume, ForeignState, Layout, Outcome, Provisioning, SnapshotState, Source, VolumeState,
};
