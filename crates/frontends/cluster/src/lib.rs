//! Leister in a Kubernetes cluster, beside what its users ask for: backends that are objects of the cluster, and what
//! `leister doctor` finds there.

mod declared;
mod doctor;

use std::time::Duration;

pub use declared::{DEFINITION, Keeper, SecretError, Secrets, TRIDENT_DEFINITION};
pub use doctor::ClusterInspector;

/// The longest that one call to the apiserver may take. (A watch takes as long as it likes.)
const CALL: Duration = Duration::from_secs(10);

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}
