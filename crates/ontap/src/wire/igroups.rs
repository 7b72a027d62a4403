use serde::{Deserialize, Serialize};

use super::{ByUuid, Named};
use crate::client::{Client, Result};

/// Initiators that are let in together: here, those of one node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Igroup {
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) initiators: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct NewIgroup<'a> {
    name: &'a str,
    svm: Named,
    os_type: &'static str,
    protocol: &'static str,
    initiators: Vec<Named>,
}

/// A LUN as an igroup sees it.
#[derive(Debug, Serialize)]
struct NewMap {
    svm: Named,
    lun: ByUuid,
    igroup: Named,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Map {
    pub(crate) igroup: MappedTo,
    pub(crate) logical_unit_number: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MappedTo {
    pub(crate) name: String,
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) initiators: Vec<String>,
}

const PATH: &str = "protocols/san/igroups";
const MAPS: &str = "protocols/san/lun-maps";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Igroup>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", "uuid,initiators.name")]).await
}

pub(crate) async fn create(client: &Client, svm: &str, name: &str, initiators: &[&str]) -> Result<()> {
    let igroup = NewIgroup {
        name,
        svm: Named::new(svm),
        os_type: "linux",
        protocol: "iscsi",
        initiators: initiators.iter().copied().map(Named::new).collect(),
    };
    client.post(PATH, &igroup).await
}

pub(crate) async fn add(client: &Client, igroup: &str, initiator: &str) -> Result<()> {
    client.post(&format!("{PATH}/{igroup}/initiators"), &Named::new(initiator)).await
}

pub(crate) async fn remove(client: &Client, igroup: &str, initiator: &str) -> Result<()> {
    let query = [("allow_delete_while_mapped", "true")];
    client.delete(&format!("{PATH}/{igroup}/initiators/{initiator}"), &query).await.map(drop)
}

pub(crate) async fn map(client: &Client, svm: &str, lun: &str, igroup: &str) -> Result<()> {
    let map = NewMap { svm: Named::new(svm), lun: ByUuid::new(lun), igroup: Named::new(igroup) };
    client.post(MAPS, &map).await
}

/// Where a LUN is mapped, and who is in there.
pub(crate) async fn maps(client: &Client, svm: &str, lun: &str) -> Result<Vec<Map>> {
    let fields = "igroup.name,igroup.uuid,igroup.initiators,logical_unit_number";
    client.list(MAPS, &[("lun.uuid", lun), ("svm.name", svm), ("fields", fields)]).await
}

pub(crate) async fn unmap(client: &Client, lun: &str, igroup: &str) -> Result<()> {
    client.delete(&format!("{MAPS}/{lun}/{igroup}"), &[]).await.map(drop)
}
