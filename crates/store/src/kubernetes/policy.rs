//! What the apiserver refuses for us: the writes of those who lead no more.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::client::{Call, Failed, PAUSE, unusable};
use super::definitions::POLICY;
use super::{COMMITS, Inner, intent};
use crate::{Fence, StoreError};

/// How long the apiserver may take to hear of a policy, or of a Lease, before we give up.
const HEARING: Duration = Duration::from_secs(15);

impl Inner {
    /// Returns when the apiserver refuses the numbers below this one, and takes this one.
    ///
    /// # Errors
    /// It refuses none: there is no policy.
    pub(super) async fn until_fenced(&self, fence: Fence) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            let (is_stale_taken, is_ours_taken) =
                (self.is_taken(fence.0 - 1).await?, self.is_taken(fence.0).await?);
            match (is_stale_taken, is_ours_taken) {
                (false, true) => return Ok(()),
                _ if started.elapsed() < HEARING => tokio::time::sleep(PAUSE).await,
                (true, _) => {
                    return Err(unusable(
                        format!(
                            "the cluster's policy {POLICY} does not refuse the writes of who leads no more"
                        ),
                        "tell it with `leister crds | kubectl apply -f -`",
                    ));
                }
                (false, false) => return Err(self.ballot.fenced(&self.client, fence).await),
            }
        }
    }

    /// Whether the apiserver would let somebody with this number write.
    async fn is_taken(&self, fence: u64) -> Result<bool, StoreError> {
        const OPERATION: &str = "ask for the fencing number";
        let body = intent::object("probe", fence, "probe", "[]");
        let call =
            Call { query: "dryRun=All", body: Some(&body), ..Call::of(OPERATION, Method::POST, COMMITS) };
        match self.client.repeat::<Value>(&call).await {
            Ok(_) => Ok(true),
            Err(failed) if is_late(&failed) => Ok(false),
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }
}

/// The policy's word.
pub(super) fn is_late(failed: &Failed) -> bool {
    matches!(failed, Failed::Refused { message, .. } if message.contains(POLICY))
}
