use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    pub(crate) enabled: Option<bool>,
    pub(crate) target: Option<Named>,
}

/// Who an initiator must be.
#[derive(Debug, Serialize)]
pub(crate) struct Credentials<'a> {
    pub(crate) svm: Named,
    pub(crate) initiator: &'a str,
    pub(crate) authentication_type: &'static str,
    pub(crate) chap: ChapBoth<'a>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChapBoth<'a> {
    pub(crate) inbound: ChapOne<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outbound: Option<ChapOne<'a>>,
}

#[derive(Serialize)]
pub(crate) struct ChapOne<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl std::fmt::Debug for ChapOne<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChapOne({}, ***)", self.user)
    }
}

pub(crate) async fn service(client: &Client, svm: &str) -> Result<Option<Service>> {
    client.find("protocols/san/iscsi/services", &[("svm.name", svm), ("fields", "enabled,target.name")]).await
}

/// Gives an initiator its CHAP accounts.
pub(crate) async fn set_credentials(client: &Client, credentials: &Credentials<'_>) -> Result<()> {
    client.post("protocols/san/iscsi/credentials", credentials).await
}
