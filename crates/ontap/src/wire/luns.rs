use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lun {
    pub(crate) uuid: String,
    /// `/vol/VOLUME/NAME`.
    pub(crate) name: String,
    pub(crate) serial_number: Option<String>,
    pub(crate) space: Option<LunSpace>,
    #[serde(default)]
    pub(crate) lun_maps: Vec<LunMap>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LunSpace {
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LunMap {
    pub(crate) igroup: Named,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewLun {
    pub(crate) name: String,
    pub(crate) svm: Named,
    pub(crate) os_type: &'static str,
    pub(crate) space: NewLunSpace,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewLunSpace {
    pub(crate) size: u64,
    pub(crate) guarantee: Requested,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scsi_thin_provisioning_support_enabled: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Requested {
    pub(crate) requested: bool,
}

#[derive(Debug, Serialize)]
struct Change {
    space: Size,
}

#[derive(Debug, Serialize)]
struct Size {
    size: u64,
}

const PATH: &str = "storage/luns";
const FIELDS: &str = "name,uuid,serial_number,space.size,lun_maps.igroup.name";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Lun>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// LUNs of a name pattern with their maps, in pages.
pub(crate) async fn list(client: &Client, svm: &str, pattern: &str) -> Result<Vec<Lun>> {
    client.list(PATH, &[("name", pattern), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn create(client: &Client, lun: &NewLun) -> Result<()> {
    client.post(PATH, lun).await
}

pub(crate) async fn grow(client: &Client, uuid: &str, size: u64) -> Result<()> {
    client.patch(&format!("{PATH}/{uuid}"), &[], &Change { space: Size { size } }).await.map(drop)
}
