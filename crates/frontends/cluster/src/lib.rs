//! Leister in a Kubernetes cluster, beside what its users ask for: backends that are objects of the cluster, nodes that
//! are lost, and what `leister doctor` finds there.

mod classes;
mod declared;
mod doctor;
mod lost;

use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt as _;
use kube::runtime::reflector::{Lookup, Store};

pub use classes::StorageClasses;
pub use declared::{DEFINITION, Keeper, SecretError, Secrets, TRIDENT_DEFINITION};
pub use doctor::ClusterInspector;
pub use lost::LostNodes;

/// The longest that one call to the apiserver may take. (A watch takes as long as it likes.)
const CALL: Duration = Duration::from_secs(10);

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

/// Whether all there are have been seen once.
fn is_listed<K>(store: &Store<K>) -> bool
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store.wait_until_ready().now_or_never().is_some()
}
