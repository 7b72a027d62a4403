//! A Linux host as a backend: the driver over a [`filer`] pool, on this host by the local route, or on another one
//! over NFS, iSCSI or NVMe.
//!
//! What it says of volumes comes from the pool itself, so a lost store can be rebuilt from it.

mod array;
mod config;
mod driver;
mod error;
mod layout;
mod media;

use std::sync::Arc;

use ::driver::config::{BackendFile, ConfigError};
use ::driver::{Driver, DriverError, ErrorKind};
use model::{InstanceId, NodeName};

use crate::config::Config;
use crate::driver::LinuxDriver;

/// `storageDriverName` of this family.
pub const DRIVER: &str = "linux";

/// Opens the backend; makes the pool where the file gives it a size and it is not there yet.
///
/// # Behavior
/// `node` is this host, the only one that volumes here can be permitted to. The pool stays mounted when the driver
/// is dropped, so that containers go on.
///
/// # Errors
/// `Invalid` for a mistake in the file, `Conflict` when another process has the pool, `NotFound` when a pool that
/// was there has vanished: it is never made anew over lost data.
pub async fn open(
    file: &BackendFile,
    instance: InstanceId,
    node: NodeName,
) -> Result<Arc<dyn Driver>, DriverError> {
    let config = Config::read(file).map_err(|e| {
        DriverError::new(
            ErrorKind::Invalid,
            driver::OPEN,
            format!("config of `{}` is not right", file.name()),
        )
        .because(e)
    })?;
    let driver = LinuxDriver::open(file.clone(), config, instance, node).await?;
    Ok(Arc::new(driver))
}

/// What can be said of a file without touching the pool.
///
/// # Errors
/// The first mistake, by its key.
pub fn check(file: &BackendFile) -> Result<(), ConfigError> {
    Config::read(file).map(drop)
}
