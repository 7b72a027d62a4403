use serde::Deserialize;

use super::Named;
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
