//! Questions to the apiserver.

use std::time::Duration;

use http::Method;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::client::{Call, Failed, unusable};
use super::object::{List, Object, number};
use super::{GROUP, Inner};
use crate::StoreError;

const PAGE: usize = 500;

impl Inner {
    /// The version of a resource now.
    pub(super) async fn revision_of(&self, resource: &str) -> Result<u64, StoreError> {
        let list = self.page::<IgnoredAny>(resource, "limit=1").await?;
        Ok(number(&list.metadata.resource_version))
    }

    pub(super) async fn list<T: DeserializeOwned>(&self, resource: &str) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let mut query = format!("limit={PAGE}");
        loop {
            let list = self.page::<T>(resource, &query).await?;
            all.extend(list.items);
            match list.metadata.more.filter(|more| !more.is_empty()) {
                Some(more) => query = format!("limit={PAGE}&continue={more}"),
                None => return Ok(all),
            }
        }
    }

    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        resource: &str,
        query: &str,
    ) -> Result<List<T>, StoreError> {
        const OPERATION: &str = "read records";
        const LONGER: Duration = Duration::from_secs(30);
        let call = Call { query, limit: LONGER, ..Call::of(OPERATION, Method::GET, resource) };
        match self.client.repeat(&call).await {
            Ok(list) => Ok(list),
            Err(Failed::Refused { code: 404, .. }) => Err(unusable(
                format!("the cluster does not know the resource {resource}.{GROUP}"),
                "tell it with `leister crds | kubectl apply -f -`",
            )),
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }

    pub(super) async fn look(&self, resource: &str, name: &str) -> Result<Option<Object>, StoreError> {
        self.client.get("read a record", &format!("{resource}/{name}")).await
    }
}
