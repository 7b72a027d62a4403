use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Result};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) create_time: Option<Timestamp>,
    pub(crate) comment: Option<String>,
    /// What stands on it, such as `volume_clone`: the array then refuses to delete it.
    #[serde(default)]
    pub(crate) owners: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NewSnapshot<'a> {
    name: &'a str,
    comment: &'a str,
}

#[derive(Debug, Serialize)]
struct Remark<'a> {
    comment: &'a str,
}

const FIELDS: &str = "name,uuid,create_time,comment,owners";

/// The oldest first.
pub(crate) async fn list(client: &Client, volume: &str) -> Result<Vec<Snapshot>> {
    let mut all: Vec<Snapshot> = client.list(&path(volume), &[("fields", FIELDS)]).await?;
    all.sort_by_key(|snapshot| snapshot.create_time);
    Ok(all)
}

pub(crate) async fn find(client: &Client, volume: &str, name: &str) -> Result<Option<Snapshot>> {
    client.find(&path(volume), &[("name", name), ("fields", FIELDS)]).await
}

pub(crate) async fn create(client: &Client, volume: &str, name: &str, comment: &str) -> Result<()> {
    client.post(&path(volume), &NewSnapshot { name, comment }).await
}

/// Changes what its comment says.
pub(crate) async fn remark(client: &Client, volume: &str, uuid: &str, comment: &str) -> Result<()> {
    client.patch(&format!("{}/{uuid}", path(volume)), &[], &Remark { comment }).await.map(drop)
}

pub(crate) async fn delete(client: &Client, volume: &str, uuid: &str) -> Result<()> {
    client.delete(&format!("{}/{uuid}", path(volume)), &[]).await.map(drop)
}

fn path(volume: &str) -> String {
    format!("storage/volumes/{volume}/snapshots")
}
