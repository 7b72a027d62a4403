//! What is shown of a backend.

use std::path::PathBuf;

use driver::Capabilities;
use jiff::Timestamp;
use model::{BackendName, Pool};
use serde::{Deserialize, Serialize};

/// Where a backend's config comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendOrigin {
    /// Given over the API, kept in the store.
    Stored,
    /// A file read at start: change it there.
    File(PathBuf),
    /// An object of a cluster, as in `Backend leister/gold`: it comes, changes and goes while we run.
    Declared(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendHealth {
    Opening,
    Online,
    /// It answered once and does not now.
    Unreachable {
        since: Timestamp,
        reason: String,
    },
    /// It could not be opened; tried again with each probe.
    Failed {
        reason: String,
    },
}

/// A backend as shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    pub name: BackendName,
    pub driver: String,
    pub origin: BackendOrigin,
    pub health: BackendHealth,
    /// Its user said: no new volumes.
    pub suspended: bool,
    pub capabilities: Capabilities,
    pub pools: Vec<Pool>,
    pub volumes: usize,
    /// Its config, without secrets.
    pub config: serde_json::Value,
}

impl BackendOrigin {
    /// Where somebody has written it, if that is not in our records.
    pub fn place(&self) -> Option<String> {
        match self {
            BackendOrigin::Stored => None,
            BackendOrigin::File(path) => Some(path.display().to_string()),
            BackendOrigin::Declared(object) => Some(object.clone()),
        }
    }

    /// How it is changed there.
    pub(crate) const fn way(&self) -> &'static str {
        match self {
            BackendOrigin::Stored => "change it with `leister create backend -f FILE`",
            BackendOrigin::File(_) => "change it there and restart",
            BackendOrigin::Declared(_) => "change it with kubectl",
        }
    }
}

impl BackendHealth {
    pub const fn as_str(&self) -> &'static str {
        match self {
            BackendHealth::Opening => "opening",
            BackendHealth::Online => "online",
            BackendHealth::Unreachable { .. } => "unreachable",
            BackendHealth::Failed { .. } => "failed",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            BackendHealth::Opening | BackendHealth::Online => None,
            BackendHealth::Unreachable { reason, .. } | BackendHealth::Failed { reason } => Some(reason),
        }
    }
}
