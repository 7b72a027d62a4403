use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ByUuid, Named};
use crate::client::{Client, Result};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lun {
    pub(crate) uuid: String,
    /// `/vol/VOLUME/NAME`.
    pub(crate) name: String,
    pub(crate) serial_number: Option<String>,
    pub(crate) space: Option<LunSpace>,
    pub(crate) comment: Option<String>,
    pub(crate) create_time: Option<Timestamp>,
    pub(crate) location: Option<Location>,
    #[serde(default)]
    pub(crate) lun_maps: Vec<LunMap>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LunSpace {
    pub(crate) size: u64,
    pub(crate) used: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Location {
    pub(crate) volume: Option<VolumeRef>,
}

/// The FlexVol that it lies in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct VolumeRef {
    pub(crate) uuid: String,
}

/// Of a user's making.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    #[serde(default)]
    attributes: Vec<Attribute>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos_policy: Option<Named>,
}

/// A LUN with the content of another one of the same FlexVol.
#[derive(Debug, Serialize)]
pub(crate) struct NewClone {
    pub(crate) name: String,
    pub(crate) svm: Named,
    pub(crate) clone: Source,
    pub(crate) comment: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Source {
    source: ByUuid,
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

/// What can be changed of a LUN.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// Its content becomes that of another LUN; its UUID, serial number and maps stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clone: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<Size>,
    /// An empty name takes away what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos_policy: Option<Named>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Size {
    size: u64,
}

const PATH: &str = "storage/luns";
const FIELDS: &str = "name,uuid,serial_number,space.size,space.used,comment,create_time,location.volume.uuid,\
                      lun_maps.igroup.name";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Lun>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// What users have written beside a LUN.
pub(crate) async fn attributes(client: &Client, uuid: &str) -> Result<Vec<Attribute>> {
    let found: Option<Attributes> = client.find(PATH, &[("uuid", uuid), ("fields", "attributes")]).await?;
    Ok(found.map(|found| found.attributes).unwrap_or_default())
}

/// LUNs of a name pattern with their maps, in pages.
pub(crate) async fn list(client: &Client, svm: &str, pattern: &str) -> Result<Vec<Lun>> {
    client.list(PATH, &[("name", pattern), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn create(client: &Client, lun: &NewLun) -> Result<()> {
    client.post(PATH, lun).await
}

pub(crate) async fn grow(client: &Client, uuid: &str, size: u64) -> Result<()> {
    change(client, uuid, &Change { space: Some(Size { size }), ..Change::default() }).await
}

/// LUNs whose comment fits the pattern, in pages.
pub(crate) async fn tagged(client: &Client, svm: &str, comment: &str) -> Result<Vec<Lun>> {
    client.list(PATH, &[("comment", comment), ("svm.name", svm), ("fields", FIELDS)]).await
}

pub(crate) async fn clone(client: &Client, clone: &NewClone) -> Result<()> {
    client.post(PATH, clone).await
}

pub(crate) async fn change(client: &Client, uuid: &str, change: &Change) -> Result<()> {
    client.patch(&format!("{PATH}/{uuid}"), &[], change).await.map(drop)
}

pub(crate) async fn delete(client: &Client, uuid: &str) -> Result<()> {
    client.delete(&format!("{PATH}/{uuid}"), &[]).await.map(drop)
}

impl Source {
    pub(crate) fn new(uuid: &str) -> Source {
        Source { source: ByUuid::new(uuid) }
    }
}

impl Lun {
    /// Its name without its folders.
    pub(crate) fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn size(&self) -> u64 {
        self.space.as_ref().map_or(0, |space| space.size)
    }

    pub(crate) fn volume(&self) -> Option<&str> {
        Some(&self.location.as_ref()?.volume.as_ref()?.uuid)
    }
}
