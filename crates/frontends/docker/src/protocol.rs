//! The wire format of the engine's volume plugin protocol, version 1.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.1+json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Create {
    pub(crate) name: String,
    /// The engine sends `null` for none.
    #[serde(default)]
    pub(crate) opts: Option<BTreeMap<String, String>>,
}

/// For `Mount` and `Unmount`: `id` is the caller's, one for each container and start.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

/// Every answer. What a call has nothing to say about stays out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) implements: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<Capabilities>,
    /// Empty: not mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mountpoint: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) volume: Option<Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) volumes: Option<Vec<Volume>>,
    /// Empty: it went well.
    pub(crate) err: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Capabilities {
    pub(crate) scope: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) mountpoint: PathBuf,
    /// RFC 3339.
    pub(crate) created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status>,
}

/// What `docker volume inspect` shows under `Status`. Sizes are for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) size: String,
    /// Left out where the backend cannot tell, or not soon enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<String>,
    pub(crate) backend: String,
    pub(crate) pool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<String>,
    pub(crate) layout: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_system: Option<&'static str>,
    pub(crate) provisioning_type: &'static str,
    pub(crate) access_mode: &'static str,
    pub(crate) state: &'static str,
    /// Containers of this node that have it mounted.
    pub(crate) mounts: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    #[serde(rename = "Snapshots")]
    pub(crate) snapshots: Vec<Snapshot>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) created: String,
}
