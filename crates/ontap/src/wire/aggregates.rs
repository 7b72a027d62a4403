use serde::Deserialize;

use crate::client::{Client, Result};

/// Where volumes lie.
#[derive(Debug, Deserialize)]
pub(crate) struct Aggregate {
    pub(crate) name: String,
    pub(crate) block_storage: Option<BlockStorage>,
    pub(crate) space: Option<Space>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BlockStorage {
    pub(crate) storage_type: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Space {
    pub(crate) block_storage: Option<Blocks>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Blocks {
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// Those of these names; one call however many.
pub(crate) async fn list(client: &Client, names: &[String]) -> Result<Vec<Aggregate>> {
    let fields = "name,block_storage.storage_type,space.block_storage.size,space.block_storage.used,\
                  space.block_storage.available";
    client.list("storage/aggregates", &[("name", &names.join("|")), ("fields", fields)]).await
}
