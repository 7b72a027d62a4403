use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Namespace {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) space: Option<NamespaceSpace>,
    pub(crate) comment: Option<String>,
    pub(crate) subsystem_map: Option<MappedTo>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamespaceSpace {
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MappedTo {
    pub(crate) subsystem: Option<Named>,
}

#[derive(Debug, Serialize)]
struct NewNamespace {
    name: String,
    svm: Named,
    os_type: &'static str,
    space: NewSpace,
}

#[derive(Debug, Serialize)]
struct NewSpace {
    size: u64,
    block_size: u32,
}

#[derive(Debug, Serialize)]
struct Change {
    space: Size,
}

#[derive(Debug, Serialize)]
struct Size {
    size: u64,
}

const PATH: &str = "storage/namespaces";
const FIELDS: &str = "name,uuid,space.size,comment,subsystem_map.subsystem.name";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Namespace>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn list(client: &Client, svm: &str, pattern: &str) -> Result<Vec<Namespace>> {
    client.list(PATH, &[("name", pattern), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn create(client: &Client, svm: &str, name: String, size: u64) -> Result<()> {
    let space = NewSpace { size, block_size: 4096 };
    client.post(PATH, &NewNamespace { name, svm: Named::new(svm), os_type: "linux", space }).await
}

pub(crate) async fn grow(client: &Client, uuid: &str, size: u64) -> Result<()> {
    client.patch(&format!("{PATH}/{uuid}"), &[], &Change { space: Size { size } }).await.map(drop)
}
