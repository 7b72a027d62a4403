//! The external provisioner of Kubernetes before CSI: it makes a volume for each claim of its classes, and the PV with
//! which a kubelet mounts it by itself, over NFS or iSCSI.
//!
//! It keeps nothing of its own. Claims and PVs are Kubernetes', volumes the orchestrator's; what comes next for one of
//! them is decided from what all of them say now (`next`), at first, after an error, and after a death.

mod call;
mod cluster;
mod herald;
mod lease;
mod names;
mod next;
mod provisioner;
mod pv;
mod quantity;
mod queue;
mod reach;
mod reserve;
#[cfg(test)]
mod samples;
mod secret;
mod tend;
mod wish;
mod worker;
mod world;

use std::time::Duration;

pub use names::{DEFAULT_NAME, check_name};
pub use provisioner::{Provisioner, ProvisionerSettings, Refused};

/// The longest that one call to the apiserver may take. (A watch takes as long as it likes.)
const CALL: Duration = Duration::from_secs(30);

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}
