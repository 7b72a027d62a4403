use serde::Deserialize;

use super::Named;
use super::aggregates::{Aggregate, Blocks, Space};
use crate::client::{Client, Result};

/// A storage virtual machine.
#[derive(Debug, Deserialize)]
pub(crate) struct Svm {
    pub(crate) name: String,
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) aggregates: Vec<Named>,
}

/// Those that the account can see.
pub(crate) async fn list(client: &Client, name: Option<&str>) -> Result<Vec<Svm>> {
    let mut query = vec![("fields", "name,state,aggregates.name")];
    query.extend(name.map(|name| ("name", name)));
    client.list("svm/svms", &query).await
}

#[derive(Debug, Deserialize)]
struct Home {
    #[serde(default)]
    aggregates: Vec<Room>,
}

/// An aggregate as the SVM sees it.
#[derive(Debug, Deserialize)]
struct Room {
    name: String,
    available_size: Option<u64>,
}

/// The SVM's aggregates with what they have free; an account of the SVM sees no more of them.
pub(crate) async fn aggregates(client: &Client, svm: &str) -> Result<Vec<Aggregate>> {
    let query = [("name", svm), ("fields", "aggregates.name,aggregates.available_size")];
    let home: Option<Home> = client.find("svm/svms", &query).await?;
    let aggregate = |room: Room| {
        let available = room.available_size?;
        let blocks = Blocks { size: available, used: 0, available };
        Some(Aggregate {
            name: room.name,
            block_storage: None,
            space: Some(Space { block_storage: Some(blocks) }),
        })
    };
    Ok(home.into_iter().flat_map(|home| home.aggregates).filter_map(aggregate).collect())
}
