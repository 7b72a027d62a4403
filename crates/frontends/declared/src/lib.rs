//! Backends that somebody declares in a Kubernetes cluster: objects of the kind `Backend`, and Trident's
//! `TridentBackendConfig`.
//!
//! An object's `spec` is a backend file; what is secret in it stands in a Secret that it names. Every instance reads the
//! objects, so that any of them can come to lead; the one who does opens what they say, and writes into `status` what
//! came of it.

mod declaration;
mod definitions;
mod keeper;
mod secrets;
mod status;

use std::time::Duration;

pub use definitions::{DEFINITION, TRIDENT_DEFINITION};
pub use keeper::Keeper;
pub use secrets::{SecretError, Secrets};

/// The longest that one call to the apiserver may take. (A watch takes as long as it likes.)
const CALL: Duration = Duration::from_secs(10);

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}
