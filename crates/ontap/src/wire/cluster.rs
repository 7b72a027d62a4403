use serde::Deserialize;

use crate::client::{Client, Result};

/// `GET /cluster`.
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) version: Version,
    /// ASA r2: storage units instead of volumes.
    #[serde(default)]
    pub(crate) san_optimized: bool,
    #[serde(default)]
    pub(crate) disaggregated: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) generation: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

pub(crate) async fn get(client: &Client) -> Result<Cluster> {
    client
        .get(
            "cluster",
            &[("fields", "version,san_optimized,disaggregated"), ("ignore_unknown_fields", "true")],
        )
        .await
}

impl Version {
    /// # Source
    /// 9.12.1 is the first whose REST interface has all that is used here.
    pub(crate) fn is_enough(&self) -> bool {
        (self.generation, self.major, self.minor) >= (9, 12, 1)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.generation, self.major, self.minor)
    }
}
