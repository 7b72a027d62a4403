//! NetApp ONTAP as a backend: drivers, each a choice of layout and of access over one REST client.
//!
//! What it says of volumes comes from the array itself: its tag lies in the comment of each, and who may reach a
//! volume is read from export rules, LUN maps and subsystems.

mod access;
mod client;
mod config;
mod driver;
mod error;
mod layout;
mod tag;
mod wire;

use std::sync::Arc;

use ::driver::config::{BackendFile, ConfigError};
use ::driver::{Driver, DriverError, ErrorKind};
use model::InstanceId;

pub use config::Kind;

use crate::config::Config;

/// Opens the backend: logs in, finds the SVM, its aggregates and the addresses of its data.
///
/// # Errors
/// `Invalid` for a mistake in the file, `Denied` for the account, `Unreachable`, `Unsupported` for an ONTAP that is
/// too old or a service that the SVM does not run: the message names which.
pub async fn open(file: &BackendFile, instance: InstanceId) -> Result<Arc<dyn Driver>, DriverError> {
    let config = Config::read(file).map_err(|e| {
        let message = format!("config of `{}` is not right", file.name());
        DriverError::new(ErrorKind::Invalid, driver::OPEN, message).because(e)
    })?;
    Ok(Arc::new(driver::OntapDriver::open(file.clone(), config, instance).await?))
}

/// What can be said of a file without asking the array.
///
/// # Errors
/// The first mistake, by its key.
pub fn check(file: &BackendFile) -> Result<(), ConfigError> {
    Config::read(file).map(drop)
}
