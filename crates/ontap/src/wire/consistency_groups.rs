//! # Source
//! ONTAP REST API documentation, "Manage application consistency groups" (from 9.10.1): of existing FlexVols, each in one
//! group at most; to delete a group leaves its volumes.

use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConsistencyGroup {
    pub(crate) uuid: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) volumes: Vec<Named>,
}

/// A snapshot of all its volumes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GroupPicture {
    pub(crate) uuid: String,
}

#[derive(Debug, Serialize)]
struct NewGroup<'a> {
    name: &'a str,
    svm: Named,
    volumes: Vec<Member<'a>>,
}

#[derive(Debug, Serialize)]
struct Member<'a> {
    name: &'a str,
    provisioning_options: Provisioning,
}

#[derive(Debug, Serialize)]
struct Provisioning {
    action: &'static str,
}

const PATH: &str = "application/consistency-groups";
const FIELDS: &str = "name,uuid,volumes.name";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<ConsistencyGroup>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// Those that any of these volumes is in.
pub(crate) async fn of_volumes(
    client: &Client,
    svm: &str,
    volumes: &[&str],
) -> Result<Vec<ConsistencyGroup>> {
    let query = [("volumes.name", &*volumes.join("|")), ("svm.name", svm), ("fields", FIELDS)];
    client.list(PATH, &query).await
}

/// Of volumes that exist.
pub(crate) async fn create(client: &Client, svm: &str, name: &str, volumes: &[&str]) -> Result<()> {
    let member = |name| Member { name, provisioning_options: Provisioning { action: "add" } };
    let volumes = volumes.iter().copied().map(member).collect();
    client.post(PATH, &NewGroup { name, svm: Named::new(svm), volumes }).await
}

/// Its volumes stay, with their snapshots.
pub(crate) async fn delete(client: &Client, uuid: &str) -> Result<()> {
    client.delete(&format!("{PATH}/{uuid}"), &[]).await.map(drop)
}

/// Takes a snapshot of each of its volumes, at one instant and with the same name.
pub(crate) async fn take(client: &Client, uuid: &str, name: &str) -> Result<()> {
    client.post(&pictures(uuid), &Named::new(name)).await
}

pub(crate) async fn find_picture(client: &Client, uuid: &str, name: &str) -> Result<Option<GroupPicture>> {
    client.find(&pictures(uuid), &[("name", name), ("fields", "uuid")]).await
}

/// Deletes the snapshots of all its volumes.
pub(crate) async fn delete_picture(client: &Client, uuid: &str, picture: &str) -> Result<()> {
    client.delete(&format!("{}/{picture}", pictures(uuid)), &[]).await.map(drop)
}

fn pictures(uuid: &str) -> String {
    format!("{PATH}/{uuid}/snapshots")
}
