use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};

/// A FlexVol or FlexGroup.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Volume {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) aggregates: Vec<Named>,
    pub(crate) create_time: Option<Timestamp>,
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) space: Option<Space>,
    pub(crate) nas: Option<Nas>,
    pub(crate) clone: Option<Cloned>,
    pub(crate) quota: Option<Quota>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Quota {
    state: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Cloned {
    #[serde(default)]
    is_flexclone: bool,
    #[serde(default)]
    split_initiated: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Guarantee {
    /// `volume` or `none`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Space {
    pub(crate) used: Option<u64>,
    pub(crate) snapshot: Option<SnapshotSpace>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct SnapshotSpace {
    pub(crate) reserve_percent: u8,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Nas {
    /// Where it is seen in the SVM's tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) export_policy: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) security_style: Option<String>,
    /// Octal digits, written as a decimal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unix_permissions: Option<u32>,
}

/// A volume to be made; for a clone, all but its name, comment and place comes from its parent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct NewVolume {
    pub(crate) name: String,
    pub(crate) svm: Named,
    pub(crate) comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) style: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) aggregates: Vec<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) constituents_per_aggregate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guarantee: Option<Guarantee>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_policy: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_directory_access_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<NewSpace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Enabled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos: Option<Qos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tiering: Option<Tiering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nas: Option<Nas>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clone: Option<Parent>,
}

#[derive(Debug, Serialize)]
pub(crate) struct NewSpace {
    pub(crate) snapshot: SnapshotSpace,
}

#[derive(Debug, Serialize)]
pub(crate) struct Enabled {
    pub(crate) enabled: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Qos {
    pub(crate) policy: Named,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tiering {
    pub(crate) policy: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Parent {
    pub(crate) is_flexclone: bool,
    pub(crate) parent_volume: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_snapshot: Option<Named>,
}

/// What can be changed of a volume.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nas: Option<Nas>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clone: Option<Split>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<Enabled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_policy: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_directory_access_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<NewSpace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) qos: Option<Qos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tiering: Option<Tiering>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Split {
    pub(crate) split_initiated: bool,
}

const PATH: &str = "storage/volumes";
const FIELDS: &str = "name,uuid,comment,size,aggregates.name,create_time,guarantee.type,space.used,\
                      space.snapshot.reserve_percent,nas.path,nas.export_policy.name,clone.is_flexclone,\
                      clone.split_initiated";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Volume>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// Volumes whose comment fits the pattern, in pages.
pub(crate) async fn list(client: &Client, svm: &str, comment: &str) -> Result<Vec<Volume>> {
    client.list(PATH, &[("comment", comment), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// As `list`, and whether quotas count in them.
pub(crate) async fn with_quotas(client: &Client, svm: &str, comment: &str) -> Result<Vec<Volume>> {
    let fields = format!("{FIELDS},quota.state");
    client.list(PATH, &[("comment", comment), ("svm.name", svm), ("fields", &fields)]).await
}

/// Those of these UUIDs.
pub(crate) async fn these(client: &Client, svm: &str, uuids: &[String]) -> Result<Vec<Volume>> {
    client.list(PATH, &[("uuid", &uuids.join("|")), ("svm.name", svm), ("fields", FIELDS)]).await
}

/// Names of the clones that depend on a snapshot.
pub(crate) async fn children(client: &Client, svm: &str, volume: &str, snapshot: &str) -> Result<Vec<Named>> {
    let query = [
        ("clone.parent_volume.name", volume),
        ("clone.parent_snapshot.name", snapshot),
        ("svm.name", svm),
        ("fields", "name"),
    ];
    client.list(PATH, &query).await
}

pub(crate) async fn create(client: &Client, volume: &NewVolume) -> Result<()> {
    client.post(PATH, volume).await
}

pub(crate) async fn change(client: &Client, uuid: &str, change: &Change) -> Result<()> {
    client.patch(&format!("{PATH}/{uuid}"), &[], change).await.map(drop)
}

/// Puts a snapshot's content in the volume's place.
pub(crate) async fn restore(client: &Client, uuid: &str, snapshot: &str) -> Result<()> {
    let query = [("restore_to.snapshot.name", snapshot)];
    client.patch(&format!("{PATH}/{uuid}"), &query, &Change::default()).await.map(drop)
}

/// # Behavior
/// `for_good` leaves nothing in the recovery queue.
pub(crate) async fn delete(client: &Client, uuid: &str, for_good: bool) -> Result<()> {
    let query: &[(&str, &str)] = if for_good { &[("force", "true")] } else { &[] };
    client.delete(&format!("{PATH}/{uuid}"), query).await.map(drop)
}

impl Volume {
    pub(crate) fn is_thick(&self) -> bool {
        self.guarantee.as_ref().is_some_and(|guarantee| guarantee.kind == "volume")
    }

    /// Whether it depends on another, and nothing ends that yet.
    pub(crate) fn is_clone(&self) -> bool {
        self.clone.is_some_and(|clone| clone.is_flexclone && !clone.split_initiated)
    }

    pub(crate) fn counts_quotas(&self) -> bool {
        self.quota.as_ref().is_some_and(|quota| quota.state.as_deref() == Some("on"))
    }

    pub(crate) fn reserve(&self) -> crate::config::Reserve {
        let snapshot = self.space.as_ref().and_then(|space| space.snapshot);
        crate::config::Reserve(snapshot.map_or(0, |snapshot| snapshot.reserve_percent.min(90)))
    }

    /// Whether it is seen in the SVM's tree.
    pub(crate) fn is_mounted(&self) -> bool {
        self.nas.as_ref().and_then(|nas| nas.path.as_deref()).is_some_and(|path| !path.is_empty())
    }

    pub(crate) fn policy(&self) -> Option<&str> {
        Some(&self.nas.as_ref()?.export_policy.as_ref()?.name)
    }
}
