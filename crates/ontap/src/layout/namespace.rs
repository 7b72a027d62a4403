//! An NVMe namespace in the volume.

use std::collections::HashMap;

use driver::Result;
use model::{Handle, VolumeSpec};

use super::{Array, GRANULARITY, Unit};
use crate::client;
use crate::error::EXISTS;
use crate::wire::namespaces;

const NAME: &str = "namespace0";

impl Array {
    pub(crate) async fn find_namespace(&self, handle: &Handle) -> client::Result<Unit> {
        let namespace = namespaces::find(&self.client, &self.svm, &path(handle.as_str())).await?;
        Ok(namespace.map_or(Unit::Missing, Unit::Namespace))
    }

    /// By the name of the volume they lie in.
    pub(super) async fn list_namespaces(&self) -> client::Result<HashMap<String, Unit>> {
        let pattern = path(&format!("{}*", self.config.prefix));
        let namespaces = namespaces::list(&self.client, &self.svm, &pattern).await?;
        let of_volume = |namespace: namespaces::Namespace| {
            let volume = namespace.name.strip_prefix("/vol/")?.strip_suffix(&format!("/{NAME}"))?.to_owned();
            Some((volume, Unit::Namespace(namespace)))
        };
        Ok(namespaces.into_iter().filter_map(of_volume).collect())
    }

    pub(crate) async fn make_namespace(
        &self,
        handle: &Handle,
        spec: &VolumeSpec,
        operation: &'static str,
    ) -> Result<()> {
        let size = spec.size.round_up(GRANULARITY);
        let made = namespaces::create(&self.client, &self.svm, path(handle.as_str()), size.get()).await;
        match made {
            Err(error) if !error.is(EXISTS) => Err(self.error(operation)(error)),
            _ => Ok(()),
        }
    }
}

pub(crate) fn path(volume: &str) -> String {
    format!("/vol/{volume}/{NAME}")
}
